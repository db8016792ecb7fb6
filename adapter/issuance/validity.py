"""Settle when tickets are usable: presale and last day, contradictions, and days that move with the day of sending.

    start_date on an electronic ticket  ──►  presale: IsImmediate 2 with StartDate; without it IsImmediate 1
    expire_date                         ──►  gift voucher

Whether an order contradicts itself depends on the order and its mapping alone, never on today: after a crash the order
must get the same numbers as before. Today matters only to `due`, which is applied each time a part is checked or sent.

Does not check values; `protocol.rules` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from adapter.errors import InvalidOrder
from adapter.issuance.order import Line, Order, TicketItem, Voucher
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo
from adapter.protocol.rules import ISSUE_PAGE
from adapter.values import replace


def settle(order: Order, items: Iterable[TicketItem]) -> tuple[TicketItem, ...]:
    """Return the items as ECTicket treats them: a start only where it has a meaning.

    Raises InvalidOrder with all contradictions of the order's lines and of the items.
    """
    settled = tuple(map(_settled, items))
    found = [
        *[f"Sku '{line.sku}': {_PICKUP_EXPIRES.format(line)}" for line in order.lines if _is_expiring_pickup(line)],
        *[f"Item {_name(item)}: {_PICKUP_EXPIRES.format(item)}" for item in settled if _is_expiring_pickup(item)],
        *[f"Item {_name(item)}: {problem}" for item in settled if (problem := _presale_contradiction(item, order))],
    ]
    if found:
        raise InvalidOrder(" ".join(dict.fromkeys(found)))
    return settled


def presale_problem(request: IssueRequest) -> str | None:
    """Return why a shaped request contradicts itself: an electronic ticket has a StartDate exactly if IsImmediate is 2.

    ECTicket would accept IsImmediate 1 with a StartDate and ignore the date ("this field is fixed as the date of ticket
    issuance"), so that the ticket would be usable too early. IsImmediate 2 without a StartDate breaks a field rule.
    """
    if request.issue_type is not IssueType.ELECTRONIC or request.is_immediate is not True:
        return None
    positions = [str(position) for position, entry in enumerate(request.ticket_info) if entry.start_date is not None]
    if not positions:
        return None
    return (
        f"IsImmediate is 1, but TicketInfo[{', '.join(positions)}] has a StartDate, which ECTicket would ignore "
        f"({ISSUE_PAGE}). Let shape_issue set is_immediate to False, or leave the date out."
    )


def due(request: IssueRequest, moving: Sequence[tuple[bool, bool]], today: date) -> IssueRequest:
    """Return the request as it is sent today: days that move are moved after today, Taipei's date.

    `moving` holds for each entry whether its start moves, and whether its last day moves with it. "The earliest start
    date can be set one day after the issue date."
    """
    tomorrow = today + timedelta(days=1)
    entries = list(request.ticket_info)
    for position, (start, last) in enumerate(moving[: len(entries)]):
        if start:
            entries[position] = _moved(entries[position], tomorrow, last_moves=last)
    return replace(request, ticket_info=tuple(entries))


_PICKUP_EXPIRES = (
    "voucher is pickup, but expire_date is {0.expire_date}; ExpireDate is for gift vouchers only "
    f"({ISSUE_PAGE}). Leave out voucher or expire_date."
)
_DATED = (
    "immediate is true, but start_date is {0.start_date}; IsImmediate 1 is for tickets without a StartDate "
    f"({ISSUE_PAGE}). Leave out immediate or start_date."
)
_UNDATED = (
    "immediate is false, but no start_date is given; IsImmediate 2 needs a StartDate "
    f"({ISSUE_PAGE}). Send start_date, or leave out immediate."
)


def _settled(item: TicketItem) -> TicketItem:
    if item.start_date is None or item.is_presale:
        return item
    return replace(item, start_date=None, start_moves=False, expire_moves=False)


def _is_expiring_pickup(item: TicketItem | Line) -> bool:
    return item.expire_date is not None and item.voucher is Voucher.PICKUP


def _presale_contradiction(item: TicketItem, order: Order) -> str | None:
    immediate = order.immediate if item.immediate is None else item.immediate
    if immediate is None or item.issue_type is not IssueType.ELECTRONIC:
        return None
    if immediate and item.is_presale:
        return _DATED.format(item)
    return None if immediate or item.is_presale else _UNDATED


def _name(item: TicketItem) -> str:
    return repr(item.item_no if item.item_no is not None else item.name)


def _moved(entry: TicketInfo, tomorrow: date, *, last_moves: bool) -> TicketInfo:
    start, last = entry.start_date, entry.expire_date
    if start is None or start >= tomorrow:
        return entry
    if last is not None and last_moves:
        last += min(tomorrow - start, date.max - last)
    return replace(entry, start_date=tomorrow, expire_date=last)
