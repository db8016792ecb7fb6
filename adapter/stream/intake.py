"""Intake: records as they were read become records in hand.

It exists because reading must never wait for a stage's `prepare`, and lanes must be entered in the order of offsets
all the same: a batch is opened in the ledger at once, prepared side by side, and admitted in order. Until that is done
its partition is not read on. It refuses to know where batches come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from typing import Final, Generic, TypeVar

from adapter.errors import TooLarge, Unreadable
from adapter.stream.holding import Holding
from adapter.stream.observer import StreamObserver
from adapter.stream.phases import Phase
from adapter.stream.records import Record, offsets_text
from adapter.stream.stage import Outcome, Prepared, Stage
from adapter.stream.work import Work
from adapter.stream.workshop import Workshop

S = TypeVar("S")

_SIDE_BY_SIDE = 16
"""How many of a batch's records are prepared at once; those that do not wait for anything need no task of their own."""

_PLAIN_KEYS: Final = frozenset({type(None), str, bytes, int})
"""Types whose hash and equality are Python's own."""


class Intake(Generic[S]):
    """Takes batches in hand."""

    def __init__(self, stage: Stage[S], workshop: Workshop[S], observer: StreamObserver) -> None:
        self._stage = stage
        self._workshop = workshop
        self._observer = observer

    def open(self, holding: Holding[S], records: Sequence[Record]) -> list[Work[S]]:
        """Open a batch in the ledger, without waiting for anything; what was settled before is skipped.

        Raises OffsetNotOpen when the batch begins below what was read before.
        """
        works = []
        for record in records:
            if holding.books.take(record.offset):
                work = Work(record, holding)
                holding.hold(work)
                if not self._workshop.finish_known(work) and not self._workshop.leftovers.hopeless(work):
                    self._workshop.wait_for_leftover(work)
                    works.append(work)
        self._observer.records_taken(self._stage.name, holding.place.topic, len(works))
        return works

    async def admit(self, holding: Holding[S], works: Sequence[Work[S]]) -> None:
        """Prepare opened records and let them into the workshop in the order of their offsets."""
        prepared: dict[int, Prepared[S] | Outcome | None] = {}
        left = iter(works)
        helpers = min(len(works), _SIDE_BY_SIDE)
        await asyncio.gather(*(self._prepare(left, prepared) for _ in range(helpers)))
        for work in works:
            if holding.live and work.phase is Phase.FRESH:
                self._let_in(work, prepared[work.offset])

    async def _prepare(self, works: Iterator[Work[S]], prepared: dict[int, Prepared[S] | Outcome | None]) -> None:
        for work in works:
            try:
                _check_read(work.record)
                prepared[work.offset] = _prepared(await self._stage.prepare(work.record))
            except Exception as error:  # noqa: BLE001  # the engine's top: whatever a stage raises becomes an outcome
                prepared[work.offset] = self._workshop.broken(work, error, "prepare")

    def _let_in(self, work: Work[S], prepared: Prepared[S] | Outcome | None) -> None:
        if isinstance(prepared, Outcome):
            self._workshop.finish(work, prepared)
        elif prepared is not None:
            self._workshop.admit(work, prepared)


def _check_read(record: Record) -> None:
    """Raises TooLarge or Unreadable for a record of which nothing but its coordinates is known."""
    not_read = record.not_read
    if not_read is not None and not_read.skipped is not None:
        raise Unreadable(
            f"{offsets_text(record, not_read)} skipped by an operator, because {not_read.why}. The operator's reason: "
            f"{not_read.skipped}. Find out which orders were there, and have their producer send them again."
        )
    if not_read is not None:
        raise TooLarge(
            f"{offsets_text(record, not_read)} not read: {not_read.why}. Only the coordinates are known. Read the log "
            f"there with another client, and {not_read.cure}."
        )


def _prepared(result: Prepared[S]) -> Prepared[S]:
    """Raises TypeError when a stage returned something else, or a key that cannot be one; and what the key raises."""
    if not isinstance(result, Prepared):
        raise TypeError(f"a stage's prepare returned {type(result).__name__}, which is no Prepared")
    _check_key(result.lane)
    _check_key(result.bulkhead)
    return result


def _check_key(key: Hashable) -> None:
    """See whether a lane or bulkhead can be looked up, before records of others are compared with it.

    Members of a tuple are compared one by one, because a tuple takes identical ones for equal without comparing them.
    """
    if type(key) in _PLAIN_KEYS:
        return
    hash(key)
    if type(key) is tuple:
        for member in key:
            _check_key(member)
    elif key != key:
        raise TypeError(f"a stage's prepare named a {type(key).__name__} as lane or bulkhead that is not its own equal")
