"""Defines what the engine reports for metrics, without a metrics library.

An observer must not raise and must not block. It gets counts and partitions, never the content of a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from adapter.stream.port import TopicPartition

DropReason = Literal["revoked", "stopped", "kafka_error", "topic_recreated"]
"""Why a partition was released or dropped; `topic_recreated`: its log is another one or shorter."""
FailedIn = Literal["prepare", "handle", "hand_off", "on_error", "publish"]
"""The method in which a stage raised; `publish`: the engine rejected its outcome."""


class Gauges(Struct, frozen=True, kw_only=True):
    """How many records and partitions the engine has at this moment."""

    open: int
    """Records that are read and not settled."""
    in_flight: int
    """Records being handled."""
    waiting: dict[str, int]
    """Records that are not due yet, by topic."""
    finished: int
    """Records with an outcome that is not committed yet."""
    lag: Mapping[TopicPartition, int]
    """Records that are open or not read yet, by owned partition; transaction markers count as records."""
    partitions: int
    """Partitions that this process owns."""
    unreadable: int = 0
    """How many of them are blocked at a batch that cannot be read."""
    full: frozenset[str] = frozenset()
    """Topics that are not polled because too many of their records wait for their time."""


class StreamObserver(Protocol):
    """Receives what the engine reports."""

    def records_consumed(self, stage: str, topic: str, count: int) -> None:
        """`count` records were read and opened."""
        return

    def outcomes_committed(self, stage: str, topic: str, count: int, produced: int) -> None:
        """One transaction settled `count` records of `topic` and published `produced` records."""
        return

    def transaction_took(self, stage: str, seconds: float) -> None:
        """The duration of one transaction, from its begin to its commit."""
        return

    def partition_taken_over(self, stage: str, topic: str, partition: int) -> None:
        """The partition was taken over."""
        return

    def partition_dropped(self, stage: str, topic: str, partition: int, reason: DropReason) -> None:
        """The partition was released or dropped."""
        return

    def records_lost(self, stage: str, topic: str, count: int) -> None:
        """`count` offsets were deleted from the log before they were settled; some may be no records."""
        return

    def records_handed_off(self, stage: str, topic: str, count: int) -> None:
        """`count` open records were handed off to keep a commit small."""
        return

    def failed(self, stage: str, topic: str, where: FailedIn) -> None:
        """The stage raised, or the engine rejected its outcome."""
        return

    def lease_lost(self, stage: str, topic: str) -> None:
        """A send was refused because the partition might have had another owner."""
        return

    def gauges(self, stage: str, gauges: Gauges) -> None:
        """Called about once a second."""
        return


class NullObserver(StreamObserver):
    """Counts nothing: every method keeps the empty body of the protocol."""
