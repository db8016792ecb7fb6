"""Every metric is described in the manual, and counts what its observer receives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import generate_latest

from adapter.extensions.invocation import HookCounters
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.report_rounds import WaitingTickets
from adapter.protocol.endpoints import Endpoint
from adapter.provider.breaker import BreakerState
from adapter.provider.observer import CallFinished, CallOutcome
from adapter.stream.observer import Gauges
from adapter.stream.port import TopicPartition
from adapter.testing.clock import NOON
from adapter.web.metrics import Metrics

MANUAL = Path(__file__).parents[2] / "docs" / "metrics.md"


def _observed_everything() -> Metrics:
    metrics = Metrics()
    stream, provider, flows = metrics.stream, metrics.provider, metrics.flows
    stream.records_consumed("submit", "orders.paid", 3)
    stream.outcomes_committed("submit", "orders.paid", 2, 5)
    stream.transaction_took("submit", 0.03)
    stream.partition_taken_over("submit", "orders.paid", 0)
    stream.partition_dropped("submit", "orders.paid", 0, "revoked")
    stream.records_lost("submit", "orders.paid", 7)
    stream.records_handed_off("submit", "orders.paid", 1)
    stream.failed("submit", "orders.paid", "handle")
    stream.lease_lost("submit", "orders.paid")
    stream.gauges(
        "submit",
        Gauges(
            open=9,
            in_flight=4,
            waiting={"a": 2, "b": 1},
            finished=1,
            lag={TopicPartition("orders.paid", 3): 12},
            partitions=6,
            full=frozenset("a"),
        ),
    )
    call = CallFinished(
        merchant_id="1", endpoint=Endpoint.ISSUE, outcome=CallOutcome.IN_DOUBT, waited_seconds=0.5, seconds=0.2
    )
    provider.call_finished(call)
    provider.breaker_changed("1", BreakerState.OPEN)
    flows.order_settled("submitted")
    flows.issuance_published("submitted", recovered=True)
    flows.ignored("shop", "cancelled")
    flows.parked("map", "unmapped-item")
    flows.deferred("doubt")
    flows.normalised("phone", "phone_form")
    flows.control_known("1")
    flows.untrusted_headers("submit", "invalid")
    flows.no_known_number("1")
    flows.ticket_data_differs("1")
    flows.items_checked("1", "delisted")
    flows.report_for_collecting("1", "read")
    flows.tickets_collected("1", 8)
    metrics.watch_holds(lambda: {"1": MerchantHold(held_at=NOON, until=None)}, lambda: True)
    metrics.watch_collecting(lambda: {"1": WaitingTickets(count=5, oldest=NOON)}, lambda: NOON + timedelta(seconds=90))
    callbacks = metrics.callbacks
    callbacks.notification_ended("refund", "wrong-checksum")
    callbacks.notification_verified("1", "escape_data_string")
    callbacks.notification_answered(0.02)
    callbacks.connection_closed("too-slow")
    sinks = metrics.sinks
    sinks.attempted("chat", "delivered", 0.02)
    metrics.reconciliations.reconciled("1", {"state": 2}, datetime(2026, 3, 1, tzinfo=UTC))
    metrics.reconciliations.reconciliation_failed("1")
    metrics.watch_log(lambda: 4)
    metrics.watch_sinks(lambda: {"chat": 3})
    hooks = HookCounters()
    hooks.add("bundles", "map_item", seconds=0.1, failed=True)
    metrics.watch_hooks(hooks.snapshot, lambda: 2)
    return metrics


def _shown(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_metrics_count_what_observers_receive() -> None:
    """One value of each kind, as a scraper sees it."""
    shown = _shown(_observed_everything())

    for line in (
        'ecticket_records_consumed_total{stage="submit",topic="orders.paid"} 3.0',
        'ecticket_records_produced_total{stage="submit"} 5.0',
        'ecticket_records_lost_total{stage="submit",topic="orders.paid"} 7.0',
        'ecticket_records{stage="submit",state="waiting"} 3.0',
        'ecticket_consumer_lag{partition="3",stage="submit",topic="orders.paid"} 12.0',
        'ecticket_delay_queue_full{stage="submit"} 1.0',
        'ecticket_unverified_records_total{stage="submit",trust="invalid"} 1.0',
        'ecticket_provider_requests_total{endpoint="issue",merchant_id="1",outcome="in_doubt"} 1.0',
        'ecticket_breaker_open{merchant_id="1"} 1.0',
        'ecticket_issuances_total{event="submitted",recovered="true"} 1.0',
        'ecticket_ignored_total{plugin="shop",reason="cancelled"} 1.0',
        'ecticket_dead_letters_total{reason="unmapped-item",stage="map"} 1.0',
        'ecticket_collect_reports_total{merchant_id="1",outcome="read"} 1.0',
        'ecticket_tickets_collected_total{merchant_id="1"} 8.0',
        'ecticket_collect_waiting{merchant_id="1"} 5.0',
        'ecticket_collect_oldest_seconds{merchant_id="1"} 90.0',
        'ecticket_notifications_total{outcome="wrong-checksum",posted_to="refund"} 1.0',
        'ecticket_notifications_verified_total{encoder="escape_data_string",merchant_id="1"} 1.0',
        'ecticket_callback_connections_closed_total{reason="too-slow"} 1.0',
        'ecticket_hook_failures_total{hook="map_item",plugin="bundles"} 1.0',
        "ecticket_hook_stuck_threads 2.0",
        "ecticket_log_lines_dropped_total 4.0",
        'ecticket_deliveries_total{outcome="delivered",sink="chat"} 1.0',
        'ecticket_deliveries_stuck{sink="chat"} 3.0',
        'ecticket_reconciliation_differences_total{kind="state",merchant_id="1"} 2.0',
        'ecticket_reconciliation_completed_timestamp_seconds{merchant_id="1"} 1.7723232e+09',
        'ecticket_reconciliation_failures_total{merchant_id="1"} 1.0',
    ):
        assert line in shown


def test_the_lag_of_a_partition_that_is_gone_is_not_shown() -> None:
    """Another process owns it and shows its lag; the last one seen here would count twice in a sum."""
    metrics = Metrics()
    for stage, partitions in (
        ("submit", (0, 1)),
        ("confirm", (0,)),
        ("submit", (1,)),
        ("submit", ()),
        ("submit", (2,)),
    ):
        lag = {TopicPartition("orders.paid", partition): 7 for partition in partitions}
        metrics.stream.gauges(stage, Gauges(open=0, in_flight=0, waiting={}, finished=0, lag=lag, partitions=len(lag)))

    shown = re.findall(r'ecticket_consumer_lag{partition="(\d)",stage="(\w+)"', _shown(metrics))
    assert sorted(shown) == [("0", "confirm"), ("2", "submit")]


def test_a_closed_breaker_shows_as_zero() -> None:
    """The gauge says "open" and nothing else."""
    metrics = Metrics()
    metrics.provider.breaker_changed("1", BreakerState.CLOSED)

    assert 'ecticket_breaker_open{merchant_id="1"} 0.0' in _shown(metrics)


def test_the_manual_has_every_metric_and_no_other() -> None:
    """`docs/metrics.md` is complete and current."""
    families = re.findall(r"^# TYPE (\w+) \w+$", _shown(_observed_everything()), re.MULTILINE)
    exposed = {name for name in families if not name.endswith("_created")}
    written = set(re.findall(r"`(ecticket_\w+)`", MANUAL.read_text(encoding="utf-8")))

    assert exposed == written


def test_the_manual_has_the_labels_of_every_metric() -> None:
    """Each row names the labels that the metric has."""
    rows = re.findall(r"^\| (?P<names>`ecticket_[^|]*) \|(?P<labels>[^|]*)\|", MANUAL.read_text("utf-8"), re.MULTILINE)
    written = {
        name.removesuffix("_total"): set(re.findall(r"`(\w+)`", labels))
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }

    for family in _observed_everything().registry.collect():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert written[family.name] == labels, family.name


def test_held_merchants_are_shown_with_the_time_of_the_command() -> None:
    """Only those that are held have a series; whether all holds are known always has one."""
    metrics = Metrics()
    held = {"1": MerchantHold(held_at=NOON, until=None)}
    metrics.watch_holds(lambda: held, lambda: False)

    shown = _shown(metrics)
    (since,) = re.findall(r'^ecticket_merchant_held_timestamp_seconds{merchant_id="1"} (.*)$', shown, re.MULTILINE)
    assert float(since) == NOON.timestamp()
    assert 'ecticket_merchant_held{merchant_id="1"} 1.0' in shown
    assert "ecticket_holds_known 0.0" in shown
    held.clear()
    assert "ecticket_merchant_held{" not in _shown(metrics)
