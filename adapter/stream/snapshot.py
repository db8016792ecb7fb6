"""What an engine holds at one moment, for people: its partitions, and its open records.

Read on demand, also from another thread, and never kept. Holds no content of a record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from msgspec import Struct

from adapter.stream.owned_partition import OwnedPartition, WorkPhase
from adapter.stream.port import TopicPartition

S = TypeVar("S")


class StageStatus(Protocol):
    """How a stage is connected; `engine.Engine` is the usual implementation."""

    @property
    def assigned(self) -> frozenset[tuple[str, int]]: ...
    @property
    def connected(self) -> bool: ...
    @property
    def standing_by(self) -> bool: ...
    @property
    def problems(self) -> Sequence[str]: ...


class PartitionSnapshot(Struct, frozen=True, kw_only=True):
    """One partition that this process owns."""

    topic: str
    partition: int
    open: int
    """Records that are read and not settled."""
    unread: int | None
    """Offsets that are not read yet, transaction markers included; None until the brokers were asked."""
    blocked: bool
    """Whether the next batch cannot be read."""


class EngineSnapshot(Struct, frozen=True, kw_only=True):
    """One stage of this process."""

    name: str
    group: str
    topics: tuple[str, ...]
    connected: bool
    standing_by: bool
    partitions: tuple[PartitionSnapshot, ...]
    """Ordered by topic and partition."""
    in_flight: int
    """Records being handled."""
    slots: int
    """How many records can be handled at once."""
    waiting: int
    """Records that are not due yet."""
    problems: tuple[str, ...]


class OpenRecord(Struct, frozen=True, kw_only=True):
    """One record that is read and not settled."""

    topic: str
    phase: WorkPhase
    timestamp: datetime
    """When the record was written."""
    subject: object
    """What the stage parsed from the record; None while that is not known."""
    possibly_sent: bool
    """Whether it may have been sent before this process read it, or by a call of this process that did not end."""


def snapshot_partitions(
    partitions: Mapping[TopicPartition, OwnedPartition[S]], unread: Mapping[TopicPartition, int]
) -> tuple[PartitionSnapshot, ...]:
    """The partitions with what is open and unread in each."""
    # A list first: another thread may call this, and the dict must not change during the iteration.
    return tuple(
        PartitionSnapshot(
            topic=partition.topic,
            partition=partition.partition,
            open=owned.state.open_count,
            unread=unread.get(partition),
            blocked=owned.blockage is not None,
        )
        for partition, owned in sorted([*partitions.items()], key=lambda each: each[0])
    )


def open_records(partitions: Mapping[TopicPartition, OwnedPartition[S]]) -> Iterator[OpenRecord]:
    """Each record that is neither settled nor about to be: tens of thousands, if the results of many are awaited."""
    for owned in list(partitions.values()):
        for item in list(owned.items.values()):
            if item.phase < WorkPhase.FINISHED:
                yield OpenRecord(
                    topic=item.topic,
                    phase=item.phase,
                    timestamp=item.record.timestamp,
                    subject=getattr(item, "subject", None),
                    possibly_sent=item.possibly_sent_since is not None,
                )
