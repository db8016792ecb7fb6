"""Flushing: the outcomes of one partition and its offset, in one transaction after the other.

It exists so that the order of a flush is told in one place: make room if the commit's note has grown too long, publish,
and only then settle. It refuses to know what to do when a transaction fails: whoever started it drops the partition.

Batches form by themselves: whatever is finished while one transaction runs goes into the next, up to a number of bytes.
What timed out once would time out again. So after a failed transaction the next ones of its partition are smaller, down
to one outcome. They grow again while they succeed.
"""

from __future__ import annotations

import logging
import time
from typing import Generic, TypeVar

from adapter.errors import OutcomeTooLarge
from adapter.stream.books import Flush
from adapter.stream.holding import Holding
from adapter.stream.leftovers import MOST_REFUSALS
from adapter.stream.observer import StreamObserver
from adapter.stream.port import BatchTooLarge, KafkaTrouble, Place, PublicationsTooLarge
from adapter.stream.records import Publication
from adapter.stream.stage import Stage
from adapter.stream.workshop import Workshop

S = TypeVar("S")

log = logging.getLogger(__name__)

CARRY_ABOVE = 3600
"""From this length of a commit's note on (bytes, of 4,096), the oldest open records are carried on ..."""

CARRY_DOWN_TO = 2700
"""... until the note is this short, so that it does not happen at every flush."""


MOST_FLUSH_BYTES = 4 * 1024 * 1024
"""What one transaction publishes at most: with the default time-out, 280 kB/s are enough for it."""

_LEAST_GROWTH_BYTES = 16 * 1024


class Flusher(Generic[S]):
    """Flushes the partitions of one stage."""

    def __init__(self, stage: Stage[S], workshop: Workshop[S], observer: StreamObserver) -> None:
        self._stage = stage
        self._workshop = workshop
        self._observer = observer
        self._most_bytes: dict[Place, int] = {}

    async def keep_flushing(self, holding: Holding[S]) -> None:
        """Flush whenever something is due, until the holding is closing; the last flush commits the truth.

        Raises KafkaTrouble when a transaction failed: the partition is to be dropped.
        """
        while not holding.closing:
            await holding.flush_due.wait()
            holding.flush_due.clear()
            await self._flush(holding)
        while holding.books.finished() and await self._flush(holding):
            pass
        await self._flush(holding, final=True)

    async def _flush(self, holding: Holding[S], *, final: bool = False) -> int:
        """One transaction, if one is due; how many records it settled."""
        flush = self._next_flush(holding, final=final)
        if flush is None:
            return 0
        began = time.perf_counter()
        size = holding.books.size(flush)
        try:
            publications = await self._publish(holding, flush)
        except BatchTooLarge:
            raise
        except KafkaTrouble:
            self._shrink(holding.place, size)
            raise
        except PublicationsTooLarge as refusal:
            self._replace(holding, flush, refusal)
            raise KafkaTrouble("a topic does not take an outcome; it is replaced") from refusal
        self._observer.flush_took(self._stage.name, time.perf_counter() - began)
        self._grow(holding.place)
        self._settle(holding, flush, publications)
        return len(flush.outcomes)

    def _next_flush(self, holding: Holding[S], *, final: bool) -> Flush | None:
        most_bytes = self._most_bytes.get(holding.place, MOST_FLUSH_BYTES)
        flush = holding.books.draft(final=final, most_bytes=most_bytes)
        if flush is None or len(flush.metadata) <= CARRY_ABOVE:
            return flush
        self._carry_on(holding, final=final)
        flush = holding.books.draft(final=final, most_bytes=most_bytes)
        # The fewer outcomes, the longer the note: one that is too long for few of them may fit with all.
        return flush if flush is not None and flush.fits else holding.books.fitting(final=final)

    def _shrink(self, place: Place, size: int) -> None:
        """Have the next transaction publish half of what this one failed to, if not less already."""
        self._most_bytes[place] = size // 2
        log.debug("%s: the next transaction publishes at most %s bytes, after one of %s failed", place, size // 2, size)

    def _grow(self, place: Place) -> None:
        if place in self._most_bytes:
            most_bytes = self._most_bytes[place]
            self._most_bytes[place] = most_bytes + max(most_bytes // 4, _LEAST_GROWTH_BYTES)
            if self._most_bytes[place] >= MOST_FLUSH_BYTES:
                del self._most_bytes[place]

    async def _publish(self, holding: Holding[S], flush: Flush) -> int:
        publications: list[Publication] = []
        for outcome in flush.outcomes.values():
            publications.extend(outcome.records)
        await holding.writer.publish(publications, offset=flush.offset, metadata=flush.metadata)
        return len(publications)

    def _settle(self, holding: Holding[S], flush: Flush, publications: int) -> None:
        holding.books.settle(flush)
        holding.flushed = True
        for offset in flush.outcomes:
            work = holding.works[offset]
            self._workshop.leftovers.settled(work)
            holding.drop(work)
        if flush.outcomes:
            self._observer.outcomes_published(self._stage.name, holding.place.topic, len(flush.outcomes), publications)
        if flush.outcomes and holding.books.finished():
            holding.flush_due.set()
        self._workshop.reserved(holding)

    def _carry_on(self, holding: Holding[S], *, final: bool) -> None:
        """Make the note shorter by carrying on the oldest open records, as far as no call about them is under way."""
        while (flush := holding.books.draft(final=final)) and len(flush.metadata) > CARRY_DOWN_TO:
            if not self._workshop.carry_oldest(holding, max(32, holding.books.open_count // 16)):
                log.warning("%s: the commit's note is long, and every open record is being handled", holding.place)
                return

    def _replace(self, holding: Holding[S], flush: Flush, refusal: PublicationsTooLarge) -> None:
        """Ask the stage for smaller outcomes where a topic did not take the first ones."""
        owners = [offset for offset, outcome in flush.outcomes.items() for _ in outcome.records]
        for offset in {owners[index] for index in refusal.indexes}:
            work = holding.works[offset]
            refusals = self._workshop.leftovers.refused(work)
            error = OutcomeTooLarge(
                f"{work}: what is to be published about it is larger than its topic takes", again=refusals > 1
            )
            outcome = self._workshop.broken(work, error, "publish") if refusals <= MOST_REFUSALS else None
            if outcome is None:
                log.error("%s: not even what was to be published instead is taken by its topic; it stays open", work)
                holding.books.withdraw(offset)
            else:
                holding.books.finish(offset, outcome)
