"""One order is followed through all of its processes, from the shop's span to the notification about its ticket."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tracing.collector import Collector, ReceivedSpan, collecting
from tracing.picture import draw, without_times

from adapter.dev.local_kafka.ports import free_ports
from adapter.kafka.connection import KafkaConnection
from integration.cluster import MERCHANT, Cluster, open_cluster, until
from integration.order_source import OrderSource
from integration.test_sinks import until_listening

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SHOP = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
PAGE = Path(__file__).parents[2] / "docs" / "traces.md"

SINK = """
from pathlib import Path
from adapter import hookimpl

class Shop:
    name = "shop"

    async def deliver(self, event):
        with (Path(__file__).parent / "delivered").open("a") as delivered:
            delivered.write(event.type + " " + event.trace_headers["traceparent"] + "\\n")

@hookimpl
def notification_sinks():
    return [Shop()]
"""


async def test_an_order_is_one_trace_through_all_hops(
    kafka: KafkaConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitted, confirmed, delivered; and redeemed, in the trace to which its own links. The manual prints it."""
    (tmp_path / "shop.py").write_text(SINK, encoding="utf-8")
    (port,) = free_ports(1)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        async with open_cluster(
            kafka,
            tmp_path,
            plugins__paths=str(tmp_path / "shop.py"),
            callbacks__port=str(port),
            callbacks__public_url=f"http://127.0.0.1:{port}",
            provider__timeout_seconds="10",
        ) as cluster:
            worker = await cluster.start()
            await until_listening(worker, "shop")
            order = OrderSource(seed=91).order()
            cluster.secrets |= set(order.secrets)
            await cluster.put([(b"shop-key", order.value, [("traceparent", SHOP.encode())])], parts=[1])
            await cluster.all_delivered(seconds=60)
            (number,) = (event.number for event in cluster.event_log.events if event.type == "issued")
            assert number is not None
            cluster.sandbox.redeem(MERCHANT.merchant_id, number)
            await cluster.sandbox.all_delivered()
            await until(lambda: _ended(collector, cluster), seconds=60)
            assert await worker.dismiss() == 0
            spans = collector.spans
            delivered = (tmp_path / "delivered").read_text(encoding="utf-8").split("\n")[:-1]

        _check_connected(spans)
        assert [line.split()[0] for line in delivered][:2] == [
            "ecticket.issuance.submitted.v1",
            "ecticket.issuance.issued.v1",
        ]
        of_deliveries = {f"00-{span.trace_id}-{span.span_id}-" for span in spans if span.name == "deliver shop"}
        assert {line.split()[1][:53] for line in delivered} == of_deliveries
        text = repr([span.attributes for span in spans]).lower()
        assert [secret for secret in cluster.secrets if secret in text] == []
        _check_manual(draw(_one_notification(spans), _default_names(cluster)))


def _ended(collector: Collector, cluster: Cluster) -> bool:
    """Whether the delivery of a notification, the last hop, and the issued event's were exported."""
    names = [span.name for span in collector.spans]
    return f"process {cluster.topic('tickets')}" in names and names.count("deliver shop") >= 3


def _check_connected(spans: Sequence[ReceivedSpan]) -> None:
    """Each span is in the shop's trace, or in one to which a span of it links, and has its parent there."""
    of_order = [span for span in spans if span.trace_id == TRACE_ID]
    linked = {trace_id for span in of_order for trace_id in span.links}
    ids = {span.span_id for span in spans}
    roots = [span for span in of_order if span.parent_id not in ids]

    assert {span.trace_id for span in spans} == {TRACE_ID} | linked
    assert [(span.name.split()[0], span.parent_id) for span in roots] == [("process", SHOP.split("-")[2])]
    assert {span.kind for span in spans if span.trace_id in linked and not span.parent_id} == {"SERVER"}
    assert [span.name for span in spans if span.failed] == []


def _one_notification(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    """The spans without those of a second ticket's notification: how many tickets are redeemed is the sandbox's."""
    ids = {span.span_id for span in spans}
    first, *others = [span.span_id for span in spans if span.kind == "SERVER"]
    left_out = set(others)
    while more := {span.span_id for span in spans if span.parent_id in left_out} - left_out:
        left_out |= more
    assert first in ids
    return [span for span in spans if span.span_id not in left_out]


def _default_names(cluster: Cluster) -> dict[str, str]:
    names = {"orders_paid": "orders.paid", "issuances": "ecticket.issuances", "tickets": "ecticket.tickets"}
    names |= {"confirmations": "ecticket.confirmations"}
    return {cluster.topic(name): default for name, default in names.items()}


def _check_manual(picture: str) -> None:
    """docs/traces.md prints these spans; only the durations are those of another run."""
    printed = re.search(r"```text\n(process orders\.paid.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert printed is not None, picture
    assert without_times(printed[1]) == without_times(picture), picture
