"""Counts for Prometheus what the engine, the provider, the flows, the sinks and the hooks report.

No label holds an order, a trade number or customer data. Merchants are few, so they may be labels.

Counters of calls and orders keep their labels in a `cache`: there are few, and the library's look-up with its lock
takes longer than counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from datetime import datetime
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapter.extensions.invocation import HookCount
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.ports import Clock
from adapter.flows.report_rounds import WaitingTickets
from adapter.provider.breaker import BreakerState
from adapter.provider.observer import CallFinished
from adapter.stream.observer import Gauges
from adapter.stream.port import TopicPartition

_CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)
_TRANSACTION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class Metrics:
    """All metrics of the adapter; `/metrics` shows `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stream = StreamMetrics(self.registry)
        self.provider = ProviderMetrics(self.registry)
        self.flows = FlowMetrics(self.registry)
        self.callbacks = CallbackMetrics(self.registry)
        self.sinks = SinkMetrics(self.registry, self.flows)
        self.reconciliations = ReconciliationMetrics(self.registry)
        self.holds = HoldMetrics(self.registry)

    def watch_hooks(self, counts: Callable[[], Iterable[HookCount]], stuck_threads: Callable[[], int]) -> None:
        """Show the plugins' hook counters, read when scraped."""
        self.registry.register(_Hooks(counts, stuck_threads))

    def watch_collecting(self, waiting: Callable[[], Mapping[str, WaitingTickets]], now: Clock) -> None:
        """Show what waits for its tickets, read when scraped."""
        self.registry.register(_Collecting(waiting, now))

    def watch_holds(self, active: Callable[[], Mapping[str, MerchantHold]], up_to_date: Callable[[], bool]) -> None:
        """Show which merchants are held, and whether this process knows it, read when scraped."""
        self.registry.register(_Holds(active, up_to_date))

    def watch_log(self, dropped: Callable[[], int]) -> None:
        """Show how many log lines were dropped, read when scraped."""
        self.registry.register(_DroppedLogLines(dropped))

    def watch_sinks(self, stuck: Callable[[], Mapping[str, int]]) -> None:
        """Show which sinks are stuck, read when scraped."""
        self.registry.register(_StuckSinks(stuck))


class StreamMetrics:
    """Metrics of the engine: records, transactions, partitions, open records."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._consumed = Counter("ecticket_records_consumed", "Records read.", ("stage", "topic"), registry=registry)
        self._committed = Counter(
            "ecticket_records_committed", "Records settled.", ("stage", "topic"), registry=registry
        )
        self._produced = Counter("ecticket_records_produced", "Records written.", ("stage",), registry=registry)
        self._transaction_seconds = Histogram(
            "ecticket_transaction_duration_seconds",
            "Seconds of one transaction.",
            ("stage",),
            buckets=_TRANSACTION_BUCKETS,
            registry=registry,
        )
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

    def records_consumed(self, stage: str, topic: str, count: int) -> None:
        self._consumed.labels(stage, topic).inc(count)

    def outcomes_committed(self, stage: str, topic: str, count: int, produced: int) -> None:
        self._committed.labels(stage, topic).inc(count)
        self._produced.labels(stage).inc(produced)

    def transaction_took(self, stage: str, seconds: float) -> None:
        self._transaction_seconds.labels(stage).observe(seconds)

    def partition_taken_over(self, stage: str, topic: str, partition: int) -> None:
        self._assignments.labels(stage, "taken_over").inc()

    def partition_dropped(self, stage: str, topic: str, partition: int, reason: str) -> None:
        self._assignments.labels(stage, reason).inc()

    def records_lost(self, stage: str, topic: str, count: int) -> None:
        self._lost.labels(stage, topic).inc(count)

    def records_handed_off(self, stage: str, topic: str, count: int) -> None:
        self._handed_off.labels(stage).inc(count)

    def failed(self, stage: str, topic: str, where: str) -> None:
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

    def __init__(self, registry: CollectorRegistry) -> None:
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
        self._calls, self._seconds, self._waited = cache(calls.labels), cache(seconds.labels), cache(waited.labels)
        self._breaker = Gauge(
            "ecticket_breaker_open", "1: no calls for this merchant.", ("merchant_id",), registry=registry
        )

    def call_finished(self, call: CallFinished) -> None:
        endpoint = call.endpoint.name.lower()
        self._calls(call.merchant_id, endpoint, call.outcome.value).inc()
        self._waited(call.merchant_id, endpoint).inc(call.waited_seconds)
        self._seconds(endpoint).observe(call.seconds)

    def breaker_changed(self, merchant_id: str, state: BreakerState) -> None:
        self._breaker.labels(merchant_id).set(0 if state is BreakerState.CLOSED else 1)


class ReconciliationMetrics:
    """Metrics of the comparisons with ECPay's order report."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._differences = Counter(
            "ecticket_reconciliation_differences",
            "ALARM: published differences to ECPay's report.",
            ("merchant_id", "kind"),
            registry=registry,
        )
        self._completed = Gauge(
            "ecticket_reconciliation_completed_timestamp_seconds",
            "When this process last completed a comparison.",
            ("merchant_id",),
            registry=registry,
        )
        self._failures = Counter(
            "ecticket_reconciliation_failures", "Comparisons that failed.", ("merchant_id",), registry=registry
        )

    def reconciled(self, merchant_id: str, new_by_kind: Mapping[str, int], at: datetime) -> None:
        self._completed.labels(merchant_id).set(at.timestamp())
        for kind, count in new_by_kind.items():
            self._differences.labels(merchant_id, kind).inc(count)

    def reconciliation_failed(self, merchant_id: str) -> None:
        self._failures.labels(merchant_id).inc()


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

    def __init__(self, registry: CollectorRegistry) -> None:
        orders = Counter("ecticket_orders", "Order records settled by outcome.", ("outcome",), registry=registry)
        issuances = Counter(
            "ecticket_issuances", "Issuances published by event.", ("event", "recovered"), registry=registry
        )
        self._orders, self._issuances = cache(orders.labels), cache(issuances.labels)
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
        self._control_known = Counter(
            "ecticket_control_known", "ALARM: ECTicket knew a random number.", ("merchant_id",), registry=registry
        )

        self._ticket_data_differs = Counter(
            "ecticket_ticket_data_differs",
            "ALARM: Issue was accepted with other tickets than requested.",
            ("merchant_id",),
            registry=registry,
        )
        self._no_known_number = Counter(
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
        self._item_checks = cache(items.labels)

        self._collect_reports = Counter(
            "ecticket_collect_reports",
            "Ticket reports for collecting by outcome.",
            ("merchant_id", "outcome"),
            registry=registry,
        )
        self._collected = Counter(
            "ecticket_tickets_collected", "Tickets published with their numbers.", ("merchant_id",), registry=registry
        )

    def order_settled(self, outcome: str) -> None:
        self._orders(outcome).inc()

    def issuance_published(self, event: str, *, recovered: bool) -> None:
        self._issuances(event, str(recovered).lower()).inc()

    def ignored(self, plugin: str, reason: str) -> None:
        self._ignored.labels(plugin, reason).inc()

    def parked(self, stage: str, reason: str) -> None:
        self._dead_letters.labels(stage, reason).inc()

    def deferred(self, reason: str) -> None:
        self._deferred.labels(reason).inc()

    def untrusted_headers(self, stage: str, trust: str) -> None:
        self._untrusted_headers.labels(stage, trust).inc()

    def control_known(self, merchant_id: str) -> None:
        self._control_known.labels(merchant_id).inc()

    def normalised(self, field: str, kind: str) -> None:
        self._normalised.labels(field, kind).inc()

    def no_known_number(self, merchant_id: str) -> None:
        self._no_known_number.labels(merchant_id).inc()

    def ticket_data_differs(self, merchant_id: str) -> None:
        self._ticket_data_differs.labels(merchant_id).inc()

    def items_checked(self, merchant_id: str, result: str) -> None:
        self._item_checks(merchant_id, result).inc()

    def report_for_collecting(self, merchant_id: str, outcome: str) -> None:
        self._collect_reports.labels(merchant_id, outcome).inc()

    def tickets_collected(self, merchant_id: str, count: int) -> None:
        self._collected.labels(merchant_id).inc(count)


class CallbackMetrics:
    """Metrics of ECTicket's notifications and of other requests to their port."""

    def __init__(self, registry: CollectorRegistry) -> None:
        outcomes = Counter(
            "ecticket_notifications", "Notifications by outcome.", ("posted_to", "outcome"), registry=registry
        )
        verified = Counter(
            "ecticket_notifications_verified",
            "Notifications with a matching checksum.",
            ("merchant_id", "encoder"),
            registry=registry,
        )
        self._outcomes, self._verified = cache(outcomes.labels), cache(verified.labels)
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

    def notification_ended(self, posted_to: str, outcome: str) -> None:
        self._outcomes(posted_to, outcome).inc()

    def notification_verified(self, merchant_id: str, encoder: str) -> None:
        self._verified(merchant_id, encoder).inc()

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

    def attempted(self, sink: str, outcome: str, seconds: float) -> None:
        self._outcomes(sink, outcome).inc()
        self._seconds(sink).observe(seconds)


class _Collecting(Collector):
    def __init__(self, waiting: Callable[[], Mapping[str, WaitingTickets]], now: Clock) -> None:
        self._waiting = waiting
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """Return how many issuances of each merchant wait for their tickets, and the oldest one's age."""
        count = GaugeMetricFamily(
            "ecticket_collect_waiting", "Issuances that wait for their tickets, now.", labels=["merchant_id"]
        )
        oldest = GaugeMetricFamily(
            "ecticket_collect_oldest_seconds", "Seconds that the oldest of them has waited.", labels=["merchant_id"]
        )
        for merchant_id, waiting in self._waiting().items():
            count.add_metric([merchant_id], waiting.count)
            age = 0.0 if waiting.oldest is None else (self._now() - waiting.oldest).total_seconds()
            oldest.add_metric([merchant_id], max(0.0, age))
        return count, oldest


class _Holds(Collector):
    def __init__(self, active: Callable[[], Mapping[str, MerchantHold]], up_to_date: Callable[[], bool]) -> None:
        self._active = active
        self._up_to_date = up_to_date

    def collect(self) -> Iterable[Metric]:
        """Return the held merchants, since when they are held, and whether this process knows all holds."""
        held = GaugeMetricFamily(
            "ecticket_merchant_held", "1: an operator holds this merchant.", labels=["merchant_id"]
        )
        since = GaugeMetricFamily(
            "ecticket_merchant_held_timestamp_seconds", "When the operator held it.", labels=["merchant_id"]
        )
        for merchant_id, hold in self._active().items():
            held.add_metric([merchant_id], 1)
            since.add_metric([merchant_id], hold.held_at.timestamp())
        known = GaugeMetricFamily(
            "ecticket_holds_known", "1: this process knows all holds, now.", value=int(self._up_to_date())
        )
        return held, since, known


class _DroppedLogLines(Collector):
    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterable[Metric]:
        """Return the number of dropped log lines."""
        return (CounterMetricFamily("ecticket_log_lines_dropped", "Log lines dropped.", value=self._dropped()),)


class _StuckSinks(Collector):
    def __init__(self, stuck: Callable[[], Mapping[str, int]]) -> None:
        self._stuck = stuck

    def collect(self) -> Iterable[Metric]:
        """Return the number of stuck deliveries of each sink."""
        stuck = GaugeMetricFamily(
            "ecticket_deliveries_stuck", "Cancelled deliveries that have not ended, now.", labels=["sink"]
        )
        for sink, count in self._stuck().items():
            stuck.add_metric([sink], count)
        return (stuck,)


class _Hooks(Collector):
    def __init__(self, counts: Callable[[], Iterable[HookCount]], stuck_threads: Callable[[], int]) -> None:
        self._counts = counts
        self._stuck_threads = stuck_threads

    def collect(self) -> Iterable[Metric]:
        """Return the current hook counters."""
        labels = ["plugin", "hook"]
        calls = CounterMetricFamily("ecticket_hook_calls", "Calls of plugins' hooks.", labels=labels)
        failures = CounterMetricFamily("ecticket_hook_failures", "Failed calls of hooks.", labels=labels)
        seconds = CounterMetricFamily("ecticket_hook_seconds", "Seconds spent in hooks.", labels=labels)
        for count in self._counts():
            calls.add_metric([count.plugin, count.hook], count.calls)
            failures.add_metric([count.plugin, count.hook], count.failures)
            seconds.add_metric([count.plugin, count.hook], count.seconds)
        stuck = GaugeMetricFamily("ecticket_hook_stuck_threads", "Threads stuck in hooks.", value=self._stuck_threads())
        return (calls, failures, seconds, stuck)
