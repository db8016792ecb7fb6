"""The order store: every order the sandbox received, and what is known of it at a given moment.

Nothing here waits. An order is stored with the moments at which it becomes visible and at which its job ends, and its
status is a function of the time. So tests can check it as a table, and a moved clock needs no timers. Does not
validate: the caller has checked the order.

Memory: at most `max_orders` orders are held, repeats included, and none is ever forgotten, because a forgotten trade
number would be accepted again and falsify a count. Tickets are not stored; they follow from their order, and
`ticket_states.py` holds what became of them.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from typing import Final, TypeAlias

from adapter.protocol.issue import IssueRequest, TradeNo
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.taipei import TAIPEI

Key: TypeAlias = tuple[str, TradeNo]
"""Merchant and trade number: the identity of an order, unique for ever (spec, Issue)."""

_DIGITS: Final = string.digits + string.ascii_uppercase
_CODE_CHARACTERS: Final = string.digits + string.ascii_letters

SEQUENCE_LIMIT: Final = len(_DIGITS) ** 4
"""Four characters of base 36 number an order inside TicketTradeNo (16) and TicketNo (16)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLine:
    """One element of TicketInfo with the catalogue's data; `price` is NT$ for one ticket."""

    item_no: str | None
    name: str
    ticket_type: TicketType
    price: int
    quantity: int
    start_date: date
    expire_date: date | None

    def expired(self, today: date) -> bool:
        """Whether a gift voucher's last day is past."""
        return self.expire_date is not None and self.expire_date < today


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """How an order is issued: `ends_at` None means never, `failure` is the Remark of a failing job."""

    ends_at: datetime | None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """One accepted Issue call; `platform_id` is the platform it came through."""

    sequence: int
    request: IssueRequest
    lines: tuple[StoredLine, ...]
    received_at: datetime
    visible_at: datetime
    job: Job
    platform_id: str | None = None

    @property
    def key(self) -> Key:
        """Merchant and trade number."""
        return (self.request.merchant_id, self.request.trade_no)

    @property
    def ticket_trade_no(self) -> str:
        """TicketTradeNo: `yyyymmddhhmm` in Taipei and four characters (the last four are an assumption)."""
        return f"{self.received_at.astimezone(TAIPEI):%Y%m%d%H%M}{_base36(self.sequence, 4)}"

    @property
    def ticket_count(self) -> int:
        """How many tickets the order asks for."""
        return sum(line.quantity for line in self.lines)

    @property
    def amount(self) -> int:
        """The face value of all tickets, in NT$."""
        return sum(line.quantity * line.price for line in self.lines)

    def status(self, now: datetime) -> IssueStatus:
        """The Status that QueryIssueResult gives at that moment."""
        if self.job.ends_at is None or now < self.job.ends_at:
            return IssueStatus.IN_PROGRESS
        return IssueStatus.ISSUED if self.job.failure is None else IssueStatus.FAILED

    def remark(self, now: datetime) -> str:
        """The Remark at that moment: the reason once the job has failed, else nothing."""
        return (self.job.failure or "") if self.status(now) is IssueStatus.FAILED else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One ticket of an issued order."""

    number: str
    line: StoredLine

    @property
    def redemption_code(self) -> str:
        """WriteOffNo, 18 case-sensitive characters."""
        digest = sha256(self.number.encode("ascii")).digest()
        return "".join(_CODE_CHARACTERS[byte % len(_CODE_CHARACTERS)] for byte in digest[:18])


def tickets(order: StoredOrder) -> Iterator[Ticket]:
    """The tickets of an order, always the same ones; `status` says whether they exist yet."""
    day = f"{order.received_at.astimezone(TAIPEI):%Y%m%d}"
    index = 0
    for line in order.lines:
        for _ in range(line.quantity):
            number = f"CB{_base36(order.sequence, 4)}{_base36(index, 2)}{day}"
            yield Ticket(number=number, line=line)
            index += 1


class OrderStore:
    """All orders in the order in which they took effect."""

    def __init__(self, *, max_orders: int) -> None:
        self._max_orders = max_orders
        self._orders: list[StoredOrder] = []
        self._by_key: dict[Key, StoredOrder] = {}
        self._repeats: dict[Key, list[StoredOrder]] = {}
        self.ticket_count = 0

    def __len__(self) -> int:
        return len(self._orders)

    def knows(self, key: Key) -> bool:
        """Whether the number was ever used, visible or not."""
        return key in self._by_key

    def add(
        self,
        request: IssueRequest,
        lines: tuple[StoredLine, ...],
        *,
        received_at: datetime,
        visible_at: datetime,
        job: Job,
        platform_id: str | None = None,
    ) -> StoredOrder | None:
        """Store one accepted Issue call; a known number is issued once more. None if full; nothing is stored then."""
        if len(self._orders) >= self._max_orders:
            return None
        order = StoredOrder(
            sequence=len(self._orders),
            request=request,
            lines=lines,
            received_at=received_at,
            visible_at=visible_at,
            job=job,
            platform_id=platform_id,
        )
        self._orders.append(order)
        self.ticket_count += order.ticket_count
        if order.key in self._by_key:
            self._repeats.setdefault(order.key, []).append(order)
        else:
            self._by_key[order.key] = order
        return order

    def visible(self, key: Key, now: datetime) -> StoredOrder | None:
        """The order a query finds at that moment: the first of that number, once it is visible."""
        order = self._by_key.get(key)
        return order if order is not None and order.visible_at <= now else None

    def issuances(self, key: Key) -> tuple[StoredOrder, ...]:
        """Every accepted Issue call of that number: one, unless the server accepted repeats."""
        first = self._by_key.get(key)
        return () if first is None else (first, *self._repeats.get(key, ()))

    def repeated(self) -> tuple[Key, ...]:
        """The numbers issued more than once."""
        return tuple(self._repeats)

    def numbers(self) -> Iterator[Key]:
        """The numbers in the order in which they first took effect."""
        return iter(self._by_key)

    def newest(self, part: str = "") -> Iterator[Key]:
        """The numbers that contain this text, ignoring case, the newest first."""
        wanted = part.upper()
        return (key for key in reversed(self._by_key) if wanted in key[1].value.upper())

    @property
    def number_count(self) -> int:
        """How many different numbers there are."""
        return len(self._by_key)

    def received(self, merchant_id: str, begin: date, end: date, now: datetime) -> Iterator[StoredOrder]:
        """The orders of a report over these Taipei dates at that moment; safe while further orders arrive."""
        for order in self._orders[: len(self._orders)]:
            matches = order.request.merchant_id == merchant_id and order.visible_at <= now
            if matches and begin <= order.received_at.astimezone(TAIPEI).date() <= end:
                yield order


def _base36(number: int, width: int) -> str:
    characters = []
    for _ in range(width):
        number, digit = divmod(number, 36)
        characters.append(_DIGITS[digit])
    return "".join(reversed(characters))
