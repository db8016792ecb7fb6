"""From order and items to parts with numbers and requests (contract, sections 2.1 and 4; page "Ticket Issuance")."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from adapter.errors import DoesNotFit, InvalidOrder, TradeNoMissing
from adapter.issuance.items import TicketItem
from adapter.issuance.order import Customer, Line
from adapter.issuance.plan import DeriveTradeNo, PlannedItem, check, plan, renumbered
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind

from .samples import (
    ALWAYS,
    CUSTOMER,
    CVS,
    ELECTRONIC,
    GIFT,
    MERCHANT,
    PAPER,
    PICKUP,
    POLICY,
    SERIAL,
    TODAY,
    item,
    order,
)

TOMORROW, LATER = date(2024, 1, 2), date(2024, 6, 1)
NEVER, SERIAL_AND_GIFT, ALWAYS_DERIVED = DeriveTradeNo.NEVER, DeriveTradeNo.SERIAL_AND_GIFT, DeriveTradeNo.ALWAYS


def only_request(*items: TicketItem, **fields: object) -> IssueRequest:
    """The request of an order that is one part."""
    (part,) = plan(order(**fields), items, ALWAYS)
    return part.request


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        ([item("A")], TradeNoKind.MERCHANT),
        ([item("G", voucher=GIFT)], TradeNoKind.FREE),
        ([item("G", voucher=GIFT), item("H", voucher=GIFT)], TradeNoKind.FREE),
        ([item("A"), item("G", voucher=GIFT)], TradeNoKind.MERCHANT),
        ([item("S", 1, SERIAL)], TradeNoKind.MERCHANT),
        ([item("S", 1, SERIAL, voucher=GIFT)], TradeNoKind.FREE),
    ],
)
def test_only_gift_vouchers_make_a_free_trade_no(items: list[TicketItem], kind: TradeNoKind) -> None:
    """A pick-up voucher makes it MerchantTradeNo; "if all the items ... are gift vouchers", FreeTradeNo."""
    (part,) = plan(order(trade_no="PAY1"), items, POLICY)

    assert part.trade_no == TradeNo(kind=kind, value="PAY1")
    assert part.request.trade_no == part.trade_no
    check([part], TODAY)


@pytest.mark.parametrize(
    "items",
    [
        [item("A", 9, CVS)],
        [item("A"), item("B", 1, PAPER)],
        [item("A", voucher=GIFT), item("A", voucher=GIFT, expire_date=LATER)],
    ],
)
def test_one_trade_no_is_one_call(items: list[TicketItem]) -> None:
    """A given number is used as it is, for one part only, else `does-not-fit`."""
    with pytest.raises(DoesNotFit, match="one trade_no but needs 2 Issue calls"):
        plan(order(trade_no="PAY1"), items, ALWAYS)


PICKUP_ITEM, GIFT_ITEM, SERIAL_ITEM = item("A"), item("G", voucher=GIFT), item("S", 1, SERIAL)


@pytest.mark.parametrize(
    ("derive", "items", "derived"),
    [
        (NEVER, [PICKUP_ITEM], False),
        (NEVER, [GIFT_ITEM], False),
        (NEVER, [SERIAL_ITEM], False),
        (SERIAL_AND_GIFT, [PICKUP_ITEM], False),
        (SERIAL_AND_GIFT, [GIFT_ITEM], True),
        (SERIAL_AND_GIFT, [SERIAL_ITEM], True),
        (SERIAL_AND_GIFT, [PICKUP_ITEM, GIFT_ITEM], False),
        (SERIAL_AND_GIFT, [SERIAL_ITEM, GIFT_ITEM], True),
        (SERIAL_AND_GIFT, [SERIAL_ITEM, PICKUP_ITEM], False),
        (ALWAYS_DERIVED, [PICKUP_ITEM], True),
        (ALWAYS_DERIVED, [GIFT_ITEM, SERIAL_ITEM, PICKUP_ITEM], True),
    ],
)
def test_a_number_is_derived_only_where_the_setting_allows_it(
    derive: DeriveTradeNo, items: list[TicketItem], derived: bool
) -> None:
    """`submit.derive_trade_no`; where it does not allow it, the order is `trade-no-missing`."""
    policy = replace(POLICY, derive=derive, prefix="EC")
    if not derived:
        with pytest.raises(TradeNoMissing, match=f"submit.derive_trade_no is {derive}"):
            plan(order(), items, policy)
        return

    parts = plan(order(), items, policy)

    assert [part.trade_no.value for part in parts] == [
        derive_trade_no(MERCHANT, "A-1001", number, prefix="EC") for number in range(1, len(parts) + 1)
    ]


def test_parts_are_counted_from_one() -> None:
    """Each part knows its number and how many there are, what it holds and how much that is."""
    parts = plan(order(), [item("A", 10, CVS), item("S", 2, SERIAL)], ALWAYS)

    assert [(part.number, part.of, part.ticket_count) for part in parts] == [(1, 3, 8), (2, 3, 2), (3, 3, 2)]
    assert parts[0].items == (PlannedItem(item_no="A", name=None, quantity=8),)
    assert parts[2].items == (PlannedItem(item_no=None, name="假日票券S", quantity=2),)


def test_the_same_order_is_planned_the_same() -> None:
    """After a crash the numbers must be the ones that were used before."""
    items = [item("A", 10, CVS), item("B", 3), item("A", 1, CVS), item("G", voucher=GIFT)]

    assert plan(order(), items, ALWAYS) == plan(order(), list(items), ALWAYS)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (CVS, {"customer_email"}),
        (PAPER, {"customer_name", "customer_address"}),
        (ELECTRONIC, {"customer_name", "customer_phone", "customer_email"}),
        (SERIAL, set()),
    ],
)
def test_only_the_customer_fields_that_the_type_uses_are_sent(kind: IssueType, sent: set[str]) -> None:
    """What ECTicket does not need does not travel, and cannot be wrong."""
    request = only_request(item("A", 1, kind))

    fields = {"customer_name", "customer_phone", "customer_email", "customer_address"}
    assert {name for name in fields if getattr(request, name) is not None} == sent


def test_an_unused_field_is_not_checked() -> None:
    """A telephone number from abroad stops no order for paper tickets."""
    parts = plan(order(customer=replace(CUSTOMER, phone="+81 3 0000", email="?")), [item("A", 1, PAPER)], ALWAYS)

    check(parts, TODAY)


def test_an_empty_customer_field_is_absent() -> None:
    """ "" and null are one."""
    request = only_request(item("A", 1, PAPER), print_type=PrintType.MERCHANT, customer=Customer(name="", address=""))

    assert request.customer_name is None
    assert request.customer_address is None


@pytest.mark.parametrize("kind", list(IssueType))
def test_type_specific_fields_are_sent_with_their_type_only(kind: IssueType) -> None:
    """PrintType belongs to paper, IsImmediate to electronic tickets."""
    request = only_request(item("A", 1, kind), print_type=PrintType.MERCHANT, immediate=True)

    assert request.print_type is (PrintType.MERCHANT if kind is PAPER else None)
    assert request.is_immediate is (True if kind is ELECTRONIC else None)


@pytest.mark.parametrize(
    ("kind", "immediate", "voucher", "dates"),
    [
        (ELECTRONIC, True, PICKUP, (None, None)),
        (ELECTRONIC, False, PICKUP, (TOMORROW, None)),
        (ELECTRONIC, False, GIFT, (TOMORROW, LATER)),
        (ELECTRONIC, True, GIFT, (None, LATER)),
        (CVS, False, PICKUP, (None, None)),
        (CVS, False, GIFT, (None, LATER)),
    ],
)
def test_dates_are_sent_only_where_they_mean_something(
    kind: IssueType, immediate: bool, voucher: object, dates: tuple[date | None, date | None]
) -> None:
    """StartDate with IsImmediate 2, ExpireDate for gift vouchers."""
    dated = item("A", 1, kind, voucher=voucher, start_date=TOMORROW, expire_date=LATER)

    (entry,) = only_request(dated, immediate=immediate).ticket_info

    assert (entry.start_date, entry.expire_date) == dates


def test_a_serial_number_is_sent_by_name_and_price() -> None:
    """ "There's no need to list the product first"; a listed product is sent by its number alone."""
    assert only_request(item("A", 2, SERIAL, item_no="VQT04959")).ticket_info == (
        TicketInfo(item_name="假日票券A", ticket_price=100, ticket_amount=2),
    )
    assert only_request(item("A", 2, name="票券", price=9)).ticket_info == (TicketInfo(item_no="A", ticket_amount=2),)


def test_settings_stand_in_for_what_the_order_does_not_say() -> None:
    """Operator and store of the order come first; notification URLs come from the settings alone."""
    policy = replace(
        ALWAYS,
        store_id="TAIPEI01",
        refund_notify_url="https://a.example/r",
        use_status_notify_url="https://a.example/u",
    )

    (own,) = plan(order(operator="Bob", store_id="TAINAN01"), [item()], policy)
    (default,) = plan(order(), [item()], policy)

    assert (own.request.operator, own.request.store_id) == ("Bob", "TAINAN01")
    assert (default.request.operator, default.request.store_id) == ("Angela", "TAIPEI01")
    assert default.request.refund_notify_url == "https://a.example/r"
    assert default.request.use_status_notify_url == "https://a.example/u"


@pytest.mark.parametrize(("family", "sent"), [(Family.TICKET, None), (Family.ISSUANCE, "1")])
def test_the_payment_provider_is_told_in_family_issuance(family: Family, sent: str | None) -> None:
    """`PaymentProvider` exists in one of the two families."""
    (part,) = plan(order(), [item()], replace(ALWAYS, family=family, payment_provider="1"))

    assert part.request.payment_provider == sent


def test_a_missing_operator_names_the_setting() -> None:
    """The operator has no default, and the message says where it goes."""
    parts = plan(order(), [item()], replace(ALWAYS, operator=None))

    with pytest.raises(InvalidOrder, match=r"Operator .*submit\.operator"):
        check(parts, TODAY)


def test_all_violations_of_all_parts_are_told_at_once() -> None:
    """One violation stops the whole order with nothing sent, so all of them are told, without a personal value."""
    wrong = order(customer=replace(CUSTOMER, phone="12345", email="nobody"))
    parts = plan(wrong, [item("A"), item("B", 1, CVS), item("S", 1, SERIAL, name="x")], ALWAYS)

    with pytest.raises(InvalidOrder) as caught:
        check(parts, TODAY)

    message = str(caught.value)
    assert "part 1 of 3: CustomerPhone" in message
    assert "part 1 of 3: CustomerEmail" in message
    assert "part 2 of 3: CustomerEmail" in message
    assert "part 3 of 3: TicketInfo[0].ItemName" in message
    assert "12345" not in message
    assert "nobody" not in message


def test_a_gift_among_pickup_vouchers_needs_its_last_day() -> None:
    """A request does not say which entries are gifts, so the plan does."""
    parts = plan(order(), [item("A"), item("G", voucher=GIFT, expire_date=None)], ALWAYS)

    with pytest.raises(InvalidOrder, match=r"TicketInfo\[1\].ExpireDate is required for a gift voucher"):
        check(parts, TODAY)


@pytest.mark.parametrize(
    ("trade_no", "gift", "fits"),
    [("X" * 25, False, True), ("X" * 26, False, False), ("X" * 20, True, True), ("X" * 21, True, False)],
)
def test_a_given_number_must_fit_its_kind(trade_no: str, gift: bool, fits: bool) -> None:
    """MerchantTradeNo is String(25), FreeTradeNo String(20)."""
    parts = plan(order(trade_no=trade_no), [item(voucher=GIFT if gift else PICKUP)], POLICY)

    if fits:
        check(parts, TODAY)
    else:
        with pytest.raises(InvalidOrder, match="FreeTradeNo" if gift else "MerchantTradeNo"):
            check(parts, TODAY)


def test_a_failed_part_can_get_its_next_number() -> None:
    """ECPay takes no number twice, so a reissue counts up; all else stays."""
    (part,) = plan(order(), [item()], replace(ALWAYS, prefix="EC"))

    again = renumbered(part, order_id="A-1001", prefix="EC")

    assert again.trade_no.value == derive_trade_no(MERCHANT, "A-1001", 1, prefix="EC", reissue=1)
    assert again.request == replace(part.request, trade_no=again.trade_no)
    assert (again.items, again.reissue) == (part.items, 1)


@pytest.mark.parametrize("quantity", [0, -1])
def test_a_quantity_is_at_least_one(quantity: int) -> None:
    """Lines and items are valid once they exist."""
    with pytest.raises(ValueError, match="at least 1"):
        Line(sku="A", quantity=quantity)
    with pytest.raises(ValueError, match="at least 1"):
        item("A", quantity)


def test_customer_data_stay_out_of_repr() -> None:
    """A traceback or a log line that shows an order shows no customer."""
    shown = repr(order()) + repr(plan(order(), [item()], ALWAYS))

    for value in (CUSTOMER.name, CUSTOMER.phone, CUSTOMER.email, CUSTOMER.address):
        assert str(value) not in shown
