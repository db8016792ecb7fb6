"""What a line of an order turned into: tickets that ECTicket can issue.

Exists as the answer of mapping, and so of merchants' plugins. Refuses to know calls and their limits; see `packing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from adapter.issuance.order import Voucher, refuse_less_than_one, voucher_kind
from adapter.protocol.issue import IssueType


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketItem:
    """`quantity` tickets of one product.

    `item_no` is ECTicket's product number (8 letters and digits), required except for serial numbers. These require
    `name` (4 to 20 characters) and `price` (whole New Taiwan dollars). For other types, `name` (up to 255 characters)
    only appears in events.

    `start_date` makes an electronic ticket a presale, usable from that day; for other types it is not sent. `immediate`
    only confirms this; a contradiction parks the order, None leaves it to the line and the order. `expire_date` is the
    last day of a gift voucher. `voucher` defaults to gift if `expire_date` is given, else to pickup.

    `start_moves`: ECTicket accepts no start before tomorrow, so if `start_date` has come when the order is sent, the
    next day is sent. `expire_moves`: `expire_date` then moves by as many days.

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
        object.__setattr__(self, "voucher", voucher_kind(self.voucher, self.expire_date))

    @property
    def is_presale(self) -> bool:
        """Whether the tickets are usable only from `start_date` on (IsImmediate 2)."""
        return self.issue_type is IssueType.ELECTRONIC and self.start_date is not None
