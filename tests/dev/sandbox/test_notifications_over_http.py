"""Notifications on real sockets: what a merchant's receiver gets, and what its answers lead to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest

from adapter.dev.sandbox import RunningSandbox, SandboxSettings
from adapter.dev.sandbox.notification_queue import Delivery, State
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.dev.sandbox.web import utc_now
from adapter.protocol.envelope import Request as Opened

from .conftest import NO_TLS
from .helpers import BY_PLATFORM, MERCHANT, Client, Clock, Payload, paper
from .receiver import Receiver, accepting

AGAIN = SandboxSettings(port=0, notify_again_seconds=0.02)


class NotificationHarness:
    """A sandbox with an order, and a receiver that the order names."""

    def __init__(self, client: Client, receiver: Receiver) -> None:
        self.client = client
        self.sandbox = client.sandbox
        self.receiver = receiver

    async def issue(self, trade_no: str = "A1", **changes: object) -> None:
        urls = {"RefundNotifyURL": self.receiver.url("/refund"), "UseStatusNotifyURL": self.receiver.url("/use")}
        assert (await self.client.issue(paper(trade_no, **{**urls, **changes})))["RtnCode"] == 1

    async def finished(self) -> list[Delivery]:
        """Every notification, oldest first, once none is open any more."""
        async with asyncio.timeout(30):
            await self.sandbox.all_delivered()
        return list(self.sandbox.notification_queue.newest())[::-1]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as listening:
        yield listening


@pytest.fixture
async def harness(receiver: Receiver) -> AsyncIterator[NotificationHarness]:
    async with (
        RunningSandbox(AGAIN) as sandbox,
        httpx.AsyncClient(timeout=5, trust_env=False, verify=NO_TLS) as http,
    ):
        yield NotificationHarness(Client(http=http, sandbox=sandbox, clock=Clock(utc_now())), receiver)


async def test_redeem_and_refund_reach_the_merchant_with_the_right_checksum(harness: NotificationHarness) -> None:
    """Each to its own address; answered with RtnCode 1, they are not sent again."""
    await harness.issue()
    (first, *_) = harness.sandbox.redeem("3085676", "A1").ticket_nos
    await harness.issue("A2")
    harness.sandbox.refund("3085676", "A2")

    finished = await harness.finished()

    assert [each.state for each in finished] == [State.ANSWERED] * 5
    assert sorted(harness.receiver.paths) == ["/refund", *["/use"] * 4]
    payloads = harness.receiver.payloads()
    assert len(payloads) == 5
    assert {"TicketNo": first, "UseStatus": 2}.items() <= payloads[0].items()
    (money,) = (each for each in payloads if "RefundAmount" in each)
    assert (money["MerchantTradeNo"], money["TotalRefundAmount"], money["RefundAmount"]) == ("A2", 2400, 2400)


async def test_what_is_not_accepted_is_sent_again_with_the_same_text(harness: NotificationHarness) -> None:
    """A receiver knows a resend by its plaintext; the time in the header is another."""
    good = accepting()
    harness.receiver.answer = lambda count: (500, b"1|OK", b"nonsense")[count - 1] if count < 4 else good(count)
    await harness.issue(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
    harness.sandbox.redeem("3085676", "A1")

    (delivery,) = await harness.finished()

    assert [each.verdict.name for each in delivery.sent] == ["http_500", "plain_ok", "not_an_envelope", "accepted"]
    opened = [each for each in harness.receiver.opened() if isinstance(each, Opened)]
    assert len({each.plaintext for each in opened}) == 1
    assert len(opened) == 4


async def test_after_four_resends_it_is_given_up(harness: NotificationHarness) -> None:
    """Five in all; then nothing more comes."""
    harness.receiver.answer = lambda _: 503
    await harness.issue(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
    harness.sandbox.redeem("3085676", "A1")

    (delivery,) = await harness.finished()

    assert (delivery.state, len(harness.receiver.bodies)) == (State.GIVEN_UP, 5)
    assert (await harness.client.stats())["notifications"] == {
        "waiting": 0,
        "under_way": 0,
        "answered": 0,
        "given_up": 1,
        "answers": {"http_503": 5},
        "tampered_accepted": 0,
    }


async def test_duplicates_arrive_byte_for_byte(harness: NotificationHarness) -> None:
    """As often as the fault says, although the first was answered."""
    await harness.client.arm({"fault": "duplicate_notification", "copies": 3, "endpoint": "refund_notification"})
    await harness.issue(UseStatusNotifyURL=None)
    harness.sandbox.refund("3085676", "A1")

    (delivery,) = await harness.finished()

    assert len({str(each) for each in harness.receiver.payloads()}) == 1
    assert [(each.attempt, each.copy) for each in delivery.sent] == [(1, 1), (1, 2), (1, 3)]
    assert (await harness.client.stats())["faults"] == {"duplicate_notification": 1}


async def test_a_tampered_notification_differs_from_the_true_one(harness: NotificationHarness) -> None:
    """The first fails its checksum and is refused; the resend is whole."""
    await harness.client.arm({"fault": "tampered_notification", "count": 1})
    good = accepting()
    harness.receiver.answer = lambda count: 400 if count == 1 else good(count)
    await harness.issue(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
    harness.sandbox.redeem("3085676", "A1")

    (delivery,) = await harness.finished()

    first, second = harness.receiver.opened()
    assert first == "WrongChecksum"
    assert isinstance(second, Opened)
    assert [each.tampered for each in delivery.sent] == [True, False]


async def test_an_order_through_a_platform_is_notified_with_the_platforms_keys() -> None:
    """And answered with them."""
    async with (
        Receiver(merchant=BY_PLATFORM) as receiver,
        RunningSandbox(AGAIN) as sandbox,
        httpx.AsyncClient(timeout=5, trust_env=False, verify=NO_TLS) as http,
    ):
        client = Client(http=http, sandbox=sandbox, clock=Clock(utc_now()), merchant=BY_PLATFORM)
        harness = NotificationHarness(client, receiver)
        await harness.issue()
        harness.sandbox.redeem("3085676", "A1")

        finished = await harness.finished()

        assert {each.state for each in finished} == {State.ANSWERED}
        assert len(receiver.payloads()) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/use",
        "http://127.0.0.1:99999/use",
        "http://no-such-host.invalid/use",
        "http://.%/use",
        "http://127.0.0.1:x/use",
        "http://127.0.0.1:0/use",
        f"http://{'x' * 70}.tw/use",
        "https://127.0.0.1:9/use",
    ],
)
async def test_an_address_that_cannot_be_reached_is_recorded(harness: NotificationHarness, url: str) -> None:
    """Nothing falls over, and the next notification goes out."""
    await harness.issue(UseStatusNotifyURL=url)
    await harness.issue("A2")
    harness.sandbox.redeem("3085676", "A1")
    harness.sandbox.redeem("3085676", "A2")

    finished = await harness.finished()

    lost = [each for each in finished if each.notification.url == url]
    assert {sent.verdict.name for each in lost for sent in each.sent} == {"not_reached"}
    assert {each.state for each in finished if each not in lost} == {State.ANSWERED}


async def test_a_receiver_that_says_nothing_is_not_waited_for_longer_than_set() -> None:
    """The connection is there, the answer is not."""
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(0), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/use"
    settings = SandboxSettings(port=0, notify_timeout_seconds=0.05, notify_again_times=0)
    async with RunningSandbox(settings) as sandbox, httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        harness = NotificationHarness(Client(http=http, sandbox=sandbox, clock=Clock(utc_now())), Receiver())
        payload: Payload = paper(UseStatusNotifyURL=url, TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
        await harness.client.issue(payload)
        sandbox.redeem("3085676", "A1")

        (delivery,) = await harness.finished()

    silent.close()
    assert [each.verdict.name for each in delivery.sent] == ["timed_out"]


async def test_an_endless_answer_is_cut_off(harness: NotificationHarness) -> None:
    """Memory is bounded whatever a receiver sends."""
    harness.receiver.answer = lambda _: b"x" * 70_000
    await harness.issue(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
    harness.sandbox.redeem("3085676", "A1")

    (delivery,) = await harness.finished()

    assert {each.verdict.name for each in delivery.sent} == {"too_large"}


async def test_a_redirect_is_not_followed(harness: NotificationHarness) -> None:
    """The sandbox sends to nowhere but the addresses it was given."""
    harness.receiver.answer = lambda _: 307
    await harness.issue(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
    harness.sandbox.redeem("3085676", "A1")

    (delivery,) = await harness.finished()

    assert {each.verdict.name for each in delivery.sent} == {"http_307"}


async def test_hundreds_are_all_delivered_a_few_at_a_time(harness: NotificationHarness) -> None:
    """Bounded in number, complete in the end."""
    for place in range(4):
        await harness.issue(f"N{place}", TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 100}])
        harness.sandbox.redeem("3085676", f"N{place}")

    finished = await harness.finished()

    assert len({each["TicketNo"] for each in harness.receiver.payloads()}) == 400
    assert {each.state for each in finished} == {State.ANSWERED}


async def test_the_delivery_log_shows_what_was_sent_and_answered(harness: NotificationHarness) -> None:
    """Newest first, of one order where asked for, and without the customer."""
    harness.receiver.answer = lambda count: 500 if count == 1 else accepting()(count)
    await harness.issue(CustomerName="王珊珊", TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
    await harness.issue("A2")
    (ticket_no,) = harness.sandbox.redeem("3085676", "A1").ticket_nos
    await harness.finished()
    harness.sandbox.redeem("3085676", "A2")
    await harness.finished()
    url = f"{harness.sandbox.base_url}/_/notifications"

    newest = (await harness.client.http.get(url)).json()
    (only,) = (await harness.client.http.get(f"{url}?trade_no=A1&limit=5")).json()["notifications"]

    assert [each["trade_no"] for each in newest["notifications"]] == ["A2", "A2", "A1"]
    assert (only["kind"], only["state"], only["ticket_no"]) == ("use_status_notification", "answered", ticket_no)
    assert only["data"]["UseStatus"] == 2
    assert [(each["answer"], each["http_status"]) for each in only["sent"]] == [("http_500", 500), ("accepted", 200)]
    assert "王" not in str(newest)


async def test_a_moved_clock_brings_the_resend_forward(receiver: Receiver, clock: Clock) -> None:
    """Here it moves five minutes at every reading, so the test does not wait ten real ones."""
    receiver.answer = lambda count: 500 if count == 1 else accepting()(count)

    def now() -> datetime:
        clock.advance(300)
        return clock()

    async with RunningSandbox(now=now) as sandbox, httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        harness = NotificationHarness(Client(http=http, sandbox=sandbox, clock=clock), receiver)
        await harness.issue(TicketInfo=[{"ItemNo": "VQT04959", "TicketAmount": 1}])
        sandbox.redeem("3085676", "A1")

        (delivery,) = await harness.finished()

    assert [each.verdict.name for each in delivery.sent] == ["http_500", "accepted"]


async def test_stopping_breaks_off_what_is_under_way() -> None:
    """A receiver that never answers does not hold a sandbox up, and no task is left."""
    before = asyncio.all_tasks()
    reached = asyncio.Event()

    async def hold(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        reached.set()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/use"
    async with RunningSandbox() as sandbox, httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
        client = Client(http=http, sandbox=sandbox, clock=Clock(utc_now()))
        await client.issue(paper(UseStatusNotifyURL=url))
        sandbox.redeem("3085676", "A1")
        async with asyncio.timeout(30):
            await reached.wait()

    silent.close()
    assert asyncio.all_tasks() == before


def test_the_test_merchants_include_the_platform() -> None:
    """The tests above mean what they say."""
    assert {MERCHANT, BY_PLATFORM} <= set(PUBLIC_TEST_MERCHANTS)
