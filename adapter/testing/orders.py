"""Orders of every kind that ECTicket sells, and records of them: input for a plugin's tests.

All people in them are invented. Each order has its own number, and a test gives the fields it cares about:

    orders.electronic()                                     # one line, two tickets
    orders.electronic(Line(sku="FAMILY-DAY", quantity=1))   # the shop's own sku
    orders.paper(reference={"cart": 7}, paid_at=None)       # any field of Order
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from itertools import count
from typing import Final

from adapter.extensions.values import OrderRecord
from adapter.issuance.order import Customer, Line, Order, Voucher
from adapter.protocol.issue import IssueType, PrintType
from adapter.testing.clock import NOON
from adapter.values import replace

MERCHANT: Final = "3085676"
"""The merchant of every sample: ECPay's public test merchant, whom the sandbox knows too."""
CUSTOMER: Final = Customer(
    name="王小明", phone="0912345678", email="ming@example.com", address="臺北市南港區三重路19之2號"
)
"""Whom the sample tickets are for."""
START_DATE: Final = date(2026, 4, 1)
"""First day of the sample that is usable later: a month after `NOON`."""
EXPIRE_DATE: Final = date(2027, 2, 28)
"""Last day of the sample gift vouchers."""

Content = Order | Mapping[str, object] | bytes | None
"""What a record may say: an order, written in the adapter's own format; anything to be written as JSON; or bytes."""


class Orders:
    """Makes orders; the first one is `A-1`."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def electronic(self, *lines: Line, **fields: object) -> Order:
        """Tickets for the customer's phone, usable at once; for two days in the park unless lines are given."""
        return self._order(IssueType.ELECTRONIC, lines or (Line(sku="VQT04959", quantity=2),), fields)

    def presale(self, *lines: Line, **fields: object) -> Order:
        """Electronic tickets that are usable later."""
        usual = Line(sku="VQT04959", quantity=2, start_date=START_DATE)
        return self._order(IssueType.ELECTRONIC, lines or (usual,), fields)

    def convenience_store(self, *lines: Line, **fields: object) -> Order:
        """Tickets from a convenience store; at most 8 fit into one call."""
        return self._order(IssueType.CONVENIENCE_STORE, lines or (Line(sku="VNS21400", quantity=3),), fields)

    def paper(self, *lines: Line, **fields: object) -> Order:
        """Tickets on paper, printed and sent by ECPay."""
        usual = Line(sku="BR103218", quantity=4)
        return self._order(IssueType.PAPER, lines or (usual,), {"print_type": PrintType.ECPAY, **fields})

    def serial_numbers(self, *lines: Line, **fields: object) -> Order:
        """Serial numbers, which are sold by name and price."""
        usual = Line(sku="SPA", quantity=1, name="SPA課程體驗券", unit_price=3200)
        return self._order(IssueType.SERIAL_NUMBER, lines or (usual,), fields)

    def gifts(self, *lines: Line, **fields: object) -> Order:
        """Gift vouchers and nothing else, so under a FreeTradeNo."""
        usual = Line(sku="GFT00001", quantity=1, voucher=Voucher.GIFT, expire_date=EXPIRE_DATE)
        return self._order(IssueType.ELECTRONIC, lines or (usual,), fields)

    def mixed(self, **fields: object) -> Order:
        """Electronic tickets and serial numbers in one order: two calls."""
        serial = Line(sku="SPA", quantity=1, name="SPA課程體驗券", unit_price=3200, issue_type=IssueType.SERIAL_NUMBER)
        return self._order(IssueType.ELECTRONIC, (Line(sku="VQT04959", quantity=2), serial), fields)

    def large(self, lines: int = 200, **fields: object) -> Order:
        """As many lines as an order may have."""
        return self._order(IssueType.ELECTRONIC, (Line(sku="VQT04959", quantity=1),) * lines, fields)

    def of_every_kind(self) -> tuple[Order, ...]:
        """One of each."""
        makers = (
            self.electronic,
            self.presale,
            self.convenience_store,
            self.paper,
            self.serial_numbers,
            self.gifts,
            self.mixed,
            self.large,
        )
        return tuple(make() for make in makers)

    def _order(self, issue_type: IssueType, lines: tuple[Line, ...], fields: Mapping[str, object]) -> Order:
        usual = Order(
            order_id=f"A-{next(self._numbers)}",
            merchant_id=MERCHANT,
            lines=lines,
            paid_at=NOON,
            reference={"cart": 7},
            issue_type=issue_type,
            customer=CUSTOMER,
        )
        return replace(usual, **fields)  # type: ignore[arg-type]  # each test names an order's own fields


def order_record(
    content: Content, *, headers: Mapping[str, str | bytes | None] | None = None, key: bytes | None = b"shop-key"
) -> OrderRecord:
    """A record of the orders topic, as `parse_order` is given it."""
    return OrderRecord(
        topic="orders.paid",
        key=key,
        value=order_bytes(content),
        headers=tuple((name, _bytes(value)) for name, value in (headers or {}).items()),
        timestamp=NOON,
    )


def order_bytes(content: Content) -> bytes | None:
    """What the record's value is."""
    if content is None or isinstance(content, bytes):
        return content
    if not isinstance(content, Order | Mapping):
        raise TypeError(
            f"An order is an Order, a mapping in the form of order-paid.v1.json, bytes or None, and not a "
            f"{type(content).__name__}."
        )
    document = order_paid(content) if isinstance(content, Order) else content
    return json.dumps(document).encode()


def order_paid(order: Order) -> dict[str, object]:
    """The order in the adapter's own format (`schemas/order-paid.v1.json`); what it does not say is left out."""
    customer = order.customer
    people = {"name": customer.name, "phone": customer.phone, "email": customer.email, "address": customer.address}
    return _without_none(
        order_id=order.order_id,
        merchant_id=order.merchant_id or None,
        trade_no=order.trade_no,
        paid_at=order.paid_at.isoformat() if order.paid_at else None,
        reference=order.reference,
        issue_type=_name_of(order.issue_type),
        print_by=_name_of(order.print_type),
        immediate=order.immediate,
        store_id=order.store_id,
        operator=order.operator,
        customer=_without_none(**people),
        lines=[_line(line) for line in order.lines],
    )


def _line(line: Line) -> dict[str, object]:
    return _without_none(
        sku=line.sku,
        quantity=line.quantity,
        name=line.name,
        unit_price=line.unit_price,
        voucher=line.voucher.value,
        start_date=line.start_date.isoformat() if line.start_date else None,
        expire_date=line.expire_date.isoformat() if line.expire_date else None,
        issue_type=_name_of(line.issue_type),
        immediate=line.immediate,
    )


def _name_of(kind: IssueType | PrintType | None) -> str | None:
    return None if kind is None else kind.name.lower()


def _without_none(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
