"""Presale, gift vouchers and trade numbers, from the order's record to the request that ECTicket gets.

Page "Ticket Issuance": IsImmediate, StartDate, ExpireDate, MerchantTradeNo and FreeTradeNo; docs/orders.md.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from adapter import IssueType, Line, Order, TicketItem, hookimpl
from adapter.extensions.builtin.catalogue import CataloguePlugin
from adapter.extensions.builtin.catalogue_entry import CatalogueEntry
from adapter.issuance.next_step import Unverified
from adapter.protocol.issue import IssueRequest, TradeNo, TradeNoKind
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_BEFORE, NOT_SENT
from adapter.testing.fakes import TOPICS
from adapter.testing.outcome_reader import header
from adapter.values import replace
from flows.fakes import Maps
from flows.harness import Harness, derived, line, plan_of, replayed

LATER = "2026-04-01"


class Dated:
    """A merchant's mapping that gives each ticket a first day."""

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem]:
        """One item with a day of the plugin's own."""
        return [
            TicketItem(
                item_no=line.sku,
                quantity=line.quantity,
                issue_type=order.issue_type or IssueType.ELECTRONIC,
                start_date=date(2026, 4, 1),
            )
        ]


def sent_dates(request: IssueRequest) -> tuple[object, list[object]]:
    """IsImmediate and the StartDates as they go over the wire."""
    payload = request.to_payload()
    entries = payload["TicketInfo"]
    assert isinstance(entries, list)
    return payload.get("IsImmediate"), [entry.get("StartDate") for entry in entries]


async def test_a_line_with_a_start_date_is_presale(harness: Harness) -> None:
    """No other field is needed: IsImmediate 2 with the date, and IsImmediate 1 without one, in separate calls."""
    published = await harness.work(harness.order(line(start_date=LATER), line("BR103218", 1)))

    assert [sent_dates(request) for request in harness.ecticket.requests] == [("2", ["20260401"]), ("1", [None])]
    assert [event.data["part"] for event in published.events] == [1, 2]


async def test_a_plugins_start_date_is_presale() -> None:
    """A mapping need not know of `immediate`."""
    harness = Harness(plugins={"shop": Dated()})

    await harness.work(harness.order())

    assert [sent_dates(request) for request in harness.ecticket.requests] == [("2", ["20260401"])]


@pytest.mark.parametrize("issue_type", ["convenience_store", "paper", "serial_number"])
async def test_other_types_have_no_start_date(harness: Harness, issue_type: str) -> None:
    """ "The system is fixed to set it as immediate issuance": the date and `immediate` are left out."""
    dated = line(start_date=LATER, issue_type=issue_type, immediate=False, name="假日票券", unit_price=1)

    await harness.work(harness.order(dated))

    assert [sent_dates(request) for request in harness.ecticket.requests] == [(None, [None])]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ({}, [line(start_date=LATER, immediate=True)]),
        ({}, [line(immediate=False)]),
        ({"immediate": True}, [line(start_date=LATER)]),
        ({"immediate": False}, [line()]),
        ({"immediate": False}, [line(start_date=LATER), line("BR103218", 1)]),
        ({}, [line(voucher="pickup", expire_date=LATER)]),
        ({}, [line(), line("GFT00001", 1, voucher="pickup", expire_date=LATER)]),
    ],
)
async def test_a_contradiction_parks_the_order_with_nothing_sent(
    harness: Harness, content: dict[str, object], lines: list[dict[str, object]]
) -> None:
    """`invalid-order`; the message names the page."""
    published = await harness.work(harness.order(*lines, **content))

    assert header(published.dead_letter, "ecticket-reason") == "invalid-order"
    assert "developers.ecpay.com.tw/32163" in header(published.dead_letter, "ecticket-message")
    assert harness.ecticket.calls == []


@pytest.mark.parametrize(
    ("content", "lines", "immediate"),
    [
        ({"immediate": None}, [line(start_date=LATER, immediate=None)], ["2"]),
        ({"immediate": False}, [line(start_date=LATER)], ["2"]),
        ({"immediate": True}, [line()], ["1"]),
        ({"immediate": True}, [line(start_date=LATER, immediate=False), line("BR103218")], ["2", "1"]),
    ],
)
async def test_the_orders_immediate_is_the_default_of_its_lines(
    harness: Harness, content: dict[str, object], lines: list[dict[str, object]], immediate: list[str]
) -> None:
    """What a line says counts more; null says nothing."""
    await harness.work(harness.order(*lines, **content))

    assert [sent_dates(request)[0] for request in harness.ecticket.requests] == immediate


async def test_a_line_that_expires_is_a_gift(harness: Harness) -> None:
    """A last day without `voucher` makes a gift voucher, so the call has a FreeTradeNo."""
    published = await harness.work(harness.order(line(expire_date="2026-12-31")))

    (request,) = harness.ecticket.requests
    assert published.event("submitted").data["trade_no_kind"] == "free"
    assert request.ticket_info[0].expire_date == date(2026, 12, 31)


async def test_trade_no_goes_to_the_call_that_needs_it(harness: Harness) -> None:
    """Gifts of another type beside it get a derived FreeTradeNo, wherever their line stands."""
    gift = line("GFT00001", 1, issue_type="convenience_store", expire_date="2026-12-31")

    published = await harness.work(harness.order(gift, line(), trade_no="PAY1"))

    assert [request.trade_no for request in harness.ecticket.requests] == [
        TradeNo(kind=TradeNoKind.MERCHANT, value="PAY1"),
        TradeNo(kind=TradeNoKind.FREE, value=derived(part=2)),
    ]
    assert published.types == ["submitted", "submitted"]


async def test_a_second_record_with_trade_no_buys_no_gift_twice(harness: Harness) -> None:
    """The order is asked about by the payment's number, which every mapping uses (decision 0015)."""
    gift = line("GFT00001", 1, issue_type="convenience_store", expire_date="2026-12-31")
    first = await harness.work(harness.order(gift, line(), trade_no="PAY1"))
    harness.ecticket.calls.clear()

    again = await harness.run(harness.order(gift, line(), trade_no="PAY1"))

    assert harness.ecticket.calls[0] == ("query", "PAY1")
    assert harness.ecticket.tickets == {"PAY1": 1, derived(part=2): 1}
    assert again.types == ["submitted", "submitted"]
    assert {event.attributes["id"] for event in again.events} == {event.attributes["id"] for event in first.events}


# --- days that move ---------------------------------------------------------------------------------------------------


def dated_harness() -> Harness:
    """A house whose catalogue begins a ticket one or two days after the payment."""
    entries = {
        sku: CatalogueEntry(item_no="VQT04959", start_after_days=days) for sku, days in (("DAY", 1), ("TWO-DAYS", 2))
    }
    return Harness(plugins={"catalogue": CataloguePlugin(entries)})


PAID = "2026-03-01T23:30:00Z"  # the second of March in Taipei


@pytest.mark.parametrize(
    ("hours", "start"),
    [(0, "20260304"), (30, "20260304"), (40, "20260304"), (41, "20260305"), (24 * 30, "20260402")],
)
async def test_start_after_days_counts_from_the_payment_and_is_at_least_tomorrow(hours: int, start: str) -> None:
    """In Taipei's days; an order that is handled late begins on the day after."""
    harness = dated_harness()
    harness.clock.time = datetime(2026, 3, 1, 23, 30, tzinfo=UTC) + timedelta(hours=hours)

    await harness.work(harness.order(line("TWO-DAYS"), paid_at=PAID))

    assert [sent_dates(request) for request in harness.ecticket.requests] == [("2", [start])]


async def test_start_after_days_counts_from_the_record_where_paid_at_is_absent() -> None:
    """The record's time, also when the order comes again later."""
    harness = dated_harness()

    await harness.work(harness.order(line("TWO-DAYS")))

    assert [sent_dates(request) for request in harness.ecticket.requests] == [("2", ["20260303"])]


async def test_an_order_that_waits_past_its_first_day_begins_tomorrow() -> None:
    """The plan is made once; the day is moved each time the order is sent, and its number stays."""
    harness = dated_harness()
    harness.ecticket.always = NOT_SENT
    published = await harness.work(harness.order(line("DAY"), paid_at="2026-03-01T12:00:00+08:00"))
    harness.clock.time = NOON + timedelta(days=20)
    harness.ecticket.always = None

    published = await harness.work(published.deferred_record)

    (request,) = harness.ecticket.requests[-1:]
    assert sent_dates(request) == ("2", ["20260322"])
    assert published.event("submitted").data["trade_no"] == derived()


async def test_numbers_survive_a_crash_past_the_first_days() -> None:
    """Two days that both have come are one day when they are sent, and still the two parts from before the crash."""
    harness = dated_harness()
    harness.ecticket.has(derived(part=1))
    harness.ecticket.has(derived(part=2))
    harness.clock.time = NOON + timedelta(days=20)
    order = harness.order(line("DAY"), line("TWO-DAYS"), paid_at="2026-03-01T12:00:00+08:00")

    published = await harness.work(order, possibly_sent_since=NOON)

    assert [event.data["trade_no"] for event in published.events] == [derived(part=1), derived(part=2)]
    assert harness.ecticket.requests == []


async def test_the_plan_that_travels_knows_which_days_move() -> None:
    """A new owner reads from the header what the catalogue said, and does not map the order again."""
    harness = dated_harness()
    harness.ecticket.faults = [LOST_BEFORE]

    published = await harness.work(harness.order(line("DAY"), paid_at="2026-03-01T12:00:00+08:00"))

    (handed_off,) = plan_of(published.deferred_record).parts
    assert handed_off.part.items[0].start_moves
    assert handed_off.part.request.ticket_info[0].start_date == date(2026, 3, 2)
    assert plan_of(published.deferred_record).unverified in (None, Unverified())


async def test_an_odd_time_of_the_record_dates_no_ticket() -> None:
    """Microseconds for milliseconds would begin the ticket in a far year, and no time at all in 1970."""
    harness = dated_harness()
    odd = replace(harness.order(line("DAY")), raw_timestamp_ms=1_772_000_000_000_000)

    published = await harness.work(odd)

    assert header(published.dead_letter, "ecticket-reason") == "invalid-order"
    assert "paid_at" in header(published.dead_letter, "ecticket-message")


# --- plugins ----------------------------------------------------------------------------------------------------------


class Shapes:
    """A merchant's plugin that changes each request."""

    def __init__(self, **entry: object) -> None:
        self.entry = entry
        self.fields: dict[str, object] = {}

    @hookimpl
    def shape_issue(self, order: Order, request: IssueRequest) -> IssueRequest:
        """The request with these values in each entry."""
        entries = tuple(replace(entry, **self.entry) for entry in request.ticket_info)  # type: ignore[arg-type]
        return replace(request, ticket_info=entries, **self.fields)  # type: ignore[arg-type]


async def test_a_line_may_contradict_its_plugin() -> None:
    """What a plugin leaves open of `immediate` the line says, and then the order."""
    harness = Harness(plugins={"shop": Dated()})

    published = await harness.work(harness.order(line(immediate=True)))

    assert header(published.dead_letter, "ecticket-reason") == "invalid-order"
    assert harness.ecticket.calls == []


async def test_a_shaped_date_is_never_dropped() -> None:
    """A hook that dates an immediate ticket and forgets IsImmediate parks the order: ECTicket would ignore the date."""
    shapes = Shapes(start_date=date(2026, 4, 1))
    harness = Harness(plugins={"shop": shapes})

    published = await harness.work(harness.order())
    shapes.fields = {"is_immediate": False}
    await harness.work(harness.order(order_id="A-2"))

    assert header(published.dead_letter, "ecticket-reason") == "invalid-order"
    assert "IsImmediate is 1" in header(published.dead_letter, "ecticket-message")
    assert [sent_dates(request) for request in harness.ecticket.requests] == [("2", ["20260401"])]


async def test_a_day_that_a_hook_has_set_does_not_move() -> None:
    """Only the catalogue's own day may be moved; the hook's day has come, so the order is invalid."""
    entries = {"DAY": CatalogueEntry(item_no="VQT04959", start_after_days=1)}
    harness = Harness(plugins={"shop": Shapes(start_date=date(2026, 2, 1)), "catalogue": CataloguePlugin(entries)})

    published = await harness.work(harness.order(line("DAY")))

    assert header(published.dead_letter, "ecticket-reason") == "invalid-order"
    assert "StartDate" in header(published.dead_letter, "ecticket-message")


async def test_a_replayed_order_counts_from_its_first_record() -> None:
    """The record that a replay writes is younger than the payment, so it dates nothing."""
    maps = Maps()
    catalogue = CataloguePlugin({"TWO-DAYS": CatalogueEntry(item_no="VQT04959", start_after_days=2)})
    harness = Harness(plugins={"shop": maps, "catalogue": catalogue})
    maps.error = RuntimeError("the shop's mapping is broken")
    dead_letter = (await harness.work(harness.order(line("TWO-DAYS")))).dead_letter
    maps.error = None
    harness.clock.time = NOON + timedelta(days=5)
    again = replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock)

    await harness.run(replace(again, timestamp=harness.clock()))

    assert [sent_dates(request) for request in harness.ecticket.requests] == [("2", ["20260307"])]
