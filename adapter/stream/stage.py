"""What a stage is: the one interface between the engine and the work that is done on records.

A stage says what to do with a record and returns what is to be published; the engine sees to it that this happens
exactly once. It refuses to know consumers, producers, transactions and offsets; and a stage never sees them either.

How a record goes through: `prepare` names its lane, `handle` works on it, the `Outcome` and the record's offset are
published in one transaction. A record whose time has not come waits in the engine, without a task. What stays open
too long is handed on by `hand_off`. Whatever a stage raises becomes an outcome by `broken`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from adapter.stream.records import ProducerRecord, Record

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a record's work: what is published, wherever it goes, in one transaction with its offset.

    Without records it says that nothing is to be told; the offset is settled all the same.
    """

    records: tuple[ProducerRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater(Generic[S]):
    """Not the end: `handle` wants to be called again with `subject` once `not_before` (aware) is past."""

    not_before: datetime
    subject: S


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRecord(Generic[S]):
    """A record understood.

    Records with the same `lane` are handled one after another, in the order of their offsets; `None` is a lane of its
    own. `not_before` (aware) ahead: the record waits until then, and holds up the later ones of its lane.
    """

    lane: Hashable | None
    subject: S
    not_before: datetime | None = None
    bulkhead: Hashable | None = None
    """Records of one bulkhead take only a share of the places while others need some; None has no share to keep to."""
    may_hand_off: bool = False
    """Whether `hand_off` may be asked to hand the record on while it waits, so that those behind it can be read."""
    resumes: bool = False
    """Whether the record continues one that was deferred or handed on: it says itself whether it may have been sent."""


class RecordContext(Protocol):
    """The engine's word about one record: what may have happened to it before, and whether it may be sent now."""

    @property
    def record(self) -> Record:
        """The record as it was read."""
        ...

    @property
    def possibly_sent_since(self) -> datetime | None:
        """Not None: an earlier owner of the partition could have sent this record, the last time at this moment."""
        ...

    @property
    def fingerprint_changed(self) -> bool:
        """Whether it could have been sent under another `Stage.fingerprint`, and so under another plan."""
        ...

    def authorize_send(self) -> None:
        """Promise that the partition is still ours, and note that a send began; call it just before the write.

        Cheap and synchronous, so that nothing can come between the promise and the write.

        Raises LeaseLost: nothing may be written. Let it pass through `handle`; the record stays open, and its next
        owner takes it up.
        """
        ...


class Stage(Protocol[S]):
    """A consumer group, its topics, and what is done with a record of theirs.

    `sends`: whether handling has effects outside Kafka; only then is the order of reservations kept. `max_in_flight`:
    records handled at once, per process. `max_waiting`: records of one topic waiting for their time, per process.
    `starts_at_latest`: whether a group that has never committed anything begins at the end of the logs.
    `fingerprint`: stands for everything that turns a record into a plan; kept with every commit.
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
    def starts_at_latest(self) -> bool: ...
    @property
    def fingerprint(self) -> str: ...

    async def prepare(self, record: Record) -> PreparedRecord[S]:
        """Understand the record; no effect outside this process. Whatever is raised goes to `broken`."""
        ...

    async def handle(self, subject: S, context: RecordContext) -> Outcome | RetryLater[S]:
        """Do the work; every effect outside Kafka only after `grant.authorize_send()`.

        Whatever is raised, `LeaseLost` and cancellation apart, goes to `broken`.
        """
        ...

    def hand_off(self, record: Record, subject: S, context: RecordContext) -> Outcome:
        """Hand the record on as a new one, with everything known about it; never called while `handle` runs."""
        ...

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        """The outcome of a record that `prepare`, `handle` or `hand_off` raised for; must not raise."""
        ...
