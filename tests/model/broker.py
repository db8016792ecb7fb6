"""A broker with two partitions: logs with holes, commits with metadata, and transactions that a later writer fences.

A transaction is under way from `begin` until it lands, which may be after its process is gone; it is all or nothing.
Refuses to know what is in the records.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from adapter.stream.books import Flush
from adapter.stream.port import Commit, LogRange, Place
from adapter.stream.records import Publication, Record

from .promises import Promises
from .protections import Protections

PAID, DEFERRED = Place("paid", 0), Place("deferred", 0)
TOLD = "told"
PLACES = (PAID, DEFERRED)


class Fate(Enum):
    """What became of a transaction."""

    UNDER_WAY = auto()
    COMMITTED = auto()
    FENCED = auto()


@dataclass(slots=True, eq=False)
class Transaction:
    """A flush on its way, by the writer with that epoch."""

    place: Place
    epoch: int
    flush: Flush
    fate: Fate = Fate.UNDER_WAY


class Broker:
    """Logs, commits and epochs of `PLACES`."""

    def __init__(self, protections: Protections, promises: Promises) -> None:
        self.logs: dict[Place, list[Record]] = {place: [] for place in PLACES}
        self.commits: dict[Place, Commit] = {}
        self.under_way: list[Transaction] = []
        self._ends: defaultdict[Place, int] = defaultdict(int)
        self._epochs: defaultdict[Place, int] = defaultdict(int)
        self._protections = protections
        self._promises = promises

    def append(self, publication: Publication, now: datetime, *, hole: int = 0) -> None:
        """Put a record at the end of its log, after `hole` offsets that are no records."""
        place = Place(publication.topic, 0)
        offset = self._ends[place] + hole
        self._ends[place] = offset + 1
        self.logs[place].append(
            Record(
                topic=place.topic,
                partition=place.partition,
                offset=offset,
                timestamp=now,
                key=publication.key,
                value=publication.value,
                headers=publication.headers,
            )
        )

    def log_range(self, place: Place) -> LogRange:
        """What the log has."""
        return LogRange(start=0, end=self._ends[place])

    def start_writer(self, place: Place) -> int:
        """Start a writer: its epoch. Earlier ones of the place are fenced, and their transactions over."""
        self._epochs[place] += 1
        return self._epochs[place]

    def begin(self, place: Place, epoch: int, flush: Flush) -> Transaction:
        """Send a transaction on its way."""
        transaction = Transaction(place, epoch, flush)
        self.under_way.append(transaction)
        return transaction

    def land(self, transaction: Transaction, now: datetime) -> None:
        """Commit a transaction, or find it fenced."""
        self.under_way.remove(transaction)
        place, flush = transaction.place, transaction.flush
        if self._protections.fencing and transaction.epoch != self._epochs[place]:
            transaction.fate = Fate.FENCED
            return
        transaction.fate = Fate.COMMITTED
        for offset, outcome in flush.outcomes.items():
            self._promises.settled(place, offset, [each for each in outcome.records if each.topic == TOLD])
            for publication in outcome.records:
                if publication.topic != TOLD:
                    self.append(publication, now)
                    self._ends[Place(publication.topic, 0)] += 1  # the transaction's marker
        self.commits[place] = Commit(offset=flush.offset, metadata=flush.metadata)
        self._promises.committed(place, flush.offset, [record.offset for record in self.logs[place]])
