"""Defines a stage: the interface between the engine and the work that is done on records.

`prepare` parses a record and names its lane, `handle` does the work, and the engine publishes the `Outcome` together
with the record's offset in one transaction. A record that is not due yet waits in the engine, without a task.
`hand_off` passes on a record that stays open too long. `on_error` gives the outcome of a record for which the stage
raised.

A stage sees no consumer, producer, transaction or offset.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from adapter.stream.records import ProducerRecord, Record

S = TypeVar("S")


class Outcome(Struct, frozen=True, kw_only=True):
    """The end of a record's processing: the records to publish, on whatever topics, in one transaction with its offset.

    Without records, only the offset is settled.
    """

    records: tuple[ProducerRecord, ...] = ()


class RetryLater(Struct, Generic[S], frozen=True, kw_only=True):
    """Not an end: call `handle` again with `subject` once `not_before` (aware) is past."""

    not_before: datetime
    subject: S


class PreparedRecord(Struct, Generic[S], frozen=True, kw_only=True):
    """A parsed record.

    Records with the same `lane` are handled one after another, in the order of their offsets; None is a lane of its
    own. While `not_before` (aware) is ahead, the record waits and holds up the later ones of its lane.
    """

    lane: Hashable | None
    subject: S
    not_before: datetime | None = None
    bulkhead: Hashable | None = None
    """Records of one bulkhead use only a share of the slots while others need some; None has no limit of its own."""
    starts_early: Callable[[], bool] | None = None
    """If set, the record does not wait for `not_before` once this returns true; see `Engine.start_early`. Cheap."""
    may_hand_off: bool = False
    """Whether `hand_off` may be called while the record waits, so that records after it can be read."""
    resumes: bool = False
    """Whether the record continues one that was deferred or handed off, so that it says itself whether it was possibly
    sent.
    """


class RecordContext(Protocol):
    """What the engine knows about one record, and the permission to send it."""

    @property
    def record(self) -> Record:
        """The record as it was read."""
        ...

    @property
    def possibly_sent_since(self) -> datetime | None:
        """If set, this record may have been sent before, at this moment at the latest."""
        ...

    @property
    def fingerprint_changed(self) -> bool:
        """Whether it may have been sent under another `Stage.fingerprint`, and so with another plan."""
        ...

    def authorize_send(self) -> None:
        """Check that the partition is still ours, and record that a send began; call it just before the write.

        Cheap and synchronous, so that nothing can happen between the check and the write.

        Raises LeaseLost: nothing may be written. Do not catch it in `handle`; the record stays open, and the next owner
        of the partition processes it.
        """
        ...


class Stage(Protocol[S]):
    """A consumer group, its topics, and the processing of their records.

    `sends`: whether handling has effects outside Kafka; only then are reservations committed first. `max_in_flight`:
    records handled at once, per process. `max_waiting`: records of one topic that are not due yet, per process.
    `linger_seconds`: how long a commit that nothing waits for may wait for more outcomes (`commit_linger`).
    `starts_at_latest`: whether a group that has never committed starts at the end of the logs. `fingerprint`:
    identifies everything that turns a record into a plan; kept with every commit.
    """

    @property
    def name(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def topics(self) -> tuple[str, ...]: ...
    @property
    def sends(self) -> bool: ...
    @property
    def max_in_flight(self) -> int: ...
    @property
    def max_waiting(self) -> int: ...
    @property
    def linger_seconds(self) -> float: ...
    @property
    def starts_at_latest(self) -> bool: ...
    @property
    def fingerprint(self) -> str: ...

    async def prepare(self, record: Record) -> PreparedRecord[S]:
        """Parse the record, without any effect outside this process. Exceptions go to `on_error`."""
        ...

    async def handle(self, subject: S, context: RecordContext) -> Outcome | RetryLater[S]:
        """Do the work; every effect outside Kafka only after `context.authorize_send()`.

        Exceptions go to `on_error`, except `LeaseLost` and cancellation.
        """
        ...

    def hand_off(self, record: Record, subject: S, context: RecordContext) -> Outcome:
        """Return the record as a new one, with everything known about it; never called while `handle` runs."""
        ...

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        """Return the outcome of a record for which `prepare`, `handle` or `hand_off` raised. Must not raise."""
        ...
