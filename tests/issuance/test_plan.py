"""From order and items to parts with numbers and requests (docs/orders.md; page "Ticket Issuance")."""

from __future__ import annotations

from datetime import date

import pytest

from adapter.errors import DoesNotFit, InvalidOrder, TradeNoMissing
from adapter.issuance.order import Customer, Line, TicketItem
from adapter.issuance.plan import DeriveTradeNo, PlannedItem, check, plan, renumbered
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.values import replace

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
        [item("A"), item("B", start_date=TOMORROW), item("G", 1, CVS, voucher=GIFT)],
    ],
)
def test_one_trade_no_is_one_merchant_trade_no(items: list[TicketItem]) -> None:
    """A given number is used as it is, by one part that needs a MerchantTradeNo only, else `does-not-fit`."""
    with pytest.raises(DoesNotFit, match=r"one trade_no .*\b2 Issue"):
        plan(order(trade_no="PAY1"), items, ALWAYS)


@pytest.mark.parametrize(
    ("reason", "items", "kinds"),
    [
        ("gifts of another type", [item("A"), item("G", 2, CVS, voucher=GIFT)], "MF"),
        ("gifts that come first", [item("G", 2, CVS, voucher=GIFT), item("A")], "MF"),
        ("presale gifts", [item("A"), item("G", voucher=GIFT, start_date=TOMORROW)], "MF"),
        ("gifts that are too many for the call", [item("G", 60, voucher=GIFT), item("A", 60)], "MF"),
        ("gifts in two calls of their own", [item("A"), item("G", 9, CVS, voucher=GIFT)], "MFF"),
        ("gifts in the same call", [item("G", voucher=GIFT), item("A")], "M"),
        ("gifts only, in one call", [item("G", voucher=GIFT), item("H", voucher=GIFT)], "F"),
        ("gifts only, in two calls", [item("G", 9, CVS, voucher=GIFT)], "FF"),
    ],
)
def test_trade_no_belongs_to_the_call_that_needs_it(reason: str, items: list[TicketItem], kinds: str) -> None:
    """The part with a pickup voucher carries it; calls of gifts alone beside it get derived FreeTradeNos."""
    parts = plan(order(trade_no="PAY1"), items, replace(POLICY, prefix="EC"))

    expected = [TradeNo(kind=TradeNoKind.MERCHANT if kinds[0] == "M" else TradeNoKind.FREE, value="PAY1")] + [
        TradeNo(kind=TradeNoKind.FREE, value=derive_trade_no(MERCHANT, "A-1001", number, prefix="EC"))
        for number in range(2, len(kinds) + 1)
    ]
    assert [part.trade_no for part in parts] == expected, reason
    assert sum(part.ticket_count for part in parts) == sum(each.quantity for each in items)
    check(parts, TODAY)


def test_a_gift_with_trade_no_is_derived_only_where_the_setting_allows_it() -> None:
    """`never` means never: the order is `trade-no-missing`, and the message names the part and the setting."""
    items = [item("A"), item("G", 1, CVS, voucher=GIFT)]

    with pytest.raises(TradeNoMissing, match=r"submit.derive_trade_no is never.*part 2"):
        plan(order(trade_no="PAY1"), items, replace(POLICY, derive=NEVER))
    (alone,) = plan(order(trade_no="PAY1"), items[:1], replace(POLICY, derive=NEVER))
    assert alone.trade_no.value == "PAY1"


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
    """Fields that ECTicket does not need are not sent and cannot be wrong."""
    request = only_request(item("A", 1, kind))

    fields = {"customer_name", "customer_phone", "customer_email", "customer_address"}
    assert {name for name in fields if getattr(request, name) is not None} == sent


def test_an_unused_field_is_not_checked() -> None:
    """A telephone number from abroad stops no order for paper tickets."""
    parts = plan(order(customer=replace(CUSTOMER, phone="+81 3 0000", email="?")), [item("A", 1, PAPER)], ALWAYS)

    check(parts, TODAY)


@pytest.mark.parametrize("blank", ["", "  ", "\u3000\u00a0", "\ufeff\u200b \n"])
def test_a_blank_field_is_absent(blank: str) -> None:
    """ "" and null are one, and so is invisible text; settings stand in for a blank operator and store."""
    customer = Customer(name=blank, address=blank)
    (part,) = plan(
        order(print_type=PrintType.MERCHANT, customer=customer, operator=blank, store_id=blank),
        [item("A", 1, PAPER)],
        replace(ALWAYS, store_id="TPE01"),
    )
    request = part.request

    assert (request.operator, request.store_id) == ("Angela", "TPE01")

    assert request.customer_name is None
    assert request.customer_address is None


@pytest.mark.parametrize("kind", list(IssueType))
def test_type_specific_fields_are_sent_with_their_type_only(kind: IssueType) -> None:
    """PrintType belongs to paper, IsImmediate to electronic tickets."""
    request = only_request(item("A", 1, kind), print_type=PrintType.MERCHANT)

    assert request.print_type is (PrintType.MERCHANT if kind is PAPER else None)
    assert request.is_immediate is (True if kind is ELECTRONIC else None)


@pytest.mark.parametrize(
    ("kind", "dates", "sent"),
    [
        (ELECTRONIC, (None, None), (True, None, None)),
        (ELECTRONIC, (TOMORROW, None), (False, TOMORROW, None)),
        (ELECTRONIC, (TOMORROW, LATER), (False, TOMORROW, LATER)),
        (ELECTRONIC, (None, LATER), (True, None, LATER)),
        (CVS, (TOMORROW, None), (None, None, None)),
        (PAPER, (TOMORROW, LATER), (None, None, LATER)),
        (SERIAL, (TOMORROW, LATER), (None, None, LATER)),
    ],
)
def test_dates_decide_what_a_ticket_is(
    kind: IssueType, dates: tuple[date | None, date | None], sent: tuple[bool | None, date | None, date | None]
) -> None:
    """An electronic ticket with a first day is a presale (IsImmediate 2); any ticket with a last day is a gift."""
    start, last = dates
    (part,) = plan(order(), [TicketItem(
        item_no=None if kind is SERIAL else "A", name="假日票券", price=1, quantity=1, issue_type=kind,
        start_date=start, expire_date=last,
    )], ALWAYS)  # fmt: skip

    (entry,) = part.request.ticket_info
    assert (part.request.is_immediate, entry.start_date, entry.expire_date) == sent
    assert part.trade_no.kind is (TradeNoKind.MERCHANT if last is None else TradeNoKind.FREE)
    check([part], TODAY)


def test_presale_and_other_tickets_go_into_separate_calls() -> None:
    """A call has one IsImmediate, so the days of presale tickets are never lost."""
    parts = plan(
        order(), [item("A"), item("B", 2, start_date=TOMORROW), item("C"), item("D", start_date=LATER)], ALWAYS
    )

    assert [(part.request.is_immediate, [each.item_no for each in part.items]) for part in parts] == [
        (True, ["A", "C"]),
        (False, ["B", "D"]),
    ]
    assert [entry.start_date for entry in parts[1].request.ticket_info] == [TOMORROW, LATER]


@pytest.mark.parametrize(
    ("fields", "by_order", "names"),
    [
        ({"immediate": True, "start_date": LATER}, None, "start_date is 2024-06-01"),
        ({"start_date": LATER}, True, "start_date is 2024-06-01"),
        ({"immediate": False}, None, "no start_date"),
        ({}, False, "no start_date"),
        ({"voucher": PICKUP, "expire_date": LATER}, None, "expire_date is 2024-06-01"),
    ],
)
def test_a_contradiction_is_an_invalid_order(fields: dict[str, object], by_order: bool | None, names: str) -> None:
    """The message names the item, both fields and the page; the order's `immediate` is the default for each item."""
    with pytest.raises(InvalidOrder, match=rf"'A'.*{names}.*32163"):
        plan(order(immediate=by_order), [item("A", 1, ELECTRONIC, **fields)], ALWAYS)


@pytest.mark.parametrize("immediate", [True, False])
@pytest.mark.parametrize("kind", [CVS, PAPER, SERIAL])
def test_immediate_means_nothing_to_other_types(kind: IssueType, immediate: bool) -> None:
    """ "Other types of ticket issuance do not require filling out this field": no contradiction, and not sent."""
    request = only_request(item("A", 1, kind, immediate=immediate, start_date=LATER), immediate=not immediate)

    assert request.is_immediate is None
    assert request.ticket_info[0].start_date is None


def test_the_item_takes_precedence_over_the_order() -> None:
    """An order's `immediate` is a default: one item that says otherwise is no contradiction."""
    parts = plan(order(immediate=False), [item("A", immediate=True), item("B", start_date=LATER)], ALWAYS)

    assert [part.request.is_immediate for part in parts] == [True, False]


@pytest.mark.parametrize(
    ("today", "start", "last"),
    [
        (date(2024, 1, 1), LATER, date(2024, 6, 8)),
        (date(2024, 5, 31), LATER, date(2024, 6, 8)),
        (date(2024, 6, 1), date(2024, 6, 2), date(2024, 6, 9)),
        (date(2024, 6, 20), date(2024, 6, 21), date(2024, 6, 28)),
    ],
)
def test_a_start_that_moves_is_at_least_tomorrow(today: date, start: date, last: date) -> None:
    """ "The earliest start date can be set one day after the issue date"; the last day keeps its distance."""
    moving = item(
        "A", voucher=GIFT, start_date=LATER, expire_date=date(2024, 6, 8), start_moves=True, expire_moves=True
    )
    (part,) = plan(order(), [moving], ALWAYS)

    (entry,) = part.request_on(today).ticket_info

    assert (entry.start_date, entry.expire_date) == (start, last)
    check([part], today)


def test_a_fixed_last_day_stays_when_the_start_moves() -> None:
    """What was fixed was promised; once the start has moved behind it, the order is invalid."""
    last = date(2024, 6, 8)
    (part,) = plan(order(), [item("A", voucher=GIFT, start_date=LATER, expire_date=last, start_moves=True)], ALWAYS)

    assert part.request_on(date(2024, 6, 7)).ticket_info[0].expire_date == last
    check([part], date(2024, 6, 7))
    with pytest.raises(InvalidOrder, match="ExpireDate"):
        check([part], last)


def test_numbers_do_not_change_with_the_day_of_sending() -> None:
    """Two first days that both have come are one day when they are sent, and still two parts with their numbers."""
    days = [item("A", start_date=date(2024, 6, day), start_moves=True) for day in (1, 2)]
    parts = plan(order(), days, ALWAYS)

    sent = [part.request_on(date(2024, 7, 1)) for part in parts]

    assert [request.ticket_info[0].start_date for request in sent] == [date(2024, 7, 2)] * 2
    assert [request.trade_no for request in sent] == [part.trade_no for part in plan(order(), days, ALWAYS)]


def test_a_fixed_start_does_not_move() -> None:
    """What the shop or the catalogue fixed as a day is not changed; once it has come the order is invalid."""
    parts = plan(order(), [item("A", start_date=LATER)], ALWAYS)

    with pytest.raises(InvalidOrder, match="StartDate"):
        check(parts, LATER)


def test_a_serial_number_is_sent_by_name_and_price() -> None:
    """ "There's no need to list the product first"; a listed product is sent by its number alone."""
    assert only_request(item("A", 2, SERIAL, item_no="VQT04959")).ticket_info == (
        TicketInfo(item_name="假日票券A", ticket_price=100, ticket_amount=2),
    )
    assert only_request(item("A", 2, name="票券", price=9)).ticket_info == (TicketInfo(item_no="A", ticket_amount=2),)


def test_settings_stand_in_for_what_the_order_leaves_out() -> None:
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
def test_the_payment_provider_is_sent_in_family_issuance(family: Family, sent: str | None) -> None:
    """`PaymentProvider` exists in one of the two families."""
    (part,) = plan(order(), [item()], replace(ALWAYS, family=family, payment_provider="1"))

    assert part.request.payment_provider == sent


def test_a_missing_operator_names_the_setting() -> None:
    """The operator has no default, and the message says where it goes."""
    parts = plan(order(), [item()], replace(ALWAYS, operator=None))

    with pytest.raises(InvalidOrder, match=r"Operator .*submit\.operator"):
        check(parts, TODAY)


def test_all_violations_of_all_parts_are_reported_at_once() -> None:
    """One violation stops the whole order with nothing sent, so all of them are reported, without a personal value."""
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

    with pytest.raises(InvalidOrder, match=r"TicketInfo\[1\]\.ExpireDate .*gift"):
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
    """ECPay accepts no number twice, so a reissue counts up; all else stays."""
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
