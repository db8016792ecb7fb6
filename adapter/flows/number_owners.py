"""Remembers which order a trade number belongs to: ECTicket knows numbers but not orders.

Two orders can have one number, for example when a shop splits a payment into two orders. ECTicket accepts the number
once. For the other order it answers "known", and the adapter would publish tickets that were not bought for it. So the
adapter remembers for each number which order has it, and which orders may have sent it.

An order *owns* a number if its own Issue was answered RtnCode 1, or if it was the first to be published as submitted.
Numbers that differ only in upper and lower case, or only in their kind, count as one: ECTicket may compare them so, and
so do the ids of the adapter's events. Memory is bounded: the least recently used numbers are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

NUMBERS_KEPT = 50_000
"""Numbers remembered: the newest ones, some 350 bytes each."""

SENDERS_KEPT = 4
"""Orders remembered that may have sent one number; one other order is enough."""


@dataclass(slots=True)
class _Orders:
    """The orders of one number; `certain`: the owner's own Issue was answered RtnCode 1."""

    owner: str | None = None
    certain: bool = False
    senders: tuple[str, ...] = ()


class NumberOwners:
    """For each merchant's number, the order that owns it and those that may have sent it."""

    def __init__(self, kept: int = NUMBERS_KEPT) -> None:
        self._kept = kept
        self._orders: OrderedDict[tuple[str, str], _Orders] = OrderedDict()

    def __len__(self) -> int:
        """The number of remembered numbers."""
        return len(self._orders)

    def other_order(self, merchant_id: str, trade_no: str, order_id: str) -> str | None:
        """Another order that owns the number, or that may have sent it while no order owns it."""
        orders = self._orders.get(_key(merchant_id, trade_no))
        if orders is None or orders.owner == order_id:
            return None
        return orders.owner or next((sender for sender in orders.senders if sender != order_id), None)

    def certainly_owns(self, merchant_id: str, trade_no: str, order_id: str) -> bool:
        """Whether this order's own Issue with the number was answered RtnCode 1."""
        orders = self._orders.get(_key(merchant_id, trade_no))
        return orders is not None and orders.certain and orders.owner == order_id

    def may_have_sent(self, merchant_id: str, trade_no: str, order_id: str) -> bool:
        """This order sends an Issue with the number, or may have done so; False if that was known before."""
        orders = self._of(merchant_id, trade_no)
        if order_id in orders.senders or len(orders.senders) >= SENDERS_KEPT:
            return False
        orders.senders = (*orders.senders, order_id)
        return True

    def never_sent(self, merchant_id: str, trade_no: str, order_id: str) -> None:
        """This order certainly did not send the number after all."""
        key = _key(merchant_id, trade_no)
        orders = self._orders.get(key)
        if orders is None:
            return
        orders.senders = tuple(sender for sender in orders.senders if sender != order_id)
        if orders.owner is None and not orders.senders:
            del self._orders[key]

    def failed(self, merchant_id: str, trade_no: str, order_id: str) -> None:
        """ECTicket does not know the number, and this order was published as failed: the number is free for others."""
        orders = self._orders.get(_key(merchant_id, trade_no))
        if orders is not None and orders.owner == order_id:
            orders.owner, orders.certain = None, False
        self.never_sent(merchant_id, trade_no, order_id)

    def submitted(self, merchant_id: str, trade_no: str, order_id: str, *, recovered: bool) -> None:
        """This order was submitted under the number; not `recovered`: its own Issue was answered RtnCode 1.

        The first order keeps the number, unless it was recovered and the later one was not.
        """
        orders = self._of(merchant_id, trade_no)
        if orders.owner is None or (not recovered and not orders.certain):
            orders.owner, orders.certain = order_id, not recovered

    def _of(self, merchant_id: str, trade_no: str) -> _Orders:
        key = _key(merchant_id, trade_no)
        orders = self._orders.setdefault(key, _Orders())
        self._orders.move_to_end(key)
        if len(self._orders) > self._kept:
            self._orders.popitem(last=False)
        return orders


def _key(merchant_id: str, trade_no: str) -> tuple[str, str]:
    return merchant_id, trade_no.upper()
