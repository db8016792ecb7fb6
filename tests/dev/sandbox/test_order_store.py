"""The order store as a table: what is known of an order at which moment."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from adapter.dev.sandbox.order_store import Job, OrderStore, StoredLine, StoredOrder, tickets
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.query_item_info import TicketType

from .helpers import START


def line(quantity: int = 2, *, expire_date: date | None = None) -> StoredLine:
    return StoredLine(
        item_no="VQT04959",
        name="One day",
        ticket_type=TicketType.PICKUP if expire_date is None else TicketType.GIFT,
        price=100,
        quantity=quantity,
        start_date=START.date(),
        expire_date=expire_date,
    )


def request(value: str = "A1", kind: TradeNoKind = TradeNoKind.MERCHANT, merchant_id: str = "3085676") -> IssueRequest:
    return IssueRequest(
        merchant_id=merchant_id,
        trade_no=TradeNo(kind=kind, value=value),
        issue_type=IssueType.ELECTRONIC,
        operator="op",
        ticket_info=(TicketInfo(item_no="VQT04959", ticket_amount=2),),
    )


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def add(
    store: OrderStore,
    asked: IssueRequest | None = None,
    *,
    received: float = 0,
    visible: float = 0,
    ends: float | None = 10,
    failure: str | None = None,
    quantity: int = 2,
) -> StoredOrder:
    order = store.add(
        asked or request(),
        (line(quantity),),
        received_at=at(received),
        visible_at=at(received + visible),
        job=Job(ends_at=None if ends is None else at(received + ends), failure=failure),
    )
    assert order is not None
    return order


@pytest.fixture
def store() -> OrderStore:
    return OrderStore(max_orders=1_000)


@pytest.mark.parametrize(
    ("ends", "failure", "asked_at", "status", "remark"),
    [
        (10, None, 0, IssueStatus.IN_PROGRESS, ""),
        (10, None, 9.999, IssueStatus.IN_PROGRESS, ""),
        (10, None, 10, IssueStatus.ISSUED, ""),
        (0, None, 0, IssueStatus.ISSUED, ""),
        (10, "no", 9.999, IssueStatus.IN_PROGRESS, ""),
        (10, "no", 10, IssueStatus.FAILED, "no"),
        (None, None, 1_000_000, IssueStatus.IN_PROGRESS, ""),
    ],
)
def test_status_is_a_function_of_time(
    store: OrderStore, ends: float | None, failure: str | None, asked_at: float, status: IssueStatus, remark: str
) -> None:
    """In progress until the job's end, then issued, or failed with the reason; never, when the job has no end."""
    order = add(store, ends=ends, failure=failure)

    assert order.status(at(asked_at)) is status
    assert order.remark(at(asked_at)) == remark


def test_an_order_is_invisible_until_its_moment(store: OrderStore) -> None:
    """Queries find nothing before, although the number is already used up."""
    order = add(store, visible=5)

    assert store.visible(order.key, at(4.999)) is None
    assert store.knows(order.key)
    assert store.visible(order.key, at(5)) is order


def test_an_order_may_become_visible_only_after_its_job_has_ended(store: OrderStore) -> None:
    """The first answer of a query then is Status 1."""
    order = add(store, visible=20, ends=10)

    assert store.visible(order.key, at(20)) is order
    assert order.status(at(20)) is IssueStatus.ISSUED


def test_a_number_belongs_to_its_merchant_and_kind(store: OrderStore) -> None:
    """The same text as FreeTradeNo, or of another merchant, is another number."""
    add(store)

    assert not store.knows(("3085676", request(kind=TradeNoKind.FREE).trade_no))
    assert not store.knows(("3362787", request().trade_no))
    assert not store.knows(("3085676", request("a1").trade_no))


def test_repeats_are_kept_beside_the_first(store: OrderStore) -> None:
    """A number issued three times is one number with three issuances; queries answer about the first."""
    first = add(store)
    second = add(store, received=1, quantity=5)
    third = add(store, received=2)
    add(store, request("B2"))

    assert store.issuances(first.key) == (first, second, third)
    assert store.repeated() == (first.key,)
    assert store.visible(first.key, at(9)) is first
    assert (len(store), store.number_count, store.ticket_count) == (4, 2, 11)


def test_a_full_order_store_takes_nothing_more_and_forgets_nothing() -> None:
    """The bound on memory never lets a number be used again."""
    store = OrderStore(max_orders=1)
    order = add(store)

    refused = store.add(request("B2"), (line(),), received_at=at(1), visible_at=at(1), job=Job(ends_at=at(1)))

    assert refused is None
    assert store.knows(order.key)
    assert len(store) == 1


def test_numbers_of_orders_and_tickets_have_the_documented_form_and_are_unique(store: OrderStore) -> None:
    """TicketTradeNo 16, TicketNo 16, WriteOffNo 18 characters."""
    orders = [add(store, request(f"N{place}"), quantity=100) for place in range(50)]
    numbers = [ticket.number for order in orders for ticket in tickets(order)]
    codes = [ticket.redemption_code for order in orders for ticket in tickets(order)]

    assert orders[0].ticket_trade_no == "2023120112000000"
    assert {len(order.ticket_trade_no) for order in orders} == {16}
    assert ({len(number) for number in numbers}, {len(code) for code in codes}) == ({16}, {18})
    assert len({order.ticket_trade_no for order in orders}) == 50
    assert len(set(numbers)) == len(set(codes)) == 5_000
    assert all(text.isascii() and text.isalnum() for text in (*numbers, *codes))


def test_tickets_follow_from_their_order(store: OrderStore) -> None:
    """They are not stored, so they must come out the same each time."""
    order = add(store)

    assert list(tickets(order)) == list(tickets(order))
    assert len(list(tickets(order))) == order.ticket_count == 2
    assert order.amount == 200


@pytest.mark.parametrize(("today", "expired"), [(date(2024, 1, 31), False), (date(2024, 2, 1), True)])
def test_a_gift_voucher_expires_after_its_last_day(store: OrderStore, today: date, expired: bool) -> None:
    """ExpireDate itself still counts."""
    order = store.add(
        request(kind=TradeNoKind.FREE),
        (line(1, expire_date=date(2024, 1, 31)),),
        received_at=START,
        visible_at=START,
        job=Job(ends_at=START),
    )
    assert order is not None

    assert [ticket.line.expired(today) for ticket in tickets(order)] == [expired]


def test_a_report_holds_the_merchants_visible_orders_of_the_dates(store: OrderStore) -> None:
    """By Taipei's date of receipt, both ends included; others' orders and invisible ones are left out."""
    day = 86_400
    wanted = [add(store, request("D0")), add(store, request("D1"), received=day)]
    add(store, request("D2"), received=2 * day)
    add(store, request("X0", merchant_id="3362787"))
    add(store, request("V0"), visible=10 * day)

    found = store.received("3085676", START.date(), START.date() + timedelta(days=1), at(3 * day))

    assert list(found) == wanted


def test_a_report_is_not_disturbed_by_orders_that_come_meanwhile(store: OrderStore) -> None:
    """Reports are made lazily, while the sandbox goes on working."""
    first = add(store)
    report = store.received("3085676", START.date(), START.date(), at(60))
    found = [next(report)]
    add(store, request("B2"))

    assert [*found, *report] == [first]
