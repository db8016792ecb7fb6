"""All metrics of the adapter, each with a value of every label."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from adapter.extensions.invocation import HookCounters
from adapter.flows.confirm import PendingQuery
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.open_work import OpenKind
from adapter.flows.report_rounds import WaitingTickets
from adapter.issuance.confirm import Awaited
from adapter.issuance.state import Phase
from adapter.operations.oldest_dead_letter import OldestDeadLetter
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.issue import IssueType, TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportType
from adapter.provider.breaker import BreakerState
from adapter.provider.call_limiter import LimiterUsage, Purpose
from adapter.provider.merchant_channel import ChannelState
from adapter.provider.observer import CallFinished, CallOutcome, ReportEnded
from adapter.stream.observer import Gauges
from adapter.stream.owned_partition import WorkPhase
from adapter.stream.port import TopicPartition
from adapter.stream.snapshot import OpenRecord
from adapter.testing.clock import NOON
from adapter.web.metrics import Metrics
from adapter.web.scraped_metrics import (
    ActiveHoldMetrics,
    BuildMetrics,
    ChannelMetrics,
    ClockMetrics,
    CollectingMetrics,
    DeadLetterAgeMetrics,
    DroppedLogLineMetrics,
    HookMetrics,
    OpenWorkMetrics,
    RunningStageMetrics,
    SecretFileMetrics,
    StuckDeliveryMetrics,
    WaitingDeliveryMetrics,
)

CHANNEL = ChannelState(
    breaker=BreakerState.PROBING,
    retry_at=NOON,
    cause="",
    usage=LimiterUsage(calls_per_second=50.0, slots=256, slots_in_use=3, queued={Purpose.SUBMIT: 4}),
    last_accepted=None,
)
"""A channel whose breaker is not closed."""
SUBMITTED = OpenRecord(
    topic="confirmations",
    phase=WorkPhase.WAITING,
    timestamp=NOON,
    subject=PendingQuery(
        "1",
        Awaited(
            trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value="T1"),
            issue_type=IssueType.ELECTRONIC,
            submitted_at=NOON,
            phase=Phase.SUBMITTED,
            queries=0,
        ),
        NOON,
    ),
    possibly_sent=False,
)
"""A record of an issuance whose result is awaited since noon."""
CONFIGURED = ("1", "2")


def is_configured(merchant_id: str) -> bool:
    """Whether it is one of `CONFIGURED`."""
    return merchant_id in CONFIGURED


def observed_everything() -> Metrics:
    """Metrics whose observers were all called once, with every collector."""
    metrics = Metrics(is_configured)
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
    report = ReportEnded(
        merchant_id="1", report_type=ReportType.TICKETS, downloaded=True, seconds=2.5, size=4096, rows=17
    )
    provider.report_ended(report)
    provider.breaker_changed("1", BreakerState.OPEN)
    flows.order_settled("submitted")
    flows.issuance_published("submitted", recovered=True)
    flows.issued_after("1", since_paid=42.0, since_record=7.0)
    flows.recovered("1", "doubt")
    flows.duplicate_avoided("1", "replay")
    flows.ignored("shop", "cancelled")
    flows.parked("map", "unmapped-item")
    flows.deferred("doubt")
    flows.normalised("CustomerPhone", "phone_form")
    flows.control_known("1")
    flows.untrusted_headers("submit", "invalid")
    flows.no_known_number("1")
    flows.ticket_data_differs("1")
    flows.items_checked("1", "delisted")
    flows.report_for_collecting("1", "read")
    flows.tickets_collected("1", 8)
    waiting = {"1": WaitingTickets(count=5, oldest=NOON)}
    holds = {"1": MerchantHold(held_at=NOON, until=None)}
    callbacks = metrics.callbacks
    callbacks.notification_ended("refund", "wrong-checksum")
    callbacks.notification_verified("1", "escape_data_string")
    callbacks.notification_answered(0.02)
    callbacks.connection_closed("too-slow")
    sinks = metrics.sinks
    sinks.attempted("chat", "delivered", 0.02)
    metrics.reconciliations.reconciled("1", {"state": 2}, datetime(2026, 3, 1, tzinfo=UTC))
    metrics.reconciliations.reconciliation_failed("1")
    hooks = HookCounters()
    hooks.add("bundles", "map_item", seconds=0.1, failed=True)
    for collector in (
        BuildMetrics(version="0.1.0", commit="abc"),
        RunningStageMetrics(lambda: ("submit", "receive")),
        ChannelMetrics(lambda: {"1": CHANNEL}, is_configured=is_configured),
        DeadLetterAgeMetrics(
            lambda: OldestDeadLetter(since=NOON, forgotten=True), now=lambda: NOON + timedelta(seconds=3600)
        ),
        ClockMetrics(lambda: -2.5),
        ActiveHoldMetrics(lambda: holds, up_to_date=lambda: True, is_configured=is_configured),
        CollectingMetrics(lambda: waiting, is_configured=is_configured, now=lambda: NOON + timedelta(seconds=90)),
        DroppedLogLineMetrics(lambda: 4),
        OpenWorkMetrics(
            lambda: [SUBMITTED],
            kinds=lambda: [OpenKind.SUBMITTED, OpenKind.DELAYED],
            merchants=lambda: ("1",),
            deferred_topic="deferred",
            now=lambda: NOON + timedelta(seconds=90),
        ),
        WaitingDeliveryMetrics(
            lambda: {"chat": [SUBMITTED, SUBMITTED], "log": []}, now=lambda: NOON + timedelta(seconds=30)
        ),
        SecretFileMetrics(lambda: 2),
        StuckDeliveryMetrics(lambda: {"chat": 3}),
        HookMetrics(hooks.snapshot, lambda: 2),
    ):
        metrics.registry.register(collector)
    return metrics
