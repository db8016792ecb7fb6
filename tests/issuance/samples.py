"""Orders, items and parts that the tests of this package share."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from adapter.issuance.order import Customer, Line, Order, TicketItem, Voucher
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan
from adapter.issuance.state import PartHistory, PartState, initial_state
from adapter.protocol.issue import IssueType, PrintType
from adapter.values import replace

T0 = datetime(2024, 1, 1, 4, 0, tzinfo=UTC)
TODAY = date(2024, 1, 1)
MERCHANT = "3085676"
POLICY = PlanPolicy(operator="Angela")
ALWAYS = replace(POLICY, derive=DeriveTradeNo.ALWAYS)

CVS, PAPER = IssueType.CONVENIENCE_STORE, IssueType.PAPER
ELECTRONIC, SERIAL = IssueType.ELECTRONIC, IssueType.SERIAL_NUMBER
PICKUP, GIFT = Voucher.PICKUP, Voucher.GIFT

CUSTOMER = Customer(name="王珊珊", phone="0912345678", email="shan@example.com", address="台北市南港區三重路19之2號")


def at(seconds: float) -> datetime:
    """The moment so many seconds after the story begins."""
    return T0 + timedelta(seconds=seconds)


def order(**fields: object) -> Order:
    """An order of the shop's; its lines do not matter once items are given."""
    basis = Order(
        order_id="A-1001",
        merchant_id=MERCHANT,
        lines=(Line(sku="X", quantity=1),),
        print_type=PrintType.ECPAY,
        customer=CUSTOMER,
    )
    return replace(basis, **fields)  # type: ignore[arg-type]  # a test names the fields it is about


def item(product: str = "VQT04959", quantity: int = 1, kind: IssueType = ELECTRONIC, **fields: object) -> TicketItem:
    """Tickets of a product; serial numbers get a name and a price, gift vouchers a last day."""
    basis = TicketItem(
        item_no=None if kind is SERIAL else product,
        name=f"假日票券{product}" if kind is SERIAL else None,
        price=100 if kind is SERIAL else None,
        quantity=quantity,
        issue_type=kind,
        expire_date=date(2024, 12, 31) if fields.get("voucher") is GIFT else None,
    )
    return replace(basis, **fields)  # type: ignore[arg-type]  # a test names the fields it is about


def part(order_id: str = "A-1001") -> Part:
    """The only part of an order."""
    (only,) = plan(order(order_id=order_id), [item()], ALWAYS)
    return only


def planned(**history: object) -> PartState:
    """A part at the beginning of a run at T0, with a history if one is given."""
    return initial_state(part(), first_seen_at=T0, history=PartHistory(**history))  # type: ignore[arg-type]  # a test names the fields
