"""Every metric is described in the manual, and counts what its observer receives."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from prometheus_client import generate_latest

from adapter.flows.messages.hold import MerchantHold
from adapter.provider.breaker import BreakerState
from adapter.stream.observer import Gauges
from adapter.stream.port import TopicPartition
from adapter.testing.clock import NOON
from adapter.values import replace
from adapter.web.metrics import Metrics
from adapter.web.scraped_metrics import ActiveHoldMetrics, ChannelMetrics
from web.observed_metrics import CHANNEL, is_configured, observed_everything

MANUAL = Path(__file__).parents[2] / "docs" / "metrics.md"


def _shown(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_metrics_count_what_observers_receive() -> None:
    """One value of each kind, as a scraper sees it."""
    shown = _shown(observed_everything())

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
        'ecticket_breaker_openings_total{merchant_id="1"} 1.0',
        'ecticket_provider_max_calls_per_second{merchant_id="1"} 50.0',
        'ecticket_provider_slots{merchant_id="1"} 256.0',
        'ecticket_provider_slots_in_use{merchant_id="1"} 3.0',
        'ecticket_provider_queued_requests{merchant_id="1",purpose="submit"} 4.0',
        'ecticket_report_downloads_total{merchant_id="1",outcome="downloaded",type="tickets"} 1.0',
        'ecticket_report_bytes_total{merchant_id="1",type="tickets"} 4096.0',
        'ecticket_report_rows_total{merchant_id="1",type="tickets"} 17.0',
        'ecticket_report_download_duration_seconds_bucket{le="5.0",type="tickets"} 1.0',
        'ecticket_stage_running{stage="receive"} 1.0',
        "ecticket_clock_offset_seconds -2.5",
        "ecticket_dead_letters_oldest_seconds 3600.0",
        "ecticket_dead_letters_forgotten 1.0",
        'ecticket_issuances_total{event="submitted",recovered="true"} 1.0',
        'ecticket_paid_to_issued_seconds_bucket{le="30.0",merchant_id="1"} 0.0',
        'ecticket_paid_to_issued_seconds_bucket{le="45.0",merchant_id="1"} 1.0',
        'ecticket_record_to_issued_seconds_sum{merchant_id="1"} 7.0',
        'ecticket_recovered_total{after="doubt",merchant_id="1"} 1.0',
        'ecticket_duplicates_avoided_total{merchant_id="1",reason="replay"} 1.0',
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
        "ecticket_secret_file_problems 2.0",
        'ecticket_deliveries_total{outcome="delivered",sink="chat"} 1.0',
        'ecticket_deliveries_stuck{sink="chat"} 3.0',
        'ecticket_deliveries_waiting{sink="chat"} 2.0',
        'ecticket_deliveries_oldest_seconds{sink="chat"} 30.0',
        'ecticket_deliveries_oldest_seconds{sink="log"} 0.0',
        'ecticket_open_work{merchant_id="1",state="submitted"} 1.0',
        'ecticket_open_work_oldest_seconds{merchant_id="1",state="submitted"} 90.0',
        'ecticket_open_work_oldest_seconds{merchant_id="1",state="delayed"} 0.0',
        'ecticket_reconciliation_differences_total{kind="state",merchant_id="1"} 2.0',
        'ecticket_reconciliation_completed_timestamp_seconds{merchant_id="1"} 1.7723232e+09',
        'ecticket_reconciliation_failures_total{merchant_id="1"} 1.0',
        f'ecticket_build_info{{commit="abc",python="{platform.python_version()}",version="0.1.0"}} 1.0',
    ):
        assert line in shown


def test_the_lag_of_a_partition_that_is_gone_is_not_shown() -> None:
    """Another process owns it and shows its lag; the last one seen here would count twice in a sum."""
    metrics = Metrics(is_configured)
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
    """From the merchant's first call on; what opens it for a moment between two scrapes is counted."""
    metrics = Metrics(is_configured)
    closed = replace(CHANNEL, breaker=BreakerState.CLOSED, retry_at=None)
    metrics.registry.register(ChannelMetrics(lambda: {"1": closed}, is_configured=is_configured))
    for state in (BreakerState.OPEN, BreakerState.PROBING, BreakerState.CLOSED):
        metrics.provider.breaker_changed("1", state)

    assert 'ecticket_breaker_open{merchant_id="1"} 0.0' in _shown(metrics)
    assert 'ecticket_breaker_openings_total{merchant_id="1"} 1.0' in _shown(metrics)


def test_the_manual_has_every_metric_and_no_other() -> None:
    """`docs/metrics.md` is complete and current."""
    families = re.findall(r"^# TYPE (\w+) \w+$", _shown(observed_everything()), re.MULTILINE)
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

    for family in observed_everything().registry.collect():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert written[family.name] == labels, family.name


def test_held_merchants_are_shown_with_the_time_of_the_command() -> None:
    """Only those that are held have a series; whether all holds are known always has one."""
    metrics = Metrics(is_configured)
    held = {"1": MerchantHold(held_at=NOON, until=None)}
    metrics.registry.register(ActiveHoldMetrics(lambda: held, up_to_date=lambda: False, is_configured=is_configured))

    shown = _shown(metrics)
    (since,) = re.findall(r'^ecticket_merchant_held_timestamp_seconds{merchant_id="1"} (.*)$', shown, re.MULTILINE)
    assert float(since) == NOON.timestamp()
    assert 'ecticket_merchant_held{merchant_id="1"} 1.0' in shown
    assert "ecticket_holds_known 0.0" in shown
    held.clear()
    assert "ecticket_merchant_held{" not in _shown(metrics)
