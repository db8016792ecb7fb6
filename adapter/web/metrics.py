"""Counts for Prometheus what the engine, the provider, the flows and the sinks report.

No label holds an order, a trade number or customer data. Merchants are few, so they may be labels; an id that is not
configured is `OTHER_MERCHANT`, so that records cannot make series. What is read only when it is scraped is in
`scraped_metrics`.

Counters of calls and orders keep their series: there are few, and the library's look-up with its lock takes longer than
counting.

**Every series whose labels are known begins at 0**, when its stage is built (`Metrics.begin`): Prometheus sees no first
count of a series that begins with it. Only the reasons that plugins give to `Ignore` are not known before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from datetime import datetime
from functools import cache
from itertools import product
from typing import Generic, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from adapter.extensions.sink_thread import DeliveryOutcome
from adapter.flows import receive
from adapter.flows.deliver import NOT_AN_EVENT
from adapter.flows.messages.events import ParkReason
from adapter.flows.messages.signatures import TRUSTED, Trust
from adapter.issuance.item_check import ItemRule
from adapter.issuance.normalisation import CHANGES
from adapter.issuance.reconciliation import DifferenceKind
from adapter.issuance.state import WaitReason
from adapter.protocol.checksum import AS_DECRYPTED
from adapter.protocol.encoding import Encoder
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.notification import CallbackKind
from adapter.protocol.order_detail import ReportType
from adapter.provider.breaker import BreakerState
from adapter.provider.observer import CallFinished, CallOutcome, ReportEnded
from adapter.stream.observer import DropReason, FailedIn, Gauges
from adapter.stream.port import TopicPartition
from adapter.web.callbacks import UNOPENED
from adapter.web.connection_slots import CloseReason

OTHER_MERCHANT = "other"
"""The label of every merchant that is not configured."""

_CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)
_TRANSACTION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_DOWNLOAD_BUCKETS = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0)
_ORDER_BUCKETS = (
    *(1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0),
    *(1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0),
)
"""From a second to a day; finest where a first query after half a minute finds most issuances."""

_RECOVERED = ("true", "false")
_ENDPOINTS: Mapping[str, Collection[Endpoint]] = {
    "submit": (Endpoint.ISSUE, Endpoint.QUERY_ISSUE_RESULT, Endpoint.QUERY_ITEM_INFO),
    "confirm": (Endpoint.QUERY_ISSUE_RESULT,),
    "collect": (Endpoint.ORDER_DETAIL,),
    "reconcile": (Endpoint.ORDER_DETAIL, Endpoint.QUERY_ISSUE_RESULT),
}
"""The endpoints that each stage calls."""
_ENDPOINT_LABELS = {endpoint: endpoint.name.lower() for endpoint in Endpoint}
_REPORTS = {"collect": ReportType.TICKETS, "reconcile": ReportType.ORDERS}
"""The reports that each stage downloads."""
_PARKING = {
    "submit": ("parse", "map", "submit"),
    "confirm": ("confirm",),
    "collect": ("collect",),
    "deliver": ("deliver",),
}
"""The `stage` of each stage's dead letters."""
_ISSUANCES = {"submit": ("submitted", "failed"), "confirm": ("issued", "failed", "delayed"), "collect": ("collected",)}
"""The events of issuances that each stage publishes."""

_Metric = TypeVar("_Metric", bound=MetricWrapperBase)


class _ByMerchant(Generic[_Metric]):
    """The series of a metric whose first label is the merchant."""

    def __init__(self, metric: _Metric, is_configured: Callable[[str], bool]) -> None:
        self._metric = metric
        self._is_configured = is_configured
        self._series: dict[tuple[str, ...], _Metric] = {}

    def of(self, *labels: str) -> _Metric:
        """The series of these labels, the merchant's first."""
        series = self._series.get(labels)
        if series is not None:
            return series
        if not self._is_configured(labels[0]):  # it may be configured later, so this is not kept
            return self._metric.labels(OTHER_MERCHANT, *labels[1:])
        series = self._series[labels] = self._metric.labels(*labels)
        return series

    def begin(self, merchant_ids: Iterable[str], *values: Iterable[str]) -> None:
        """Begin the series of these merchants with each value of the other labels."""
        for labels in product(merchant_ids, *values):
            self.of(*labels)


def _begin(labelled: Callable[..., object], *values: Iterable[str]) -> None:
    """Begin the series with each value of each label; `labelled` is the metric's `labels`."""
    for labels in product(*values):
        labelled(*labels)


class Metrics:
    """All metrics of the adapter; `/metrics` shows `registry`."""

    def __init__(self, is_configured: Callable[[str], bool]) -> None:
        """`is_configured` is called with the id of a merchant; it must be quick."""
        self.registry = CollectorRegistry()
        self.stream = StreamMetrics(self.registry)
        self.provider = ProviderMetrics(self.registry, is_configured)
        self.flows = FlowMetrics(self.registry, is_configured)
        self.callbacks = CallbackMetrics(self.registry, is_configured)
        self.sinks = SinkMetrics(self.registry, self.flows)
        self.reconciliations = ReconciliationMetrics(self.registry, is_configured)
        self.holds = HoldMetrics(self.registry)

    def begin(self, stages: Collection[str], merchant_ids: Collection[str]) -> None:
        """Begin the series of these stages (`submit`, `confirm`, `collect`, `reconcile`, `deliver`, `receive`).

        Those of the engines and of the sinks have their own `begin`. A second call adds merchants.
        """
        for stage in stages:
            self.provider.begin(stage, merchant_ids)
            self.flows.begin(stage, merchant_ids)
        if "reconcile" in stages:
            self.reconciliations.begin(merchant_ids)
        if "receive" in stages:
            self.callbacks.begin(merchant_ids)


class StreamMetrics:
    """Metrics of the engine: records, transactions, partitions, open records."""

    def __init__(self, registry: CollectorRegistry) -> None:
        consumed = Counter("ecticket_records_consumed", "Records read.", ("stage", "topic"), registry=registry)
        committed = Counter("ecticket_records_committed", "Records settled.", ("stage", "topic"), registry=registry)
        produced = Counter("ecticket_records_produced", "Records written.", ("stage",), registry=registry)
        transaction_seconds = Histogram(
            "ecticket_transaction_duration_seconds",
            "Seconds of one transaction.",
            ("stage",),
            buckets=_TRANSACTION_BUCKETS,
            registry=registry,
        )
        self._consumed, self._committed = cache(consumed.labels), cache(committed.labels)
        self._produced, self._transaction_seconds = cache(produced.labels), cache(transaction_seconds.labels)
        self._assignments = Counter(
            "ecticket_partition_assignments", "Partitions taken over or dropped.", ("stage", "event"), registry=registry
        )
        self._lost = Counter(
            "ecticket_records_lost", "ALARM: deleted before they were read.", ("stage", "topic"), registry=registry
        )
        self._handed_off = Counter(
            "ecticket_records_handed_off", "Open records handed off.", ("stage",), registry=registry
        )
        self._failed = Counter(
            "ecticket_internal_errors", "Bugs of the adapter.", ("stage", "where"), registry=registry
        )
        self._lease = Counter(
            "ecticket_lease_lost", "Sends stopped because the lease was lost.", ("stage",), registry=registry
        )
        self._levels = Gauge("ecticket_records", "Records by state, now.", ("stage", "state"), registry=registry)
        self._lag = Gauge(
            "ecticket_consumer_lag",
            "Records not settled or not read yet, now.",
            ("stage", "topic", "partition"),
            registry=registry,
        )
        self._shown_lags: dict[str, Set[TopicPartition]] = {}
        self._full = Gauge(
            "ecticket_delay_queue_full", "Topics with too many waiting records, now.", ("stage",), registry=registry
        )
        self._partitions = Gauge("ecticket_partitions", "Partitions held, now.", ("stage",), registry=registry)
        self._unreadable = Gauge(
            "ecticket_unreadable_partitions",
            "ALARM: partitions stopped at a batch that cannot be read, now.",
            ("stage",),
            registry=registry,
        )

    def begin(self, stage: str, topics: Iterable[str]) -> None:
        """Begin the series of an engine; `stage` and `topics` are those of its `Stage`."""
        for by_topic in (self._consumed, self._committed, self._lost.labels):
            _begin(by_topic, (stage,), topics)
        _begin(self._produced, (stage,))
        _begin(self._transaction_seconds, (stage,))
        for metric in (self._handed_off, self._lease):
            metric.labels(stage)
        _begin(self._assignments.labels, (stage,), ("taken_over", *get_args(DropReason)))
        _begin(self._failed.labels, (stage,), get_args(FailedIn))

    def records_consumed(self, stage: str, topic: str, count: int) -> None:
        self._consumed(stage, topic).inc(count)

    def outcomes_committed(self, stage: str, topic: str, count: int, produced: int) -> None:
        self._committed(stage, topic).inc(count)
        self._produced(stage).inc(produced)

    def transaction_took(self, stage: str, seconds: float) -> None:
        self._transaction_seconds(stage).observe(seconds)

    def partition_taken_over(self, stage: str, topic: str, partition: int) -> None:
        self._assignments.labels(stage, "taken_over").inc()

    def partition_dropped(self, stage: str, topic: str, partition: int, reason: DropReason) -> None:
        self._assignments.labels(stage, reason).inc()

    def records_lost(self, stage: str, topic: str, count: int) -> None:
        self._lost.labels(stage, topic).inc(count)

    def records_handed_off(self, stage: str, topic: str, count: int) -> None:
        self._handed_off.labels(stage).inc(count)

    def failed(self, stage: str, topic: str, where: FailedIn) -> None:
        self._failed.labels(stage, where).inc()

    def lease_lost(self, stage: str, topic: str) -> None:
        self._lease.labels(stage).inc()

    def gauges(self, stage: str, gauges: Gauges) -> None:
        self._levels.labels(stage, "open").set(gauges.open)
        self._levels.labels(stage, "in_flight").set(gauges.in_flight)
        self._levels.labels(stage, "waiting").set(sum(gauges.waiting.values()))
        self._levels.labels(stage, "finished").set(gauges.finished)
        for partition in self._shown_lags.get(stage, set()) - gauges.lag.keys():
            self._lag.remove(stage, *partition)  # another process owns it now and shows its lag
        for partition, lag in gauges.lag.items():
            self._lag.labels(stage, *partition).set(lag)
        self._shown_lags[stage] = gauges.lag.keys()
        self._full.labels(stage).set(len(gauges.full))
        self._partitions.labels(stage).set(gauges.partitions)
        self._unreadable.labels(stage).set(gauges.unreadable)


class ProviderMetrics:
    """Metrics of the calls to ECTicket."""

    def __init__(self, registry: CollectorRegistry, is_configured: Callable[[str], bool]) -> None:
        labels = ("merchant_id", "endpoint")
        calls = Counter(
            "ecticket_provider_requests", "Calls to ECTicket by outcome.", (*labels, "outcome"), registry=registry
        )
        seconds = Histogram(
            "ecticket_provider_request_duration_seconds",
            "Seconds of one call.",
            ("endpoint",),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        waited = Counter(
            "ecticket_provider_request_queue_seconds",
            "Seconds that calls waited in the queue.",
            labels,
            registry=registry,
        )
        self._calls, self._waited = _ByMerchant(calls, is_configured), _ByMerchant(waited, is_configured)
        self._seconds = cache(seconds.labels)
        reports = (*labels[:1], "type")
        downloads = Counter(
            "ecticket_report_downloads", "Reports by outcome.", (*reports, "outcome"), registry=registry
        )
        size = Counter("ecticket_report_bytes", "Bytes of downloaded reports.", reports, registry=registry)
        rows = Counter("ecticket_report_rows", "Rows read from reports.", reports, registry=registry)
        self._downloads = _ByMerchant(downloads, is_configured)
        self._report_bytes, self._report_rows = _ByMerchant(size, is_configured), _ByMerchant(rows, is_configured)
        self._download_seconds = Histogram(
            "ecticket_report_download_duration_seconds",
            "Seconds of one download.",
            ("type",),
            buckets=_DOWNLOAD_BUCKETS,
            registry=registry,
        )
        openings = Counter(
            "ecticket_breaker_openings",
            "How often a breaker opened, failed probes included.",
            ("merchant_id",),
            registry=registry,
        )
        self._openings = _ByMerchant(openings, is_configured)

    def begin(self, stage: str, merchant_ids: Collection[str]) -> None:
        """Begin the series of the calls that a stage makes for these merchants."""
        for endpoint in _ENDPOINTS.get(stage, ()):
            name = _ENDPOINT_LABELS[endpoint]
            only_reports = set() if endpoint is Endpoint.ORDER_DETAIL else {CallOutcome.NOT_STORED}
            self._calls.begin(merchant_ids, (name,), set(CallOutcome) - only_reports)
            self._waited.begin(merchant_ids, (name,))
            self._seconds(name)
            self._openings.begin(merchant_ids)
        if (report_type := _REPORTS.get(stage)) is not None:
            kind = report_type.name.lower()
            self._downloads.begin(merchant_ids, (kind,), ("downloaded", "failed"))
            self._report_bytes.begin(merchant_ids, (kind,))
            self._report_rows.begin(merchant_ids, (kind,))
            self._download_seconds.labels(kind)

    def call_finished(self, call: CallFinished) -> None:
        endpoint = _ENDPOINT_LABELS[call.endpoint]
        self._calls.of(call.merchant_id, endpoint, call.outcome).inc()
        self._waited.of(call.merchant_id, endpoint).inc(call.waited_seconds)
        self._seconds(endpoint).observe(call.seconds)

    def report_ended(self, report: ReportEnded) -> None:
        kind = report.report_type.name.lower()
        self._downloads.of(report.merchant_id, kind, "downloaded" if report.downloaded else "failed").inc()
        self._report_bytes.of(report.merchant_id, kind).inc(report.size)
        self._report_rows.of(report.merchant_id, kind).inc(report.rows)
        self._download_seconds.labels(kind).observe(report.seconds)

    def breaker_changed(self, merchant_id: str, state: BreakerState) -> None:
        if state is BreakerState.OPEN:
            self._openings.of(merchant_id).inc()


class ReconciliationMetrics:
    """Metrics of the comparisons with ECPay's order report."""

    def __init__(self, registry: CollectorRegistry, is_configured: Callable[[str], bool]) -> None:
        differences = Counter(
            "ecticket_reconciliation_differences",
            "ALARM: published differences to ECPay's report.",
            ("merchant_id", "kind"),
            registry=registry,
        )
        completed = Gauge(
            "ecticket_reconciliation_completed_timestamp_seconds",
            "When this process last completed a comparison.",
            ("merchant_id",),
            registry=registry,
        )
        failures = Counter(
            "ecticket_reconciliation_failures", "Comparisons that failed.", ("merchant_id",), registry=registry
        )
        self._differences = _ByMerchant(differences, is_configured)
        self._completed, self._failures = _ByMerchant(completed, is_configured), _ByMerchant(failures, is_configured)

    def begin(self, merchant_ids: Collection[str]) -> None:
        """Begin the series of these merchants: an alert misses their first comparison too."""
        self._failures.begin(merchant_ids)
        self._differences.begin(merchant_ids, DifferenceKind)

    def reconciled(self, merchant_id: str, new_by_kind: Mapping[str, int], at: datetime) -> None:
        self._completed.of(merchant_id).set(at.timestamp())
        for kind, count in new_by_kind.items():
            self._differences.of(merchant_id, kind).inc(count)

    def reconciliation_failed(self, merchant_id: str) -> None:
        self._failures.of(merchant_id).inc()


class HoldMetrics:
    """Metrics of the control topic."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._invalid = Counter(
            "ecticket_control_records_invalid", "Records on the control topic that were ignored.", registry=registry
        )

    def invalid_control_record(self) -> None:
        self._invalid.inc()


class FlowMetrics:
    """Metrics of orders and issuances."""

    def __init__(self, registry: CollectorRegistry, is_configured: Callable[[str], bool]) -> None:
        orders = Counter("ecticket_orders", "Order records settled by outcome.", ("outcome",), registry=registry)
        issuances = Counter(
            "ecticket_issuances", "Issuances published by event.", ("event", "recovered"), registry=registry
        )
        self._orders, self._issuances = cache(orders.labels), cache(issuances.labels)
        since_paid = Histogram(
            "ecticket_paid_to_issued_seconds",
            "Seconds from an order's paid_at to issued.",
            ("merchant_id",),
            buckets=_ORDER_BUCKETS,
            registry=registry,
        )
        since_record = Histogram(
            "ecticket_record_to_issued_seconds",
            "Seconds from the time of an order's record to issued.",
            ("merchant_id",),
            buckets=_ORDER_BUCKETS,
            registry=registry,
        )
        self._since_paid, self._since_record = (
            _ByMerchant(since_paid, is_configured),
            _ByMerchant(since_record, is_configured),
        )
        recovered = Counter(
            "ecticket_recovered",
            "Issuances that a query found after their answer or their process was lost.",
            ("merchant_id", "after"),
            registry=registry,
        )
        duplicates = Counter(
            "ecticket_duplicates_avoided",
            "Parts that are not sent because their tickets exist.",
            ("merchant_id", "reason"),
            registry=registry,
        )
        self._recovered = _ByMerchant(recovered, is_configured)
        self._duplicates = _ByMerchant(duplicates, is_configured)
        self._ignored = Counter(
            "ecticket_ignored", "Records that a plugin's parse_order ignored.", ("plugin", "reason"), registry=registry
        )
        self._dead_letters = Counter("ecticket_dead_letters", "Dead letters.", ("stage", "reason"), registry=registry)
        self._deferred = Counter("ecticket_deferred", "Parts deferred by reason.", ("reason",), registry=registry)
        self._normalised = Counter(
            "ecticket_normalised", "Fields normalised for ECTicket.", ("field", "kind"), registry=registry
        )
        self._untrusted_headers = Counter(
            "ecticket_unverified_records",
            "Records whose ecticket-* headers have no valid signature.",
            ("stage", "trust"),
            registry=registry,
        )
        control_known = Counter(
            "ecticket_control_known", "ALARM: ECTicket knew a random number.", ("merchant_id",), registry=registry
        )
        ticket_data_differs = Counter(
            "ecticket_ticket_data_differs",
            "ALARM: Issue was accepted with other tickets than requested.",
            ("merchant_id",),
            registry=registry,
        )
        no_known_number = Counter(
            "ecticket_no_known_number",
            "Parts in doubt that wait because no number of the merchant is known to exist.",
            ("merchant_id",),
            registry=registry,
        )
        items = Counter(
            "ecticket_item_checks",
            "Orders whose products were checked, by result.",
            ("merchant_id", "result"),
            registry=registry,
        )
        collect_reports = Counter(
            "ecticket_collect_reports",
            "Ticket reports for collecting by outcome.",
            ("merchant_id", "outcome"),
            registry=registry,
        )
        collected = Counter(
            "ecticket_tickets_collected", "Tickets published with their numbers.", ("merchant_id",), registry=registry
        )
        self._control_known = _ByMerchant(control_known, is_configured)
        self._ticket_data_differs = _ByMerchant(ticket_data_differs, is_configured)
        self._no_known_number = _ByMerchant(no_known_number, is_configured)
        self._item_checks = _ByMerchant(items, is_configured)
        self._collect_reports = _ByMerchant(collect_reports, is_configured)
        self._collected = _ByMerchant(collected, is_configured)

    def begin(self, stage: str, merchant_ids: Collection[str]) -> None:
        """Begin the series of what a stage reports."""
        _begin(self._issuances, _ISSUANCES.get(stage, ()), _RECOVERED)
        _begin(self._dead_letters.labels, _PARKING.get(stage, ()), get_args(ParkReason))
        if stage in _ISSUANCES:
            _begin(self._untrusted_headers.labels, (stage,), set(Trust) - TRUSTED)
        if stage == "submit":
            self._begin_submit(merchant_ids)
        elif stage == "confirm":
            self._since_paid.begin(merchant_ids)
            self._since_record.begin(merchant_ids)
        elif stage == "collect":
            self._collect_reports.begin(merchant_ids, ("read", "failed"))
            self._collected.begin(merchant_ids)

    def _begin_submit(self, merchant_ids: Collection[str]) -> None:
        _begin(self._orders, ("submitted", "failed", "deferred", "skipped", "parked", "ignored"))
        _begin(self._deferred.labels, (*WaitReason, "handed_off"))
        for change in CHANGES:
            self._normalised.labels(change.field, change.kind)
        self._recovered.begin(merchant_ids, ("doubt", "takeover"))
        self._duplicates.begin(merchant_ids, ("earlier_record", "replay"))
        self._item_checks.begin(merchant_ids, (*ItemRule, "issuable", "unanswered"))
        for counter in (self._control_known, self._ticket_data_differs, self._no_known_number):
            counter.begin(merchant_ids)

    def order_settled(self, outcome: str) -> None:
        self._orders(outcome).inc()

    def issuance_published(self, event: str, *, recovered: bool) -> None:
        self._issuances(event, str(recovered).lower()).inc()

    def issued_after(self, merchant_id: str, *, since_paid: float | None, since_record: float | None) -> None:
        if since_paid is not None:
            self._since_paid.of(merchant_id).observe(since_paid)
        if since_record is not None:
            self._since_record.of(merchant_id).observe(since_record)

    def recovered(self, merchant_id: str, after: str) -> None:
        self._recovered.of(merchant_id, after).inc()

    def duplicate_avoided(self, merchant_id: str, reason: str) -> None:
        self._duplicates.of(merchant_id, reason).inc()

    def ignored(self, plugin: str, reason: str) -> None:
        self._ignored.labels(plugin, reason).inc()

    def parked(self, stage: str, reason: str) -> None:
        self._dead_letters.labels(stage, reason).inc()

    def deferred(self, reason: str) -> None:
        self._deferred.labels(reason).inc()

    def untrusted_headers(self, stage: str, trust: str) -> None:
        self._untrusted_headers.labels(stage, trust).inc()

    def control_known(self, merchant_id: str) -> None:
        self._control_known.of(merchant_id).inc()

    def normalised(self, field: str, kind: str) -> None:
        self._normalised.labels(field, kind).inc()

    def no_known_number(self, merchant_id: str) -> None:
        self._no_known_number.of(merchant_id).inc()

    def ticket_data_differs(self, merchant_id: str) -> None:
        self._ticket_data_differs.of(merchant_id).inc()

    def items_checked(self, merchant_id: str, result: str) -> None:
        self._item_checks.of(merchant_id, result).inc()

    def report_for_collecting(self, merchant_id: str, outcome: str) -> None:
        self._collect_reports.of(merchant_id, outcome).inc()

    def tickets_collected(self, merchant_id: str, count: int) -> None:
        self._collected.of(merchant_id).inc(count)


class CallbackMetrics:
    """Metrics of ECTicket's notifications and of other requests to their port."""

    def __init__(self, registry: CollectorRegistry, is_configured: Callable[[str], bool]) -> None:
        outcomes = Counter(
            "ecticket_notifications", "Notifications by outcome.", ("posted_to", "outcome"), registry=registry
        )
        verified = Counter(
            "ecticket_notifications_verified",
            "Notifications with a matching checksum.",
            ("merchant_id", "encoder"),
            registry=registry,
        )
        self._outcomes, self._verified = cache(outcomes.labels), _ByMerchant(verified, is_configured)
        self._seconds = Histogram(
            "ecticket_notification_duration_seconds",
            "Seconds from a complete request to its answer.",
            buckets=_TRANSACTION_BUCKETS,
            registry=registry,
        )
        self._closed = Counter(
            "ecticket_callback_connections_closed",
            "Connections closed because they exceeded a limit.",
            ("reason",),
            registry=registry,
        )

    def begin(self, merchant_ids: Collection[str]) -> None:
        """Begin all series."""
        outcomes = {receive.PUBLISHED, receive.REPEATED, *receive.REASONS.values(), *UNOPENED}
        _begin(self._outcomes, CallbackKind, outcomes)
        self._verified.begin(merchant_ids, (*Encoder, AS_DECRYPTED))
        _begin(self._closed.labels, get_args(CloseReason))

    def notification_ended(self, posted_to: str, outcome: str) -> None:
        self._outcomes(posted_to, outcome).inc()

    def notification_verified(self, merchant_id: str, encoder: str) -> None:
        self._verified.of(merchant_id, encoder).inc()

    def notification_answered(self, seconds: float) -> None:
        self._seconds.observe(seconds)

    def connection_closed(self, reason: str) -> None:
        self._closed.labels(reason).inc()


class SinkMetrics:
    """Metrics of deliveries to notification sinks."""

    def __init__(self, registry: CollectorRegistry, flows: FlowMetrics) -> None:
        outcomes = Counter(
            "ecticket_deliveries", "Delivery attempts by outcome.", ("sink", "outcome"), registry=registry
        )
        seconds = Histogram(
            "ecticket_delivery_duration_seconds",
            "Seconds of one attempt.",
            ("sink",),
            buckets=_CALL_BUCKETS,
            registry=registry,
        )
        self._outcomes, self._seconds = cache(outcomes.labels), cache(seconds.labels)
        self.parked = flows.parked

    def begin(self, sink: str) -> None:
        """Begin the series of a sink."""
        _begin(self._outcomes, (sink,), (*DeliveryOutcome, NOT_AN_EVENT))
        self._seconds(sink)

    def attempted(self, sink: str, outcome: str, seconds: float) -> None:
        self._outcomes(sink, outcome).inc()
        self._seconds(sink).observe(seconds)
