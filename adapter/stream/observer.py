"""What the engine tells those who watch it: metrics and nothing else.

It exists so that the engine counts without knowing any metrics library. An observer must not raise and must not block;
it is told counts and places, never what a record holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """How much is in the engine at this moment.

    `open`: records read and not settled. `in_flight`: being handled. `waiting`: for their time, by topic. `finished`:
    with an outcome that is not committed yet. `lag`: open, or not read yet, markers of transactions counted as
    records. `partitions`: held. `unreadable`: of these, how many wait in front of a batch that cannot be read.
    `full`: topics of which so many records wait for their time that no more are read.
    """

    open: int
    in_flight: int
    waiting: dict[str, int]
    finished: int
    lag: int
    partitions: int
    unreadable: int = 0
    full: frozenset[str] = frozenset()


class StreamObserver(Protocol):
    """Whoever counts."""

    def records_consumed(self, stage: str, topic: str, count: int) -> None:
        """So many records were read and opened."""
        return

    def outcomes_committed(self, stage: str, topic: str, count: int, produced: int) -> None:
        """So many records of `topic` were settled, with so many publications, in one transaction."""
        return

    def transaction_took(self, stage: str, seconds: float) -> None:
        """One transaction from begin to committed."""
        return

    def partition_taken_over(self, stage: str, topic: str, partition: int) -> None:
        """The partition is ours, and its books are open."""
        return

    def partition_dropped(self, stage: str, topic: str, partition: int, reason: str) -> None:
        """The partition is not ours any more: `revoked`, `stopped`, `trouble` or `rewound` (its log is another one)."""
        return

    def records_lost(self, stage: str, topic: str, count: int) -> None:
        """So many offsets were deleted from the log before anybody had settled them; some may be no records."""
        return

    def records_handed_off(self, stage: str, topic: str, count: int) -> None:
        """So many open records were carried on to keep a commit small."""
        return

    def failed(self, stage: str, topic: str, where: str) -> None:
        """The stage raised in `prepare`, `handle`, `hand_off` or `broken`; or `flush`, `intake`: the engine itself
        did.
        """
        return

    def lease_lost(self, stage: str, topic: str) -> None:
        """A send was held back because the partition might have had another owner."""
        return

    def gauges(self, stage: str, gauges: Gauges) -> None:
        """About once a second."""
        return


class NullObserver(StreamObserver):
    """Counts nothing: every method keeps the empty body of the protocol."""
