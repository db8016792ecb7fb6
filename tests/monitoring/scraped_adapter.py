"""A running adapter's metrics as Prometheus scrapes them, minute by minute of a clock that the test moves.

The numbers come from the adapter's own registry, so names and labels are real; only the time is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from adapter.extensions.invocation import HookCounters
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.open_work import OpenKind
from adapter.flows.report_rounds import WaitingTickets
from adapter.operations.oldest_dead_letter import OldestDeadLetter
from adapter.protocol.endpoints import Endpoint
from adapter.provider.breaker import BreakerState
from adapter.provider.call_limiter import LimiterUsage
from adapter.provider.merchant_channel import ChannelState
from adapter.provider.observer import CallFinished, CallOutcome
from adapter.stream.observer import Gauges
from adapter.stream.port import TopicPartition
from adapter.stream.snapshot import OpenRecord
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
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
)

PAID = TopicPartition("orders.paid", 0)
STAGES = ("submit", "confirm", "collect", "sink.chat")
ORDERS_A_MINUTE = 10
MINUTES_OF_A_DAY = 24 * 60
TARGET = {"namespace": "shop", "pod": "adapter-0"}
"""The labels that Prometheus adds."""


class ScrapedAdapter:
    """An adapter that does its work every minute until a test breaks something; its attributes are what it shows."""

    def __init__(self) -> None:
        self.metrics = Metrics(lambda merchant_id: merchant_id == MERCHANT)
        self.stages = set(STAGES)
        """Those that own a partition."""
        self.receives = True
        """Whether a process of the stage `receive` is scraped."""
        self.reconciles = True
        """Whether a process of the stage `reconcile` is scraped."""
        self.compared = True
        """Whether its daily comparisons succeed."""
        self.orders_a_minute = ORDERS_A_MINUTE
        self.issue_outcome = CallOutcome.ANSWERED
        """How each of their Issue calls ends."""
        self.orders_settled = True
        self.lag = 0
        self.unreadable = 0
        self.full: frozenset[str] = frozenset()
        self.delivered = True
        self.reports_read = True
        self.breaker = BreakerState.CLOSED
        self.clock_offset_seconds = 0.5
        self.holds: dict[str, MerchantHold] = {}
        self.holds_known = True
        self.waiting_since: datetime | None = None
        self.open_records: list[OpenRecord] = []
        self.oldest_dead_letter: datetime | None = None
        self.dead_letters_read = True
        self.stuck_deliveries = 0
        self.stuck_hooks = 0
        self.dropped_lines = 0
        self.secret_file_problems = 0
        self.other_commits: tuple[str, ...] = ()
        """What other processes of this deployment run."""
        self.minute = 0
        self.series: dict[str, list[str]] = {}
        """The values of each series, one for each scrape; `stale` where it ends, `_` where there was none."""
        for collector in (
            BuildMetrics(version="0.1.0", commit="abc"),
            RunningStageMetrics(self._running),
            ChannelMetrics(self._channels, is_configured=bool),
            ClockMetrics(lambda: self.clock_offset_seconds),
            ActiveHoldMetrics(lambda: self.holds, up_to_date=lambda: self.holds_known, is_configured=bool),
            CollectingMetrics(self._waiting, is_configured=bool, now=lambda: self.now),
            DeadLetterAgeMetrics(self._dead_letters, now=lambda: self.now),
            OpenWorkMetrics(
                lambda: self.open_records,
                kinds=lambda: OpenKind,
                merchants=lambda: (MERCHANT,),
                deferred_topic=TOPICS.orders_deferred,
                now=lambda: self.now,
            ),
            DroppedLogLineMetrics(lambda: self.dropped_lines),
            SecretFileMetrics(lambda: self.secret_file_problems),
            StuckDeliveryMetrics(lambda: {"chat": self.stuck_deliveries}),
            HookMetrics(HookCounters().snapshot, lambda: self.stuck_hooks),
        ):
            self.metrics.registry.register(collector)
        self.metrics.reconciliations.begin([MERCHANT])

    @property
    def now(self) -> datetime:
        """The time of the next scrape; the first one is at the epoch, as in `promtool test rules`."""
        return datetime.fromtimestamp(self.minute * 60, UTC)

    def run(self, minutes: int, each_minute: Callable[[ScrapedAdapter], None] = lambda adapter: None) -> None:
        """Work, and be scraped once a minute."""
        for _ in range(minutes):
            self._work()
            each_minute(self)
            self._scrape()
            self.minute += 1

    def idle(self, minutes: int) -> None:
        """Do no work for so long, and be scraped once a minute."""
        for values in self.series.values():
            values += ["_" if values[-1] == "stale" else values[-1]] * minutes
        self.minute += minutes

    def call(self, endpoint: Endpoint, outcome: CallOutcome) -> None:
        """One call to ECTicket."""
        self.metrics.provider.call_finished(
            CallFinished(merchant_id=MERCHANT, endpoint=endpoint, outcome=outcome, waited_seconds=0.0, seconds=0.2)
        )

    def issued(self, *, since_paid: float) -> None:
        """One issuance, so many seconds after payment."""
        self.metrics.flows.issuance_published("issued", recovered=False)
        self.metrics.flows.issued_after(MERCHANT, since_paid=since_paid, since_record=since_paid - 1)

    def _work(self) -> None:
        metrics = self.metrics
        for stage in STAGES:
            gauges = Gauges(
                open=0,
                in_flight=0,
                waiting={},
                finished=0,
                lag={PAID: self.lag} if stage == "submit" else {},
                partitions=int(stage in self.stages),
                full=self.full if stage == "submit" else frozenset(),
                unreadable=self.unreadable if stage == "submit" else 0,
            )
            metrics.stream.gauges(stage, gauges)
        if self.orders_settled:
            metrics.stream.outcomes_committed("submit", PAID.topic, self.orders_a_minute, 2 * self.orders_a_minute)
        for _ in range(self.orders_a_minute):
            self.call(Endpoint.ISSUE, self.issue_outcome)
            if self.issue_outcome is CallOutcome.ANSWERED:
                self.issued(since_paid=40.0)
        metrics.sinks.attempted("chat", "delivered" if self.delivered else "failed", 0.1)
        metrics.flows.report_for_collecting(MERCHANT, "read" if self.reports_read else "failed")

        if self.minute % MINUTES_OF_A_DAY == 0 and self.reconciles:
            if self.compared:
                metrics.reconciliations.reconciled(MERCHANT, {}, self.now)
            else:
                metrics.reconciliations.reconciliation_failed(MERCHANT)

    def _running(self) -> list[str]:
        beside = {"receive": self.receives, "reconcile": self.reconciles}
        return [*STAGES, *(stage for stage, runs in beside.items() if runs)]

    def _channels(self) -> dict[str, ChannelState]:
        usage = LimiterUsage(calls_per_second=50, slots=256, slots_in_use=0, queued={})
        return {MERCHANT: ChannelState(breaker=self.breaker, retry_at=None, cause="", usage=usage, last_accepted=None)}

    def _dead_letters(self) -> OldestDeadLetter | None:
        return OldestDeadLetter(since=self.oldest_dead_letter, forgotten=False) if self.dead_letters_read else None

    def _waiting(self) -> dict[str, WaitingTickets]:
        return {MERCHANT: WaitingTickets(count=int(self.waiting_since is not None), oldest=self.waiting_since)}

    def _scrape(self) -> None:
        scraped = {
            _series(sample.name, {**sample.labels, **TARGET}): sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        }
        for number, commit in enumerate(self.other_commits, 1):
            for family in BuildMetrics(version="0.1.0", commit=commit).collect():
                for sample in family.samples:
                    scraped[_series(sample.name, {**sample.labels, **TARGET, "pod": f"adapter-{number}"})] = (
                        sample.value
                    )
        for series in scraped.keys() - self.series.keys():
            self.series[series] = ["_"] * self.minute
        for series, values in self.series.items():
            absent = "_" if not values or values[-1] in ("_", "stale") else "stale"
            values.append(repr(float(scraped[series])) if series in scraped else absent)


def _series(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ", ".join(f'{label}="{value}"' for label, value in sorted(labels.items())) + "}"
