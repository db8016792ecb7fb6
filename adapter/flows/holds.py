"""Which merchants an operator holds: no Issue call is sent for them, and their orders wait on the deferred topic.

The control topic is the only state. A process reads it completely before it submits its first order, and follows it
from then on (`HoldFollower`). `Holds` is what the submit flow looks up: one dict access for a merchant without a hold.

A process that loses the brokers keeps the holds that it knows. It sends nothing for long then anyway, because the lease
of its partitions ends (`stream`). When it reads again, it reads the whole topic again, so it misses no release.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from enum import StrEnum, unique
from typing import Protocol

from adapter.errors import StreamError, TopicsMissing, Unreadable
from adapter.flows.messages.hold import MerchantHold, read_hold
from adapter.flows.ports import Clock
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS
from adapter.issuance.times import later
from adapter.stream.port import FollowedRecords
from adapter.stream.records import Record

READ_AGAIN_SECONDS = 5.0
"""Pause after a failure; so often a process looks whether a missing topic exists by now."""
SILENCE_SECONDS = 30.0
"""If the brokers have not answered for so long, holds count as unknown: newer ones may have been missed."""
_log = logging.getLogger(__name__)


class Holds:
    """The holds that this process knows. Belongs to one event loop."""

    by_merchant: Mapping[str, MerchantHold]
    """The newest hold of each merchant that has one, perhaps one that is over: without an entry, it is free."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self.by_merchant = {}
        self._on_release: list[Callable[[], None]] = []

    def until(self, merchant_id: str) -> datetime | None:
        """Return before when no Issue call may be sent for the merchant; None if one may be sent.

        A hold without an end is looked at again after `LONGEST_DEFERRAL_SECONDS`.
        """
        hold = self.by_merchant.get(merchant_id)
        if hold is None:
            return None
        now = self._now()
        if hold.is_over(now):
            return None
        return hold.until or later(now, LONGEST_DEFERRAL_SECONDS)

    def is_free(self, merchant_id: str) -> bool:
        """Whether no hold stops the merchant's orders."""
        return self.until(merchant_id) is None

    def active(self) -> Mapping[str, MerchantHold]:
        """Return the holds in force, by merchant."""
        now = self._now()
        return {merchant: hold for merchant, hold in sorted(self.by_merchant.items()) if not hold.is_over(now)}

    def on_release(self, call: Callable[[], None]) -> None:
        """Have `call` called whenever a hold has ended: waiting orders can start."""
        self._on_release.append(call)

    def replace(self, holds: Mapping[str, MerchantHold]) -> None:
        """Let exactly these holds be in force, and log what changed."""
        now = self._now()
        before, self.by_merchant = (
            self.by_merchant,
            {key: hold for key, hold in holds.items() if not hold.is_over(now)},
        )
        for merchant_id, hold in self.by_merchant.items():
            if before.get(merchant_id) != hold:
                until = None if hold.until is None else hold.until.isoformat()
                _log.warning("merchant-held", extra={"merchant_id": merchant_id, "retry_at": until})
        ended = before.keys() - self.by_merchant.keys()
        for merchant_id in sorted(ended):
            _log.info("merchant-released", extra={"merchant_id": merchant_id})
        if ended:
            for call in self._on_release:
                call()

    def end_expired(self) -> None:
        """End the holds whose time is over, so that their orders need not wait for their own due time."""
        now = self._now()
        if any(hold.is_over(now) for hold in self.by_merchant.values()):
            self.replace(dict(self.by_merchant))


class HoldTable:
    """The newest record of each merchant, as the control topic has them; a record that is no hold changes nothing."""

    def __init__(self, on_invalid: Callable[[Unreadable], None]) -> None:
        self.holds: dict[str, MerchantHold] = {}
        self._on_invalid = on_invalid

    def take(self, record: Record) -> None:
        """Add one record; records of one merchant come in the order of their offsets."""
        try:
            merchant_id, hold = read_hold(record)
        except Unreadable as error:
            self._on_invalid(error)
            return
        if hold is None:
            self.holds.pop(merchant_id, None)
        else:
            self.holds[merchant_id] = hold


@unique
class Knowledge(StrEnum):
    """What a process knows about holds."""

    UNREAD = "unread"
    """The topic exists and was never read completely: nothing may be submitted yet."""
    KNOWN = "known"
    """The topic was read completely."""
    UNAVAILABLE = "unavailable"
    """The topic did not exist, or this user may not see it: no merchant can be held."""


class HoldObserver(Protocol):
    """Counts for metrics."""

    def invalid_control_record(self) -> None:
        """A record on the control topic is no hold, and was ignored."""


Follow = Callable[[], AsyncGenerator[FollowedRecords, None]]
"""Reads the control topic from its beginning and then follows it; ends if the topic changes.

Raises TopicsMissing if the topic does not exist or cannot be seen, BrokerUnavailable and StreamError.
"""


class HoldFollower:
    """Keeps `holds` as the control topic has them, while `run` runs."""

    def __init__(
        self,
        follow: Follow,
        holds: Holds,
        observer: HoldObserver,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.problem: str | None = None
        """Why the topic cannot be read now; None if it can."""
        self.knowledge = Knowledge.UNREAD
        self._follow = follow
        self._holds = holds
        self._observer = observer
        self._monotonic = monotonic
        self._sleep = sleep
        self._answered_at = float("-inf")
        self._attempted = asyncio.Event()

    @property
    def up_to_date(self) -> bool:
        """Whether this process knows all holds now."""
        silent = self._monotonic() - self._answered_at
        return self.knowledge is Knowledge.KNOWN and self.problem is None and silent <= SILENCE_SECONDS

    async def first_attempt(self) -> None:
        """Wait until the first attempt to read the topic has ended, in whatever way."""
        await self._attempted.wait()

    async def run(self) -> None:
        """Follow the topic until cancelled; no failure ends this."""
        while True:
            try:
                await self._read()
            except TopicsMissing as error:
                known = self.knowledge is Knowledge.KNOWN
                self._failed(str(error), Knowledge.KNOWN if known else Knowledge.UNAVAILABLE)
            except StreamError as error:
                self._failed(str(error), Knowledge.KNOWN if self.knowledge is Knowledge.KNOWN else Knowledge.UNREAD)
            except Exception as error:  # noqa: BLE001  # a follower that ends would hide every later hold
                self._failed(f"{type(error).__name__}: {error}", self.knowledge)
            await self._sleep(READ_AGAIN_SECONDS)

    async def _read(self) -> None:
        table = HoldTable(self._ignore)
        complete = False
        async with aclosing(self._follow()) as batches:
            async for batch in batches:
                for record in batch.records:
                    table.take(record)
                if batch.answered:
                    self._answered_at = self._monotonic()
                if batch.complete and (batch.records or not complete):
                    complete = True
                    self._succeeded(table)
                self._holds.end_expired()

    def _succeeded(self, table: HoldTable) -> None:
        if self.problem is not None:
            _log.info("holds-known")
        self.problem, self.knowledge = None, Knowledge.KNOWN
        self._holds.replace(table.holds)
        self._attempted.set()

    def _failed(self, problem: str, knowledge: Knowledge) -> None:
        """Keep the known holds. An unknown release holds orders up; an unknown hold would issue tickets."""
        self.problem, self.knowledge = problem, knowledge
        _log.warning("holds-unknown", extra={"reason": knowledge.value, "detail": problem})
        self._attempted.set()

    def _ignore(self, error: Unreadable) -> None:
        self._observer.invalid_control_record()
        _log.warning("control-record-ignored", extra={"detail": str(error)})
