"""The rules of an Issue request, each on both sides of its border; those of single texts are in `test_value_rules`.

Each case changes one thing in an example that keeps all rules, and says which field must be complained about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from key_words import mentions
from quick import examples

from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.rules import (
    ISSUE_PAGE,
    MAX_TICKETS,
    is_usual_and_valid,
    issue_violations,
    violations_rule_by_rule,
)
from adapter.values import replace

from .samples import (
    CONVENIENCE_STORE,
    ELECTRONIC,
    EXAMPLES,
    GIFT,
    GIFT_NUMBER,
    MAILED,
    NO_ALPHANUMERICS,
    NUMBER,
    PAPER,
    SERIAL_NUMBER,
    TODAY,
    altered,
    altered_entry,
    broken_fields,
    fast,
    json_values,
    odd_number,
)

TOMORROW = TODAY + timedelta(days=1)
YESTERDAY = TODAY - timedelta(days=1)
NOW_ELECTRONIC = replace(
    ELECTRONIC,
    is_immediate=True,
    ticket_info=tuple(replace(entry, start_date=None) for entry in ELECTRONIC.ticket_info),
)


# -- all at once, and one by one -------------------------------------------------------------------------------------

_ODD: st.SearchStrategy[object] = (
    st.sampled_from([*NO_ALPHANUMERICS, None, True, 0, 1, 1.5, b"A", (), [], NUMBER, GIFT_NUMBER, TODAY, TOMORROW])
    | st.sampled_from([*IssueType, *PrintType, odd_number(TradeNoKind.MERCHANT, None), odd_number("merchant", "A1")])
    | st.sampled_from(["A1", "1", "3", "王小明", "Jo Li", "0912345678", "a@b.tw", "https://a.tw/", "x" * 201, "<b>"])
    | json_values
)
_ODD_ENTRY: st.SearchStrategy[object] = (
    st.sampled_from([*NO_ALPHANUMERICS, None, True, False, 0, -1, 1, 8, 93, 94, 95, 100, 101, 10**30, 1.0, "1", b"A"])
    | st.sampled_from(["VQT04959", "VNS21400", "五星渡假飯店", "A" * 9, TODAY, TOMORROW, YESTERDAY, datetime.max])
    | json_values
)


def _changes(names: Iterable[str], values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Up to three fields with other values."""
    return st.dictionaries(st.sampled_from(list(names)), values, max_size=3)


_requests = st.builds(
    lambda request, changed, entries, changed_entry: altered(
        altered_entry(replace(request, ticket_info=request.ticket_info[:entries]), **changed_entry), **changed
    ),
    st.sampled_from([*EXAMPLES.values(), MAILED, *[NOW_ELECTRONIC] * 6]),
    _changes((field.name for field in fields(IssueRequest) if field.name != "ticket_info"), _ODD),
    st.integers(1, 2),
    _changes((field.name for field in fields(TicketInfo)), _ODD_ENTRY),
)
"""Requests that keep all rules, and requests that break some, half of them of the usual form."""


@settings(max_examples=examples(200), deadline=None)
@given(_requests)
def test_all_at_once_finds_fault_exactly_where_the_rules_one_by_one_do(request: IssueRequest) -> None:
    """A request that is passed at once breaks no rule, and the two are never of different opinions."""
    one_by_one = violations_rule_by_rule(request, today=TODAY)

    assert issue_violations(request, today=TODAY) == one_by_one
    assert not (is_usual_and_valid(request) and one_by_one)


@settings(max_examples=examples(200), deadline=None)
@given(
    _changes(("merchant_id", "operator", "store_id", "customer_name", "customer_phone", "customer_email"), _ODD),
    _changes(("customer_address", "payment_provider", "refund_notify_url", "use_status_notify_url", "trade_no"), _ODD),
    _changes(("item_no", "ticket_amount", "start_date"), _ODD_ENTRY),
)
def test_every_valid_request_of_the_usual_form_passes_at_once(
    changed: dict[str, object], more: dict[str, object], entry: dict[str, object]
) -> None:
    """Otherwise the usual order would pay for both ways."""
    request = altered(altered_entry(NOW_ELECTRONIC, **entry), **changed, **more)

    assert is_usual_and_valid(request) == (violations_rule_by_rule(request, today=TODAY) == ())


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({"item_no": "VNS21400"}, "TicketInfo[1].ItemNo"),
        ({"ticket_amount": 95}, "TicketAmount"),
        ({"ticket_amount": True}, "TicketInfo[0].TicketAmount"),
        ({"item_name": "<b>"}, "TicketInfo[0].ItemName"),
        ({"ticket_price": -1}, "TicketInfo[0].TicketPrice"),
        ({"expire_date": YESTERDAY}, "TicketInfo[0].ExpireDate"),
    ],
    ids=str,
)
def test_entry_that_breaks_a_rule_does_not_pass_at_once(changed: dict[str, object], broken: str) -> None:
    """Twice the same product, 101 tickets, and fields that the usual form does not have."""
    request = altered_entry(NOW_ELECTRONIC, **changed)

    assert not is_usual_and_valid(request)
    assert broken_fields(request) == [broken]


@pytest.mark.parametrize("tickets", [(), None, [TicketInfo(item_no="A1", ticket_amount=1)], ("A1",), (None,)], ids=str)
def test_only_a_tuple_of_entries_passes_at_once(tickets: object) -> None:
    """Nothing, a list, and entries of another type."""
    assert not is_usual_and_valid(altered(NOW_ELECTRONIC, ticket_info=tickets))
    assert is_usual_and_valid(NOW_ELECTRONIC)


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
    ids=["immediate", "mailed", "anonymous paper", "short number", "family issuance", "mixed vouchers", "gift serial"],
)  # fmt: skip
def test_other_forms_keep_all_rules_too(request_: IssueRequest) -> None:
    """Each way of issuing that the page allows."""
    assert issue_violations(request_, today=TODAY) == ()


# -- numbers of issuances ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trade_no", "example"), [(NUMBER, CONVENIENCE_STORE), (GIFT_NUMBER, GIFT)], ids=["MerchantTradeNo", "FreeTradeNo"]
)
def test_trade_number_is_alphanumeric_of_its_own_length(trade_no: TradeNo, example: IssueRequest) -> None:
    """25 characters for MerchantTradeNo, 20 for FreeTradeNo."""
    field = trade_no.kind.field_name
    longest = {"MerchantTradeNo": 25, "FreeTradeNo": 20}[field]

    for good in ("a", "Z" * longest, "0123456789abcdefXYZ"):
        assert broken_fields(replace(example, trade_no=replace(trade_no, value=good))) == []
    for bad in (*NO_ALPHANUMERICS, "Z" * (longest + 1), None, 7):
        assert broken_fields(altered(example, trade_no=odd_number(trade_no.kind, bad))) == [field]


@pytest.mark.parametrize(
    "trade_no", [None, "CBX1", odd_number("neither", "A"), odd_number(None, None), odd_number([], "A")]
)
def test_call_without_a_number_is_refused(trade_no: object) -> None:
    """One of the two must be filled."""
    assert broken_fields(altered(CONVENIENCE_STORE, trade_no=trade_no)) == ["MerchantTradeNo"]


def test_pickup_vouchers_do_not_go_under_a_freeodd_number() -> None:
    """ "If all the items are gift vouchers": each of them has ExpireDate, and the one that has none is named."""
    entries = (GIFT.ticket_info[0], TicketInfo(item_no="B1", ticket_amount=1))

    assert broken_fields(replace(GIFT, ticket_info=entries)) == ["TicketInfo[1].ExpireDate"]


def test_gift_vouchers_alone_do_not_go_under_a_merchantodd_number() -> None:
    """ "If all the items in the order are gift vouchers, please do not fill in this field." """
    assert broken_fields(replace(GIFT, trade_no=NUMBER)) == ["MerchantTradeNo"]


# -- what belongs to an issue type ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["1", "5", 1, None, "", TradeNoKind.FREE])
def test_issue_type_is_one_of_four(value: object) -> None:
    """Nothing else can be checked without it, so it is the only complaint."""
    assert broken_fields(altered(ELECTRONIC, issue_type=value, customer_phone="x")) == ["IssueType"]


@pytest.mark.parametrize("value", [None, "1", "3", 1, IssueType.CONVENIENCE_STORE])
def test_paper_says_who_prints(value: object) -> None:
    """PrintType is required for paper."""
    assert broken_fields(altered(PAPER, print_type=value)) == ["PrintType"]


@pytest.mark.parametrize("value", [None, "1", "2", 1, 0])
def test_electronic_tickets_say_from_when_they_can_be_used(value: object) -> None:
    """IsImmediate is required for electronic tickets."""
    assert broken_fields(altered(NOW_ELECTRONIC, is_immediate=value)) == ["IsImmediate"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_fields_of_another_type_break_no_rule(name: str) -> None:
    """The page requires PrintType of paper and IsImmediate of electronic tickets, and forbids neither elsewhere."""
    example = EXAMPLES[name]

    if example.issue_type is not IssueType.PAPER:
        assert broken_fields(replace(example, print_type=PrintType.MERCHANT)) == []
    if example.issue_type is not IssueType.ELECTRONIC:
        assert broken_fields(replace(example, is_immediate=True)) == []
        assert broken_fields(replace(example, is_immediate=False)) == []


REQUIRED = {
    "convenience store": (CONVENIENCE_STORE, {"CustomerEmail"}),
    "electronic": (ELECTRONIC, {"CustomerName", "CustomerPhone", "CustomerEmail"}),
    "paper, merchant prints": (PAPER, set()),
    "paper, ECPay prints": (MAILED, set()),
    "serial number": (SERIAL_NUMBER, set()),
}


@pytest.mark.parametrize("name", REQUIRED)
def test_customer_fields_are_required_where_the_type_needs_them(name: str) -> None:
    """Mail for convenience stores; name, phone and mail for electronic; none for paper, ECPay's or the merchant's."""
    example, required = REQUIRED[name]
    anonymous = replace(example, customer_name=None, customer_phone=None, customer_email=None, customer_address=None)

    assert set(broken_fields(anonymous)) == required


@pytest.mark.parametrize("print_type", list(PrintType))
def test_a_paper_tickets_address_needs_a_name(print_type: PrintType) -> None:
    """ "If paper tickets need to be sent to the customer": an address says that they are, a name alone does not."""
    sent = replace(MAILED, print_type=print_type)

    assert broken_fields(replace(sent, customer_name=None)) == ["CustomerName"]
    assert broken_fields(replace(sent, customer_address=None)) == []
    assert broken_fields(sent) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_customer_fields_must_be_well_formed_wherever_they_are_sent(name: str) -> None:
    """Also where they are not required."""
    changed = replace(EXAMPLES[name], customer_name="1", customer_phone="1", customer_email="1", customer_address="<p>")

    assert broken_fields(changed) == ["CustomerName", "CustomerPhone", "CustomerEmail", "CustomerAddress"]


# -- items ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [(), [], None, "x", (None,), ({"ItemNo": "A"},), (TicketInfo,)], ids=str)
def test_call_without_items_is_refused(value: object) -> None:
    """TicketInfo holds at least one entry."""
    assert broken_fields(altered(CONVENIENCE_STORE, ticket_info=value)) == ["TicketInfo"]


@pytest.mark.parametrize("value", [*NO_ALPHANUMERICS, "A" * 9, None, 7])
def test_item_number_has_up_to_eight_alphanumeric_characters(value: object) -> None:
    """Required for all types but serial numbers."""
    assert broken_fields(altered_entry(CONVENIENCE_STORE, item_no=value)) == ["TicketInfo[0].ItemNo"]


@pytest.mark.parametrize("value", ["A", "VQT04959", "12345678"])
def test_item_number_is_accepted(value: str) -> None:
    """One character to eight."""
    assert broken_fields(altered_entry(CONVENIENCE_STORE, item_no=value)) == []


def test_item_number_occurs_once_in_a_call() -> None:
    """The second and the third are named."""
    entry = TicketInfo(item_no="A1", ticket_amount=1)
    others = TicketInfo(item_no="a1", ticket_amount=1)

    found = broken_fields(replace(CONVENIENCE_STORE, ticket_info=(entry, others, entry, entry)))
    assert found == ["TicketInfo[2].ItemNo", "TicketInfo[3].ItemNo"]


def test_serial_numbers_may_repeat_a_name() -> None:
    """Only product numbers must not be repeated."""
    entry = SERIAL_NUMBER.ticket_info[0]

    assert broken_fields(replace(SERIAL_NUMBER, ticket_info=(entry, entry))) == []


@pytest.mark.parametrize("value", ["溫泉券一", "SPA課程體驗券", "()_/,.$%-", "Aa09", "券" * 20, "〇九週年", "㐀𠮷豈龍"])
def test_name_of_a_serial_number_is_accepted(value: str) -> None:
    """4 to 20 of Chinese, English, digits and nine signs."""
    assert broken_fields(altered_entry(SERIAL_NUMBER, item_name=value)) == []


@pytest.mark.parametrize(
    "value",
    [None, "", "溫泉券", "券" * 21, "溫泉 券一", "溫泉券（一）", "ＳＰＡ課程", "溫泉券!", "溫泉券'一", "温泉の券",
     "溫泉券一\n", "<b>溫泉</b>", "溫泉券😀", "ab&cd", "溫泉券１", 1234, ["溫泉券一"]],
    ids=ascii,
)  # fmt: skip
def test_name_of_a_serial_number_is_refused(value: object) -> None:
    """Too short, too long, white space, full-width, and signs that are not on the list."""
    assert broken_fields(altered_entry(SERIAL_NUMBER, item_name=value)) == ["TicketInfo[0].ItemName"]


@pytest.mark.parametrize("value", [0, 1, 6600, 999_999_999])
def test_price_of_a_serial_number_is_accepted(value: int) -> None:
    """NT$0 to NT$999,999,999."""
    assert broken_fields(altered_entry(SERIAL_NUMBER, ticket_price=value)) == []


@pytest.mark.parametrize("value", [None, -1, 1_000_000_000, 10**30, 1.5, 100.0, True, "6600"])
def test_price_of_a_serial_number_is_refused(value: object) -> None:
    """Missing, out of range, or no whole number."""
    assert broken_fields(altered_entry(SERIAL_NUMBER, ticket_price=value)) == ["TicketInfo[0].TicketPrice"]


@pytest.mark.parametrize("value", [None, 0, -1, 1.0, True, "1", -(10**30)])
def test_amount_is_a_whole_number_from_one(value: object) -> None:
    """TicketAmount is required of every entry."""
    assert broken_fields(altered_entry(CONVENIENCE_STORE, ticket_amount=value)) == ["TicketInfo[0].TicketAmount"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_sum_of_amounts_is_bounded_over_the_call(name: str) -> None:
    """8 tickets for convenience stores, 100 for all others; the sum counts, not the entry."""
    example = EXAMPLES[name]
    first = example.ticket_info[0]
    second = replace(first, item_no="B2" if first.item_no else None, ticket_amount=1)
    limit = MAX_TICKETS[example.issue_type]

    assert limit == (8 if example.issue_type is IssueType.CONVENIENCE_STORE else 100)
    assert broken_fields(replace(example, ticket_info=(replace(first, ticket_amount=limit - 1), second))) == []
    assert broken_fields(replace(example, ticket_info=(replace(first, ticket_amount=limit), second))) == [
        "TicketAmount"
    ]


def test_fields_of_serial_numbers_are_checked_wherever_they_are_sent() -> None:
    """And an item number with a serial number, too."""
    assert broken_fields(altered_entry(PAPER, item_name="x", ticket_price=-1)) == [
        "TicketInfo[0].ItemName",
        "TicketInfo[0].TicketPrice",
    ]
    assert broken_fields(altered_entry(SERIAL_NUMBER, item_no="A-1")) == ["TicketInfo[0].ItemNo"]
    assert broken_fields(altered_entry(SERIAL_NUMBER, item_no="A1")) == []


# -- dates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [TOMORROW, date(2099, 12, 31), date.max])
def test_start_date_is_accepted_from_the_next_day_on(day: date) -> None:
    """ "The earliest start date can be set one day after the issue date." """
    assert broken_fields(altered_entry(ELECTRONIC, start_date=day)) == []


@pytest.mark.parametrize("day", [None, TODAY, YESTERDAY, date.min, "20240302", datetime(2024, 3, 2), 20240302])
def test_start_date_is_refused_before_the_next_day(day: object) -> None:
    """Missing, today, past, or no date; a time is no date either."""
    assert broken_fields(altered_entry(ELECTRONIC, start_date=day)) == ["TicketInfo[0].StartDate"]


@pytest.mark.parametrize("example", [NOW_ELECTRONIC, CONVENIENCE_STORE, PAPER, SERIAL_NUMBER])
def test_start_date_means_nothing_where_tickets_can_be_used_at_once(example: IssueRequest) -> None:
    """ "This field is fixed as the date of ticket issuance": whatever it says breaks no rule."""
    for day in (TOMORROW, YESTERDAY):
        assert broken_fields(altered_entry(example, start_date=day)) == []


def test_is_immediate_of_another_type_starts_no_presale() -> None:
    """ "The system is fixed to set it as immediate issuance", so StartDate is not required and bounds nothing."""
    late = altered_entry(replace(GIFT, is_immediate=False), start_date=date.max)

    assert broken_fields(replace(PAPER, is_immediate=False)) == []
    assert GIFT.issue_type is not IssueType.ELECTRONIC
    assert broken_fields(late) == []


@pytest.mark.parametrize(("day", "broken"), [(YESTERDAY, True), (TODAY, False), (TOMORROW, False)])
def test_expire_date_is_not_before_today_for_immediate_vouchers(day: date, broken: bool) -> None:
    """Their start is the day of issue."""
    assert broken_fields(altered_entry(GIFT, expire_date=day)) == (["TicketInfo[0].ExpireDate"] if broken else [])


@pytest.mark.parametrize(("days", "broken"), [(-1, True), (0, False), (1, False)])
def test_expire_date_is_not_before_the_start_date(days: int, broken: bool) -> None:
    """ "The date cannot be earlier than the ticket's start date." """
    start = date(2024, 6, 1)
    entry = TicketInfo(item_no="A1", ticket_amount=1, start_date=start, expire_date=start + timedelta(days=days))

    found = broken_fields(replace(ELECTRONIC, trade_no=GIFT_NUMBER, ticket_info=(entry,)))
    assert found == (["TicketInfo[0].ExpireDate"] if broken else [])


@pytest.mark.parametrize("day", ["20241231", datetime(2024, 12, 31), 20241231])
def test_expire_date_is_a_date(day: object) -> None:
    """Not text, not a time."""
    assert broken_fields(altered_entry(GIFT, expire_date=day)) == ["TicketInfo[0].ExpireDate"]


def test_last_day_of_the_calendar_is_a_day_as_any_other() -> None:
    """No arithmetic runs off the end of it: nothing can start later, and that is what is said."""
    violations = issue_violations(altered_entry(ELECTRONIC, start_date=date.max), today=date.max)

    assert [violation.field for violation in violations] == ["TicketInfo[0].StartDate", "TicketInfo[1].StartDate"]


# -- what a violation shows ----------------------------------------------------------------------------------------


def test_violation_names_field_rule_page_and_value() -> None:
    """One sentence that a person can act on."""
    (violation,) = issue_violations(replace(PAPER, operator="Angela Chan"), today=TODAY)

    assert (violation.field, violation.page, violation.shape) == ("Operator", ISSUE_PAGE, "'Angela Chan'")
    assert mentions(violation.rule, "1 10 half-width letters digits")
    assert str(violation).startswith(f"Operator {violation.rule}")
    assert all(part in str(violation) for part in ("'Angela Chan'", "developers.ecpay.com.tw/32163"))


def test_violation_describes_the_shape_of_personal_values_and_never_the_values() -> None:
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
    counts = {field: re.findall(r"(\d+) (\S+?)[:,]? ", f"{shape} ") for field, shape in shapes.items()}
    assert counts == {
        "CustomerName": [("6", "characters"), ("3", "Chinese"), ("3", "letters")],
        "CustomerPhone": [("12", "characters"), ("9", "digits"), ("1", "full-width"), ("2", "other")],
        "CustomerEmail": [("14", "characters"), ("12", "letters"), ("1", "white"), ("1", "other")],
        "CustomerAddress": [("10", "characters"), ("3", "Chinese"), ("2", "letters"), ("5", "other")],
        "RefundNotifyURL": [("27", "characters"), ("18", "letters"), ("1", "digits"), ("1", "white"), ("7", "other")],
    }
    words = {word for shape in shapes.values() for word in re.findall(r"[^\W\d]+", shape)}
    assert words == {"characters", "Chinese", "letters", "digits", "full", "width", "white", "space", "other"}


def test_long_values_are_cut_short() -> None:
    """A megabyte in a field does not become a megabyte in a log."""
    found = issue_violations(altered(PAPER, operator="A" * 10**6, store_id=10**5000), today=TODAY)

    assert all(len(str(violation)) < 250 for violation in found)
    assert {violation.field for violation in found} == {"Operator", "StoreID"}


def test_all_violations_are_named_at_once() -> None:
    """All violations are reported at once."""
    request = altered(
        altered_entry(ELECTRONIC, item_no="too long for it", ticket_amount=0, start_date=TODAY),
        operator="",
        store_id="x",
        customer_phone=None,
    )

    assert broken_fields(request) == [
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
        "trade_no": st.builds(odd_number, anything, anything),
    },
)


@fast
@given(st.sampled_from(sorted(EXAMPLES)), odd_changes)
def test_checking_never_raises_whatever_a_request_holds(name: str, changed: dict[str, object]) -> None:
    """A plugin's mistake is a violation and no crash; and every violation is one printable sentence."""
    for violation in issue_violations(altered(EXAMPLES[name], **changed), today=TODAY):
        assert str(violation).encode()
        assert "\n" not in str(violation)


@fast
@given(st.text(), st.text(), st.text(), st.text())
def test_no_customer_data_in_any_violation(name: str, phone: str, email: str, address: str) -> None:
    """Whatever a customer types, it does not come out of the rules again."""
    marked = {"customer_name": f"甲乙丙{name}", "customer_phone": f"0987{phone}", "customer_email": f"zqzq{email}",
              "customer_address": f"<i>丁戊{address}"}  # fmt: skip
    text = " ".join(map(str, issue_violations(altered(ELECTRONIC, **marked), today=TODAY)))

    assert not [mark for mark in ("甲乙丙", "0987", "zqzq", "丁戊") if mark in text]
