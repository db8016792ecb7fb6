"""The breaker at work: which merchant is held back, since when, and how it gets out again."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from log_lines import LogLine, log_line

from adapter.errors import BreakerOpen, InDoubt, NotAccepted, Throttled
from adapter.protocol.credentials import Merchant
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.issue import IssueReply, TradeNoKind
from adapter.provider.breaker import BreakerState
from adapter.provider.client import EcticketClient, Purpose
from adapter.provider.observer import CallOutcome
from adapter.values import replace

from . import ecticket
from .conftest import QUICK, FakeClock, MakeProvider, Noted
from .ecticket import ISSUE, MERCHANT, OTHER, TRADE_NO, sealed
from .server import RawServer, Visit

OPEN, PROBING, CLOSED = BreakerState.OPEN, BreakerState.PROBING, BreakerState.CLOSED


async def _issue(provider: EcticketClient, subject: str, merchant: Merchant = MERCHANT) -> IssueReply:
    return await provider.issue(merchant, ISSUE, subject=subject, authorize_send=lambda: None)


async def _refuse(visit: Visit) -> None:
    await visit.answer(sealed(None, trans_code=0))


async def _lock_out(visit: Visit) -> None:
    await visit.answer(status=403)


async def _never(visit: Visit) -> None:
    raise AssertionError("this call should not have been made")


@pytest.fixture
async def open_provider(server: RawServer, provider: EcticketClient) -> EcticketClient:
    """A provider whose breaker two refused orders have opened."""
    server.behave = _refuse
    for subject in ("order-1", "order-2"):
        with pytest.raises(NotAccepted):
            await _issue(provider, subject)
    server.visits.clear()
    server.behave = _never
    return provider


async def test_two_refused_orders_hold_the_merchant_back(open_provider: EcticketClient, time: FakeClock) -> None:
    """The third is refused at once with a retry time; so are queries."""
    with pytest.raises(BreakerOpen) as caught:
        await _issue(open_provider, "order-3")
    assert caught.value.retry_at == time.wall + timedelta(seconds=5)
    with pytest.raises(BreakerOpen):
        await open_provider.query(MERCHANT, TRADE_NO, purpose=Purpose.CONFIRM)


async def test_one_refused_order_holds_no_other_back(server: RawServer, provider: EcticketClient, noted: Noted) -> None:
    """It may well be its own content, however often it is tried."""
    server.behave = _refuse
    for _ in range(3):
        with pytest.raises(NotAccepted):
            await _issue(provider, "order-1")
    server.behave = ecticket.healthy
    await _issue(provider, "order-2")

    assert noted.states == []


async def test_a_refused_control_query_holds_the_merchant_back(
    server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """Its content cannot be at fault."""
    server.behave = _refuse
    with pytest.raises(NotAccepted):
        await provider.control(MERCHANT, TradeNoKind.MERCHANT, purpose=Purpose.DOUBT)

    assert noted.states == [(MERCHANT.merchant_id, OPEN)]


async def test_refused_queries_for_products_hold_no_order_back(
    server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """A merchant may lack QueryItemInfo alone; its orders are issued all the same."""
    server.behave = _refuse
    for item_no in ("VQT04959", "BR103218"):
        with pytest.raises(NotAccepted):
            await provider.item(MERCHANT, item_no, purpose=Purpose.ITEM)
    server.behave = ecticket.healthy

    assert (await _issue(provider, "order-1")).rtn_code == 1
    assert noted.states == []


async def test_403_holds_the_merchant_back_for_half_an_hour(
    server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """ECPay's rule; more calls prolong the lock-out."""
    server.behave = _lock_out
    with pytest.raises(Throttled):
        await _issue(provider, "order-1")
    server.behave = _never
    time.pass_by(1799)
    with pytest.raises(BreakerOpen) as caught:
        await _issue(provider, "order-2")

    assert caught.value.retry_at == time.wall + timedelta(seconds=1)


async def test_403_for_a_product_holds_no_order_back(server: RawServer, provider: EcticketClient, noted: Noted) -> None:
    """QueryItemInfo may be forbidden alone; if the merchant is locked out, the order's own call shows it."""
    server.behave = _lock_out
    with pytest.raises(Throttled):
        await provider.item(MERCHANT, "VQT04959", purpose=Purpose.ITEM)
    server.behave = ecticket.healthy

    assert (await _issue(provider, "order-1")).rtn_code == 1
    assert noted.states == []


async def test_429_and_503_hold_only_their_own_call_back(
    server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """They are about a moment (or a report a minute), not about a merchant."""
    for status in (429, 503):

        async def busy(visit: Visit, status: int = status) -> None:
            await visit.answer(status=status, headers={"Retry-After": "60"})

        server.behave = busy
        with pytest.raises(Throttled):
            await _issue(provider, f"order-{status}")

    assert noted.states == []


async def test_another_merchant_is_not_touched(open_provider: EcticketClient, server: RawServer) -> None:
    """Each merchant has its own breaker, rate and slots."""
    server.behave = ecticket.healthy

    assert (await _issue(open_provider, "order-3", OTHER)).rtn_code == 1


async def test_the_first_call_after_the_wait_makes_a_probe_and_goes_on(
    open_provider: EcticketClient, server: RawServer, time: FakeClock, noted: Noted
) -> None:
    """A control query first; when it is accepted, the call itself."""
    server.behave = ecticket.healthy
    time.pass_by(5)

    assert (await _issue(open_provider, "order-3")).rtn_code == 1
    assert [ecticket.endpoint(visit) for visit in server.visits] == [Endpoint.QUERY_ISSUE_RESULT, Endpoint.ISSUE]
    assert ecticket.opened(server.visits[0]).payload["MerchantTradeNo"] != TRADE_NO.value
    assert [state for _, state in noted.states] == [OPEN, PROBING, CLOSED]


async def test_a_failed_probe_holds_back_for_longer(
    open_provider: EcticketClient, server: RawServer, time: FakeClock
) -> None:
    """Only the probe was sent, and the wait has doubled."""
    server.behave = _refuse
    time.pass_by(5)
    with pytest.raises(BreakerOpen) as caught:
        await _issue(open_provider, "order-3")

    assert [ecticket.endpoint(visit) for visit in server.visits] == [Endpoint.QUERY_ISSUE_RESULT]
    assert caught.value.retry_at == time.wall + timedelta(seconds=10)
    assert isinstance(caught.value.__cause__, NotAccepted)


async def test_a_probe_that_is_locked_out_waits_as_long_as_the_lock_out(
    open_provider: EcticketClient, server: RawServer, time: FakeClock
) -> None:
    """The lock-out counts more than the growing wait."""
    server.behave = _lock_out
    time.pass_by(5)
    with pytest.raises(BreakerOpen) as caught:
        await _issue(open_provider, "order-3")

    assert caught.value.retry_at == time.wall + timedelta(seconds=1800)


async def test_a_probe_in_doubt_is_no_accepted_probe(
    open_provider: EcticketClient, server: RawServer, time: FakeClock
) -> None:
    """Only TransCode 1 closes."""

    async def garbage(visit: Visit) -> None:
        await visit.answer(b"garbage")

    server.behave = garbage
    time.pass_by(5)
    with pytest.raises(BreakerOpen) as caught:
        await _issue(open_provider, "order-3")

    assert isinstance(caught.value.__cause__, InDoubt)


async def test_while_a_probe_is_on_its_way_all_others_are_held_back(
    open_provider: EcticketClient, server: RawServer, time: FakeClock
) -> None:
    """One at a time."""
    go_on = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await go_on.wait()
        await ecticket.healthy(visit)

    server.behave = slow
    time.pass_by(5)
    prober = asyncio.create_task(_issue(open_provider, "order-3"))
    await server.until(lambda: len(server.visits) == 1)
    with pytest.raises(BreakerOpen):
        await _issue(open_provider, "order-4")
    go_on.set()

    assert (await prober).rtn_code == 1


async def test_a_cancelled_probe_leaves_the_next_caller_to_make_it(
    open_provider: EcticketClient, server: RawServer, time: FakeClock, noted: Noted
) -> None:
    """A shutdown in the middle of a probe, or an order that gave up."""

    async def silent(_: Visit) -> None:
        """Keep it waiting."""

    server.behave = silent
    time.pass_by(5)
    prober = asyncio.create_task(_issue(open_provider, "order-3"))
    await server.until(lambda: len(server.visits) == 1)
    prober.cancel()
    await asyncio.wait([prober])
    server.behave = ecticket.healthy

    assert (await _issue(open_provider, "order-4")).rtn_code == 1
    assert noted.calls[-4].outcome is CallOutcome.CANCELLED


async def test_a_call_that_stood_in_line_while_the_breaker_opened_is_not_sent(
    server: RawServer, make_provider: MakeProvider
) -> None:
    """The breaker is checked again when the slot is free; calls in progress are not affected."""
    patient = replace(QUICK, max_concurrent_calls=2, max_wait_seconds=5, timeout_seconds=5)
    provider = make_provider(server.url, limits=patient)
    go_on = asyncio.Event()

    async def all_locked_out(visit: Visit) -> None:
        await go_on.wait()
        await _lock_out(visit)

    server.behave = all_locked_out
    calls = [asyncio.create_task(_issue(provider, f"order-{number}")) for number in range(3)]
    await server.until(lambda: len(server.visits) == 2)
    go_on.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(end) for end in ends].count(BreakerOpen) == 1
    assert [type(end) for end in ends].count(Throttled) == 2


def _lines(caplog: pytest.LogCaptureFixture) -> list[LogLine]:
    return [log_line(record) for record in caplog.records if record.name == "adapter.provider.merchant_channel"]


async def test_a_breaker_that_opens_is_logged(
    open_provider: EcticketClient, server: RawServer, time: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once when it opens and once when it closes; the merchant, the code and the time are named."""
    with pytest.raises(BreakerOpen):
        await _issue(open_provider, "order-3")
    server.behave = ecticket.healthy
    time.pass_by(6)
    caplog.set_level("INFO")
    await _issue(open_provider, "order-4")

    assert _lines(caplog) == [
        {"event": "breaker-closed", "log_level": "info", "merchant_id": MERCHANT.merchant_id},
    ]


async def test_an_opening_breaker_names_merchant_and_code(
    server: RawServer, provider: EcticketClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Each refused envelope is a line, and the opening is another."""
    server.behave = _refuse
    for subject in ("order-1", "order-2", "order-3"):
        with pytest.raises((NotAccepted, BreakerOpen)):
            await _issue(provider, subject)

    lines = _lines(caplog)
    assert [line["event"] for line in lines] == ["call-refused", "call-refused", "breaker-opened"]
    assert lines[-1]["code"] == "TransCode 0"
    assert all("TransCode 0" in str(line["code"]) for line in lines)
    assert {line["merchant_id"] for line in lines} == {MERCHANT.merchant_id}


async def test_a_lock_out_is_logged_as_one(
    server: RawServer, provider: EcticketClient, caplog: pytest.LogCaptureFixture
) -> None:
    """HTTP 403 is ECPay's rule, and no fault of the keys."""
    server.behave = _lock_out
    with pytest.raises(Throttled):
        await _issue(provider, "order-1")

    (opened,) = _lines(caplog)
    assert opened["event"] == "breaker-opened"
    assert "HTTP 403" in str(opened["code"])


async def test_a_refused_issue_is_logged(
    server: RawServer, provider: EcticketClient, caplog: pytest.LogCaptureFixture
) -> None:
    """By its code and without ECTicket's words."""

    async def behave(visit: Visit) -> None:
        await ecticket.answer(visit, lambda payload: {**ecticket.issued(payload), "RtnCode": 7, "RtnMsg": "王小明"})

    server.behave = behave
    await _issue(provider, "order")

    assert _lines(caplog) == [
        {
            "event": "call-refused",
            "log_level": "warning",
            "merchant_id": MERCHANT.merchant_id,
            "refused": "issue",
            "code": "RtnCode 7",
        }
    ]


async def test_the_state_of_a_channel_can_be_looked_at(
    open_provider: EcticketClient, server: RawServer, time: FakeClock
) -> None:
    """Until when no call is made, and why; a look is no call."""
    before = open_provider.channel_states()[MERCHANT.merchant_id]
    server.behave = ecticket.healthy
    time.pass_by(5)
    await _issue(open_provider, "order-3")

    after = open_provider.channel_states()[MERCHANT.merchant_id]

    assert (before.breaker, before.retry_at, before.cause) == (OPEN, time.wall, "TransCode 0")
    assert (after.breaker, after.retry_at) == (CLOSED, None)
    assert after.usage.slots_in_use == 0
    assert after.usage.queued == dict.fromkeys(Purpose, 0)
    assert OTHER.merchant_id not in open_provider.channel_states()
