"""ECTicket's current answers about the trade numbers of an order, as facts of its timeline (`explain --ask`).

"Not known" is concluded only from complete evidence (docs/delivery.md, "Not known"), as `resolve` does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from msgspec import Struct

from adapter.errors import CallError
from adapter.flows.number_history import NumberHistory
from adapter.flows.ports import Ecticket, Merchants
from adapter.operations.found_order import FoundOrder
from adapter.operations.resolve import query_status
from adapter.operations.timeline import FactKind, TimelineFact
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo

NUMBERS_QUERIED = 40
"""Numbers of one order that are queried: every part of the largest order, and as many reissues."""


class EcticketAnswers(Struct, frozen=True, kw_only=True):
    """Queries ECTicket about each number of an order."""

    merchants: Merchants
    open_ecticket: Callable[[], AbstractAsyncContextManager[Ecticket]]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def of(self, order: FoundOrder, history: NumberHistory) -> tuple[TimelineFact, ...]:
        """A fact for each number of the order; a call that fails is a fact too.

        `history` names numbers that should exist, as evidence, and the orders that own a number.
        """
        merchant = self.merchants.find(order.merchant_id or "")
        numbers = sorted(order.numbers, key=lambda each: each.value)[:NUMBERS_QUERIED]
        if merchant is None:
            text = "ECTicket was not queried: the merchant has no keys here."
            return tuple(self._fact(number, text) for number in numbers)
        async with self.open_ecticket() as ecticket:
            return tuple([await self._answer(ecticket, merchant, order, number, history) for number in numbers])

    async def _answer(
        self, ecticket: Ecticket, merchant: Merchant, order: FoundOrder, number: TradeNo, history: NumberHistory
    ) -> TimelineFact:
        try:
            answer = await query_status(ecticket, merchant, number, history.known, now=self.now)
        except CallError as error:
            return self._fact(number, f"ECTicket could not be queried: {error}")
        other = history.owners.other_order(merchant.merchant_id, number.value, order.order_id or "")
        owner = "" if other is None else f" The number is that of order {other} too, so the answer may be about that."
        status = None if answer.status is None else answer.status.name.lower()
        known = True if answer.known else False if answer.not_known else None
        return self._fact(number, f"{answer.description}{owner}", known=known, status=status, other_order=other)

    def _fact(
        self,
        number: TradeNo,
        text: str,
        *,
        known: bool | None = None,
        status: str | None = None,
        other_order: str | None = None,
    ) -> TimelineFact:
        details = {"known": known, "status": status, "other_order": other_order}
        return TimelineFact(
            at=self.now(), kind=FactKind.ANSWER, record=None, text=text, trade_no=number, details=details
        )
