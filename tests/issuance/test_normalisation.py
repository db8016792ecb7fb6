"""One spelling for what means the same (docs/orders.md, "Normalisation"; page "Ticket Issuance")."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapter.issuance.normalisation import Change, ChangeKind, normalised_item, normalised_request
from adapter.issuance.plan import plan
from adapter.protocol import rules
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo
from adapter.protocol.rules import issue_violations
from adapter.values import replace

from .samples import ALWAYS, ELECTRONIC, SERIAL, TODAY, item, order

CHECKS = {
    "customer_name": rules.CUSTOMER_NAME,
    "customer_phone": rules.CUSTOMER_PHONE,
    "customer_email": rules.CUSTOMER_EMAIL,
    "customer_address": rules.CUSTOMER_ADDRESS,
    "operator": rules.OPERATOR,
    "store_id": rules.STORE_ID,
}


def request_with(**fields: object) -> IssueRequest:
    """A good request with these fields."""
    (part,) = plan(order(), [item()], ALWAYS)
    return replace(part.request, **fields)  # type: ignore[arg-type]  # a test names the fields it is about


def respelt(field: str, text: str) -> tuple[str, set[str]]:
    """The field as it is sent, and the kinds of changes."""
    request, changes = normalised_request(request_with(**{field: text}))
    return getattr(request, field), {change.kind.value for change in changes}


NAMES = {
    " 王小明 ": ("王小明", "outer_blanks"),
    "\u3000王小明\u00a0": ("王小明", "outer_blanks"),
    "王 小明": ("王小明", "inner_blanks"),
    "王\u3000小明": ("王小明", "blanks inner_blanks"),
    "王\t小\u00a0明": ("王小明", "blanks inner_blanks"),
    "王\u200b小明": ("王小明", "invisible"),
    "\ufeff王小明": ("王小明", "invisible"),
    "葛\U000e0100小明": ("葛小明", "invisible"),
    "瓦歷斯 · 諾幹": ("瓦歷斯·諾幹", "inner_blanks"),
    "瓦歷斯\uff65諾幹": ("瓦歷斯·諾幹", "punctuation"),
    "\u2f29明": ("小明", "full_width"),
    "José": ("Jose", "accents"),
    "Jose\u0301 Garci\u0301a": ("Jose Garcia", "full_width accents"),
    "Nguyễn Văn Đức": ("Nguyen Van Duc", "accents"),
    "Søren Müller-Łoś": ("Soren Muller-Los", "accents"),
    "Strauß": ("Strauss", "accents"),
    "Ǿrsted Ǽ": ("Orsted AE", "accents"),
    "O\u2019Brien": ("O'Brien", "punctuation"),
    "D\u02bcArcy": ("D'Arcy", "punctuation"),
    "Jean\u2013Paul": ("Jean-Paul", "punctuation"),
    "Jean\u2011Paul O\u2018Neil": ("Jean-Paul O'Neil", "punctuation"),
    "ＪＯＨＮ　ＳＭＩＴＨ": ("JOHN SMITH", "blanks full_width"),
    "John\nSmith": ("John Smith", "blanks"),
    "Mary\u00a0Ann": ("Mary Ann", "blanks"),
    "Ana       María del Mar": ("Ana Maria del Mar", "blanks accents"),
}
PHONES = {
    "+886 912-345-678": "phone_form",
    "886912345678": "phone_form",
    "+886912345678": "phone_form",
    "+886 (0)912 345 678": "phone_form",
    "00886-912-345-678": "phone_form",
    "002 886 912 345 678": "phone_form",
    "tel:+886-912-345-678": "phone_form",
    "0912-345-678": "phone_form",
    "0912 345 678": "phone_form",
    "(0912) 345-678": "phone_form",
    "0912.345.678": "phone_form",
    "'0912345678": "phone_form",
    "(+886)912,345,678": "phone_form",
    "09１２ー３４５ー６７８": "full_width phone_form",
    "0912\u2013345\u2013678": "punctuation phone_form",
    " 0912345678\n": "outer_blanks",
    "０９１２３４５６７８": "full_width",
    "０９１２－３４５－６７８": "full_width phone_form",
    "＋８８６９１２３４５６７８": "full_width phone_form",
    "٠٩١٢٣٤٥٦٧٨": "full_width",
    "\u202a0912345678\u202c": "invisible",
    "0912\u00a0345\u00a0678": "phone_form",
}
MAILS = {
    " ming@example.com\r\n": "outer_blanks",
    "ming@example.com\u200b": "invisible",
    "\ufeffming@example.com": "invisible",
    "ming＠example.com": "full_width",
    "ｍｉｎｇ@example。com": "full_width",
    "<ming@example.com>": "mail_form",
    "王小明 <ming@example.com>": "mail_form",
    "mailto:ming@example.com": "mail_form",
    "ming @ example.com": "inner_blanks",
    "ming@example. com": "inner_blanks",
}
ADDRESSES = {
    "  臺北市南港區三重路19之2號\n": ("臺北市南港區三重路19之2號", "outer_blanks"),
    "\ufeff臺北市南港區": ("臺北市南港區", "outer_blanks"),
    "臺北市<A棟>5樓": ("臺北市＜A棟＞5樓", "angle_brackets"),
    " 5F </B> ": ("5F ＜/B＞", "outer_blanks angle_brackets"),
}
CODES = {
    "operator": {" Angela ": ("Angela", "outer_blanks"), "Ａｎｇｅｌａ": ("Angela", "full_width")},
    "store_id": {"TPE01\u200b": ("TPE01", "invisible"), "ＴＰＥ０１": ("TPE01", "full_width")},
}
CASES = [
    *(("customer_name", text, *expected) for text, expected in NAMES.items()),
    *(("customer_phone", text, "0912345678", kinds) for text, kinds in PHONES.items()),
    *(("customer_email", text, "ming@example.com", kinds) for text, kinds in MAILS.items()),
    *(("customer_address", text, *expected) for text, expected in ADDRESSES.items()),
    *((field, text, *expected) for field, cases in CODES.items() for text, expected in cases.items()),
]


@pytest.mark.parametrize(("field", "text", "sent", "kinds"), CASES)
def test_the_same_meaning_gets_the_spelling_that_ecticket_takes(field: str, text: str, sent: str, kinds: str) -> None:
    """The value keeps its rule afterwards, and each kind of change is noted once."""
    found, noted = respelt(field, text)

    assert (found, noted) == (sent, set(kinds.split()))
    assert CHECKS[field].accepts(found)
    assert issue_violations(request_with(**{field: found}), today=TODAY) == ()


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("customer_name", "王"),
        ("customer_name", "王Amy"),
        ("customer_name", "John 2"),
        ("customer_name", "김철수"),
        ("customer_name", "José" * 10),
        ("customer_phone", "(02) 2345-6789"),
        ("customer_phone", "+81 90-1234-5678"),
        ("customer_phone", "+886 2 2345 6789"),
        ("customer_phone", "912345678"),
        ("customer_phone", "0912345678 ext. 5"),
        ("customer_phone", "0912-345-678 / 0987-654-321"),
        ("customer_email", "josé@example.com"),
        ("customer_email", "user²@example.com"),
        ("customer_email", "xiao ming@example.com"),
        ("customer_email", "ming@example com"),
        ("customer_email", "a@example.com, b@example.com"),
        ("customer_address", "路" * 101),
        ("operator", "Angela Chan"),
        ("store_id", "TPE-01"),
        ("customer_name", " " * 5000 + "王小明"),
    ],
)
def test_what_means_something_else_is_left_for_the_rules(field: str, text: str) -> None:
    """Nothing is guessed: the value stays as it came, breaks its rule and parks the order as `invalid-order`."""
    request, changes = normalised_request(request_with(**{field: text}))

    assert (getattr(request, field), changes) == (text, ())
    assert issue_violations(request, today=TODAY)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("customer_name", "瓦歷斯．諾幹"),
        ("customer_name", "J. R. Smith Jr."),
        ("customer_address", "臺北市　１９之２號５樓"),
        ("customer_address", "No. 5 < 6"),
        ("customer_address", "第一行\n第二行"),
        ("customer_email", "o'brien+tickets@example.com"),
    ],
)
def test_a_value_that_keeps_its_rule_is_not_touched(field: str, text: str) -> None:
    """Full-width digits are right in an address, and so is a plus sign in a mail address."""
    assert respelt(field, text) == (text, set())


TEXTS = st.text(max_size=40) | st.text(
    alphabet="王小明·．・ \u3000\u00a0\u200b\ufeffJoséäøßＪ０９1234567890+-()（）886@.<>'’–\ue000\ud800", max_size=25
)


@given(field=st.sampled_from(sorted(CHECKS)), text=TEXTS)
@example(field="customer_name", text="陳．美 玲")
@example(field="customer_address", text="\u200b<a")
def test_normalising_is_idempotent_and_never_changes_what_is_right(field: str, text: str) -> None:
    """A second time nothing changes; a right value stays; a changed one is right."""
    once, changes = normalised_request(request_with(**{field: text}))
    again, more = normalised_request(once)

    value = getattr(once, field)
    assert (again, more) == (once, ())
    assert (value == text) == (not changes)
    if changes:
        assert CHECKS[field].accepts(value)
    if CHECKS[field].accepts(text):
        assert value == (text if field != "customer_address" else value)
        assert value in text


@given(text=TEXTS)
def test_item_numbers_and_serial_names_are_normalised_before_packing(text: str) -> None:
    """The same for items, so that one product is one entry; the name of a listed product is not ECTicket's."""
    numbered, serial = item(text, name=text), item("A", 1, SERIAL, name=text)

    for each in (numbered, serial):
        once, _ = normalised_item(each)
        assert normalised_item(once) == (once, ())
    once, changes = normalised_item(numbered)
    assert once.name == text
    assert once == replace(numbered, item_no=once.item_no)
    assert all(change.field == "ItemNo" for change in changes)


@pytest.mark.parametrize(
    ("text", "sent", "kinds"),
    [
        ("ＳＰＡ課程（假日）", "SPA課程(假日)", [ChangeKind.FULL_WIDTH]),
        (" SPA 課程體驗券", "SPA課程體驗券", [ChangeKind.OUTER_BLANKS, ChangeKind.INNER_BLANKS]),
        ("SPA課程\u2013假日", "SPA課程-假日", [ChangeKind.PUNCTUATION]),
        ("Day Pass", "Day Pass", []),
    ],
)
def test_a_serial_numbers_name_is_normalised(text: str, sent: str, kinds: list[ChangeKind]) -> None:
    """ "Full-width characters are not allowed" (ItemName); a blank between English words cannot be left out."""
    found, changes = normalised_item(item("A", 1, SERIAL, name=text))

    assert (found.name, changes) == (sent, tuple(Change(field="ItemName", kind=kind) for kind in kinds))


KIND_FIELDS: Mapping[IssueType, set[str]] = {
    IssueType.CONVENIENCE_STORE: {"ItemNo"},
    IssueType.PAPER: {"ItemNo", "PrintType"},
    IssueType.ELECTRONIC: {"ItemNo", "IsImmediate", "StartDate"},
    IssueType.SERIAL_NUMBER: {"ItemName", "TicketPrice"},
}


@pytest.mark.parametrize("kind", list(IssueType))
def test_what_the_type_does_not_need_is_left_out(kind: IssueType) -> None:
    """A plugin may fill every field; what the page ignores for this type is not sent, and is no violation."""
    entry = TicketInfo(
        item_no="VQT04959", item_name="假日票券", ticket_price=1, ticket_amount=1, start_date=date(2024, 6, 1)
    )
    shaped = request_with(issue_type=kind, print_type=PrintType.ECPAY, is_immediate=False, ticket_info=(entry,))

    request, changes = normalised_request(shaped)

    payload = request.to_payload()
    sent = request.ticket_info[0].to_payload()
    fields = {"PrintType", "IsImmediate", "ItemNo", "ItemName", "TicketPrice", "StartDate"}
    assert {name for name in fields if name in payload or name in sent} == KIND_FIELDS[kind]
    assert changes == ()
    assert issue_violations(request, today=TODAY) == ()


def test_a_start_date_with_is_immediate_is_not_lost() -> None:
    """On an electronic ticket it is a contradiction, not a field that is not needed."""
    entry = TicketInfo(item_no="VQT04959", ticket_amount=1, start_date=date(2024, 6, 1))
    shaped = request_with(issue_type=ELECTRONIC, is_immediate=True, ticket_info=(entry,))

    assert normalised_request(shaped) == (shaped, ())


def test_changes_hold_no_value() -> None:
    """What is counted is a field's name and a kind."""
    _, changes = normalised_request(request_with(customer_name="José", customer_phone="+886 912345678"))

    assert set(changes) == {
        Change(field="CustomerName", kind=ChangeKind.ACCENTS),
        Change(field="CustomerPhone", kind=ChangeKind.PHONE_FORM),
    }
