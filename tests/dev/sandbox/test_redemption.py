"""Redeeming and refunding, and the notifications about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from key_words import mentions

from adapter.dev.sandbox import SandboxSettings, Simulator
from adapter.dev.sandbox.fault_types import AcceptRepeats
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.notifications import NotificationKind
from adapter.dev.sandbox.order_store import tickets
from adapter.dev.sandbox.redemption import Declined, Done
from adapter.dev.sandbox.ticket_states import Act
from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.envelope import seal_request
from adapter.protocol.issue import TradeNoKind
from adapter.protocol.order_detail import UseStatus

from .helpers import BY_PLATFORM, MERCHANT, START, Payload, electronic, paper, serial

URLS = {"RefundNotifyURL": "http://shop.tw/refund", "UseStatusNotifyURL": "http://shop.tw/use"}
LATER = START + timedelta(hours=1)


def simulator_with(*orders: Payload, settings: SandboxSettings | None = None) -> Simulator:
    simulator = Simulator(settings or SandboxSettings())
    for order in orders:
        issue(simulator, order)
    return simulator


def issue(simulator: Simulator, order: Payload) -> None:
    body = seal_request(order, MERCHANT, timestamp=int(START.timestamp()))
    assert simulator.respond(Endpoint.ISSUE, Family.TICKET, body, START).outcome == "accepted"


def use(simulator: Simulator, act: Act, ticket_no: str | None = None, trade_no: str = "A1") -> Done | Declined:
    key = simulator.redemptions.find("3085676", trade_no)
    assert key is not None
    return simulator.redemptions.carry_out(act, key, ticket_no, LATER)


def numbers(simulator: Simulator, trade_no: str = "A1") -> list[str]:
    key = simulator.redemptions.find("3085676", trade_no)
    assert key is not None
    return [ticket.number for order in simulator.order_store.issuances(key) for ticket in tickets(order)]


def notifications_of(simulator: Simulator) -> list[tuple[NotificationKind, str, dict[str, object]]]:
    """What waits in the outbox, first come first."""
    found = [each.notification for each in simulator.notification_queue.newest()][::-1]
    return [(each.kind, each.url, dict(each.data)) for each in found]


def test_a_redemption_is_notified_with_the_tickets_new_state() -> None:
    """To UseStatusNotifyURL, with the numbers of order, ECTicket and ticket."""
    simulator = simulator_with(paper(**URLS))
    first, _ = numbers(simulator)

    done = use(simulator, Act.REDEEM, first)

    assert done == Done(ticket_nos=(first,), notifications=1)
    assert notifications_of(simulator) == [
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


def test_a_refund_is_notified_as_a_state_and_as_money() -> None:
    """The ticket to UseStatusNotifyURL, the amounts to RefundNotifyURL."""
    simulator = simulator_with(paper(**URLS))
    first, _ = numbers(simulator)

    use(simulator, Act.REFUND, first)

    (_, _, state), money = notifications_of(simulator)
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
    simulator = simulator_with(
        paper(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 3}], RefundNotifyURL="http://shop.tw/r")
    )
    first, second, third = numbers(simulator)
    for number in (first, second):
        use(simulator, Act.REFUND, number)
    use(simulator, Act.REDEEM, third)

    amounts = [
        (data["TradeAmount"], data["TotalRefundAmount"], data["RefundAmount"])
        for _, _, data in notifications_of(simulator)
    ]
    assert amounts == [(3600, 1200, 1200), (3600, 2400, 1200)]


def test_all_that_is_left_of_an_order_is_used_at_once() -> None:
    """Without a ticket's number; one notification per ticket, one for the money."""
    simulator = simulator_with(paper(**URLS))
    first, second = numbers(simulator)
    use(simulator, Act.REDEEM, first)

    done = use(simulator, Act.REFUND)

    assert done == Done(ticket_nos=(second,), notifications=2)


def test_gift_vouchers_are_refunded_without_a_money_notification() -> None:
    """ "When a pickup voucher order is refunded": an order of gift vouchers has none, and no MerchantTradeNo."""
    gift = [{"ItemNo": "GFT00001", "TicketAmount": 1, "ExpireDate": "20231231"}]
    simulator = simulator_with(paper(MerchantTradeNo=None, FreeTradeNo="F1", TicketInfo=gift, **URLS))

    use(simulator, Act.REFUND, trade_no="F1")

    ((kind, _, data),) = notifications_of(simulator)
    assert kind is NotificationKind.USE_STATUS
    assert (data["MerchantTradeNo"], data["FreeTradeNo"], data["UseStatus"]) == ("", "F1", 3)


def test_an_order_without_addresses_is_used_in_silence() -> None:
    """Both are optional."""
    simulator = simulator_with(paper())

    assert use(simulator, Act.REFUND) == Done(ticket_nos=tuple(numbers(simulator)), notifications=0)
    assert notifications_of(simulator) == []


def test_a_serial_number_can_be_named_by_its_redemption_code() -> None:
    """WriteOffNo is all its holder has."""
    simulator = simulator_with(serial(**URLS))
    (order,) = (simulator.order_store.issuances(key)[0] for key in simulator.order_store.numbers())
    first, _ = tickets(order)

    assert use(simulator, Act.REDEEM, first.redemption_code) == Done(ticket_nos=(first.number,), notifications=1)


def test_extra_fields_are_added_where_asked_for() -> None:
    """One known client cannot read a refund without TicketTradeNo."""
    simulator = simulator_with(paper(**URLS), settings=SandboxSettings(notify_extra_fields=True))

    use(simulator, Act.REFUND)

    assert notifications_of(simulator)[-1][2]["TicketTradeNo"] == "2023120112000000"


def test_what_came_through_a_platform_is_notified_through_it() -> None:
    """Its PlatformID is on the notification, whose keys then sign."""
    simulator = Simulator(SandboxSettings())
    body = seal_request(paper(**URLS), BY_PLATFORM, timestamp=int(START.timestamp()))
    simulator.respond(Endpoint.ISSUE, Family.TICKET, body, START)

    use(simulator, Act.REDEEM)

    assert {each.notification.platform_id for each in simulator.notification_queue.newest()} == {
        BY_PLATFORM.platform_id
    }


@pytest.mark.parametrize("act", list(Act))
def test_what_is_not_issued_cannot_be_used(act: Act) -> None:
    """There are no tickets before the job has ended."""
    simulator = simulator_with(electronic(**URLS), settings=SandboxSettings(job_seconds=7_200))

    declined = use(simulator, act)

    assert isinstance(declined, Declined)
    assert not declined.unknown
    assert mentions(declined.message, "A1 not issued")
    assert notifications_of(simulator) == []


def test_an_unknown_ticket_is_declined() -> None:
    """With its number, and marked as unknown."""
    simulator = simulator_with(paper())

    declined = use(simulator, Act.REDEEM, "CB0")

    assert isinstance(declined, Declined)
    assert declined.unknown
    assert mentions(declined.message, "A1 CB0")


def test_a_second_redemption_is_declined_and_not_notified_again() -> None:
    """The first one stands."""
    simulator = simulator_with(paper(**URLS))
    first, _ = numbers(simulator)
    use(simulator, Act.REDEEM, first)

    again = use(simulator, Act.REFUND, first)

    assert isinstance(again, Declined)
    assert mentions(again.message, f"{first} redeemed unused refunded")
    assert len(notifications_of(simulator)) == 1


def test_nothing_is_used_that_could_not_be_notified() -> None:
    """While the queue is full of unanswered notifications, tickets stay as they are."""
    many = [{"ItemNo": "VQT04959", "TicketAmount": 100}]
    simulator = simulator_with(
        paper("A1", TicketInfo=many, **URLS),
        paper("A2", TicketInfo=many, **URLS),
        settings=SandboxSettings(max_notifications=200),
    )
    use(simulator, Act.REDEEM, trade_no="A1")

    declined = use(simulator, Act.REDEEM, trade_no="A2")

    assert isinstance(declined, Declined)
    assert "unanswered notifications" in declined.message
    (order,) = simulator.order_store.issuances(
        simulator.redemptions.find("3085676", "A2") or next(simulator.order_store.numbers())
    )
    assert simulator.ticket_states.tally(order, LATER.date()).counts == {UseStatus.UNUSED: 100}


def test_the_same_text_may_be_two_numbers() -> None:
    """MerchantTradeNo goes first; the kind distinguishes them."""
    gift = [{"ItemNo": "GFT00001", "TicketAmount": 1, "ExpireDate": "20231231"}]
    simulator = simulator_with(paper(MerchantTradeNo=None, FreeTradeNo="A1", TicketInfo=gift), paper("A1"))

    keys = [
        simulator.redemptions.find("3085676", "A1", kind) for kind in (None, TradeNoKind.FREE, TradeNoKind.MERCHANT)
    ]

    assert [key[1].kind for key in keys if key] == [TradeNoKind.MERCHANT, TradeNoKind.FREE, TradeNoKind.MERCHANT]


def test_an_order_that_was_issued_twice_is_refunded_for_each_time() -> None:
    """On the worst server; each issuance notifies about its own money."""
    simulator = simulator_with(paper(**URLS))
    simulator.faults.arm(FaultRule(behaviour=AcceptRepeats()))
    issue(simulator, paper(**URLS))

    use(simulator, Act.REFUND)

    money = [data for kind, _, data in notifications_of(simulator) if kind is NotificationKind.REFUND]
    assert [(each["TradeAmount"], each["RefundAmount"]) for each in money] == [(2400, 2400)] * 2
