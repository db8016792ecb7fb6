"""Maps orders by a catalogue (`submit.catalogue`): the file names the ticket of each sku.

The order's line takes precedence for issue type and dates, because they belong to the purchase; the catalogue does
for name, price and kind of voucher. An entry with a last day is a gift voucher.

Days count from the day of payment in Taipei, or from the order's record if paid_at is absent, and never from today: an
order that is read again after a crash, perhaps after midnight, must get the same trade numbers. If the first day of
`start_after_days` is past when the order is sent, it moves (`TicketItem.start_moves`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Self

from adapter.errors import InvalidOrder, UnmappedItem
from adapter.extensions.builtin.catalogue_entry import CatalogueEntry
from adapter.extensions.builtin.catalogue_file import read_catalogue
from adapter.extensions.hookspecs import hookimpl
from adapter.issuance.order import Line, Order, TicketItem, issue_type_of
from adapter.protocol.issue import IssueType
from adapter.protocol.taipei import TAIPEI


class CataloguePlugin:
    """The built-in plugin for a configured catalogue; it maps the skus in it and no others."""

    def __init__(self, entries: Mapping[str, CatalogueEntry]) -> None:
        self._entries = entries
        self.content_fingerprint = _digest(entries)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the catalogue in a file. Raises SettingsError with one sentence for each error in it."""
        return cls(read_catalogue(path))

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem]:
        """Return one item, with as many tickets as the line's quantity.

        Raises UnmappedItem for a sku that is not in the catalogue, InvalidOrder if the order lacks a needed field.
        """
        entry = self._entries.get(line.sku)
        if entry is None:
            raise UnmappedItem(
                f"Sku '{line.sku}' is not in the catalogue (submit.catalogue). "
                "Add it there and restart the adapter, or write a map_item hook for it."
            )
        issue_type = issue_type_of(order, line, otherwise=entry.issue_type)
        _check_complete(line, entry, issue_type)
        return [_item(order, line, entry, issue_type)]


def _item(order: Order, line: Line, entry: CatalogueEntry, issue_type: IssueType) -> TicketItem:
    start = _first_day(order, line, entry) if issue_type is IssueType.ELECTRONIC else None
    start_moves = start is not None and line.start_date is None and entry.start_after_days is not None
    return TicketItem(
        item_no=None if issue_type is IssueType.SERIAL_NUMBER else entry.item_no,
        name=entry.name if entry.name is not None else line.name,
        price=entry.price if entry.price is not None else line.unit_price,
        quantity=line.quantity,
        issue_type=issue_type,
        voucher=entry.kind or line.voucher,
        start_date=start,
        expire_date=_last_day(order, line, entry, start),
        start_moves=start_moves,
        expire_moves=start_moves and line.expire_date is None and entry.valid_days is not None,
    )


def _check_complete(line: Line, entry: CatalogueEntry, issue_type: IssueType) -> None:
    """Check the fields that the issue type requires; it may come from the order, so this is known only here."""
    if issue_type is not IssueType.SERIAL_NUMBER:
        if entry.item_no is None:
            raise InvalidOrder(
                f"Sku '{line.sku}' is ordered as {issue_type.name.lower()}, but its catalogue entry has no item_no. "
                "Add item_no, or issue_type: serial_number."
            )
    elif (entry.name or line.name) is None or (line.unit_price if entry.price is None else entry.price) is None:
        raise InvalidOrder(
            f"Sku '{line.sku}' is ordered as serial_number, but neither its catalogue entry nor its line has name and "
            "price. Add them to the catalogue."
        )


def _first_day(order: Order, line: Line, entry: CatalogueEntry) -> date | None:
    if line.start_date is not None or entry.start_after_days is None:
        return line.start_date or entry.start_date
    return _later(_day_of_payment(order, line, "start_after_days"), entry.start_after_days, line)


def _last_day(order: Order, line: Line, entry: CatalogueEntry, start: date | None) -> date | None:
    if line.expire_date is not None or entry.valid_days is None:
        return line.expire_date or entry.expire_date
    return _later(start or _day_of_payment(order, line, "valid_days"), entry.valid_days, line)


def _day_of_payment(order: Order, line: Line, field: str) -> date:
    paid_at = order.paid_at or order.received_at
    if paid_at is None:
        raise InvalidOrder(
            f"Sku '{line.sku}' is dated by {field} from the day of payment, but the order has no paid_at. "
            "Send paid_at, or write fixed dates into the catalogue."
        )
    try:
        return paid_at.astimezone(TAIPEI).date()
    except OverflowError:
        raise _beyond_the_calendar(line) from None


def _later(day: date, days: int, line: Line) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        raise _beyond_the_calendar(line) from None


def _beyond_the_calendar(line: Line) -> InvalidOrder:
    return InvalidOrder(f"The dates of sku '{line.sku}' are after the year 9999. Correct paid_at or start_date.")


def _digest(entries: Mapping[str, CatalogueEntry]) -> str:
    """Hash of the entries, independent of their order, comments and spelling in the file."""
    digest = hashlib.sha256()
    for sku in sorted(entries):
        digest.update(f"{sku}\0{entries[sku]!r}\0".encode())
    return digest.hexdigest()
