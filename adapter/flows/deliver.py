"""The deliver story: each event is taken to one sink, in the order of its key, until the sink has it or is given up.

One stage for each sink, with a consumer group of its own. An event that failed waits in memory, without a task, and
holds up those of its key alone. What a sink never takes goes to the dead letters, with the sink's name; nobody is told
`parked`, since no order is.

At least once: an event counts as delivered when the sink says so, and its offset is committed after that. Refuses to
know how a sink is called (`extensions.sink_thread`), and how long it is waited for (`patience`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from adapter.errors import OrderError
from adapter.extensions.sink_thread import Attempt
from adapter.extensions.sinks import Event
from adapter.flows import verdicts
from adapter.flows.dead_letters import Verdict, dead_letter
from adapter.flows.journey import unsigned_journey
from adapter.flows.last_resort import bare_letter, is_refused_again
from adapter.flows.patience import Patience, Tried, pause_until, try_again_at
from adapter.flows.ports import Clock
from adapter.flows.signatures import RecordSigner
from adapter.flows.told import read_event
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater

MAX_WAITING = 500
"""Events of one topic that wait for a sink in memory; what comes then waits on its topic.

Each has been read and not settled, so it takes room in the commit's note too, which is 4 kB.
"""
NO_EVENT = "no_event"
_SAY_AGAIN = timedelta(seconds=10)

_log = structlog.stdlib.get_logger(__name__)


class CallsSink(Protocol):
    """One sink, as the story calls it; `extensions.sink_thread.SinkThread` is the real one."""

    @property
    def name(self) -> str: ...
    @property
    def plugin(self) -> str: ...
    async def deliver(self, event: Event) -> Attempt: ...


class DeliveryObserver(Protocol):
    """Is told what becomes of deliveries, for metrics. Quick, and never raising."""

    def attempted(self, sink: str, end: str, seconds: float) -> None:
        """One attempt ended: `delivered`, `unwanted`, `failed` or `timed_out`; or a record was `no_event`."""

    def parked(self, stage: str, reason: str) -> None:
        """A record goes to the dead letters."""


class DeliverStage:
    """The stage of one sink over `topics`."""

    sends = False
    starts_at_latest = True
    fingerprint = ""

    def __init__(
        self,
        sink: CallsSink,
        *,
        topics: tuple[str, ...],
        dead_letters: str,
        group: str,
        concurrency: int,
        patience: Patience,
        observer: DeliveryObserver,
        now: Clock,
        fraction: Callable[[], float] = random.random,
        signer: RecordSigner | None = None,
    ) -> None:
        self._signer = signer
        self.name = f"sink.{sink.name}"
        self.group = group
        self.topics = topics
        self.max_in_flight = concurrency
        self.max_waiting = MAX_WAITING
        self._sink = sink
        self._dead_letters = dead_letters
        self._patience = patience
        self._observer = observer
        self._now = now
        self._fraction = fraction
        self._paused_until: datetime | None = None
        self._said: datetime | None = None

    async def prepare(self, record: Record) -> PreparedRecord[Tried]:
        """Put the record behind those of its key."""
        return PreparedRecord(lane=record.key, subject=Tried())

    async def handle(self, tried: Tried, context: RecordContext) -> Outcome | RetryLater[Tried]:
        """Try once, unless the sink has asked to be left alone."""
        if self._paused_until is not None and self._now() < self._paused_until:
            return RetryLater(not_before=self._paused_until, subject=tried)
        event = read_event(context.record)
        if event is None:
            self._observer.attempted(self._sink.name, NO_EVENT, 0.0)
            return Outcome()
        attempt = await self._timed(self._sink.deliver(event))
        return self._failed(context.record, event, tried, attempt) if attempt.failed else Outcome()

    def hand_off(self, record: Record, tried: Tried, _grant: RecordContext) -> Outcome:
        """Give the event up before its time: a commit cannot name so many open ones. The dead letter keeps it."""
        so_far = f"was tried (attempt {tried.attempts}) and {tried.why}" if tried.attempts else "was not tried yet"
        why = f"{so_far}; too many other events wait for the sink to let it wait on"
        return self._given_up(record, tried, why)

    def on_error(self, record: Record, error: Exception, _grant: RecordContext) -> Outcome:
        """Put an event that was not read, or broke the adapter, on the dead letters; at worst its coordinates."""
        try:
            if not is_refused_again(error):
                return self._broken(record, error)
        except Exception as worse:  # noqa: BLE001  # the record must not stay open for ever
            error = worse
        return bare_letter(
            record, error, "deliver", self._dead_letters, self._now(), sink=self._sink.name, signer=self._signer
        )

    def _broken(self, record: Record, error: Exception) -> Outcome:
        if isinstance(error, OrderError):
            return self._letter(record, verdicts.of_order_error(error, "deliver"), Tried())
        return self._letter(record, verdicts.of_mistake(error, record, "deliver"), Tried())

    async def _timed(self, attempting: Awaitable[Attempt]) -> Attempt:
        began = time.perf_counter()
        attempt = await attempting
        self._observer.attempted(self._sink.name, attempt.end.value, time.perf_counter() - began)
        return attempt

    def _failed(self, record: Record, event: Event, tried: Tried, attempt: Attempt) -> Outcome | RetryLater[Tried]:
        now = self._now()
        tried = tried.again(now, attempt.why)
        at = None
        if not attempt.in_vain:
            at = try_again_at(
                tried,
                # A timestamp that lies ahead, or is none at all, must not keep the event waiting for ever.
                told_at=min(record.timestamp, tried.since or now),
                now=now,
                patience=self._patience,
                fraction=self._fraction(),
            )
        if at is None:
            return self._given_up(record, tried, f"{attempt.why} (attempt {tried.attempts})")
        if attempt.pause_seconds is not None:
            at = self._paused_until = pause_until(
                attempt.pause_seconds, now=now, paused=self._paused_until, patience=self._patience
            )
        self._say(event, tried, at)
        return RetryLater(not_before=at, subject=tried)

    def _say(self, event: Event, tried: Tried, at: datetime) -> None:
        """Tell of a failure now and then; the metrics count them all."""
        now = self._now()
        if self._said is None or now - self._said >= _SAY_AGAIN:
            self._said = now
            _log.warning(
                "a sink did not take an event, and is asked again",
                sink=self._sink.name,
                plugin=self._sink.plugin,
                why=tried.why,
                event_id=event.id,
                event_type=event.type,
                attempts=tried.attempts,
                again_at=at.isoformat(timespec="seconds"),
            )

    def _given_up(self, record: Record, tried: Tried, why: str) -> Outcome:
        message = (
            f"Sink '{self._sink.name}' did not take this event: it {why}. Mend the sink or its receiver, then deliver "
            f"the event (`ecticket-adapter dead-letters replay --stage deliver --sink {self._sink.name}`)."
        )
        _log.error("an event is given up for a sink", sink=self._sink.name, plugin=self._sink.plugin, why=why)
        return self._letter(record, Verdict(reason="sink-failed", stage="deliver", message=message), tried)

    def _letter(self, record: Record, verdict: Verdict, tried: Tried) -> Outcome:
        self._observer.parked(verdict.stage, verdict.reason)
        now = self._now()
        journey = unsigned_journey(record, now)
        journey = replace(journey, attempts=tried.attempts, first_seen=tried.since or journey.first_seen)
        verdict = replace(verdict, plugin=self._sink.plugin, sink=self._sink.name)
        letter = dead_letter(record, verdict, journey, topic=self._dead_letters, now=now, signer=self._signer)
        return Outcome(records=(letter,))
