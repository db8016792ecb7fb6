"""Opens the records of a batch, prepares them concurrently and admits them in offset order.

Reading never waits for a stage's `prepare`, but lanes must be entered in the order of the offsets. So a batch is opened
in the ledger at once, prepared, and then admitted in order. Until that is done, its partition is not polled.
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

_CONCURRENT_PREPARES = 16
"""How many records of a batch are prepared at once. Records whose preparation waits for nothing need no task of their
own.
"""

_PLAIN_KEYS: Final = frozenset({type(None), str, bytes, int})
"""Types whose hash and equality are Python's own."""


class Intake(Generic[S]):
    """Accepts batches of records."""

    def __init__(self, stage: Stage[S], scheduler: RecordScheduler[S], observer: StreamObserver) -> None:
        self._stage = stage
        self._scheduler = scheduler
        self._observer = observer

    def open(self, owned: OwnedPartition[S], records: Sequence[Record]) -> list[WorkItem[S]]:
        """Open a batch in the ledger, without an await; records that were settled before are skipped.

        Raises OffsetNotOpen if the batch begins below the position that was read before.
        """
        items = []
        has_history = self._scheduler.revoked_work.concerns(owned.partition)
        for record in records:
            if owned.state.open(record.offset):
                item = WorkItem(record, owned)
                owned.add_item(item)
                if not has_history or self._continues(item):
                    items.append(item)
        self._observer.records_consumed(self._stage.name, owned.partition.topic, len(items))
        return items

    def _continues(self, item: WorkItem[S]) -> bool:
        """Whether this record is processed, in a partition that this process owned before; it may wait for its earlier
        task.
        """
        if self._scheduler.finish_known(item) or self._scheduler.revoked_work.rejected_for_good(item):
            return False
        self._scheduler.wait_for_predecessor(item)
        return True

    async def admit(self, owned: OwnedPartition[S], items: Sequence[WorkItem[S]]) -> None:
        """Prepare opened records and pass them to the scheduler in the order of their offsets."""
        prepared: dict[int, PreparedRecord[S] | Outcome | None] = {}
        left = iter(items)
        helpers = min(len(items), _CONCURRENT_PREPARES)
        await asyncio.gather(*(self._prepare(left, prepared) for _ in range(helpers)))
        for item in items:
            if owned.active and item.phase is WorkPhase.RECEIVED:
                self._dispatch(item, prepared[item.offset])

    async def _prepare(
        self, items: Iterator[WorkItem[S]], prepared: dict[int, PreparedRecord[S] | Outcome | None]
    ) -> None:
        for item in items:
            try:
                _check_read(item.record)
                prepared[item.offset] = _prepared(await self._stage.prepare(item.record))
            except Exception as error:  # noqa: BLE001  # the engine's top: whatever a stage raises becomes an outcome
                prepared[item.offset] = self._scheduler.on_error(item, error, "prepare")

    def _dispatch(self, item: WorkItem[S], prepared: PreparedRecord[S] | Outcome | None) -> None:
        if isinstance(prepared, Outcome):
            self._scheduler.finish(item, prepared)
        elif prepared is not None:
            self._scheduler.admit(item, prepared)


def _check_read(record: Record) -> None:
    """Raise TooLarge or Unreadable for a record whose content was not read."""
    not_read = record.not_read
    if not_read is not None and not_read.skipped is not None:
        raise Unreadable(
            f"{offsets_text(record, not_read)} skipped by an operator, because {not_read.why}. The operator's reason: "
            f"{not_read.skipped}. Find out which orders were there, and let their producer send them again."
        )
    if not_read is not None:
        raise TooLarge(
            f"{offsets_text(record, not_read)} not read: {not_read.why}. Only the coordinates are known. Read the log "
            f"there with another client, and {not_read.cure}."
        )


def _prepared(result: PreparedRecord[S]) -> PreparedRecord[S]:
    """Check what a stage's `prepare` returned.

    Raises TypeError if it is no PreparedRecord, or if a key cannot be one; and what the key itself raises.
    """
    if not isinstance(result, PreparedRecord):
        raise TypeError(f"a stage's prepare returned {type(result).__name__} instead of a PreparedRecord")
    _check_key(result.lane)
    _check_key(result.bulkhead)
    return result


def _check_key(key: Hashable) -> None:
    """Check that a lane or bulkhead can be looked up, before records of others are compared with it.

    Members of a tuple are checked one by one, because Python treats identical members as equal without comparing them.
    """
    if type(key) in _PLAIN_KEYS:
        return
    hash(key)
    if type(key) is tuple:
        for member in key:
            _check_key(member)
    elif key != key:
        raise TypeError(f"a stage's prepare named a {type(key).__name__} as lane or bulkhead that is not its own equal")
