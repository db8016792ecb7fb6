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
from adapter.stream.observer import StreamObserver
from adapter.stream.owned_partition import OwnedPartition, WorkItem, WorkPhase
from adapter.stream.records import Record, offsets_text
from adapter.stream.scheduler import RecordScheduler
from adapter.stream.stage import Outcome, PreparedRecord, Stage

S = TypeVar("S")

_SIDE_BY_SIDE = 16
"""How many of a batch's records are prepared at once; those that do not wait for anything need no task of their own."""

_PLAIN_KEYS: Final = frozenset({type(None), str, bytes, int})
"""Types whose hash and equality are Python's own."""


class Intake(Generic[S]):
    """Takes batches in hand."""

    def __init__(self, stage: Stage[S], scheduler: RecordScheduler[S], observer: StreamObserver) -> None:
        self._stage = stage
        self._scheduler = scheduler
        self._observer = observer

    def open(self, owned: OwnedPartition[S], records: Sequence[Record]) -> list[WorkItem[S]]:
        """Open a batch in the ledger, without waiting for anything; what was settled before is skipped.

        Raises OffsetNotOpen when the batch begins below what was read before.
        """
        items = []
        for record in records:
            if owned.state.open(record.offset):
                item = WorkItem(record, owned)
                owned.hold(item)
                if not self._scheduler.finish_known(item) and not self._scheduler.revoked_work.hopeless(item):
                    self._scheduler.wait_for_predecessor(item)
                    items.append(item)
        self._observer.records_consumed(self._stage.name, owned.partition.topic, len(items))
        return items

    async def admit(self, owned: OwnedPartition[S], items: Sequence[WorkItem[S]]) -> None:
        """Prepare opened records and let them into the workshop in the order of their offsets."""
        prepared: dict[int, PreparedRecord[S] | Outcome | None] = {}
        left = iter(items)
        helpers = min(len(items), _SIDE_BY_SIDE)
        await asyncio.gather(*(self._prepare(left, prepared) for _ in range(helpers)))
        for item in items:
            if owned.active and item.phase is WorkPhase.RECEIVED:
                self._let_in(item, prepared[item.offset])

    async def _prepare(
        self, items: Iterator[WorkItem[S]], prepared: dict[int, PreparedRecord[S] | Outcome | None]
    ) -> None:
        for item in items:
            try:
                _check_read(item.record)
                prepared[item.offset] = _prepared(await self._stage.prepare(item.record))
            except Exception as error:  # noqa: BLE001  # the engine's top: whatever a stage raises becomes an outcome
                prepared[item.offset] = self._scheduler.on_error(item, error, "prepare")

    def _let_in(self, item: WorkItem[S], prepared: PreparedRecord[S] | Outcome | None) -> None:
        if isinstance(prepared, Outcome):
            self._scheduler.finish(item, prepared)
        elif prepared is not None:
            self._scheduler.admit(item, prepared)


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


def _prepared(result: PreparedRecord[S]) -> PreparedRecord[S]:
    """Raises TypeError when a stage returned something else, or a key that cannot be one; and what the key raises."""
    if not isinstance(result, PreparedRecord):
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
