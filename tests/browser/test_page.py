"""What a person sees and does at the sandbox's page, and what comes of it."""

from __future__ import annotations

import pytest
from dev.sandbox.helpers import START, electronic, paper, serial
from dev.sandbox.test_order_store import line, request

from adapter.dev.sandbox.order_store import Job, tickets
from adapter.protocol.envelope import Request as Opened

from .harness import BrowserHarness
from .page import Page

ONE = [{"ItemNo": "VQT04959", "TicketAmount": 1}]


def ticket_nos(harness: BrowserHarness) -> list[str]:
    return [
        ticket.number
        for key in harness.sandbox.order_store.numbers()
        for order in harness.sandbox.order_store.issuances(key)
        for ticket in tickets(order)
    ]


def test_orders_appear_and_are_issued_while_one_looks(page: Page, harness: BrowserHarness) -> None:
    """Without a reload."""
    page.shows("No orders yet", "#orders-none")

    harness.issue(electronic("LIVE1"))
    page.shows("LIVE1", "#orders")
    page.shows("in progress", "#orders")
    harness.clock.advance(60)

    page.shows("issued", "#orders")
    assert "1 unused · NT$ 1,200" in page.text("#orders")


def test_a_ticket_is_redeemed_by_a_click_and_the_merchant_is_notified(page: Page, harness: BrowserHarness) -> None:
    """The page shows its new state and the answer; the notification has the right checksum."""
    harness.issue(paper("A1", **harness.urls))
    first, second = ticket_nos(harness)
    page.click("A1")

    page.click(f"Redeem ticket {first}")

    page.shows("redeemed", "#tickets .gone")
    page.shows("1 ticket redeemed, 1 notification on the way.", "#said")
    (notification,) = harness.notifications(1)
    assert (notification["MerchantTradeNo"], notification["TicketNo"], notification["UseStatus"]) == ("A1", first, 2)
    (opened,) = harness.receiver.opened()
    assert isinstance(opened, Opened)
    page.shows("answered", "#notices")
    page.shows("✓ RtnCode 1", "#notices")
    assert page.names("#tickets button") == [f"Refund ticket {second}", f"Redeem ticket {second}"]
    page.shows("1 unused · 1 redeemed", "#orders")


def test_a_ticket_is_refunded_by_a_click_and_its_money_notified(page: Page, harness: BrowserHarness) -> None:
    """To the two addresses of the order."""
    harness.issue(paper("A1", **harness.urls))
    first, _ = ticket_nos(harness)
    page.click("A1")

    page.click(f"Refund ticket {first}")

    page.shows("refunded", "#tickets .gone")
    payloads = harness.notifications(2)
    assert sorted(harness.receiver.paths) == ["/refund", "/use"]
    assert {"TradeAmount": 2400, "TotalRefundAmount": 1200, "RefundAmount": 1200}.items() <= next(
        each.items() for each in payloads if "RefundAmount" in each
    )
    page.shows("NT$ 1,200 back, NT$ 1,200 of NT$ 2,400 in all", "#notices")


def test_a_whole_order_is_used_at_once(page: Page, harness: BrowserHarness) -> None:
    """All that is left of it."""
    harness.issue(paper("A1", **harness.urls))
    page.click("A1")

    page.click("Redeem all 2")

    page.shows("2 redeemed", "#orders")
    page.shows("2 tickets redeemed, 2 notifications on the way.", "#said")
    assert len(harness.notifications(2)) == 2
    assert page.names("#order button") == []


def test_what_cannot_be_done_is_shown(page: Page, harness: BrowserHarness) -> None:
    """Here the ticket can be used from New Year on; the sandbox declines, and the page says why."""
    later = [{"ItemNo": "VQT04959", "TicketAmount": 1, "StartDate": "20240101"}]
    harness.issue(electronic("A1", IsImmediate="2", TicketInfo=later))
    harness.clock.advance(60)
    (ticket_no,) = ticket_nos(harness)
    page.click("A1")

    page.click(f"Redeem ticket {ticket_no}")

    page.shows(f"ticket {ticket_no} can only be used from 2024-01-01 on", "#said")
    (complaint,) = page.complaints()
    assert "409" in complaint


def test_an_answer_that_is_none_is_shown_with_the_next_attempt(page: Page, harness: BrowserHarness) -> None:
    """So one sees why one's receiver is asked again, and when."""
    harness.receiver.answer = lambda _: b"1|OK"
    harness.issue(paper("A1", TicketInfo=ONE, **harness.urls))
    page.click("A1")

    page.click(f"Redeem ticket {ticket_nos(harness)[0]}")

    page.shows("waiting, again at", "#notices")
    page.shows("✗ 1|OK, where ECTicket asks for the envelope with RtnCode 1", "#notices")


def test_of_thousands_the_newest_are_shown_and_any_can_be_found(page: Page, harness: BrowserHarness) -> None:
    """By a part of its number."""
    for place in range(3_000):
        harness.sandbox.order_store.add(
            request(f"N{place:04}"), (line(),), received_at=START, visible_at=START, job=Job(ends_at=START)
        )
    page.open()

    page.shows("The newest 50 of 3,000", "#orders-shown")
    page.click("Show more")
    page.shows("The newest 200 of 3,000", "#orders-shown")
    page.search("n0042")

    page.shows("1 order found", "#orders-shown")
    assert "N0042" in page.text("#orders")
    page.search("n0042x")
    page.shows("No order has n0042x in its number.", "#orders-none")


@pytest.mark.parametrize("fragment", ["#%", "#nothing"])
def test_an_address_that_names_no_order_shows_what_there_is(page: Page, harness: BrowserHarness, fragment: str) -> None:
    """A link that was cut off, say."""
    page.open(fragment)

    harness.issue(paper("A1"))

    page.shows("A1", "#orders")


def test_faults_in_force_are_shown_and_cleared_by_a_click(page: Page, harness: BrowserHarness) -> None:
    """With how often they fired."""
    harness.put("faults", {"faults": [{"fault": "job_fails", "trade_no": "BAD1"}]})
    page.shows("job fails, trade no BAD1", "#faults")
    harness.issue(paper("BAD1"))
    page.shows("1×", "#faults")
    page.shows("failed", "#orders")

    page.click("Clear all")

    page.shows("All faults are cleared.", "#said")
    assert harness.sandbox.faults.armed == ()


def test_nothing_of_the_customer_is_on_the_page(page: Page, harness: BrowserHarness) -> None:
    """A sandbox may be shown to others, and is fed with real orders all the same."""
    customer = {"CustomerName": "王珊珊", "CustomerPhone": "0912345678", "CustomerEmail": "abc@gmail.com"}
    harness.issue(paper("A1", CustomerAddress="臺北市", **customer, **harness.urls))
    page.click("A1")
    page.click("Redeem all 2")
    page.shows("answered", "#notices")

    source = page.source()

    assert [value for value in (*customer.values(), "臺北市") if value in source] == []


def test_names_are_text_and_never_markup(page: Page, harness: BrowserHarness) -> None:
    """An item may be called anything."""
    harness.put("items/EVIL0001", {"ticket_type": "pickup", "name": "<b id=evil>x</b>"})
    harness.issue(paper("A1", TicketInfo=[{"ItemNo": "EVIL0001", "TicketAmount": 1}]))

    page.shows("<b id=evil>x</b> × 1", "#orders")

    assert "<b id=" not in page.source()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (1900, 1000), (360, 740)])
def test_it_can_be_read_and_reached(page: Page, harness: BrowserHarness, width: int, height: int, scheme: str) -> None:
    """On a desk and on a phone, light and dark: enough contrast, nothing sticks out, everything has a name."""
    page.set_up(width=width, height=height, scheme="dark" if scheme == "dark" else "light")
    harness.put("faults", {"faults": [{"fault": "job_fails", "trade_no": "BAD1"}, {"fault": "tampered_notification"}]})
    harness.receiver.answer = lambda _: 500
    long_number = paper("CBX20260302153064851ABCDE", **harness.urls)
    for order in (electronic("BAD1"), electronic("WAITS1"), serial("S1"), long_number):
        harness.issue(order)
    page.shows("CBX20260302153064851ABCDE", "#orders")
    findings = [page.faint_texts(), page.nameless(), page.sticks_out()]
    page.click("CBX20260302153064851ABCDE")
    page.click("Refund all 2")
    page.shows("waiting", "#notices")

    findings += [page.faint_texts(), page.nameless(), page.sticks_out()]

    assert findings == [[], [], False] * 2


def test_on_a_phone_one_thing_is_shown_at_a_time(page: Page, harness: BrowserHarness) -> None:
    """The list, then the order, and back; the notifications beside."""
    page.set_up(width=390, height=844, scheme="light")
    harness.issue(paper("A1", **harness.urls))
    page.click("A1")
    page.click("Redeem all 2")
    page.shows("answered", "#notices")
    assert page.text(".orders") == ""

    page.click("Close")
    page.shows("2 redeemed", ".orders")
    assert page.text(".order") == ""
    page.click("Notifications")

    page.shows("UseStatus 2 (redeemed)", ".notifications")
    assert page.text(".orders") == ""
