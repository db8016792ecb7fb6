"""Pack an order's tickets into Issue calls.

    by issue type and presale  ──►  merged  ──►  first fit into calls of 8 or 100 tickets, pickup vouchers first

The result is always the same for the same items. After a crash the numbers of the calls are computed again, and with
another packing ECTicket would be queried for the wrong ones.

A call has one IsImmediate, so presale tickets and tickets that are usable at once go into separate calls.

Pickup and gift vouchers of one issue type share calls. The specification allows it ("if the order includes a pick-up
voucher" MerchantTradeNo is filled, FreeTradeNo only "if all the items in the order are gift vouchers"). A shop that
brings the payment's number has only that one, so separate calls would dead-letter each order that adds a gift. The
contents of a call decide its kind of number. Pickup vouchers are packed first, so that gifts never push them into a
second call. Calls with pickup vouchers come before calls of gifts alone, so the first call gets the payment's number
under any mapping.

Does not know numbers, customers and requests.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from msgspec import Struct

from adapter.errors import DoesNotFit, InvalidOrder
from adapter.issuance.order import TicketItem, Voucher
from adapter.protocol.issue import IssueType
from adapter.protocol.rules import MAX_TICKETS
from adapter.values import replace

MAX_CALLS = 20
"""The most parts an order may have."""

Call = tuple[TicketItem, ...]
"""The items of one Issue call, all of one issue type, and all presale or none."""


def pack(items: Sequence[TicketItem]) -> tuple[Call, ...]:
    """Pack the items into as few calls as first fit finds; one item's quantity may go to several.

    Items that ECTicket could not distinguish are merged. An item number occurs once in a call, so the same one with
    other dates goes to another call.

    Raises DoesNotFit for more than 20 calls, InvalidOrder if there is nothing to issue.
    """
    if not items:
        raise InvalidOrder(
            "No line of this order is a ticket, so there is nothing to issue. "
            "Check the mapping, or let an accept_order hook skip such orders."
        )
    merged = list(enumerate(merge(items)))
    kinds = [(item.issue_type, item.is_presale) for _, item in merged]
    groups: dict[Hashable, list[_Box]] = {kind: [] for kind in kinds}
    for position, item in sorted(merged, key=lambda each: each[1].voucher is Voucher.GIFT):
        _put(item, position, groups[kinds[position]])
        if sum(map(len, groups.values())) > MAX_CALLS:
            raise DoesNotFit(_too_many(items))
    calls = [box.call() for group in groups.values() for box in group]
    return tuple(sorted(calls, key=only_gifts))


def only_gifts(call: Call) -> bool:
    """Whether a call carries a FreeTradeNo: "if all the items in the order are gift vouchers"."""
    return Voucher.PICKUP not in [item.voucher for item in call]


def merge(items: Iterable[TicketItem]) -> tuple[TicketItem, ...]:
    """Add up the quantities of items that are the same to ECTicket; each keeps its first position."""
    merged: dict[Hashable, TicketItem] = {}
    for item in items:
        identity = _identity(item)
        before = merged.get(identity)
        merged[identity] = replace(before, quantity=before.quantity + item.quantity) if before else item
    return tuple(merged.values())


def _identity(item: TicketItem) -> Hashable:
    """Return what identifies an item: a listed product's number, a serial number's name and price; and the dates.

    The name and price of a listed product are the shop's own and never sent.
    """
    by_number = item.issue_type is not IssueType.SERIAL_NUMBER and item.item_no is not None
    product = item.item_no if by_number else (item.item_no, item.name, item.price)
    dates = (item.start_date, item.expire_date, item.start_moves, item.expire_moves)
    return item.issue_type, product, item.voucher, dates


class _Box(Struct, kw_only=True):
    """A call that is being filled."""

    room: int
    items: list[tuple[int, TicketItem]] = []
    """With their positions in the order; none occurs twice, as a box is full or its item is packed."""

    def takes(self, item: TicketItem) -> bool:
        """Whether there is room and the item number is not used yet ("The product number ... cannot be reused")."""
        numbered = item.item_no is not None and item.issue_type is not IssueType.SERIAL_NUMBER
        return self.room > 0 and not (numbered and any(other.item_no == item.item_no for _, other in self.items))

    def put(self, item: TicketItem, position: int, wanted: int) -> int:
        """Add as many tickets as there is room for and return how many are left; `position` is the item's in the order.

        An item that fits as a whole is not copied.
        """
        taken = min(self.room, wanted)
        self.items.append((position, item if taken == item.quantity else replace(item, quantity=taken)))
        self.room -= taken
        return wanted - taken

    def call(self) -> Call:
        """Return the items in the order's own order."""
        return tuple([item for _, item in sorted(self.items)])


def _put(item: TicketItem, position: int, boxes: list[_Box]) -> None:
    """Pack an item by first fit; stop one box beyond the limit, because a quantity may be absurdly large."""
    remaining = item.quantity
    for box in boxes:
        if remaining and box.takes(item):
            remaining = box.put(item, position, remaining)
    while remaining and len(boxes) <= MAX_CALLS:
        box = _Box(room=MAX_TICKETS[item.issue_type])
        boxes.append(box)
        remaining = box.put(item, position, remaining)


def _too_many(items: Iterable[TicketItem]) -> str:
    counts: dict[IssueType, int] = {}
    for item in items:
        counts[item.issue_type] = counts.get(item.issue_type, 0) + item.quantity
    tickets = ", ".join(
        f"{count} {kind.name.lower().replace('_', ' ')} tickets at {MAX_TICKETS[kind]} a call"
        for kind, count in counts.items()
    )
    return (
        f"The order needs more than {MAX_CALLS} Issue calls: {tickets}, and an item number goes once into a call. "
        "Split the order in the shop."
    )
