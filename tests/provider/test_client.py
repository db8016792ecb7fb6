"""The table "Answers of Issue" of docs/delivery.md, line by line: what a call means, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from typing import NoReturn

import pytest

from adapter.errors import CallError, InDoubt, LeaseLost, NotAccepted, NotSent, Throttled
from adapter.protocol.endpoints import Endpoint
from adapter.protocol.issue import IssueReply, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.provider.client import MAX_ANSWER_BYTES, EcticketClient, Purpose
from adapter.provider.observer import CallOutcome
from adapter.values import replace

from . import ecticket
from .conftest import QUICK, FakeClock, MakeProvider, Noted
from .ecticket import CUSTOMER, HASH_IV, HASH_KEY, ISSUE, MERCHANT, TRADE_NO, sealed
from .server import Behaviour, RawServer, Visit, unused_port

_Ask = Callable[[EcticketClient], Awaitable[object]]


async def _issue(provider: EcticketClient, subject: str = "order-1") -> IssueReply:
    return await provider.issue(MERCHANT, ISSUE, subject=subject, authorize_send=lambda: None)


async def _query(provider: EcticketClient) -> object:
    return await provider.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)


@pytest.fixture(params=[_issue, _query], ids=["issue", "query"])
def ask(request: pytest.FixtureRequest) -> _Ask:
    """A call that costs money, and one that costs nothing: both are classified in the same way."""
    chosen: _Ask = request.param
    return chosen


def _responds(body: bytes = b"", *, status: int = 200, cut: int = 0, **headers: str) -> Behaviour:
    """Answer every request with these bytes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def behave(visit: Visit) -> None:
        await visit.answer(body, status=status, headers=named, cut=cut)
        if cut:
            visit.close()

    return behave


def _replies(**payload: object) -> Behaviour:
    """Answer with a proper envelope around a payload."""
    return _responds(sealed(payload))


def _writes(raw: bytes) -> Behaviour:
    """Write bytes that may be no HTTP at all, and close."""

    async def behave(visit: Visit) -> None:
        visit.writer.write(raw)
        await visit.writer.drain()
        visit.close()

    return behave


async def _resets(visit: Visit) -> None:
    visit.reset()


async def _closes(visit: Visit) -> None:
    visit.close()


async def _is_silent(_: Visit) -> None:
    """Never answer."""


async def _drips(visit: Visit) -> None:
    """Send a byte now and then, for ever: never silent for long, and never done."""
    visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        visit.writer.write(b"{")
        await visit.writer.drain()
        await asyncio.sleep(0.02)


def _wrong_checksum() -> bytes:
    envelope = json.loads(sealed({"RtnCode": 1}))
    envelope["CheckMacValue"] = "0" * 64
    return json.dumps(envelope).encode()


IN_DOUBT: dict[str, Behaviour] = {
    "no answer in time": _is_silent,
    "an answer that never ends": _drips,
    "reset after the request": _resets,
    "closed after the request": _closes,
    "half a head": _writes(b"HTTP/1.1 200 OK\r\nContent-"),
    "half a body": _responds(sealed({"RtnCode": 1}), cut=10),
    "half a chunked body": _writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"),
    "not HTTP": _writes(b"\x16\x03\x01\x02\x00 what?\r\n\r\n"),
    "endless head": _writes(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000),
    "garbage called gzip": _responds(b"not gzip at all", Content_Encoding="gzip"),
    "half a gzip": _responds(gzip.compress(sealed({"RtnCode": 1}))[:-9], Content_Encoding="gzip"),
    "a gzip that inflates without end": _responds(
        gzip.compress(b"{" * (MAX_ANSWER_BYTES + 1)), Content_Encoding="gzip"
    ),
    "an encoding that was not requested": _responds(zlib.compress(sealed({"RtnCode": 1})), Content_Encoding="deflate"),
    "a larger answer than allowed": _responds(b"{" + b" " * MAX_ANSWER_BYTES),
    "no body": _responds(),
    "not JSON": _responds(b"<html>Service maintenance</html>"),
    "no envelope": _responds(b'{"hello": "world"}'),
    "an envelope without TransCode": _responds(json.dumps({"MerchantID": "3085676", "Data": "x"}).encode()),
    "an envelope for another merchant": _responds(sealed({"RtnCode": 1}, merchant=ecticket.OTHER)),
    "undecryptable": _responds(sealed({"RtnCode": 1}).replace(b'"Data":"', b'"Data":"AAAA')),
    "wrong checksum": _responds(_wrong_checksum()),
    "no RtnCode": _replies(RtnMsg="ok", MerchantTradeNo=TRADE_NO.value),
    "RtnCode that is no number": _replies(RtnCode="yes", MerchantTradeNo=TRADE_NO.value),
    "yes about another number": _replies(RtnCode=1, MerchantTradeNo="CBX999", Status=1),
    "yes about the same number of the other kind": _replies(RtnCode=1, FreeTradeNo=TRADE_NO.value, Status=1),
    "yes about our number in other letters": _replies(RtnCode=1, MerchantTradeNo=TRADE_NO.value.lower(), Status=1),
    "yes about nothing": _replies(RtnCode=1, MerchantTradeNo="", Status=1),
    "no about another number": _replies(RtnCode=2, MerchantTradeNo="CBX999"),
    **{
        f"HTTP {status}": _responds(sealed({"RtnCode": 1, "MerchantTradeNo": TRADE_NO.value}), status=status)
        for status in (201, 206, 402, 408, 409, 500, 502, 503, 504)
    },
}

NOT_ACCEPTED: dict[str, Behaviour] = {
    "TransCode 0": _responds(sealed(None, trans_code=0)),
    "TransCode 999": _responds(sealed(None, trans_code=999)),
    "TransCode 0 with a payload": _responds(sealed({"RtnCode": 1}, trans_code=0)),
    **{f"HTTP {status}": _responds(status=status) for status in (301, 302, 307, 400, 401, 404, 405, 413, 415, 422)},
}

THROTTLED: dict[str, tuple[Behaviour, float]] = {
    "HTTP 403": (_responds(status=403), 1800),
    "HTTP 403 with seconds": (_responds(status=403, Retry_After="120"), 120),
    "HTTP 429": (_responds(status=429), 60),
    "HTTP 429 with seconds": (_responds(status=429, Retry_After="5"), 5),
    "HTTP 503 with seconds": (_responds(status=503, Retry_After="5"), 5),
    "HTTP 503 with more seconds than allowed": (_responds(status=503, Retry_After="86400"), 3600),
}


@contextmanager
def _no_secrets() -> Iterator[None]:
    """Look for keys and customer data in an error and all its causes."""
    try:
        yield
    except CallError as error:
        cause: BaseException | None = error
        while cause is not None:
            for secret in (HASH_KEY, HASH_IV, CUSTOMER, "0912345678", "ming@example.com"):
                assert secret not in f"{cause} {cause!r} {cause.args}"
            cause = cause.__cause__ or cause.__context__
        raise


@pytest.mark.parametrize("behave", IN_DOUBT.values(), ids=list(IN_DOUBT))
async def test_everything_unclear_is_in_doubt(
    behave: Behaviour, ask: _Ask, server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """The request went out, and what came is no answer to act on."""
    server.behave = behave

    with pytest.raises(InDoubt), _no_secrets():
        await ask(provider)
    assert len(server.visits) == 1
    assert noted.calls[-1].outcome is CallOutcome.IN_DOUBT
    assert provider.last_accepted(MERCHANT.merchant_id) is None


@pytest.mark.parametrize("behave", NOT_ACCEPTED.values(), ids=list(NOT_ACCEPTED))
async def test_what_took_nothing_in_is_not_accepted(
    behave: Behaviour, ask: _Ask, server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """Nothing was executed; settings, clock or content are wrong."""
    server.behave = behave

    with pytest.raises(NotAccepted), _no_secrets():
        await ask(provider)
    assert len(server.visits) == 1
    assert noted.calls[-1].outcome is CallOutcome.NOT_ACCEPTED


@pytest.mark.parametrize(("behave", "seconds"), THROTTLED.values(), ids=list(THROTTLED))
async def test_what_was_throttled_has_a_retry_time(
    behave: Behaviour, seconds: float, ask: _Ask, server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """Before execution: nothing was sent, as far as tickets go."""
    server.behave = behave

    with pytest.raises(Throttled) as caught, _no_secrets():
        await ask(provider)
    assert caught.value.retry_at == time.wall + timedelta(seconds=seconds)


async def test_a_retry_after_may_be_a_date(
    ask: _Ask, server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """RFC 9110 allows both forms."""
    until = time.wall + timedelta(seconds=77)
    server.behave = _responds(status=503, Retry_After=format_datetime(until, usegmt=True))

    with pytest.raises(Throttled) as caught:
        await ask(provider)
    assert caught.value.retry_at == until


async def test_a_refused_connection_is_not_sent(ask: _Ask, make_provider: MakeProvider, noted: Noted) -> None:
    """No server listens."""
    with pytest.raises(NotSent), _no_secrets():
        await ask(make_provider(f"http://127.0.0.1:{unused_port()}"))
    assert noted.calls[-1].outcome is CallOutcome.NOT_SENT


async def test_a_name_that_does_not_resolve_is_not_sent(
    ask: _Ask, make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS does not work."""

    async def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)

    with pytest.raises(NotSent):
        await ask(make_provider("http://ecticket.example"))


async def test_a_connection_that_takes_too_long_is_not_sent(
    ask: _Ask, server: RawServer, make_provider: MakeProvider
) -> None:
    """The server accepts the connection and does not answer: the TLS handshake never ends."""
    with pytest.raises(NotSent):
        await ask(make_provider(server.url.replace("http:", "https:")))


async def test_a_handshake_that_fails_is_not_sent(ask: _Ask, make_provider: MakeProvider) -> None:
    """The server does not speak TLS."""

    async def not_tls(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(not_tls, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(NotSent):
            await ask(make_provider(f"https://127.0.0.1:{port}"))


async def test_an_address_that_is_none_is_not_sent(ask: _Ask, make_provider: MakeProvider) -> None:
    """An unknown scheme."""
    with pytest.raises(NotSent):
        await ask(make_provider("gopher://127.0.0.1"))


async def test_a_place_that_does_not_become_free_is_not_sent(
    server: RawServer, make_provider: MakeProvider, noted: Noted
) -> None:
    """One slot, taken by a call without an answer: the next one waits up to its limit and is not sent."""
    limits = replace(QUICK, max_concurrent_calls=1, max_wait_seconds=0.05)
    provider = make_provider(server.url, limits=limits)
    first = asyncio.create_task(_issue(provider))
    await server.until(lambda: len(server.visits) == 1)

    with pytest.raises(NotSent):
        await _issue(provider)
    with pytest.raises(InDoubt):
        await first
    assert len(server.visits) == 1
    assert noted.calls[0].waited_seconds == 0


async def test_a_lost_lease_passes_through_with_nothing_written(
    server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """The partition is another's: the engine's own error comes out, and ECTicket never hears of the call."""
    lost = LeaseLost("the partition is another's")

    def authorize_send() -> None:
        raise lost

    with pytest.raises(LeaseLost) as caught:
        await provider.issue(MERCHANT, ISSUE, subject="order-1", authorize_send=authorize_send)
    await server.until(lambda: server.open_connections == 0)

    assert caught.value is lost
    assert server.bytes_received == 0
    assert noted.calls[-1].outcome is CallOutcome.CANCELLED


async def test_our_number_with_rtn_code_1_is_a_reply(server: RawServer, provider: EcticketClient, noted: Noted) -> None:
    """Submitted."""
    server.behave = ecticket.healthy

    reply = await _issue(provider)

    assert (reply.rtn_code, reply.trade_no, reply.ticket_trade_no) == (1, TRADE_NO, "2022030215301234")
    assert noted.calls[-1].outcome is CallOutcome.ANSWERED
    assert noted.calls[-1].endpoint is Endpoint.ISSUE


@pytest.mark.parametrize("echo", [{}, {"MerchantTradeNo": ""}, {"MerchantTradeNo": TRADE_NO.value}])
async def test_a_refusal_is_a_reply_whether_or_not_it_names_the_number(
    echo: dict[str, object], server: RawServer, provider: EcticketClient
) -> None:
    """RtnCode ≠ 1 is an outcome and no error."""
    server.behave = _replies(RtnCode=10200047, RtnMsg="repeated", **echo)

    assert (await _issue(provider)).rtn_code == 10200047


async def test_a_gift_order_is_recognised_by_its_own_number(server: RawServer, provider: EcticketClient) -> None:
    """FreeTradeNo echoed, MerchantTradeNo empty."""
    free = TradeNo(kind=TradeNoKind.FREE, value="CBXGIFT1")
    server.behave = lambda visit: ecticket.answer(visit, ecticket.known)

    reply = await provider.query(MERCHANT, free, purpose=Purpose.CONFIRM)

    assert (reply.trade_no, reply.status) == (free, IssueStatus.ISSUED)


async def test_an_answer_may_come_as_text_html_or_gzip(server: RawServer, provider: EcticketClient) -> None:
    """JSON is JSON whatever its Content-Type; a proxy that compresses is tolerated."""
    payload = ecticket.known({"MerchantTradeNo": TRADE_NO.value})
    server.behave = _responds(
        gzip.compress(sealed(payload)), Content_Type="text/html; charset=utf-8", Content_Encoding="gzip"
    )

    assert (await provider.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)).rtn_code == 1


async def test_the_request_is_what_the_pages_ask_for(
    server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """Path, headers, seconds since 1970, and our payload sealed under the merchant's keys."""
    server.behave = ecticket.healthy
    await _issue(provider)

    head = server.visits[0].head.decode().lower()
    assert head.startswith("post /api/ticket/issue http/1.1")
    assert "\r\naccept: text/html" in head
    assert "\r\ncontent-type: application/json" in head
    assert "\r\naccept-encoding: identity" in head
    request = ecticket.opened(server.visits[0])
    assert request.payload == ISSUE.to_payload()
    assert request.timestamp == int(time.wall.timestamp())


async def test_control_numbers_are_well_formed_and_never_the_same(server: RawServer, provider: EcticketClient) -> None:
    """Twenty capital letters and digits fit both kinds of numbers."""
    server.behave = ecticket.healthy
    for kind in TradeNoKind:
        for _ in range(3):
            reply = await provider.control(MERCHANT, kind, purpose=Purpose.DOUBT)
            assert reply.rtn_code != 1

    asked = [ecticket.opened(visit).payload for visit in server.visits]
    numbers = [str(payload[kind.field_name]) for kind in TradeNoKind for payload in asked if kind.field_name in payload]
    assert len(set(numbers)) == 6
    assert all(len(number) == 20 and number.isalnum() and number.isupper() for number in numbers)


async def test_an_item_is_asked_for_and_recognised(server: RawServer, provider: EcticketClient) -> None:
    """The echo of an item's number is held to the same rule."""
    server.behave = _replies(RtnCode=1, RtnMsg="", ItemNo="VQT04959", ItemName="咖啡", ItemStatus="1")

    assert (await provider.item(MERCHANT, "VQT04959", purpose=Purpose.DOUBT)).item_name == "咖啡"
    with pytest.raises(InDoubt):
        await provider.item(MERCHANT, "VQT00000", purpose=Purpose.DOUBT)


async def test_business_last_accepted_is_the_instant_its_request_left(
    server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """Not when the answer came: ECTicket may have answered earlier."""
    left = time.wall

    async def slow(visit: Visit) -> None:
        time.pass_by(10)
        await ecticket.answer(visit, ecticket.known)

    server.behave = slow
    assert provider.last_accepted(MERCHANT.merchant_id) is None
    await _known(provider)

    assert provider.last_accepted(MERCHANT.merchant_id) == left
    assert provider.last_accepted(ecticket.OTHER.merchant_id) is None


async def _known(provider: EcticketClient) -> None:
    await provider.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)


async def test_other_endpoints_say_nothing_about_queries(server: RawServer, provider: EcticketClient) -> None:
    """RtnCode 1 of Issue and QueryItemInfo also comes while only QueryIssueResult is down."""
    server.behave = ecticket.healthy
    await _issue(provider)
    server.behave = _replies(RtnCode=1, RtnMsg="", ItemNo="VQT04959", ItemName="咖啡", ItemStatus="1")
    await provider.item(MERCHANT, "VQT04959", purpose=Purpose.DOUBT)

    assert provider.last_accepted(MERCHANT.merchant_id) is None


async def test_refusals_and_control_queries_are_no_accepted_business(
    server: RawServer, provider: EcticketClient
) -> None:
    """Refusing everything proves nothing, and knowing a random number proves that something is wrong."""
    server.behave = lambda visit: ecticket.answer(visit, ecticket.known)
    await provider.control(MERCHANT, TradeNoKind.MERCHANT, purpose=Purpose.DOUBT)
    server.behave = lambda visit: ecticket.answer(visit, ecticket.unknown)
    await provider.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)

    assert provider.last_accepted(MERCHANT.merchant_id) is None


async def test_a_clock_set_back_leaves_no_accepted_business_in_the_future(
    server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """The call written last counts, not the one with the latest time on it."""
    server.behave = lambda visit: ecticket.answer(visit, ecticket.known)
    time.wall += timedelta(hours=1)
    await _known(provider)
    time.wall -= timedelta(hours=1)
    time.pass_by(1)
    await _known(provider)

    assert provider.last_accepted(MERCHANT.merchant_id) == time.wall


async def test_a_call_that_left_earlier_and_answered_later_does_not_count_back(
    server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """Two calls overtaking each other."""
    gate = asyncio.Event()

    async def first_waits(visit: Visit) -> None:
        if len(server.visits) == 1:
            await gate.wait()
        await ecticket.answer(visit, ecticket.known)

    server.behave = first_waits
    slow = asyncio.create_task(_known(provider))
    await server.until(lambda: len(server.visits) == 1)
    time.pass_by(5)
    await _known(provider)
    gate.set()
    await slow

    assert provider.last_accepted(MERCHANT.merchant_id) == time.wall


@pytest.mark.parametrize("trans_code", [1, 10200052])
@pytest.mark.parametrize("ahead", [-900, 0, 47])
async def test_each_answer_shows_the_offset_of_the_clocks(
    trans_code: int, ahead: int, server: RawServer, provider: EcticketClient, time: FakeClock
) -> None:
    """Also one that rejects the envelope: a wrong clock is a reason for that."""
    body = ecticket.sealed(
        None if trans_code != 1 else ecticket.unknown({}),
        trans_code=trans_code,
        timestamp=int(time.wall.timestamp()) + ahead,
    )
    server.behave = lambda visit: visit.answer(body)
    before = provider.clock_offset_seconds
    with contextlib.suppress(NotAccepted):
        await provider.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)

    assert before is None
    assert provider.clock_offset_seconds == ahead + 0.5  # a whole second stands for its middle


@pytest.mark.parametrize("timestamp", [-1, 10**15])
async def test_a_timestamp_that_is_no_time_shows_no_offset(
    timestamp: int, server: RawServer, provider: EcticketClient
) -> None:
    """The checksum does not cover it, so it must not decide about an answer."""
    server.behave = lambda visit: visit.answer(ecticket.sealed(ecticket.unknown({}), timestamp=timestamp))
    reply = await provider.query(MERCHANT, TRADE_NO, purpose=Purpose.DOUBT)

    assert reply.rtn_code == ecticket.unknown({})["RtnCode"]
    assert provider.clock_offset_seconds is None


async def test_the_observer_is_notified_of_every_call(
    server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """Endpoint, end and merchant, whether or not it went well."""
    server.behave = ecticket.healthy
    await _issue(provider)
    await provider.control(MERCHANT, TradeNoKind.FREE, purpose=Purpose.DOUBT)

    assert [(call.endpoint, call.outcome, call.merchant_id) for call in noted.calls] == [
        (Endpoint.ISSUE, CallOutcome.ANSWERED, "3085676"),
        (Endpoint.QUERY_ISSUE_RESULT, CallOutcome.ANSWERED, "3085676"),
    ]


async def test_closing_closes_the_connections(server: RawServer, provider: EcticketClient) -> None:
    """Nothing is left behind."""
    server.behave = ecticket.healthy
    await _issue(provider)
    await provider.close()

    await server.until(lambda: server.open_connections == 0)


async def test_many_calls_at_once_each_get_their_own_answer(server: RawServer, make_provider: MakeProvider) -> None:
    """A hundred numbers in flight, a hundred echoes; with long limits, since httpx's transport is slow."""
    provider = make_provider(server.url, limits=replace(QUICK, timeout_seconds=30, connect_timeout_seconds=30))

    async def answer(visit: Visit) -> None:
        await ecticket.answer(visit, lambda payload: {**ecticket.known(payload), "Remark": payload["MerchantTradeNo"]})

    server.behave = answer
    numbers = [TradeNo(kind=TradeNoKind.MERCHANT, value=f"CBX{number}") for number in range(100)]
    replies = await asyncio.gather(*(provider.query(MERCHANT, number, purpose=Purpose.CONFIRM) for number in numbers))

    assert [reply.remark for reply in replies] == [number.value for number in numbers]
