"""The paid order after parsing, and the tickets to which mapping translates its lines.

After parsing, no code needs to know the format of a shop's events. Does not check ECTicket's field rules: an order is
what was bought, and it is checked after mapping (`plan.check`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr

from adapter.errors import InvalidOrder
from adapter.protocol.issue import IssueType, PrintType
from adapter.protocol.taipei import taipei_day
from adapter.values import PartlyShown, public_value

ISSUE_TYPES: Final[Mapping[str, IssueType]] = {kind.name.lower(): kind for kind in IssueType}
"""The issue types as orders, catalogues and events name them: `convenience_store`, `paper`, `electronic`,
`serial_number`."""
ORDER_ID_MAX_CHARACTERS = 64
LINES_MAX = 200
REFERENCE_MAX_BYTES = 1024
"""The limits of an order, also of one that a plugin parsed: `reference` is measured as JSON (docs/orders.md)."""


class Voucher(StrEnum):
    """The kind of a ticket at ECTicket: pickup voucher or gift voucher."""

    PICKUP = "pickup"
    """Pickup voucher (提貨券): paid for; its call carries a MerchantTradeNo."""
    GIFT = "gift"
    """Gift voucher (贈品券): given away, with a last day; a call of nothing else carries a FreeTradeNo."""


def voucher_kind(given: Voucher | None, expire_date: date | None) -> Voucher:
    """Return the given kind, else a gift voucher if there is a last day, else a pickup voucher.

    "ExpireDate ... must be filled in only when the product is a gift voucher" (page "Ticket Issuance").
    """
    if given is not None:
        return given
    return Voucher.PICKUP if expire_date is None else Voucher.GIFT


REFERENCE_MAX_DEPTH = 64
"""How deep lists and objects of `reference` may be nested: it is written inside other JSON, and JSON parsers have a
limit (pydantic 200)."""


def nests_too_deep(reference: object) -> bool:
    """Whether a `reference` is nested deeper than `REFERENCE_MAX_DEPTH`."""
    layer = [reference]
    for _ in range(REFERENCE_MAX_DEPTH):
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return False
    return any(isinstance(each, dict | list | tuple) for each in layer)


def _inside(outer: object) -> Iterable[object]:
    if isinstance(outer, dict):
        return outer.values()
    return outer if isinstance(outer, list | tuple) else ()


def refuse_less_than_one(quantity: object) -> None:
    """Raise ValueError for a quantity below 1; other types are checked where a plugin's answer is received."""
    if isinstance(quantity, int) and quantity < 1:
        raise ValueError(f"A quantity is at least 1, and this one is {quantity}.")


@public_value
class Customer(PartlyShown, frozen=True, kw_only=True):
    """The person who gets the tickets. Each field is needed only if the issue type needs it; `repr` shows none."""

    PRIVATE = ("name", "phone", "email", "address")

    name: str | None = None
    phone: str | None = None
    email: str | None = None
    address: str | None = None


@public_value
class Line(Struct, frozen=True, kw_only=True):
    """One line of the order: `quantity` pieces of the shop's product `sku`.

    `unit_price` is in whole New Taiwan dollars. `issue_type` and `immediate` override the order's. `voucher` defaults
    to gift if `expire_date` is given, else to pickup. Mapping decides which tickets the line means.

    Raises ValueError for a quantity below 1.
    """

    sku: str
    quantity: int
    name: str | None = None
    unit_price: int | None = None
    voucher: Voucher = None  # type: ignore[assignment]  # __post_init__ fills it; every reader finds a kind
    start_date: date | None = None
    expire_date: date | None = None
    issue_type: IssueType | None = None
    immediate: bool | None = None

    def __post_init__(self) -> None:
        refuse_less_than_one(self.quantity)
        force_setattr(self, "voucher", voucher_kind(self.voucher, self.expire_date))


@public_value
class Order(Struct, frozen=True, kw_only=True):
    """A paid order.

    `order_id` is the shop's number, `trade_no` the ECPay number to issue under (the payment's if ECPay took the
    payment), `reference` any JSON, copied into each event of the order. `immediate` is the lines' default, for
    electronic tickets only: None leaves it to `start_date`. The adapter sets `received_at`, the time of the order's
    record, which replaces a missing `paid_at`. `received_on` is its day in Taipei.
    """

    order_id: str
    merchant_id: str
    lines: tuple[Line, ...]
    trade_no: str | None = None
    paid_at: datetime | None = None
    reference: object = None
    issue_type: IssueType | None = None
    print_type: PrintType | None = None
    immediate: bool | None = None
    store_id: str | None = None
    operator: str | None = None
    customer: Customer = Customer()
    received_at: datetime | None = None
    """Not compared: an order that is sent twice is the same order."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _compared(self) == _compared(other)

    def __hash__(self) -> int:
        return hash(_compared(self))

    @property
    def received_on(self) -> date | None:
        """The day in Taipei on which the order's record was written; in a hook it is always there.

        It is the same when the order is mapped again after a crash or a replay, so that the order keeps its numbers.
        """
        return None if self.received_at is None else taipei_day(self.received_at)


def _compared(order: Order) -> tuple[object, ...]:
    """The fields by which orders are compared."""
    return tuple([getattr(order, name) for name in order.__struct_fields__ if name != "received_at"])


@public_value
class TicketItem(Struct, frozen=True, kw_only=True):
    """`quantity` tickets of one product.

    `item_no` is ECTicket's product number (8 letters and digits), required except for serial numbers. These require
    `name` (4 to 20 characters) and `price` (whole New Taiwan dollars). For other types, `name` (up to 255 characters)
    only appears in events.

    `start_date` makes an electronic ticket a presale, usable from that day; for other types it is not sent. `immediate`
    only confirms this: a contradiction parks the order, None leaves it to the line and the order. `expire_date` is the
    last day of a gift voucher. `voucher` defaults to gift if `expire_date` is given, else to pickup.

    `start_moves`: if `start_date` has come when the order is sent, the next day is sent, because ECTicket accepts no
    earlier start. `expire_moves`: `expire_date` then moves by as many days.

    Raises ValueError for a quantity below 1.
    """

    item_no: str | None = None
    name: str | None = None
    price: int | None = None
    quantity: int
    issue_type: IssueType
    voucher: Voucher = None  # type: ignore[assignment]  # __post_init__ fills it; every reader finds a kind
    start_date: date | None = None
    expire_date: date | None = None
    immediate: bool | None = None
    start_moves: bool = False
    expire_moves: bool = False

    def __post_init__(self) -> None:
        refuse_less_than_one(self.quantity)
        force_setattr(self, "voucher", voucher_kind(self.voucher, self.expire_date))

    @property
    def is_presale(self) -> bool:
        """Whether the tickets are usable only from `start_date` on (IsImmediate 2)."""
        return self.issue_type is IssueType.ELECTRONIC and self.start_date is not None


def issue_type_of(order: Order, line: Line, *, otherwise: IssueType | None = None) -> IssueType:
    """The line's own issue type, else `otherwise`, else the order's.

    Raises InvalidOrder if none of them names one.
    """
    found = line.issue_type or otherwise or order.issue_type
    if found is None:
        raise InvalidOrder(
            f"Sku '{line.sku}' has no issue_type, and neither has the order. "
            f"Send one of {', '.join(ISSUE_TYPES)} with the line or the order, or write it into the catalogue."
        )
    return found
