"""Replays the selected dead letters, each in one transaction with the commit that it is handled.

A replay that is killed and run again repeats nothing and loses nothing. Of two replays at once, the second fences the
first. `replay` decides what becomes of each dead letter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.number_history import NumberHistory
from adapter.flows.ports import Merchants, Topics
from adapter.operations.dead_letter_filters import Filters, Selection, select
from adapter.operations.dead_letter_store import DeadLetters, DeadLetterStore
from adapter.operations.dead_letter_view import DeadLetter
from adapter.operations.ports import TopicReader
from adapter.operations.replay import NotReplayed, ReplayRecord, SinkDelivery, needs_origin, replay
from adapter.operations.sink_redelivery import SinkRedelivery
from adapter.protocol.issue import TradeNoKind
from adapter.stream.acknowledged_topic import PartitionClaim
from adapter.stream.records import Record
from adapter.stream.stage import Outcome

BATCH_SIZE = 50
"""Dead letters in one transaction, unless a rate is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """Which dead letters are replayed, and how."""

    which: tuple[str, ...]
    """Names; empty selects all that pass the filters."""
    filters: Filters
    limit: int | None
    per_second: float | None
    max_replays: int
    unsigned: bool
    """Replay also what has no valid signature."""
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What concerns no single dead letter."""

    unknown: tuple[str, ...]
    """Names that name no dead letter."""
    unsigned: int
    """Selected dead letters without a valid signature."""


class ReplayObserver(Protocol):
    """Receives the result of each dead letter as it happens."""

    def lack_known_number(self, merchant_ids: Mapping[str, str]) -> None:
        """Called first, with the merchants for which no number is known to exist, by the names of dead letters.

        "Not known" cannot be proven for them (docs/delivery.md), so what ECTicket does not know is not issued.
        """
        ...

    def replayed(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None: ...

    def would_replay(self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery) -> None: ...

    def left_out(self, dead_letter: DeadLetter, why: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOperation:
    """Replays dead letters of a store."""

    store: DeadLetterStore
    topics: Topics
    merchants: Merchants
    number_history: NumberHistory
    """As the adapter reads it from the newest events; read only if a merchant has no `known_trade_no`."""
    make_signer: Callable[[], RecordSigner]
    """Called when at least one dead letter is selected."""
    sinks: SinkRedelivery
    observer: ReplayObserver

    async def run(self, options: ReplayOptions) -> ReplayResult:
        """Select and replay."""
        async with self.store.open() as dead_letters:
            selection = select(
                dead_letters.all,
                dead_letters.open,
                which=options.which,
                filters=options.filters,
                max_replays=options.max_replays,
                limit=options.limit,
            )
            for dead_letter, why in selection.left_out:
                self.observer.left_out(dead_letter, why)
            async with AsyncExitStack() as stack:
                sinks = await stack.enter_async_context(self.sinks)
                replayer = _Replayer(dead_letters, stack, self.observer, sinks)
                unsigned = await self._replay_selection(options, selection, replayer)
        return ReplayResult(unknown=selection.unknown, unsigned=unsigned)

    async def _replay_selection(self, options: ReplayOptions, selection: Selection, replayer: _Replayer) -> int:
        if not selection.chosen:
            return 0
        self.observer.lack_known_number(await self._without_known_number(selection.chosen))
        names = {dead_letter.name for dead_letter in selection.chosen}
        signer, rate, unsigned = self.make_signer(), ReplayRate(options.per_second), 0
        async with aclosing(self.store.each()) as dead_letters:
            async for record, dead_letter in dead_letters:
                if dead_letter.name not in names:
                    continue
                replayed_record = await replay_record(
                    self.store.reader, record, self.topics, signer, unsigned=options.unsigned
                )
                unsigned += not signer.verify(record).valid
                if isinstance(replayed_record, NotReplayed):
                    self.observer.left_out(dead_letter, replayed_record.reason)
                elif options.dry_run:
                    self.observer.would_replay(dead_letter, replayed_record)
                else:
                    await rate.wait()
                    await replayer.add(dead_letter, replayed_record, at_once=rate.limited)
        await replayer.flush()
        return unsigned

    async def _without_known_number(self, dead_letters: Sequence[DeadLetter]) -> dict[str, str]:
        """The merchant of each dead letter for which neither the settings nor the newest events have a number."""
        only = self.merchants.ids[0] if len(self.merchants.ids) == 1 else ""
        owners = {each.name: self.merchants.find(each.merchant_id or only) for each in dead_letters}
        unset = {name: owner for name, owner in owners.items() if owner is not None and owner.known_trade_no is None}
        if unset:
            await self.number_history.look()
        known = self.number_history.known
        return {
            name: owner.merchant_id for name, owner in unset.items() if not known.to_query(owner, TradeNoKind.MERCHANT)
        }


async def replay_record(
    reader: TopicReader, record: Record, topics: Topics, signer: RecordSigner, *, unsigned: bool = False
) -> ReplayRecord | SinkDelivery | NotReplayed:
    """What becomes of a dead letter; its value is read from its origin if the dead letter does not hold it."""
    needed = needs_origin(record, signer=signer)
    origin = await reader.read_one(needed.topic, needed.partition, needed.offset) if needed is not None else None
    return replay(record, topics=topics, now=datetime.now(UTC), origin=origin, signer=signer, unsigned=unsigned)


class ReplayRate:
    """Limits how many dead letters are replayed in a second."""

    def __init__(self, per_second: float | None) -> None:
        self.limited = per_second is not None
        self._seconds = 1 / per_second if per_second else 0.0
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Wait until the next one may be replayed."""
        now = time.monotonic()
        await asyncio.sleep(max(0.0, self._next - now))
        self._next = max(self._next, now) + self._seconds


class _Replayer:
    """Acknowledges dead letters, several in one transaction; those for a sink one by one, after the delivery."""

    def __init__(
        self, dead_letters: DeadLetters, stack: AsyncExitStack, observer: ReplayObserver, sinks: SinkRedelivery
    ) -> None:
        self._sinks = sinks
        self._dead_letters = dead_letters
        self._stack = stack
        self._observer = observer
        self._claims: dict[int, PartitionClaim] = {}
        self._batches: dict[int, dict[int, tuple[DeadLetter, ReplayRecord | SinkDelivery]]] = {}

    async def add(
        self, dead_letter: DeadLetter, replayed_record: ReplayRecord | SinkDelivery, *, at_once: bool
    ) -> None:
        """Replay this dead letter, now or together with the next ones."""
        claim = await self._claim(dead_letter.partition)
        if not claim.is_open(dead_letter.offset):
            self._observer.left_out(dead_letter, "Another command has handled it in the meantime.")
            return
        for_sink = isinstance(replayed_record, SinkDelivery)
        if isinstance(replayed_record, SinkDelivery):
            why = await self._sinks.deliver(replayed_record)
            if why is not None:
                self._observer.left_out(dead_letter, why)
                return
        batch = self._batches.setdefault(dead_letter.partition, {})
        batch[dead_letter.offset] = dead_letter, replayed_record
        if at_once or for_sink or len(batch) >= BATCH_SIZE:
            await self._acknowledge(dead_letter.partition)

    async def flush(self) -> None:
        """Replay those that wait for more."""
        for partition in list(self._batches):
            await self._acknowledge(partition)

    async def _claim(self, partition: int) -> PartitionClaim:
        if partition not in self._claims:
            self._claims[partition] = await self._stack.enter_async_context(self._dead_letters.claim(partition))
        return self._claims[partition]

    async def _acknowledge(self, partition: int) -> None:
        batch = self._batches.pop(partition)
        while batch:
            outcomes = {
                offset: Outcome(records=replayed_record.records) for offset, (_, replayed_record) in batch.items()
            }
            for offset in sorted(await self._claims[partition].acknowledge(outcomes)):
                self._observer.replayed(*batch.pop(offset))
