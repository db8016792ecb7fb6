"""ECTicket's descriptions of products: cached, queried once at a time for each product, and never waited for long.

One cache serves all orders of a process. QueryItemInfo only helps orders, so its failure never stops one: no answer in
time, an error, or an answer that proves nothing all count as "nothing is known about the product".
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from adapter.errors import CallError, Throttled
from adapter.flows.item_lookup import ItemAnswer, ItemLookup
from adapter.flows.ports import Clock, ItemQueries
from adapter.issuance.item_check import ItemFacts
from adapter.protocol.credentials import Merchant

ITEMS_KEPT: Final = 10_000
"""Products remembered: those used last, some 300 bytes each."""
WAIT_SECONDS: Final = 2.0
"""How long an order waits for the answers about all its products."""
PAUSE_SECONDS: Final = 10.0
"""How long no product of a merchant is queried after a query without an answer; longer if ECTicket asks for it."""

LONGEST_PAUSE_SECONDS: Final = 3600.0
"""The longest pause that ECTicket can ask for."""

_PAUSE: Final = timedelta(seconds=PAUSE_SECONDS)
_LONGEST_PAUSE: Final = timedelta(seconds=LONGEST_PAUSE_SECONDS)


_Key = tuple[str, str]
"""Merchant and item number."""


class _Answer(Struct, frozen=True):
    """What is known about a product; `facts` None: the answer proved nothing."""

    facts: ItemFacts | None
    queried_at: datetime


class _Flight(Struct, frozen=True):
    """A query in progress, which began at `began_at` or later."""

    task: asyncio.Task[_Answer]
    began_at: datetime


class ItemInformation:
    """What ECTicket says about products, for orders that are about to be sent.

    `fresh_seconds` is how long an answer is used. It belongs to one event loop; `close` ends the queries in progress.
    """

    def __init__(
        self, ecticket: ItemQueries, *, fresh_seconds: float, now: Clock, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._lookup = ItemLookup(ecticket)
        self._fresh = timedelta(seconds=fresh_seconds)
        self._wait_seconds = wait_seconds
        self._now = now
        self._answers: OrderedDict[_Key, _Answer] = OrderedDict()
        self._flights: dict[_Key, _Flight] = {}
        self._paused_until: dict[str, datetime] = {}

    async def facts(
        self, merchant: Merchant, item_nos: Iterable[str], *, queried_since: datetime | None = None
    ) -> dict[str, ItemFacts]:
        """The facts about these products, by item number; those that are not known in time are left out.

        An answer to a query that began before `queried_since` is not used. Waits at most `wait_seconds` in all.
        """
        answers: dict[str, _Answer] = {}
        tasks: dict[str, asyncio.Task[_Answer]] = {}
        for item_no in item_nos:
            remembered = self._remembered((merchant.merchant_id, item_no), queried_since)
            if remembered is not None:
                answers[item_no] = remembered
            elif (task := self._task(merchant, item_no, queried_since)) is not None:
                tasks[item_no] = task
        if tasks:
            answers |= await self._answers_in_time(merchant, tasks)
        return {item_no: answer.facts for item_no, answer in answers.items() if answer.facts is not None}

    async def close(self) -> None:
        """Cancel the queries in progress."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _remembered(self, key: _Key, queried_since: datetime | None) -> _Answer | None:
        answer = self._answers.get(key)
        if answer is None or (queried_since is not None and answer.queried_at < queried_since):
            return None
        fresh = self._fresh if answer.facts is not None else min(self._fresh, _PAUSE)
        # After a wall clock was set back, an answer from the future is not used.
        if not timedelta(0) <= self._now() - answer.queried_at < fresh:
            return None
        self._answers.move_to_end(key)
        return answer

    def _task(self, merchant: Merchant, item_no: str, queried_since: datetime | None) -> asyncio.Task[_Answer] | None:
        """The query in progress about a product, or a new one; None while the merchant's queries are paused."""
        key = (merchant.merchant_id, item_no)
        flight = self._flights.get(key)
        if flight is not None and (queried_since is None or flight.began_at >= queried_since):
            return flight.task
        if self._is_paused(merchant.merchant_id):
            return None
        # A query that began too early may answer with the past. The new one follows it: one at a time for each product.
        earlier = None if flight is None else flight.task
        task = asyncio.create_task(self._answer(merchant, item_no, after=earlier))
        self._flights[key] = _Flight(task, self._now())
        return task

    async def _answers_in_time(
        self, merchant: Merchant, tasks: Mapping[str, asyncio.Task[_Answer]]
    ) -> dict[str, _Answer]:
        """The answers that come in time; the other queries continue, and their answers are remembered."""
        done, late = await asyncio.wait(tasks.values(), timeout=self._wait_seconds)
        if late:
            self._pause(merchant.merchant_id)
        return {item_no: task.result() for item_no, task in tasks.items() if task in done and not task.cancelled()}

    async def _answer(self, merchant: Merchant, item_no: str, *, after: asyncio.Task[_Answer] | None) -> _Answer:
        """Query ECTicket about a product, and remember the answer."""
        key = (merchant.merchant_id, item_no)
        try:
            if after is not None:
                await asyncio.wait({after})
            queried_at = self._now()
            try:
                facts = _facts(await self._lookup.query(merchant, item_no))
            except CallError as error:
                self._pause(merchant.merchant_id, error.retry_at if isinstance(error, Throttled) else None)
                facts = None
            return self._remember(key, _Answer(facts, queried_at))
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is asyncio.current_task():
                del self._flights[key]

    def _remember(self, key: _Key, answer: _Answer) -> _Answer:
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > ITEMS_KEPT:
            self._answers.popitem(last=False)
        return answer

    def _is_paused(self, merchant_id: str) -> bool:
        until = self._paused_until.get(merchant_id)
        now = self._now()
        # A wall clock that is set back must not prolong the pause.
        return until is not None and now < until <= now + _LONGEST_PAUSE

    def _pause(self, merchant_id: str, until: datetime | None = None) -> None:
        """Query no product for a while: until ECTicket's own time after a lock-out or throttling."""
        now = self._now()
        self._paused_until[merchant_id] = min(max(until or now, now + _PAUSE), now + _LONGEST_PAUSE)


def _facts(answer: ItemAnswer) -> ItemFacts | None:
    if not answer.is_certain:
        return None
    return ItemFacts.from_reply(answer.reply) if answer.is_found else ItemFacts(exists=False)
