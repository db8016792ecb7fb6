"""Metrics that are read from the running parts when Prometheus asks, so that nothing counts them in between.

They are read on another thread than that of the parts, so that no order waits for it; see `admin.admin_app`.
Each collector is registered in `Metrics.registry`. As in `metrics`, a merchant that is not configured is
`OTHER_MERCHANT`; several of them become one series.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adapter.extensions.invocation import HookCount
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.open_work import OpenKind, count_open_work
from adapter.flows.ports import Clock
from adapter.flows.report_rounds import WaitingTickets
from adapter.operations.oldest_dead_letter import OldestDeadLetter
from adapter.provider.breaker import BreakerState
from adapter.provider.call_limiter import Purpose
from adapter.provider.merchant_channel import ChannelState
from adapter.stream.snapshot import OpenRecord
from adapter.web.metrics import OTHER_MERCHANT

_T = TypeVar("_T")


def _by_label(values: Mapping[str, _T], is_configured: Callable[[str], bool]) -> Iterator[tuple[str, list[_T]]]:
    """The values by the label of their merchant."""
    found: dict[str, list[_T]] = {}
    for merchant_id, value in values.items():
        found.setdefault(merchant_id if is_configured(merchant_id) else OTHER_MERCHANT, []).append(value)
    yield from found.items()


class BuildMetrics(Collector):
    """What runs in this process; `commit` is None if it is not known."""

    def __init__(self, *, version: str, commit: str | None) -> None:
        self._labels = {"version": version, "python": platform.python_version(), "commit": commit or ""}

    def collect(self) -> Iterable[Metric]:
        """Return the constant 1 with the labels."""
        build = GaugeMetricFamily("ecticket_build_info", "What runs; always 1.", labels=list(self._labels))
        build.add_metric(list(self._labels.values()), 1)
        return (build,)


class RunningStageMetrics(Collector):
    """The stages that run in this process."""

    def __init__(self, stages: Callable[[], Iterable[str]]) -> None:
        self._stages = stages

    def collect(self) -> Iterable[Metric]:
        """Return the constant 1 for each of them, and nothing for a stage that does not run here."""
        running = GaugeMetricFamily("ecticket_stage_running", "1: this process runs the stage.", labels=["stage"])
        for stage in self._stages():
            running.add_metric([stage], 1)
        return (running,)


class ChannelMetrics(Collector):
    """The breaker and the limiter of each merchant that was called at least once."""

    def __init__(
        self, channels: Callable[[], Mapping[str, ChannelState]], *, is_configured: Callable[[str], bool]
    ) -> None:
        self._channels = channels
        self._is_configured = is_configured

    def collect(self) -> Iterable[Metric]:
        """Return whether each breaker is open, and the limits of each limiter with what is in use."""
        labels = ["merchant_id"]
        breaker = GaugeMetricFamily("ecticket_breaker_open", "1: no calls for this merchant.", labels=labels)
        pace = GaugeMetricFamily(
            "ecticket_provider_max_calls_per_second", "Calls a second that are allowed; 0: unlimited.", labels=labels
        )
        slots = GaugeMetricFamily("ecticket_provider_slots", "Calls that may be on the wire at once.", labels=labels)
        in_use = GaugeMetricFamily("ecticket_provider_slots_in_use", "Calls on the wire, now.", labels=labels)
        queued = GaugeMetricFamily(
            "ecticket_provider_queued_requests",
            "Calls that wait for a token or a slot, now.",
            labels=[*labels, "purpose"],
        )
        for merchant_id, channels in _by_label(self._channels(), self._is_configured):
            breaker.add_metric([merchant_id], max(each.breaker is not BreakerState.CLOSED for each in channels))
            pace.add_metric([merchant_id], max(each.usage.calls_per_second for each in channels))
            slots.add_metric([merchant_id], sum(each.usage.slots for each in channels))
            in_use.add_metric([merchant_id], sum(each.usage.slots_in_use for each in channels))
            for purpose in Purpose:
                count = sum(each.usage.queued.get(purpose, 0) for each in channels)
                queued.add_metric([merchant_id, purpose.value], count)
        return breaker, pace, slots, in_use, queued


class ClockMetrics(Collector):
    """How far ECTicket's clock is ahead of this one; `offset_seconds` returns None before the first answer."""

    def __init__(self, offset_seconds: Callable[[], float | None]) -> None:
        self._offset_seconds = offset_seconds

    def collect(self) -> Iterable[Metric]:
        """Return the offset, without a value while it is not known."""
        offset = self._offset_seconds()
        yield GaugeMetricFamily(
            "ecticket_clock_offset_seconds", "ECTicket's clock minus this one, at its last answer.", value=offset
        )


class DeadLetterAgeMetrics(Collector):
    """The oldest dead letter that is not handled; `found` returns None while that is not known."""

    def __init__(self, found: Callable[[], OldestDeadLetter | None], *, now: Clock) -> None:
        self._found = found
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """Return the age, and whether handled dead letters may count; without values while they are not known."""
        found = self._found()
        oldest = GaugeMetricFamily("ecticket_dead_letters_oldest_seconds", "Age of the oldest that is not handled.")
        forgotten = GaugeMetricFamily(
            "ecticket_dead_letters_forgotten", "1: no commit says which dead letters are handled."
        )
        if found is not None:
            oldest.add_metric([], _age(found.since, self._now()))
            forgotten.add_metric([], int(found.forgotten))
        return oldest, forgotten


class CollectingMetrics(Collector):
    """What waits for its tickets."""

    def __init__(
        self,
        waiting: Callable[[], Mapping[str, WaitingTickets]],
        *,
        is_configured: Callable[[str], bool],
        now: Clock,
    ) -> None:
        self._waiting = waiting
        self._is_configured = is_configured
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """Return how many issuances of each merchant wait for their tickets, and the oldest one's age."""
        count = GaugeMetricFamily(
            "ecticket_collect_waiting", "Issuances that wait for their tickets, now.", labels=["merchant_id"]
        )
        oldest = GaugeMetricFamily(
            "ecticket_collect_oldest_seconds", "Seconds that the oldest of them has waited.", labels=["merchant_id"]
        )
        for merchant_id, waiting in _by_label(self._waiting(), self._is_configured):
            count.add_metric([merchant_id], sum(each.count for each in waiting))
            since = [each.oldest for each in waiting if each.oldest is not None]
            oldest.add_metric([merchant_id], _age(min(since, default=None), self._now()))
        return count, oldest


class ActiveHoldMetrics(Collector):
    """Which merchants are held, and whether this process knows all holds."""

    def __init__(
        self,
        active: Callable[[], Mapping[str, MerchantHold]],
        *,
        up_to_date: Callable[[], bool],
        is_configured: Callable[[str], bool],
    ) -> None:
        self._active = active
        self._up_to_date = up_to_date
        self._is_configured = is_configured

    def collect(self) -> Iterable[Metric]:
        """Return the held merchants, since when they are held, and whether this process knows all holds."""
        held = GaugeMetricFamily(
            "ecticket_merchant_held", "1: an operator holds this merchant.", labels=["merchant_id"]
        )
        since = GaugeMetricFamily(
            "ecticket_merchant_held_timestamp_seconds", "When the operator held it.", labels=["merchant_id"]
        )
        for merchant_id, holds in _by_label(self._active(), self._is_configured):
            held.add_metric([merchant_id], 1)
            since.add_metric([merchant_id], min(hold.held_at for hold in holds).timestamp())
        known = GaugeMetricFamily(
            "ecticket_holds_known", "1: this process knows all holds, now.", value=int(self._up_to_date())
        )
        return held, since, known


class OpenWorkMetrics(Collector):
    """What the open records wait for; `kinds` are those that the stages of this process can have."""

    def __init__(
        self,
        records: Callable[[], Iterable[OpenRecord]],
        *,
        kinds: Callable[[], Iterable[OpenKind]],
        merchants: Callable[[], Sequence[str]],
        deferred_topic: str,
        now: Clock,
    ) -> None:
        self._records = records
        self._kinds = kinds
        self._merchants = merchants
        self._deferred_topic = deferred_topic
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """Return the number and the age of the oldest, by what they wait for; 0 for a merchant without any."""
        labels = ["merchant_id", "state"]
        count = GaugeMetricFamily("ecticket_open_work", "Open orders and issuances, now.", labels=labels)
        oldest = GaugeMetricFamily("ecticket_open_work_oldest_seconds", "Age of the oldest of them.", labels=labels)
        merchants, now = self._merchants(), self._now()
        work = count_open_work(self._records(), merchants=merchants, deferred_topic=self._deferred_topic)
        for kind in self._kinds():
            for merchant_id in (*merchants, None):
                found = work.counts.get((kind, merchant_id))
                if found is not None or merchant_id is not None:
                    series = [merchant_id or OTHER_MERCHANT, kind.value]
                    count.add_metric(series, found.count if found else 0)
                    oldest.add_metric(series, _age(found.oldest if found else None, now))
        return count, oldest


class WaitingDeliveryMetrics(Collector):
    """The events that wait for each sink; `records` are the open records by sink."""

    def __init__(self, records: Callable[[], Mapping[str, Iterable[OpenRecord]]], *, now: Clock) -> None:
        self._records = records
        self._now = now

    def collect(self) -> Iterable[Metric]:
        """Return how many events are read and not settled, and the age of the oldest one."""
        waiting = GaugeMetricFamily(
            "ecticket_deliveries_waiting", "Events that are read and not settled, now.", labels=["sink"]
        )
        oldest = GaugeMetricFamily("ecticket_deliveries_oldest_seconds", "Age of the oldest of them.", labels=["sink"])
        for sink, records in self._records().items():
            times = [record.timestamp for record in records]
            waiting.add_metric([sink], len(times))
            oldest.add_metric([sink], _age(min(times, default=None), self._now()))
        return waiting, oldest


class DroppedLogLineMetrics(Collector):
    """Log lines that were not written."""

    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterable[Metric]:
        """Return the number of dropped log lines."""
        return (CounterMetricFamily("ecticket_log_lines_dropped", "Log lines dropped.", value=self._dropped()),)


class SecretFileMetrics(Collector):
    """Secret files that cannot be used."""

    def __init__(self, unusable: Callable[[], int]) -> None:
        self._unusable = unusable

    def collect(self) -> Iterable[Metric]:
        """Return the number of mistakes in secret files."""
        value = self._unusable()
        name = "ecticket_secret_file_problems"
        return (GaugeMetricFamily(name, "Mistakes in secret files, found at the last reading.", value=value),)


class StuckDeliveryMetrics(Collector):
    """Deliveries that do not end."""

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


class HookMetrics(Collector):
    """The plugins' hook counters."""

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


def _age(since: datetime | None, now: datetime) -> float:
    """Seconds since then; 0 without a time, and for one that another clock wrote and that is ahead."""
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
