"""Every field rule of the specification, on both sides of its border.

Each case changes one thing in an example that keeps all rules, and says which field must be complained about.
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.protocol.query_issue_result import ResultRequest
from adapter.protocol.query_item_info import ItemRequest
from adapter.protocol.rules import (
    ISSUE_PAGE,
    ITEM_PAGE,
    MAX_TICKETS,
    REPORT_PAGE,
    RESULT_PAGE,
    Violation,
    issue_violations,
    item_violations,
    report_violations,
    result_violations,
)

from .samples import (
    CONVENIENCE_STORE,
    ELECTRONIC,
    EXAMPLES,
    GIFT,
    GIFT_NUMBER,
    NUMBER,
    PAPER,
    SERIAL_NUMBER,
    TODAY,
    fast,
    json_values,
)

TOMORROW = TODAY + timedelta(days=1)
YESTERDAY = TODAY - timedelta(days=1)
NOW_ELECTRONIC = replace(
    ELECTRONIC,
    is_immediate=True,
    ticket_info=tuple(replace(entry, start_date=None) for entry in ELECTRONIC.ticket_info),
)
MAILED = replace(PAPER, print_type=PrintType.ECPAY, customer_address="115台北市南港區三重路19-2號6樓-2")
"""Paper that ECPay prints."""


def _broken(request: IssueRequest) -> list[str]:
    """Name the fields that break a rule."""
    return [violation.field for violation in issue_violations(request, today=TODAY)]


def _entry(request: IssueRequest, **changed: object) -> IssueRequest:
    """Change the first entry of TicketInfo."""
    first, *others = request.ticket_info
    return replace(request, ticket_info=(replace(first, **changed), *others))  # type: ignore[arg-type]  # wrong on purpose


def _with(request: IssueRequest, **changed: object) -> IssueRequest:
    """Change fields, also to what their types forbid."""
    return replace(request, **changed)  # type: ignore[arg-type]  # wrong on purpose


# -- what keeps all rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_page_keep_all_rules(name: str) -> None:
    """The page's own examples, and one of gift vouchers."""
    assert issue_violations(EXAMPLES[name], today=TODAY) == ()


@pytest.mark.parametrize(
    "request_",
    [
        NOW_ELECTRONIC,
        MAILED,
        replace(PAPER, customer_name=None),
        replace(SERIAL_NUMBER, trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value="a")),
        replace(CONVENIENCE_STORE, payment_provider="2"),
        replace(
            CONVENIENCE_STORE,
            ticket_info=(GIFT.ticket_info[0], TicketInfo(item_no="B1", ticket_amount=1)),
        ),
        replace(GIFT, issue_type=IssueType.SERIAL_NUMBER, customer_email=None, ticket_info=(
            TicketInfo(item_name="贈品券一", ticket_price=0, ticket_amount=100, expire_date=TODAY),
        )),
    ],
    ids=["immediate", "mailed", "paper for nobody", "short number", "family issuance", "mixed vouchers", "gift serial"],
)  # fmt: skip
def test_other_forms_keep_all_rules_too(request_: IssueRequest) -> None:
    """Each way of issuing that the page allows."""
    assert issue_violations(request_, today=TODAY) == ()


# -- fields of text ------------------------------------------------------------------------------------------------

NO_ALPHANUMERICS = ["", " ", "A B", "A-1", "A_1", "王", "Ａ１", "é", "٣", "²", "A\n", "\nA", "<b>", "\ud800", "a\x00"]

GOOD: dict[str, list[str]] = {
    "merchant_id": ["1", "3085676", "1234567890"],
    "operator": ["A", "AngelaChan", "0123456789"],
    "store_id": ["A1", "TP" * 10],
    "customer_name": [
        "王明", "王小明", "歐陽" * 10, "瓦歷斯·諾幹", "拉娃‧谷幸", "𠮷田", "〇九", "Jo", "Angela Chan",
        "J. R. O'Hara-Li", "Wang, Amy", "Li Jr.", "A" * 20,
    ],
    "customer_phone": ["0912345678", "0900000000"],
    "customer_email": [
        "a@b.tw", "abc@gmail.com", "a.b+c_d-e@mail-1.example.com.tw", "o'hara@x.io", "x" * 73 + "@ab.com",
    ],
    "customer_address": ["台", "115台北市南港區三重路19-2號6樓-2 (後棟) 3 < 4 & 5 > 2", "路" * 100, "Rd. 1\nTaipei"],
    "refund_notify_url": [
        "http://a.tw", "https://www.example.com.tw:443/a/b?c=d&e=%20#f", "HTTPS://xn--fiq.tw/", "https://1.2.3.4/",
        "https://a.tw/" + "x" * 187,
    ],
    "payment_provider": ["1", "2"],
}  # fmt: skip
BAD: dict[str, list[str]] = {
    "merchant_id": [*NO_ALPHANUMERICS, "1" * 11],
    "operator": [*NO_ALPHANUMERICS, "AngelaChan1"],
    "store_id": [*NO_ALPHANUMERICS, "A", "A" * 21],
    "customer_name": [
        "", " ", "王", "J", "王Amy", "Amy 王", "王 小明", "王小明 ", " 王小明", "王小明1", "Amy2", "王．", "·王小明",
        "ＡＭＹ", "José", "みなみ", "김철수", "王" * 21, "A" * 21, "<b>王明</b>", "王明\n", "- -", "王明😀",
        "\ud800\ud800",
    ],
    "customer_phone": [
        "", "0812345678", "091234567", "09123456789", "0912-345678", "0912 345 678", "+886912345678",
        "０９１２３４５６７８", "09١٢٣٤٥٦٧٨", "0912345678\n", "09abcdefgh",
    ],
    "customer_email": [
        "", "abc", "abc@", "@gmail.com", "abc@gmail", "a b@gmail.com", "abc@@gmail.com", "abc＠gmail.com",
        "ａbc@gmail.com", "王@gmail.com", "abc@gmail..com", "abc@.com", "abc@gmail.com.", "<a@b.tw>", "a@b.tw, c@d.tw",
        "abc@gmail.com\n",
        "x" * 74 + "@ab.com",
    ],
    "customer_address": ["", " ", "\u3000", "路" * 101, "<b>台北</b>", "台北</p>", "台北<!-- x", "<?xml", "台北\ud83d"],
    "refund_notify_url": [
        "", "a.tw", "//a.tw/", "ftp://a.tw/", "javascript:alert(1)", "http://", "http:///path", "http://?q",
        "https://a b.tw/", "https://王.tw/", "https://a.tw/<b>", 'https://a.tw/"', "https://a.tw/\n", "http://[::1/",
        "https://a.tw/" + "x" * 188,
    ],
    "payment_provider": ["", "0", "3", "12", "ECPay"],
}  # fmt: skip
BAD["use_status_notify_url"], GOOD["use_status_notify_url"] = BAD["refund_notify_url"], GOOD["refund_notify_url"]

WIRE = {
    "merchant_id": "MerchantID",
    "operator": "Operator",
    "store_id": "StoreID",
    "customer_name": "CustomerName",
    "customer_phone": "CustomerPhone",
    "customer_email": "CustomerEmail",
    "customer_address": "CustomerAddress",
    "refund_notify_url": "RefundNotifyURL",
    "use_status_notify_url": "UseStatusNotifyURL",
    "payment_provider": "PaymentProvider",
}


def _cases(table: dict[str, list[str]]) -> list[object]:
    """Lay a table out as test parameters."""
    return [
        pytest.param(field, value, id=f"{field}-{ascii(value)[:30]}")
        for field, values in table.items()
        for value in values
    ]


@pytest.mark.parametrize(("field", "value"), _cases(GOOD))
def test_value_keeps_its_rule(field: str, value: str) -> None:
    """Shortest, longest, and the odd ones that are right."""
    assert _broken(_with(MAILED, **{field: value})) == []


@pytest.mark.parametrize(("field", "value"), _cases(BAD))
def test_value_breaks_its_rule(field: str, value: str) -> None:
    """Too short, too long, and the odd ones that are wrong; no other field is blamed."""
    assert _broken(_with(MAILED, **{field: value})) == [WIRE[field]]


@pytest.mark.parametrize("field", WIRE)
@pytest.mark.parametrize("value", [7, True, [], {}, b"AngelaChan", object()], ids=lambda value: type(value).__name__)
def test_value_of_another_type_breaks_its_rule(field: str, value: object) -> None:
    """Plugins make requests, too, and Python lets them put anything in."""
    assert _broken(_with(MAILED, **{field: value})) == [WIRE[field]]


@pytest.mark.parametrize("field", ["merchant_id", "operator"])
def test_required_text_must_be_there(field: str) -> None:
    """MerchantID and Operator are required of everyone."""
    assert _broken(_with(PAPER, **{field: None})) == [WIRE[field]]


# -- numbers of issuances ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trade_no", "example"), [(NUMBER, CONVENIENCE_STORE), (GIFT_NUMBER, GIFT)], ids=["MerchantTradeNo", "FreeTradeNo"]
)
def test_trade_number_is_alphanumeric_of_its_own_length(trade_no: TradeNo, example: IssueRequest) -> None:
    """25 characters for MerchantTradeNo, 20 for FreeTradeNo."""
    field = trade_no.kind.field_name
    longest = {"MerchantTradeNo": 25, "FreeTradeNo": 20}[field]

    for good in ("a", "Z" * longest, "0123456789abcdefXYZ"):
        assert _broken(replace(example, trade_no=replace(trade_no, value=good))) == []
    for bad in (*NO_ALPHANUMERICS, "Z" * (longest + 1), None, 7):
        assert _broken(_with(example, trade_no=_number(trade_no.kind, bad))) == [field]


def _number(kind: object, value: object) -> TradeNo:
    """Make a number that may be none."""
    return TradeNo(kind=kind, value=value)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("trade_no", [None, "CBX1", _number("neither", "A"), _number(None, None), _number([], "A")])
def test_call_without_a_number_is_refused(trade_no: object) -> None:
    """One of the two must be filled."""
    assert _broken(_with(CONVENIENCE_STORE, trade_no=trade_no)) == ["MerchantTradeNo"]


def test_pickup_vouchers_do_not_go_under_a_free_number() -> None:
    """ "If all the items are gift vouchers": each of them has ExpireDate, and the one that has none is named."""
    entries = (GIFT.ticket_info[0], TicketInfo(item_no="B1", ticket_amount=1))

    assert _broken(replace(GIFT, ticket_info=entries)) == ["TicketInfo[1].ExpireDate"]


def test_gift_vouchers_alone_do_not_go_under_a_merchant_number() -> None:
    """ "If all the items in the order are gift vouchers, please do not fill in this field." """
    assert _broken(replace(GIFT, trade_no=NUMBER)) == ["MerchantTradeNo"]


# -- what belongs to an issue type ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", "5", 1, None, "", TradeNoKind.FREE])
def test_issue_type_is_one_of_four(value: object) -> None:
    """Nothing else can be checked without it, so it is the only complaint."""
    assert _broken(_with(ELECTRONIC, issue_type=value, customer_phone="x")) == ["IssueType"]


@pytest.mark.parametrize("value", [None, "1", "3", 1, IssueType.CONVENIENCE_STORE])
def test_paper_says_who_prints(value: object) -> None:
    """PrintType is required for paper."""
    assert _broken(_with(PAPER, print_type=value)) == ["PrintType"]


@pytest.mark.parametrize("value", [None, "1", "2", 1, 0])
def test_electronic_tickets_say_from_when_they_can_be_used(value: object) -> None:
    """IsImmediate is required for electronic tickets."""
    assert _broken(_with(NOW_ELECTRONIC, is_immediate=value)) == ["IsImmediate"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_fields_of_another_type_are_left_out(name: str) -> None:
    """PrintType belongs to paper and IsImmediate to electronic tickets alone."""
    example = EXAMPLES[name]

    if example.issue_type is not IssueType.PAPER:
        assert _broken(replace(example, print_type=PrintType.MERCHANT)) == ["PrintType"]
    if example.issue_type is not IssueType.ELECTRONIC:
        assert _broken(replace(example, is_immediate=True)) == ["IsImmediate"]


REQUIRED = {
    "convenience store": (CONVENIENCE_STORE, {"CustomerEmail"}),
    "electronic": (ELECTRONIC, {"CustomerName", "CustomerPhone", "CustomerEmail"}),
    "paper, merchant prints": (PAPER, set()),
    "paper, ECPay prints": (MAILED, {"CustomerName", "CustomerAddress"}),
    "serial number": (SERIAL_NUMBER, set()),
}


@pytest.mark.parametrize("name", REQUIRED)
def test_customer_fields_are_required_where_the_type_needs_them(name: str) -> None:
    """Mail for convenience stores; name, phone and mail for electronic; name and address for what ECPay prints."""
    example, required = REQUIRED[name]
    nobody = replace(example, customer_name=None, customer_phone=None, customer_email=None, customer_address=None)

    assert set(_broken(nobody)) == required


@pytest.mark.parametrize("name", EXAMPLES)
def test_customer_fields_must_be_well_formed_wherever_they_are_sent(name: str) -> None:
    """Also where they are not required."""
    changed = replace(EXAMPLES[name], customer_name="1", customer_phone="1", customer_email="1", customer_address="<p>")

    assert _broken(changed) == ["CustomerName", "CustomerPhone", "CustomerEmail", "CustomerAddress"]


# -- items ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [(), [], None, "x", (None,), ({"ItemNo": "A"},), (TicketInfo,)], ids=str)
def test_call_without_items_is_refused(value: object) -> None:
    """TicketInfo holds at least one entry."""
    assert _broken(_with(CONVENIENCE_STORE, ticket_info=value)) == ["TicketInfo"]


@pytest.mark.parametrize("value", [*NO_ALPHANUMERICS, "A" * 9, None, 7])
def test_item_number_has_up_to_eight_letters_or_digits(value: object) -> None:
    """Required for all types but serial numbers."""
    assert _broken(_entry(CONVENIENCE_STORE, item_no=value)) == ["TicketInfo[0].ItemNo"]


@pytest.mark.parametrize("value", ["A", "VQT04959", "12345678"])
def test_item_number_is_accepted(value: str) -> None:
    """One character to eight."""
    assert _broken(_entry(CONVENIENCE_STORE, item_no=value)) == []


def test_item_number_occurs_once_in_a_call() -> None:
    """The second and the third are named."""
    entry = TicketInfo(item_no="A1", ticket_amount=1)
    others = TicketInfo(item_no="a1", ticket_amount=1)

    found = _broken(replace(CONVENIENCE_STORE, ticket_info=(entry, others, entry, entry)))
    assert found == ["TicketInfo[2].ItemNo", "TicketInfo[3].ItemNo"]


def test_serial_numbers_may_repeat_a_name() -> None:
    """Only product numbers must not be repeated."""
    entry = SERIAL_NUMBER.ticket_info[0]

    assert _broken(replace(SERIAL_NUMBER, ticket_info=(entry, entry))) == []


@pytest.mark.parametrize("value", ["溫泉券一", "SPA課程體驗券", "()_/,.$%-", "Aa09", "券" * 20, "〇九週年", "㐀𠮷豈龍"])
def test_name_of_a_serial_number_is_accepted(value: str) -> None:
    """4 to 20 of Chinese, English, digits and nine signs."""
    assert _broken(_entry(SERIAL_NUMBER, item_name=value)) == []


@pytest.mark.parametrize(
    "value",
    [None, "", "溫泉券", "券" * 21, "溫泉 券一", "溫泉券（一）", "ＳＰＡ課程", "溫泉券!", "溫泉券'一", "温泉の券",
     "溫泉券一\n", "<b>溫泉</b>", "溫泉券😀", "ab&cd", "溫泉券１", 1234, ["溫泉券一"]],
    ids=ascii,
)  # fmt: skip
def test_name_of_a_serial_number_is_refused(value: object) -> None:
    """Too short, too long, white space, full-width, and signs that are not on the list."""
    assert _broken(_entry(SERIAL_NUMBER, item_name=value)) == ["TicketInfo[0].ItemName"]


@pytest.mark.parametrize("value", [0, 1, 6600, 999_999_999])
def test_price_of_a_serial_number_is_accepted(value: int) -> None:
    """NT$0 to NT$999,999,999."""
    assert _broken(_entry(SERIAL_NUMBER, ticket_price=value)) == []


@pytest.mark.parametrize("value", [None, -1, 1_000_000_000, 10**30, 1.5, 100.0, True, "6600"])
def test_price_of_a_serial_number_is_refused(value: object) -> None:
    """Missing, out of range, or no whole number."""
    assert _broken(_entry(SERIAL_NUMBER, ticket_price=value)) == ["TicketInfo[0].TicketPrice"]


@pytest.mark.parametrize("value", [None, 0, -1, 1.0, True, "1", -(10**30)])
def test_amount_is_a_whole_number_from_one(value: object) -> None:
    """TicketAmount is required of every entry."""
    assert _broken(_entry(CONVENIENCE_STORE, ticket_amount=value)) == ["TicketInfo[0].TicketAmount"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_sum_of_amounts_is_bounded_over_the_call(name: str) -> None:
    """8 tickets for convenience stores, 100 for all others; the sum counts, not the entry."""
    example = EXAMPLES[name]
    first = example.ticket_info[0]
    second = replace(first, item_no="B2" if first.item_no else None, ticket_amount=1)
    limit = MAX_TICKETS[example.issue_type]

    assert limit == (8 if example.issue_type is IssueType.CONVENIENCE_STORE else 100)
    assert _broken(replace(example, ticket_info=(replace(first, ticket_amount=limit - 1), second))) == []
    assert _broken(replace(example, ticket_info=(replace(first, ticket_amount=limit), second))) == ["TicketAmount"]


def test_fields_of_serial_numbers_are_checked_wherever_they_are_sent() -> None:
    """And an item number with a serial number, too."""
    assert _broken(_entry(PAPER, item_name="x", ticket_price=-1)) == [
        "TicketInfo[0].ItemName",
        "TicketInfo[0].TicketPrice",
    ]
    assert _broken(_entry(SERIAL_NUMBER, item_no="A-1")) == ["TicketInfo[0].ItemNo"]
    assert _broken(_entry(SERIAL_NUMBER, item_no="A1")) == []


# -- dates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [TOMORROW, date(2099, 12, 31), date.max])
def test_start_date_is_accepted_from_the_next_day_on(day: date) -> None:
    """ "The earliest start date can be set one day after the issue date." """
    assert _broken(_entry(ELECTRONIC, start_date=day)) == []


@pytest.mark.parametrize("day", [None, TODAY, YESTERDAY, date.min, "20240302", datetime(2024, 3, 2), 20240302])
def test_start_date_is_refused_before_the_next_day(day: object) -> None:
    """Missing, today, past, or no date; a time is no date either."""
    assert _broken(_entry(ELECTRONIC, start_date=day)) == ["TicketInfo[0].StartDate"]


@pytest.mark.parametrize("example", [NOW_ELECTRONIC, CONVENIENCE_STORE, PAPER, SERIAL_NUMBER])
def test_start_date_is_left_out_of_what_can_be_used_at_once(example: IssueRequest) -> None:
    """ "Fixed as the date of ticket issuance" means that it is not ours to say."""
    assert _broken(_entry(example, start_date=TOMORROW)) == ["TicketInfo[0].StartDate"]


@pytest.mark.parametrize(("day", "broken"), [(YESTERDAY, True), (TODAY, False), (TOMORROW, False)])
def test_expire_date_is_not_before_today_for_immediate_vouchers(day: date, broken: bool) -> None:
    """Their start is the day of issue."""
    assert _broken(_entry(GIFT, expire_date=day)) == (["TicketInfo[0].ExpireDate"] if broken else [])


@pytest.mark.parametrize(("days", "broken"), [(-1, True), (0, False), (1, False)])
def test_expire_date_is_not_before_the_start_date(days: int, broken: bool) -> None:
    """ "The date cannot be earlier than the ticket's start date." """
    start = date(2024, 6, 1)
    entry = TicketInfo(item_no="A1", ticket_amount=1, start_date=start, expire_date=start + timedelta(days=days))

    found = _broken(replace(ELECTRONIC, trade_no=GIFT_NUMBER, ticket_info=(entry,)))
    assert found == (["TicketInfo[0].ExpireDate"] if broken else [])


@pytest.mark.parametrize("day", ["20241231", datetime(2024, 12, 31), 20241231])
def test_expire_date_is_a_date(day: object) -> None:
    """Not text, not a time."""
    assert _broken(_entry(GIFT, expire_date=day)) == ["TicketInfo[0].ExpireDate"]


def test_last_day_of_the_calendar_is_a_day_as_any_other() -> None:
    """No arithmetic runs off the end of it: nothing can start later, and that is what is said."""
    violations = issue_violations(_entry(ELECTRONIC, start_date=date.max), today=date.max)

    assert [violation.field for violation in violations] == ["TicketInfo[0].StartDate", "TicketInfo[1].StartDate"]


# -- the other requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("merchant_id", "trade_no", "broken"),
    [
        ("3085676", NUMBER, []),
        ("3085676", GIFT_NUMBER, []),
        ("", NUMBER, ["MerchantID"]),
        ("3085676", _number(TradeNoKind.FREE, "A" * 21), ["FreeTradeNo"]),
        ("3085676", _number(TradeNoKind.MERCHANT, "A-1"), ["MerchantTradeNo"]),
        ("30 85", None, ["MerchantID", "MerchantTradeNo"]),
    ],
)
def test_rules_of_query_issue_result(merchant_id: str, trade_no: TradeNo, broken: list[str]) -> None:
    """Who asks, and for which number."""
    found = result_violations(ResultRequest(merchant_id=merchant_id, trade_no=trade_no))

    assert [violation.field for violation in found] == broken
    assert {violation.page for violation in found} <= {RESULT_PAGE}


@pytest.mark.parametrize(
    ("merchant_id", "item_no", "broken"),
    [
        ("3085676", "CHF80957", []),
        ("30856760000", "CHF80957", ["MerchantID"]),
        ("3085676", "CHF809570", ["ItemNo"]),
        ("3085676", "", ["ItemNo"]),
        ("3085676", None, ["ItemNo"]),
    ],
)
def test_rules_of_query_item_info(merchant_id: str, item_no: str, broken: list[str]) -> None:
    """Who asks, and for which item."""
    found = item_violations(ItemRequest(merchant_id=merchant_id, item_no=item_no))

    assert [violation.field for violation in found] == broken
    assert {violation.page for violation in found} <= {ITEM_PAGE}


@pytest.mark.parametrize(
    ("begin", "end", "broken"),
    [
        (date(2024, 3, 1), date(2024, 3, 1), []),
        (date(2024, 3, 1), date(2024, 6, 1), []),
        (date(2024, 3, 1), date(2024, 6, 2), ["EndDate"]),
        (date(2023, 11, 30), date(2024, 2, 29), []),
        (date(2023, 11, 30), date(2024, 3, 1), ["EndDate"]),
        (date(2022, 11, 30), date(2023, 2, 28), []),
        (date(2023, 10, 31), date(2024, 1, 31), []),
        (date(2024, 12, 1), date(2025, 3, 1), []),
        (date(2024, 3, 2), date(2024, 3, 1), ["EndDate"]),
        (date.max, date.max, []),
        (date(9999, 11, 1), date.max, []),
        (None, date(2024, 3, 1), ["BeginDate"]),
        ("20240301", datetime(2024, 3, 1), ["BeginDate", "EndDate"]),
    ],
)
def test_period_of_a_report_is_at_most_three_months(begin: date, end: date, broken: list[str]) -> None:
    """Calendar months, both days included, also over the end of a year and of a short month."""
    request = ReportRequest(merchant_id="3085676", report_type=ReportType.ORDERS, begin_date=begin, end_date=end)

    found = report_violations(request)
    assert [violation.field for violation in found] == broken
    assert {violation.page for violation in found} <= {REPORT_PAGE}


def test_report_type_is_one_of_two() -> None:
    """And the merchant is checked here, too."""
    wrong: object = 3
    request = ReportRequest(
        merchant_id="x y",
        report_type=wrong,  # type: ignore[arg-type]  # wrong on purpose
        begin_date=TODAY,
        end_date=TODAY,
    )

    assert [violation.field for violation in report_violations(request)] == ["MerchantID", "ReportType"]


# -- what a violation tells ----------------------------------------------------------------------------------------


def test_violation_names_field_rule_page_and_value() -> None:
    """One sentence that a person can act on."""
    (violation,) = issue_violations(replace(PAPER, operator="Angela Chan"), today=TODAY)

    assert violation == Violation(
        field="Operator",
        rule="must be 1 to 10 half-width letters or digits",
        page=ISSUE_PAGE,
        shape="'Angela Chan'",
    )
    assert str(violation) == (
        "Operator must be 1 to 10 half-width letters or digits; it is 'Angela Chan'"
        " (Ticket Issuance, developers.ecpay.com.tw/32163)."
    )


def test_violation_tells_the_shape_of_personal_values_and_never_the_values() -> None:
    """A message on the dead letters, in a log or in an event holds no customer data."""
    request = replace(
        MAILED,
        customer_name="王小明Amy",
        customer_phone="0912-345-67８",
        customer_email="amy wang@gmail",
        customer_address="<b>台北市</b>",
        refund_notify_url="https://user:hunter2@a.tw/\n",
    )

    shapes = {violation.field: violation.shape for violation in issue_violations(request, today=TODAY)}
    assert shapes == {
        "CustomerName": "6 characters: 3 Chinese, 3 letters",
        "CustomerPhone": "12 characters: 9 digits, 1 full-width, 2 other",
        "CustomerEmail": "14 characters: 12 letters, 1 white space, 1 other",
        "CustomerAddress": "10 characters: 3 Chinese, 2 letters, 5 other",
        "RefundNotifyURL": "27 characters: 18 letters, 1 digits, 1 white space, 7 other",
    }


def test_long_values_are_cut_short() -> None:
    """A megabyte in a field does not become a megabyte in a log."""
    found = issue_violations(_with(PAPER, operator="A" * 10**6, store_id=10**5000), today=TODAY)

    assert all(len(str(violation)) < 250 for violation in found)
    assert {violation.field for violation in found} == {"Operator", "StoreID"}


def test_all_violations_are_named_at_once() -> None:
    """Whoever mends an order mends it once."""
    request = _with(
        _entry(ELECTRONIC, item_no="too long for it", ticket_amount=0, start_date=TODAY),
        operator="",
        store_id="x",
        customer_phone=None,
    )

    assert _broken(request) == [
        "StoreID",
        "Operator",
        "CustomerPhone",
        "TicketInfo[0].ItemNo",
        "TicketInfo[0].TicketAmount",
        "TicketInfo[0].StartDate",
    ]


anything = (
    json_values | st.dates() | st.datetimes() | st.sampled_from([*IssueType, *PrintType, *TradeNoKind, NUMBER, object])
)
odd_entries = st.builds(
    lambda values: TicketInfo(**values),
    st.fixed_dictionaries(
        {"ticket_amount": anything},
        optional={f.name: anything for f in fields(TicketInfo) if f.name != "ticket_amount"},
    ),
)
odd_changes = st.fixed_dictionaries(
    {},
    optional={field.name: anything for field in fields(IssueRequest) if field.name != "ticket_info"}
    | {
        "ticket_info": anything | st.lists(odd_entries, max_size=3).map(tuple),
        "trade_no": st.builds(_number, anything, anything),
    },
)


@fast
@given(st.sampled_from(sorted(EXAMPLES)), odd_changes)
def test_checking_never_raises_whatever_a_request_holds(name: str, changed: dict[str, object]) -> None:
    """A plugin's mistake is a violation and no crash; and every violation is one printable sentence."""
    for violation in issue_violations(_with(EXAMPLES[name], **changed), today=TODAY):
        assert str(violation).encode()
        assert "\n" not in str(violation)


@fast
@given(st.text(), st.text(), st.text(), st.text())
def test_no_customer_data_in_any_violation(name: str, phone: str, email: str, address: str) -> None:
    """Whatever a customer types, it does not come out of the rules again."""
    marked = {"customer_name": f"甲乙丙{name}", "customer_phone": f"0987{phone}", "customer_email": f"zqzq{email}",
              "customer_address": f"<i>丁戊{address}"}  # fmt: skip
    told = " ".join(map(str, issue_violations(_with(ELECTRONIC, **marked), today=TODAY)))

    assert not [mark for mark in ("甲乙丙", "0987", "zqzq", "丁戊") if mark in told]
