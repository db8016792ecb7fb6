"""Orders of every mixture, from the record to ECTicket's own rules: what is sent is accepted, whole, and once.

The judge is the sandbox's, which `tests/dev/sandbox/test_issue_pages.py` holds to the page "Ticket Issuance".
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.dev.sandbox.catalogue import ItemCatalogue
from adapter.dev.sandbox.issue_validation import IssueValidator
from adapter.dev.sandbox.payload_parsing import read_issue
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import TradeNoKind
from adapter.protocol.taipei import TAIPEI
from adapter.testing.clock import NOON
from adapter.testing.outcome_reader import header
from flows.harness import Harness, derived

TODAY = NOON.astimezone(TAIPEI).date()
SETTINGS = SandboxSettings(port=0)
JUDGE = IssueValidator(SETTINGS, ItemCatalogue(SETTINGS.items, max_items=100))
PICKUPS, GIFTS = ("VQT04959", "VNS21400", "BR103218"), ("GFT00001", "GFT00002")
TYPES = ("convenience_store", "paper", "electronic", "serial_number")
PEOPLE = (
    {"name": "王 小明", "phone": "+886 912-345-678", "email": "ming＠example.com", "address": "臺北市<A棟>"},
    {"name": "José O’Neil", "phone": "０９１２３４５６７８", "email": " jose@example.com ", "address": None},
)
START, EXPIRE = TODAY + timedelta(days=30), TODAY + timedelta(days=90)


@st.composite
def lines(draw: st.DrawFn) -> dict[str, object]:
    """A line that does not contradict itself."""
    gift = draw(st.booleans())
    start = draw(st.booleans())
    issue_type = draw(st.sampled_from(TYPES))
    few = [1, 2, 7, 9, 30]  # at tills, four lines of these need less than 20 calls
    return {
        "sku": draw(st.sampled_from(GIFTS if gift else PICKUPS)),
        "quantity": draw(st.sampled_from(few if issue_type == "convenience_store" else [*few, 120])),
        "name": draw(st.sampled_from(["ＳＰＡ課程", "Day-Pass"])),
        "unit_price": 100,
        "issue_type": issue_type,
        "expire_date": EXPIRE.isoformat() if gift else None,
        "start_date": START.isoformat() if start else None,
        "immediate": draw(st.sampled_from([None, not start])),
        "voucher": draw(st.sampled_from([None, "gift" if gift else "pickup"])),
    }


ORDERS = st.fixed_dictionaries(
    {
        "trade_no": st.sampled_from([None, "PAY1"]),
        "customer": st.sampled_from(PEOPLE),
        "print_by": st.sampled_from(["ecpay", "merchant"]),
    }
)


@given(bought=st.lists(lines(), min_size=1, max_size=4), content=ORDERS)
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_sent_is_accepted_whole_and_once(bought: list[dict[str, object]], content: dict[str, object]) -> None:
    """Every ticket is in exactly one accepted call; only a second paid call under one trade_no does not fit."""
    harness = Harness()
    published = asyncio.run(harness.work(harness.order(*bought, **content)))

    requests = harness.ecticket.requests
    if published.dead_letters:
        reason = header(published.dead_letter, "ecticket-reason")
        assert (reason, bool(content["trade_no"]), requests) == ("does-not-fit", True, [])
        return
    for request in requests:
        assert isinstance(JUDGE.lines(read_issue(request.to_payload()), Family.TICKET, TODAY), tuple)  # type: ignore[arg-type]  # a Refusal has no lines
    numbers = [request.trade_no for request in requests]
    paid = [number for number in numbers if number.kind is TradeNoKind.MERCHANT]
    assert len(set(numbers)) == len(numbers)
    assert sum(entry.ticket_amount for request in requests for entry in request.ticket_info) == sum(
        int(str(line["quantity"])) for line in bought
    )
    if content["trade_no"]:
        assert [number.value for number in numbers] == ["PAY1", *(derived(part=n) for n in range(2, len(numbers) + 1))]
        assert len(paid) <= 1
        assert not paid or paid[0].value == "PAY1"
    else:
        assert [number.value for number in numbers] == [derived(part=n) for n in range(1, len(numbers) + 1)]
