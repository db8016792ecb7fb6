"""What the sandbox accepts, against the page "Ticket Issuance" read once more: conditions between fields.

The judge here is written from the page's sentences alone and shares no code with `protocol.rules`, so that a misreading
of the adapter's would show as a difference between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.dev.sandbox.catalogue import ItemCatalogue
from adapter.dev.sandbox.issue_validation import IssueValidator
from adapter.dev.sandbox.payload_parsing import read_issue
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueRequest
from adapter.protocol.taipei import compact_date

TODAY = date(2024, 3, 1)
DAYS = {name: TODAY + timedelta(days=days) for name, days in (("past", -1), ("today", 0), ("soon", 1), ("later", 9))}
GIFTS = {"GFT00001": True, "GFT00002": True, "VQT04959": False, "BR103218": False}
SETTINGS = SandboxSettings(port=0)
JUDGE = IssueValidator(SETTINGS, ItemCatalogue(SETTINGS.items, max_items=100))


def entries(serial: bool) -> st.SearchStrategy[list[dict[str, object]]]:
    """TicketInfo of a few products, each with days that may or may not go together."""
    day = st.none() | st.sampled_from(sorted(DAYS))
    product = (
        st.just({"ItemName": "SPA課程體驗券", "TicketPrice": 100})
        if serial
        else st.sampled_from(sorted(GIFTS)).map(lambda number: {"ItemNo": number})
    )
    return st.lists(
        st.builds(
            lambda what, amount, start, expire: {
                **what,
                "TicketAmount": amount,
                "StartDate": start,
                "ExpireDate": expire,
            },
            product,
            st.sampled_from([1, 4, 8, 60]),
            day,
            day,
        ),
        min_size=1,
        max_size=2,
    )


@st.composite
def payloads(draw: st.DrawFn) -> dict[str, object]:
    """An Issue payload whose single values are all well formed."""
    kind = draw(st.sampled_from("1234"))
    optional = {
        "PrintType": ["1", "2"],
        "IsImmediate": ["1", "2"],
        "CustomerName": ["王珊珊"],
        "CustomerPhone": ["0912345678"],
        "CustomerEmail": ["abc@gmail.com"],
        "CustomerAddress": ["台北市南港區"],
    }
    given_ = {name: draw(st.sampled_from([*values, *values, None])) for name, values in optional.items()}
    number = draw(st.sampled_from(["MerchantTradeNo", "FreeTradeNo"]))
    return {
        "MerchantID": "3085676",
        number: "A1",
        "IssueType": kind,
        "Operator": "Angela",
        **given_,
        "TicketInfo": draw(entries(kind == "4")),
    }


def problems(payload: Mapping[str, object]) -> set[str]:
    """The sentences of the page that a payload breaks."""
    kind, found = str(payload["IssueType"]), set()
    info: list[dict[str, object]] = payload["TicketInfo"]  # type: ignore[assignment]  # as `payloads` makes it
    gifts = [GIFTS[str(e["ItemNo"])] if "ItemNo" in e else e["ExpireDate"] is not None for e in info]
    numbers = [e["ItemNo"] for e in info if "ItemNo" in e]
    amounts = [e["TicketAmount"] for e in info]
    if "MerchantTradeNo" in payload and all(gifts):
        found.add("if all the items in the order are gift vouchers, please do not fill in this field")
    if "FreeTradeNo" in payload and not all(gifts):
        found.add("if the order includes a pick-up voucher, please do not fill in this field")
    if kind == "2" and payload["PrintType"] is None:
        found.add("When IssueType=2 (paper ticket), this field is required.")
    if kind == "3" and payload["IsImmediate"] is None:
        found.add("When [IssueType]=3 (electronic ticket), this field is required. (IsImmediate)")
    if kind == "3" and None in (payload["CustomerName"], payload["CustomerPhone"]):
        found.add("When [IssueType]=3 (electronic ticket), this field is required. (CustomerName, CustomerPhone)")
    if kind in "13" and payload["CustomerEmail"] is None:
        found.add("When [IssueType]=1 or [IssueType]=3, this field is required.")
    if kind == "2" and payload["CustomerAddress"] is not None and payload["CustomerName"] is None:
        found.add("if paper tickets need to be sent to the customer, this field must be filled in.")
    if len(set(numbers)) < len(numbers):
        found.add("The product number in the order cannot be reused.")
    if sum(amounts) > (8 if kind == "1" else 100):  # type: ignore[arg-type]  # whole numbers
        found.add("the total number of tickets issued per order is limited to a maximum of 8 / 100.")
    for entry, gift in zip(info, gifts, strict=True):
        found |= _date_problems(entry, gift=gift, presale=kind == "3" and payload["IsImmediate"] == "2")
    return found


def _date_problems(entry: Mapping[str, object], *, gift: bool, presale: bool) -> set[str]:
    found = set()
    start, expire = (DAYS.get(str(entry[name])) for name in ("StartDate", "ExpireDate"))
    if presale and (start is None or start <= TODAY):
        found.add("this field is required and must be greater than the date of ticket issuance.")
    if gift != (expire is not None):
        found.add("This field is required and must be filled in only when the product is a gift voucher.")
    first = start if presale and start is not None else TODAY
    if expire is not None and expire < first:
        found.add("The date cannot be earlier than the ticket's start date[StartDate].")
    return found


def sent(payload: Mapping[str, object]) -> dict[str, object]:
    """The payload as it goes over the wire: days written as yyyymmdd, absent fields empty or left out."""
    info: list[dict[str, object]] = payload["TicketInfo"]  # type: ignore[assignment]  # as `payloads` makes it
    dated = [
        {
            name: compact_date(DAYS[str(value)]) if name.endswith("Date") and value else value
            for name, value in e.items()
        }
        for e in info
    ]
    return {**{name: "" if value is None else value for name, value in payload.items()}, "TicketInfo": dated}


@settings(max_examples=examples(300))
@given(payload=payloads())
def test_the_sandbox_accepts_exactly_what_the_page_accepts(payload: dict[str, object]) -> None:
    """A payload is booked if it breaks no sentence of the page, and refused if it breaks one."""
    request = read_issue(sent(payload))
    accepted = isinstance(request, IssueRequest) and isinstance(JUDGE.lines(request, Family.TICKET, TODAY), tuple)

    assert accepted == (not problems(payload)), problems(payload)
