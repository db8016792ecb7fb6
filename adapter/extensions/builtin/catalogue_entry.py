"""One entry of the catalogue: its fields, how each is read from text, and which of them are valid together.

Does not read YAML or files. An error is the end of a sentence, to which `catalogue_file` adds file and line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, TypeVar

from adapter.extensions.suggestions import did_you_mean
from adapter.issuance.order import ISSUE_TYPES, Voucher
from adapter.protocol.issue import IssueType
from adapter.protocol.rules import ITEM_NAME, ITEM_NO, TICKET_PRICE

W = TypeVar("W")
_DAYS_MAX: Final = 36_500


class InvalidValue(Exception):  # becomes a sentence of SettingsError and is never seen outside
    """What is wrong with a value, as the end of a sentence, full stop included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """The ticket of one sku; `catalogue_file` describes the fields. None: left out."""

    item_no: str | None = None
    name: str | None = None
    price: int | None = None
    voucher: Voucher | None = None
    issue_type: IssueType | None = None
    start_date: date | None = None
    start_after_days: int | None = None
    expire_date: date | None = None
    valid_days: int | None = None

    @property
    def kind(self) -> Voucher | None:
        """The kind of voucher; one with a last day is a gift. None: the order's line decides."""
        if self.voucher is None and (self.expire_date is not None or self.valid_days is not None):
            return Voucher.GIFT
        return self.voucher

    def problems(self) -> Iterator[str]:
        """The contradictions in the entry, each as a sentence."""
        yield from self._identity_problems()
        if self.start_date is not None and self.start_after_days is not None:
            yield "start_date and start_after_days both set the first day; keep one."
        if self.expire_date is not None and self.valid_days is not None:
            yield "expire_date and valid_days both set the last day; keep one."
        if self.start_date and self.expire_date and self.expire_date < self.start_date:
            yield "expire_date is before start_date."
        if self.voucher is Voucher.PICKUP and (self.expire_date or self.valid_days is not None):
            yield "only gift vouchers have a last day; remove expire_date and valid_days, or write voucher: gift."
        if self._starts() and self.issue_type not in (None, IssueType.ELECTRONIC):
            yield "only electronic tickets have a first day; remove start_date and start_after_days."

    def _starts(self) -> bool:
        return self.start_date is not None or self.start_after_days is not None

    def _identity_problems(self) -> Iterator[str]:
        if self.issue_type is IssueType.SERIAL_NUMBER:
            if self.item_no is not None:
                yield "serial_number tickets have no item_no; remove it."
            if self.name is None or self.price is None:
                yield "serial_number tickets need name and price."
        elif self.item_no is None and (self.issue_type is not None or self.name is None or self.price is None):
            yield "item_no is missing; only serial_number tickets, with name and price, have none."
            return
        # Without an item number it can only become a serial number, whose name ECTicket restricts.
        if self.item_no is None and self.name is not None and not ITEM_NAME.accepts(self.name):
            yield f"name {ITEM_NAME.rule}."


def _text(written: str) -> str:
    if not written.strip():
        raise InvalidValue("must not be empty.")
    return written


def _item_no(written: str) -> str:
    if not ITEM_NO.accepts(written):
        raise InvalidValue(f"{ITEM_NO.rule}.")
    return written


def _price(written: str) -> int:
    price = _whole(written)
    if not TICKET_PRICE.accepts(price):
        raise InvalidValue(f"{TICKET_PRICE.rule}.")
    return price


def _days(minimum: int) -> Callable[[str], int]:
    def read(written: str) -> int:
        days = _whole(written)
        if not minimum <= days <= _DAYS_MAX:
            raise InvalidValue(f"must be a whole number of days from {minimum} to {_DAYS_MAX}.")
        return days

    return read


def _whole(written: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", written):
        raise InvalidValue("must be a whole number, in digits.")
    return int(written)


def _day(written: str) -> date:
    wrong = InvalidValue("must be a day like 2026-12-31.")
    if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", written):
        raise wrong
    try:
        return date.fromisoformat(written)
    except ValueError:
        raise wrong from None


def _voucher(written: str) -> Voucher:
    return _word(written, {voucher.value: voucher for voucher in Voucher})


def _issue_type(written: str) -> IssueType:
    return _word(written, ISSUE_TYPES)


def _word(written: str, words: Mapping[str, W]) -> W:
    if written not in words:
        raise InvalidValue(f"must be one of {', '.join(words)}.{did_you_mean(written, words)}")
    return words[written]


FIELDS: Final[Mapping[str, Callable[[str], object]]] = {
    "item_no": _item_no,
    "name": _text,
    "price": _price,
    "voucher": _voucher,
    "issue_type": _issue_type,
    "start_date": _day,
    "start_after_days": _days(1),
    "expire_date": _day,
    "valid_days": _days(0),
}
"""Reads each field of `CatalogueEntry` from its text."""
