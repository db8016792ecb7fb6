"""Compares what ECTicket says it took in (TicketData of Issue's answer) with what was asked for.

A difference is for a person to look at. It never changes an outcome: RtnCode 1 with our number is certain, and tickets
exist or will.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from adapter.protocol.issue import IssuedItem, IssueRequest, IssueType, TicketInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketDifference:
    """One item whose number of tickets is another one; `item` is its number, or its name and price."""

    item: str
    requested: int
    issued: int


def ticket_differences(request: IssueRequest, issued: Sequence[IssuedItem] | None) -> tuple[TicketDifference, ...]:
    """The items that differ, in the request's order; none where ECTicket said nothing that can be compared.

    Entries of one item are added up. Where an entry does not say which item it is, only the totals are compared.
    """
    if not issued:
        return ()
    serial = request.issue_type is IssueType.SERIAL_NUMBER
    wanted = [(_identity(entry, serial=serial), entry.ticket_amount) for entry in request.ticket_info]
    found = [(_identity(entry, serial=serial), entry.ticket_amount) for entry in issued]
    if any(identity is None for identity, _ in (*wanted, *found)):
        wanted, found = [(_TOTAL, amount) for _, amount in wanted], [(_TOTAL, amount) for _, amount in found]
    requested, given = _added_up(wanted), _added_up(found)
    return tuple(
        TicketDifference(item=_describe(identity), requested=requested[identity], issued=given[identity])
        for identity in dict.fromkeys((*requested, *given))
        if requested[identity] != given[identity]
    )


_TOTAL = ("all items",)


def _identity(entry: TicketInfo | IssuedItem, *, serial: bool) -> tuple[object, ...] | None:
    """What tells items apart: a serial number's name and price, a listed product's number. None: it is not there."""
    if not serial:
        return (entry.item_no.strip().upper(),) if entry.item_no else None
    if not entry.item_name or entry.ticket_price is None:
        return None
    return entry.item_name.strip(), entry.ticket_price


def _added_up(entries: Iterable[tuple[Hashable, int]]) -> Counter[Hashable]:
    counts: Counter[Hashable] = Counter()
    for identity, amount in entries:
        counts[identity] += amount
    return counts


def _describe(identity: Hashable) -> str:
    return " at NT$".join(map(str, identity)) if isinstance(identity, tuple) else str(identity)
