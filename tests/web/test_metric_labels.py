"""Labels have few values, whatever records hold: no order, number or ticket, and no merchant that is not configured."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import cast, get_type_hints

import pytest
from prometheus_client import CollectorRegistry

from adapter.flows.confirm import PendingQuery
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.open_work import OpenKind
from adapter.flows.report_rounds import WaitingTickets
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.order_detail import ReportType
from adapter.protocol.query_issue_result import IssueStatus
from adapter.provider.breaker import BreakerState
from adapter.provider.observer import CallFinished, CallOutcome, ReportEnded
from adapter.testing.clock import NOON
from adapter.testing.fakes import RecordingObserver
from adapter.testing.harness import StageHarness
from adapter.testing.orders import MERCHANT, Orders, order_bytes
from adapter.values import replace
from adapter.web.metrics import OTHER_MERCHANT, FlowMetrics, Metrics
from adapter.web.scraped_metrics import ActiveHoldMetrics, ChannelMetrics, CollectingMetrics, OpenWorkMetrics
from web.observed_metrics import CHANNEL, CONFIGURED, SUBMITTED, is_configured, observed_everything

BOUNDED: Mapping[str, str] = {
    "merchant_id": "the configured merchants, and one for all others",
    "after": "doubt and takeover",
    "commit": "one",
    "encoder": "the percent-encoders of the protocol",
    "endpoint": "the endpoints of ECTicket",
    "event": "the events of partitions and issuances",
    "field": "the fields of an order",
    "hook": "the hooks",
    "kind": "the kinds of a difference or of a change",
    "outcome": "an enumeration in each metric",
    "partition": "the partitions of a topic",
    "plugin": "the plugins",
    "posted_to": "the paths of callbacks",
    "purpose": "the purposes of calls",
    "python": "one",
    "reason": "an enumeration in each metric, and fifty reasons of a plugin's Ignore",
    "recovered": "true and false",
    "result": "the rules of the item check",
    "sink": "the sinks",
    "stage": "the stages",
    "state": "an enumeration in each metric",
    "topic": "the topics of the settings",
    "trust": "the results of a signature's check",
    "type": "orders and tickets",
    "version": "one",
    "where": "the methods of a stage",
}
"""Every label, and what its values are."""
_HOSTILE = [f"{number}\n\x1b[2J'\"}} 3085676" for number in range(50)]


def _labels(metrics: Metrics | CollectorRegistry) -> Iterator[tuple[str, str, str]]:
    registry = metrics if isinstance(metrics, CollectorRegistry) else metrics.registry
    for family in registry.collect():
        for sample in family.samples:
            for name, value in sample.labels.items():
                yield family.name, name, value


def test_every_label_has_few_values_by_its_meaning() -> None:
    """A new label is added here with its values, or is not a label."""
    assert {name for _, name, _ in _labels(observed_everything())} - {"le"} == set(BOUNDED)


def _arguments(method: Callable[..., object], merchant_id: str) -> dict[str, object]:
    """Arguments of the right types; each text is the merchant's id."""
    call = CallFinished(
        merchant_id=merchant_id, endpoint=Endpoint.ISSUE, outcome=CallOutcome.ANSWERED, waited_seconds=0, seconds=0
    )
    values: dict[object, object] = {
        int: 1,
        float: 0.5,
        float | None: 0.5,
        bool: True,
        datetime: NOON,
        Mapping[str, int]: {"state": 1},
        CallFinished: call,
        BreakerState: BreakerState.OPEN,
        ReportEnded: ReportEnded(
            merchant_id=merchant_id, report_type=ReportType.ORDERS, downloaded=True, seconds=1, size=1, rows=1
        ),
    }
    hints = {name: hint for name, hint in get_type_hints(method).items() if name != "return"}
    return {name: merchant_id if name == "merchant_id" else values.get(hint, "text") for name, hint in hints.items()}


def _observer_methods(metrics: Metrics) -> Iterator[Callable[..., object]]:
    for observer in vars(metrics).values():
        for name, method in inspect.getmembers(observer, inspect.ismethod):
            if not name.startswith("_"):
                yield method


def test_no_observer_is_called_with_the_identity_of_an_order() -> None:
    """What a metric is not given cannot become its label."""
    given = {
        name for method in _observer_methods(Metrics(is_configured)) for name in inspect.signature(method).parameters
    }
    given |= {*inspect.signature(CallFinished).parameters, *inspect.signature(ReportEnded).parameters}

    assert "merchant_id" in given
    assert not {name for name in given if any(word in name for word in ("order", "trade", "ticket", "subject", "key"))}


def test_merchants_that_are_not_configured_share_one_label() -> None:
    """Whichever metric counts them: an id comes from a record, and anyone who writes records chooses it."""
    metrics = Metrics(is_configured)
    called = 0
    for method in _observer_methods(metrics):
        parameters = inspect.signature(method).parameters
        if not {"merchant_id", "call", "report"}.isdisjoint(parameters):
            called += 1
            for merchant_id in (*_HOSTILE, *CONFIGURED):
                method(**_arguments(method, merchant_id))

    by_metric: dict[str, set[str]] = {}
    for metric, name, value in _labels(metrics):
        if name == "merchant_id":
            by_metric.setdefault(metric, set()).add(value)
    assert called > 8
    assert set(map(frozenset, by_metric.values())) == {frozenset({*CONFIGURED, OTHER_MERCHANT})}


def test_scraped_metrics_have_one_series_for_all_other_merchants() -> None:
    """Two series with the same labels would make the whole answer unreadable for Prometheus."""
    registry = CollectorRegistry()
    ids = (*_HOSTILE, "1")
    holds = {each: MerchantHold(held_at=NOON, until=None) for each in ids}
    waiting = {each: WaitingTickets(count=2, oldest=NOON) for each in ids}
    registry.register(ActiveHoldMetrics(lambda: holds, up_to_date=lambda: True, is_configured=is_configured))
    channels = dict.fromkeys(ids, CHANNEL)
    registry.register(ChannelMetrics(lambda: channels, is_configured=is_configured))
    registry.register(CollectingMetrics(lambda: waiting, is_configured=is_configured, now=lambda: NOON))

    query = cast("PendingQuery", SUBMITTED.subject)
    submitted = [replace(SUBMITTED, subject=replace(query, merchant_id=each)) for each in ids]
    registry.register(
        OpenWorkMetrics(
            lambda: submitted,
            kinds=lambda: OpenKind,
            merchants=lambda: ("1",),
            deferred_topic="deferred",
            now=lambda: NOON,
        )
    )

    for family in registry.collect():
        if family.name != "ecticket_holds_known":
            series = [tuple(sample.labels.values()) for sample in family.samples]
            assert sorted(set(series)) == sorted(series)
            assert {sample.labels["merchant_id"] for sample in family.samples} == {"1", OTHER_MERCHANT}
    assert registry.get_sample_value("ecticket_collect_waiting", {"merchant_id": OTHER_MERCHANT}) == 100


class _Counting(FlowMetrics):
    """The metrics of flows, where a harness has its own observer."""

    def of(self, _what: str) -> list[tuple[str, ...]]:
        return []


async def test_records_with_hostile_ids_make_no_labels() -> None:
    """Orders of configured and unknown merchants, from the record to the confirmation or the dead letter."""
    registry = CollectorRegistry()
    harness = StageHarness()
    harness.observer = cast("RecordingObserver", _Counting(registry, {MERCHANT}.__contains__))
    harness.use()
    harness.ecticket.results["MARKEDNUMBER"] = (IssueStatus.ISSUED, None)
    orders = Orders()
    for merchant_id in (*_HOSTILE[:5], MERCHANT):
        order = orders.electronic(
            order_id=f"MARKED{merchant_id}"[:64], trade_no="MARKEDNUMBER", merchant_id=merchant_id
        )
        published = await harness.run(harness.record(order_bytes(order)))
        for confirmation in published.confirmations:
            await harness.await_result(confirmation)

    labels = list(_labels(registry))
    assert {value for _, name, value in labels if name == "merchant_id"} <= {MERCHANT, OTHER_MERCHANT}
    assert not [value for _, _, value in labels if "MARKED" in value]
    assert registry.get_sample_value("ecticket_issuances_total", {"event": "issued", "recovered": "false"}) == 1


@pytest.mark.parametrize("configured", [True, False])
def test_a_merchant_that_is_configured_later_gets_its_own_label(configured: bool) -> None:
    """Key files may come while the adapter runs."""
    ids: set[str] = set()
    metrics = Metrics(lambda merchant_id: merchant_id in ids)
    metrics.flows.no_known_number("1")
    if configured:
        ids.add("1")
    metrics.flows.no_known_number("1")

    counts = dict(_counts(metrics, "ecticket_no_known_number_total"))
    assert counts == ({"1": 1, OTHER_MERCHANT: 1} if configured else {OTHER_MERCHANT: 2})


def _counts(metrics: Metrics, name: str) -> Iterator[tuple[str, float]]:
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name == name:
                yield sample.labels["merchant_id"], sample.value
