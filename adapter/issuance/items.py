"""What a line of an order turned into: tickets that ECTicket can issue.

Exists as the answer of mapping, and so of merchants' plugins. Refuses to know calls and their limits; see `packing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from adapter.issuance.order import Voucher, refuse_less_than_one
from adapter.protocol.issue import IssueType


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketItem:
    """`quantity` tickets of one product.

    `item_no` is ECTicket's product number (8 letters and digits), needed for all issue types but serial numbers, which
    instead need `name` (4 to 20 characters) and `price` (whole New Taiwan dollars). Of other types the name is told in
    events alone, up to 255 characters of it. `start_date` counts for electronic tickets that are not immediate,
    `expire_date` for gift vouchers; elsewhere they are not sent.

    Raises ValueError for a quantity below 1.
    """

    item_no: str | None = None
    name: str | None = None
    price: int | None = None
    quantity: int
    issue_type: IssueType
    voucher: Voucher = Voucher.PICKUP
    start_date: date | None = None
    expire_date: date | None = None

    def __post_init__(self) -> None:
        refuse_less_than_one(self.quantity)
