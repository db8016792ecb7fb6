"""Redeeming and refunding, and what is told of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.envelope import seal_request
from adapter.protocol.issue import TradeNoKind
from adapter.protocol.order_detail import UseStatus
from adapter.sandbox import Desk, SandboxSettings
from adapter.sandbox.behaviours import AcceptRepeats
from adapter.sandbox.books import tickets
from adapter.sandbox.box_office import Declined, Done
from adapter.sandbox.faults import Fault
from adapter.sandbox.notifications import NotificationKind
from adapter.sandbox.uses import Act

from .helpers import BY_PLATFORM, MERCHANT, START, Payload, electronic, paper, serial

URLS = {"RefundNotifyURL": "http://shop.tw/refund", "UseStatusNotifyURL": "http://shop.tw/use"}
LATER = START + timedelta(hours=1)


def desk_with(*orders: Payload, settings: SandboxSettings | None = None) -> Desk:
    desk = Desk(settings or SandboxSettings())
    for order in orders:
        issue(desk, order)
    return desk


def issue(desk: Desk, order: Payload) -> None:
    body = seal_request(order, MERCHANT, timestamp=int(START.timestamp()))
    assert desk.take(Endpoint.ISSUE, Family.TICKET, body, START).outcome == "accepted"


def use(desk: Desk, act: Act, ticket_no: str | None = None, trade_no: str = "A1") -> Done | Declined:
    key = desk.box_office.find("3085676", trade_no)
    assert key is not None
    return desk.box_office.carry_out(act, key, ticket_no, LATER)


def numbers(desk: Desk, trade_no: str = "A1") -> list[str]:
    key = desk.box_office.find("3085676", trade_no)
    assert key is not None
    return [ticket.number for order in desk.books.issuances(key) for ticket in tickets(order)]


def told(desk: Desk) -> list[tuple[NotificationKind, str, dict[str, object]]]:
    """What waits in the outbox, first come first."""
    found = [each.notification for each in desk.outbox.newest()][::-1]
    return [(each.kind, each.url, dict(each.data)) for each in found]


def test_a_redemption_is_told_with_the_tickets_new_state() -> None:
    """To UseStatusNotifyURL, with the numbers of order, ECTicket and ticket."""
    desk = desk_with(paper(**URLS))
    first, _ = numbers(desk)

    done = use(desk, Act.REDEEM, first)

    assert done == Done(ticket_nos=(first,), notifications=1)
    assert told(desk) == [
        (
            NotificationKind.USE_STATUS,
            "http://shop.tw/use",
            {
                "MerchantID": "3085676",
                "RtnCode": 1,
                "MerchantTradeNo": "A1",
                "FreeTradeNo": "",
                "TicketTradeNo": "2023120112000000",
                "TicketNo": first,
                "UseStatus": 2,
            },
        )
    ]


def test_a_refund_is_told_as_a_state_and_as_money() -> None:
    """The ticket to UseStatusNotifyURL, the amounts to RefundNotifyURL."""
    desk = desk_with(paper(**URLS))
    first, _ = numbers(desk)

    use(desk, Act.REFUND, first)

    (_, _, state), money = told(desk)
    assert (state["TicketNo"], state["UseStatus"]) == (first, 3)
    assert money == (
        NotificationKind.REFUND,
        "http://shop.tw/refund",
        {
            "MerchantID": "3085676",
            "MerchantTradeNo": "A1",
            "TradeAmount": 2400,
            "TotalRefundAmount": 1200,
            "RefundAmount": 1200,
        },
    )


def test_refunds_add_up() -> None:
    """TotalRefundAmount holds every refund of the order, RefundAmount this one."""
    desk = desk_with(paper(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 3}], RefundNotifyURL="http://shop.tw/r"))
    first, second, third = numbers(desk)
    for number in (first, second):
        use(desk, Act.REFUND, number)
    use(desk, Act.REDEEM, third)

    amounts = [(data["TradeAmount"], data["TotalRefundAmount"], data["RefundAmount"]) for _, _, data in told(desk)]
    assert amounts == [(3600, 1200, 1200), (3600, 2400, 1200)]


def test_all_that_is_left_of_an_order_is_used_at_once() -> None:
    """Without a ticket's number; one notification per ticket, one for the money."""
    desk = desk_with(paper(**URLS))
    first, second = numbers(desk)
    use(desk, Act.REDEEM, first)

    done = use(desk, Act.REFUND)

    assert done == Done(ticket_nos=(second,), notifications=2)


def test_gift_vouchers_are_refunded_without_money_being_told() -> None:
    """ "When a pickup voucher order is refunded": an order of gift vouchers has none, and no MerchantTradeNo."""
    gift = [{"ItemNo": "GFT00001", "TicketAmount": 1, "ExpireDate": "20231231"}]
    desk = desk_with(paper(MerchantTradeNo=None, FreeTradeNo="F1", TicketInfo=gift, **URLS))

    use(desk, Act.REFUND, trade_no="F1")

    ((kind, _, data),) = told(desk)
    assert kind is NotificationKind.USE_STATUS
    assert (data["MerchantTradeNo"], data["FreeTradeNo"], data["UseStatus"]) == ("", "F1", 3)


def test_an_order_without_addresses_is_used_in_silence() -> None:
    """Both are optional."""
    desk = desk_with(paper())

    assert use(desk, Act.REFUND) == Done(ticket_nos=tuple(numbers(desk)), notifications=0)
    assert told(desk) == []


def test_a_serial_number_can_be_named_by_its_redemption_code() -> None:
    """WriteOffNo is all its holder has."""
    desk = desk_with(serial(**URLS))
    (order,) = (desk.books.issuances(key)[0] for key in desk.books.numbers())
    first, _ = tickets(order)

    assert use(desk, Act.REDEEM, first.redemption_code) == Done(ticket_nos=(first.number,), notifications=1)


def test_extra_fields_are_added_where_asked_for() -> None:
    """One known client cannot read a refund without TicketTradeNo."""
    desk = desk_with(paper(**URLS), settings=SandboxSettings(notify_extra_fields=True))

    use(desk, Act.REFUND)

    assert told(desk)[-1][2]["TicketTradeNo"] == "2023120112000000"


def test_what_came_through_a_platform_is_told_through_it() -> None:
    """Its PlatformID is on the notification, whose keys then sign."""
    desk = Desk(SandboxSettings())
    body = seal_request(paper(**URLS), BY_PLATFORM, timestamp=int(START.timestamp()))
    desk.take(Endpoint.ISSUE, Family.TICKET, body, START)

    use(desk, Act.REDEEM)

    assert {each.notification.platform_id for each in desk.outbox.newest()} == {BY_PLATFORM.platform_id}


@pytest.mark.parametrize("act", list(Act))
def test_what_is_not_issued_cannot_be_used(act: Act) -> None:
    """There are no tickets before the job has ended."""
    desk = desk_with(electronic(**URLS), settings=SandboxSettings(job_seconds=7_200))

    declined = use(desk, act)

    assert declined == Declined(message="order A1 has no tickets: they are not issued")
    assert told(desk) == []


def test_an_unknown_ticket_is_declined() -> None:
    """With its number, and marked as unknown."""
    desk = desk_with(paper())

    assert use(desk, Act.REDEEM, "CB0") == Declined(message="order A1 has no ticket CB0", unknown=True)


def test_a_second_redemption_is_declined_and_not_told_again() -> None:
    """The first one stands."""
    desk = desk_with(paper(**URLS))
    first, _ = numbers(desk)
    use(desk, Act.REDEEM, first)

    again = use(desk, Act.REFUND, first)

    assert isinstance(again, Declined)
    assert "is redeemed; only an unused one can be refunded" in again.message
    assert len(told(desk)) == 1


def test_nothing_is_used_that_could_not_be_told() -> None:
    """While the outbox is full of what nobody has answered, tickets stay as they are."""
    many = [{"ItemNo": "VQT04959", "TicketAmount": 100}]
    desk = desk_with(
        paper("A1", TicketInfo=many, **URLS),
        paper("A2", TicketInfo=many, **URLS),
        settings=SandboxSettings(max_notifications=200),
    )
    use(desk, Act.REDEEM, trade_no="A1")

    declined = use(desk, Act.REDEEM, trade_no="A2")

    assert declined == Declined(message="as many notifications wait to be answered as the sandbox may hold")
    (order,) = desk.books.issuances(desk.box_office.find("3085676", "A2") or next(desk.books.numbers()))
    assert desk.uses.tally(order, LATER.date()).counts == {UseStatus.UNUSED: 100}


def test_the_same_text_may_be_two_numbers() -> None:
    """MerchantTradeNo goes first; the kind tells them apart."""
    gift = [{"ItemNo": "GFT00001", "TicketAmount": 1, "ExpireDate": "20231231"}]
    desk = desk_with(paper(MerchantTradeNo=None, FreeTradeNo="A1", TicketInfo=gift), paper("A1"))

    keys = [desk.box_office.find("3085676", "A1", kind) for kind in (None, TradeNoKind.FREE, TradeNoKind.MERCHANT)]

    assert [key[1].kind for key in keys if key] == [TradeNoKind.MERCHANT, TradeNoKind.FREE, TradeNoKind.MERCHANT]


def test_an_order_that_was_issued_twice_is_refunded_for_each_time() -> None:
    """On the worst server; each issuance tells of its own money."""
    desk = desk_with(paper(**URLS))
    desk.faults.arm(Fault(behaviour=AcceptRepeats()))
    issue(desk, paper(**URLS))

    use(desk, Act.REFUND)

    money = [data for kind, _, data in told(desk) if kind is NotificationKind.REFUND]
    assert [(each["TradeAmount"], each["RefundAmount"]) for each in money] == [(2400, 2400)] * 2
