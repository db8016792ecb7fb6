"""Delivers each event to one sink, in the order of its key, until the sink accepts it.

Each sink has its own stage and consumer group. A failed event waits in memory, without a task, and delays only the
events of its key. An event that the sink never accepts goes to the dead letters, with the sink's name; no `parked`
event is published, because no order is parked.

Delivery is at least once: an event counts as delivered when the sink says so, and its offset is committed after that.
`extensions.sink_thread` calls the sink, and `retry_policy` decides how long to retry.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from adapter.errors import OrderError
from adapter.extensions.log_fields import event_fields
from adapter.extensions.sink_thread import DeliveryAttempt, DeliveryOutcome
from adapter.extensions.sinks import COLLECTED, Event
from adapter.flows.last_resort import bare_dead_letter, is_rejected_again
from adapter.flows.messages import dead_letter_causes
from adapter.flows.messages.dead_letters import DeadLetterCause, dead_letter_record
from adapter.flows.messages.event_reader import decode_event, is_event
from adapter.flows.messages.record_history import unsigned_history
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.ports import Clock
from adapter.flows.retry_policy import RetryPolicy, RetryState, next_retry_at, pause_until
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater
from adapter.values import replace

MAX_WAITING = 500
"""Events of one topic that wait for a sink in memory; later events wait on their topic.

Each waiting event is read and not settled, so it also uses space in the commit's metadata, which is limited to 4 kB.
"""
NOT_AN_EVENT = "not_an_event"

_log = logging.getLogger(__name__)


class SinkCaller(Protocol):
    """The sink that this stage calls; `extensions.sink_thread.SinkThread` is the real one."""

    @property
    def name(self) -> str: ...
    @property
    def plugin(self) -> str: ...
    async def deliver(self, event: Event) -> DeliveryAttempt: ...


class DeliveryObserver(Protocol):
    """Gets the results of deliveries, for metrics. Must be quick and must not raise."""

    def attempted(self, sink: str, outcome: str, seconds: float) -> None:
        """One attempt ended: `delivered`, `unwanted`, `failed` or `timed_out`; or a record was `not_an_event`."""

    def parked(self, stage: str, reason: str) -> None:
        """A record goes to the dead letters."""


class DeliverStage:
    """The stage of one sink for the events of `topics`."""

    sends = False
    starts_at_latest = True
    fingerprint = ""
    linger_seconds = 0.0

    def __init__(
        self,
        sink: SinkCaller,
        *,
        topics: tuple[str, ...],
        dead_letters: str,
        group: str,
        concurrency: int,
        retry_policy: RetryPolicy,
        observer: DeliveryObserver,
        now: Clock,
        jitter: Callable[[], float] = random.random,
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
        self._retry_policy = retry_policy
        self._observer = observer
        self._now = now
        self._jitter = jitter
        self._paused_until: datetime | None = None

    async def prepare(self, record: Record) -> PreparedRecord[RetryState]:
        """Queue the record behind those of its key."""
        return PreparedRecord(lane=record.key, subject=RetryState())

    async def handle(self, retry_state: RetryState, context: RecordContext) -> Outcome | RetryLater[RetryState]:
        """Try once, unless the sink has asked for a pause."""
        if self._paused_until is not None and self._now() < self._paused_until:
            return RetryLater(not_before=self._paused_until, subject=retry_state)
        event = decode_event(context.record)
        if event is None:
            self._observer.attempted(self._sink.name, NOT_AN_EVENT, 0.0)
            return Outcome()
        attempt = await self._timed(self._sink.deliver(event))
        if attempt.outcome is DeliveryOutcome.DELIVERED and _log.isEnabledFor(logging.DEBUG):
            _log.debug("event-delivered", extra=self._fields(event))
        return self._failed(context.record, event, retry_state, attempt) if attempt.failed else Outcome()

    def hand_off(self, record: Record, retry_state: RetryState, _context: RecordContext) -> Outcome:
        """Give the event up early, because commit metadata cannot name so many open ones. The dead letter keeps it."""
        so_far = (
            f"was tried (attempt {retry_state.attempts}) and {retry_state.reason}"
            if retry_state.attempts
            else "was not tried yet"
        )
        reason = f"{so_far}; too many other events wait for the sink to let it wait on"
        return self._given_up(record, retry_state, reason)

    def on_error(self, record: Record, error: Exception, _context: RecordContext) -> Outcome:
        """Park an event that could not be read or that raised an error; at worst with its coordinates only."""
        try:
            if not is_rejected_again(error):
                return self._on_error(record, error)
        except Exception as worse:  # noqa: BLE001  # the record must not stay open for ever
            error = worse
        return bare_dead_letter(
            record, error, "deliver", self._dead_letters, self._now(), sink=self._sink.name, signer=self._signer
        )

    def _on_error(self, record: Record, error: Exception) -> Outcome:
        if isinstance(error, OrderError):
            return self._dead_letter(record, dead_letter_causes.from_order_error(error, "deliver"), RetryState())
        return self._dead_letter(record, dead_letter_causes.from_exception(error, record, "deliver"), RetryState())

    async def _timed(self, attempting: Awaitable[DeliveryAttempt]) -> DeliveryAttempt:
        started = time.perf_counter()
        attempt = await attempting
        self._observer.attempted(self._sink.name, attempt.outcome.value, time.perf_counter() - started)
        return attempt

    def _failed(
        self, record: Record, event: Event, retry_state: RetryState, attempt: DeliveryAttempt
    ) -> Outcome | RetryLater[RetryState]:
        now = self._now()
        retry_state = retry_state.after_attempt(now, attempt.reason)
        at = None
        if not attempt.permanent:
            at = next_retry_at(
                retry_state,
                # A timestamp in the future, or an impossible one, must not keep the event waiting for ever.
                published_at=min(record.timestamp, retry_state.since or now),
                now=now,
                retry_policy=self._retry_policy,
                jitter=self._jitter(),
            )
        if at is None:
            return self._given_up(record, retry_state, f"{attempt.reason} (attempt {retry_state.attempts})")
        if attempt.pause_seconds is not None:
            at = self._paused_until = pause_until(
                attempt.pause_seconds, now=now, paused=self._paused_until, retry_policy=self._retry_policy
            )
        self._warn(event, retry_state, at)
        return RetryLater(not_before=at, subject=retry_state)

    def _warn(self, event: Event, retry_state: RetryState, at: datetime) -> None:
        _log.warning(
            "delivery-failed",
            extra={
                **self._fields(event),
                "detail": retry_state.reason,
                "attempts": retry_state.attempts,
                "retry_at": at.isoformat(timespec="seconds"),
            },
        )

    def _given_up(self, record: Record, retry_state: RetryState, reason: str) -> Outcome:
        message = (
            f"Sink '{self._sink.name}' did not accept this event: it {reason}. Fix the sink or its receiver, then "
            f"deliver the event (`ecticket-adapter dead-letters replay --stage deliver --sink {self._sink.name}`)."
        )
        return self._dead_letter(
            record, DeadLetterCause(reason="sink-failed", stage="deliver", message=message), retry_state
        )

    def _fields(self, event: Event) -> dict[str, object]:
        """The delivery as fields of a log line."""
        return {**event_fields(event), "sink": self._sink.name, "plugin": self._sink.plugin}

    def _dead_letter(self, record: Record, cause: DeadLetterCause, retry_state: RetryState) -> Outcome:
        self._observer.parked(cause.stage, cause.reason)
        _log.warning(
            "delivery-given-up",
            extra={
                "sink": self._sink.name,
                "plugin": self._sink.plugin,
                "reason": cause.reason,
                "attempts": retry_state.attempts,
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "detail": cause.message,
            },
        )
        now = self._now()
        history = unsigned_history(record, now)
        history = replace(history, attempts=retry_state.attempts, first_seen=retry_state.since or history.first_seen)
        cause = replace(cause, plugin=self._sink.plugin, sink=self._sink.name)
        dead_letter = dead_letter_record(
            record,
            cause,
            history,
            topic=self._dead_letters,
            now=now,
            signer=self._signer,
            # Who may read dead letters need not be allowed to read redemption codes. A replay reads the event itself.
            omit_value=is_event(record, COLLECTED),
        )
        return Outcome(records=(dead_letter,))
