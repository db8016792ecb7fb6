"""The callbacks' port: what is signed is published and then answered, and strangers learn nothing and break nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping

import pytest
from log_lines import capture_logs
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adapter.errors import BrokerUnavailable
from adapter.protocol.credentials import Merchant
from adapter.protocol.envelope import seal_response
from adapter.web.callbacks import MAX_BODY_BYTES, REFUSAL_DELAY_SECONDS
from adapter.web.connection_limits import ConnectionLimits
from web.http_client import (
    ALONE,
    MERCHANT,
    PATHS,
    PLATFORM,
    REFUND,
    STATUS,
    USE_STATUS,
    CallbackServer,
    answered,
    reply,
    request,
    running_callback_server,
    sealed,
    until,
)

TYPES = {
    b"ecticket.ticket.status-changed.v1": STATUS,
    b"ecticket.order.refunded.v1": REFUND,
}


@pytest.fixture
async def callback_server() -> AsyncIterator[CallbackServer]:
    """A port that publishes at once."""
    async with running_callback_server() as callback_server:
        yield callback_server


def _types(callback_server: CallbackServer) -> list[bytes]:
    return [value or b"" for event in callback_server.published for name, value in event.headers if name == "ce_type"]


# -- what is believed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS.values())
@pytest.mark.parametrize("event_type", TYPES)
async def test_a_notification_is_published_and_answered(
    callback_server: CallbackServer, path: str, event_type: bytes
) -> None:
    """By what it says, at either address: one of ECPay's documents sends both kinds to one."""
    status, body = await callback_server.post(sealed(TYPES[event_type]), path)

    assert status == 200
    assert reply(body).payload == {"RtnCode": 1, "RtnMsg": "成功"}
    assert _types(callback_server) == [event_type]
    assert callback_server.outcomes == {"published": 1, "answered": 1}


@pytest.mark.parametrize("merchant", [ALONE, MERCHANT, Merchant(merchant_id="3085676", credentials=PLATFORM)])
async def test_platform_keys_and_merchant_keys_are_both_believed(
    callback_server: CallbackServer, merchant: Merchant
) -> None:
    """And the answer is under the same."""
    status, body = await callback_server.post(sealed(STATUS, merchant))

    assert status == 200
    assert reply(body, merchant).payload == {"RtnCode": 1, "RtnMsg": "成功"}


async def test_a_notification_in_the_shape_of_an_answer_is_believed(callback_server: CallbackServer) -> None:
    """RpHeader and TransCode, as ECPay's sample code has it."""
    status, _ = await callback_server.post(seal_response(STATUS, ALONE, timestamp=1_700_000_000))

    assert (status, len(callback_server.published)) == (200, 1)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "text/html; charset=utf-8", "application/x-www-form-urlencoded", "", "nonsense"],
)
async def test_the_content_type_is_not_looked_at(callback_server: CallbackServer, content_type: str) -> None:
    """The body is right or it is not."""
    status, _ = await callback_server.post(sealed(), content_type=content_type)

    assert status == 200


async def test_a_body_without_a_length_is_read(callback_server: CallbackServer) -> None:
    """In chunks, one of them cut in the middle."""
    body = sealed()
    head = request(b"", f"{USE_STATUS}?x=1", transfer_encoding="chunked", content_length="")
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:])]

    status, _ = await callback_server.send_raw(head, chunks[0][:5], chunks[0][5:] + chunks[1], b"0\r\n\r\n")

    assert (status, len(callback_server.published)) == (200, 1)


async def test_duplicates_are_published_again_under_the_same_id(callback_server: CallbackServer) -> None:
    """Readers drop what they have seen."""
    for _ in range(3):
        assert (await callback_server.post(sealed()))[0] == 200

    ids = [value for event in callback_server.published for name, value in event.headers if name == "ce_id"]
    assert (len(ids), len(set(ids))) == (3, 1)


async def test_one_connection_serves_many_requests(callback_server: CallbackServer) -> None:
    """One after another, some of them refused."""
    reader, writer = await callback_server.connect()
    statuses = []
    for body in (sealed(), b"garbage", sealed(), b"x" * (MAX_BODY_BYTES + 1), sealed()):
        writer.write(request(body))
        statuses.append((await answered(reader))[0])
    writer.close()

    assert statuses == [200, 400, 200, 413, 200]


async def test_nothing_is_answered_before_it_is_published(callback_server: CallbackServer) -> None:
    """The answer waits for the record."""
    callback_server.open.clear()
    asking = asyncio.create_task(callback_server.post(sealed()))
    await until(lambda: callback_server.waiting == 1)
    assert not asking.done()

    callback_server.open.set()

    assert (await asking)[0] == 200


async def test_many_at_once_are_all_published(callback_server: CallbackServer) -> None:
    """More than are handled at a time."""
    bodies = [sealed({**STATUS, "TicketNo": f"CB{number}"}) for number in range(200)]

    answers = await asyncio.gather(*(callback_server.post(body) for body in bodies))

    assert {status for status, _ in answers} == {200}
    assert len({event.value for event in callback_server.published}) == 200


# -- what is refused -----------------------------------------------------------------------------------------------

WHOLE: Mapping[str, str] = json.loads(sealed())
OTHER: Mapping[str, str] = json.loads(sealed({**STATUS, "UseStatus": 3}))
REFUSED: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "not-an-envelope"),
    "no JSON": (b"{", "not-an-envelope"),
    "a list": (b"[]", "not-an-envelope"),
    "no UTF-8": (b"\xff\xfe", "not-an-envelope"),
    "deep": (b"[" * 60_000, "not-an-envelope"),
    "a form": (b"MerchantID=3085676&Data=x", "not-an-envelope"),
    "no merchant": (sealed(MerchantID=None), "not-an-envelope"),
    "an unknown merchant": (sealed(MerchantID="1"), "unknown-merchant"),
    "another merchant": (sealed(MerchantID="3362787"), "wrong-checksum"),
    "another merchant of the platform": (sealed(STATUS, MERCHANT, MerchantID="3362787"), "wrong-addressee"),
    "a text for another merchant": (sealed({**STATUS, "MerchantID": "3362787"}, MERCHANT), "wrong-addressee"),
    "an answer": (seal_response({"RtnCode": 1, "MerchantID": "3085676"}, ALONE, timestamp=1), "not-a-notification"),
    "text without a merchant under a platform's keys": (sealed({"UseStatus": 1}, MERCHANT), "wrong-addressee"),
    "no header": (sealed(RqHeader=None), "not-an-envelope"),
    "no time": (sealed(RqHeader={}), "not-an-envelope"),
    "TransCode 0": (sealed(TransCode=0), "not-an-envelope"),
    "no data": (sealed(Data=None), "not-an-envelope"),
    "empty data": (sealed(Data=""), "not-an-envelope"),
    "data that is none": (sealed(Data=7), "not-an-envelope"),
    "no base64": (sealed(Data="*"), "undecryptable"),
    "half the data": (sealed(Data=WHOLE["Data"][: len(WHOLE["Data"]) // 2]), "undecryptable"),
    "other data": (sealed(Data=OTHER["Data"]), "wrong-checksum"),
    "another checksum": (sealed(CheckMacValue=OTHER["CheckMacValue"]), "wrong-checksum"),
    "no checksum": (sealed(CheckMacValue=None), "wrong-checksum"),
    "a checksum that is none": (sealed(CheckMacValue=["x"]), "wrong-checksum"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_to_be_believed_is_refused_and_never_published(
    callback_server: CallbackServer, what: str
) -> None:
    """Always with the same answer and no sooner than always, whatever was wrong; the count knows what it was."""
    body, reason = REFUSED[what]
    began = time.monotonic()

    answer = await callback_server.post(body)

    assert answer == (400, b"Bad Request")
    assert time.monotonic() - began >= REFUSAL_DELAY_SECONDS
    assert callback_server.outcomes == {reason: 1}
    assert callback_server.published == []


async def test_every_changed_piece_of_data_is_refused(callback_server: CallbackServer) -> None:
    """One character of base64 for another one, at any position."""
    data = WHOLE["Data"]
    changed = [
        sealed(Data=f"{data[:place]}{'A' if data[place] != 'A' else 'B'}{data[place + 1 :]}")
        for place in range(len(data))
    ]

    answers = await asyncio.gather(*(callback_server.post(body) for body in changed))

    assert {status for status, _ in answers} == {400}
    assert callback_server.published == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", USE_STATUS, 405),
        ("HEAD", USE_STATUS, 405),
        ("PUT", USE_STATUS, 405),
        ("OPTIONS", USE_STATUS, 405),
        ("POST", "/", 404),
        ("POST", "/callbacks/ecticket/refund/", 404),
        ("POST", "/callbacks/ecticket/other", 404),
        ("POST", "/callbacks/ecticket/refund/../refund", 404),
        ("GET", "/metrics", 404),
        ("GET", "/livez", 404),
    ],
)
async def test_other_methods_and_paths_are_not_found(
    callback_server: CallbackServer, method: str, path: str, status: int
) -> None:
    """Two addresses, one method."""
    reader, writer = await callback_server.connect()
    writer.write(request(sealed(), path, method))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"server:" not in head
    assert callback_server.published == []


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n"])
async def test_what_is_no_http_is_turned_away(callback_server: CallbackServer, noise: bytes) -> None:
    """TLS on a port without, and worse."""
    status, _ = await callback_server.send_raw(noise)

    assert status == 400
    assert callback_server.published == []


# -- bounds --------------------------------------------------------------------------------------------------------


def _of_size(size: int) -> bytes:
    """A good notification of this size; white space behind an envelope is nothing."""
    body = sealed()
    return body + b" " * (size - len(body))


async def test_a_body_as_large_as_may_be_is_read(callback_server: CallbackServer) -> None:
    """64 KiB."""
    assert (await callback_server.post(_of_size(MAX_BODY_BYTES)))[0] == 200


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 4 * MAX_BODY_BYTES])
async def test_a_larger_body_is_refused(callback_server: CallbackServer, size: int) -> None:
    """Its length is believed, and it is not read."""
    status, body = await callback_server.post(_of_size(size))

    assert (status, body) == (413, b"Request Entity Too Large")
    assert callback_server.outcomes == {"too-large": 1}
    assert callback_server.published == []


async def test_a_larger_body_is_refused_before_it_comes(callback_server: CallbackServer) -> None:
    """By its length alone."""
    head = request(b"", content_length="99999999999")

    assert (await callback_server.send_raw(head))[0] == 413


async def test_a_larger_body_without_a_length_is_refused(callback_server: CallbackServer) -> None:
    """As soon as it is too long."""
    head = request(b"", transfer_encoding="chunked", content_length="")
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"

    status, _ = await callback_server.send_raw(head, *[chunk] * 9, b"0\r\n\r\n")

    assert status == 413
    assert callback_server.published == []


@pytest.mark.parametrize(
    "endless",
    [
        request(b"")[:-2] + b"x: " + b"y" * 300_000,
        request(b"")[:-2] + b"x: y\r\n" * 60_000,
        b"POST /" + b"a" * 300_000,
        request(b"", content_length="99999999") + b"x" * 800_000,
        request(b"", transfer_encoding="chunked", content_length="") + b"1\r\nx\r\n" * 150_000,
    ],
    ids=["value", "headers", "path", "body", "chunks"],
)
async def test_a_request_without_end_is_cut_off(endless: bytes) -> None:
    """Whatever part of it has none: little of it is kept, and the connection ends long before the time is over."""
    async with running_callback_server(ConnectionLimits(request_seconds=300)) as callback_server:
        reader, writer = await callback_server.connect()
        try:
            writer.write(endless)
            await writer.drain()
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

        assert callback_server.closed == {"too-much": 1}
        assert callback_server.published == []


@pytest.mark.parametrize("large", [{"x": "y" * 20_000}, {f"x{number}": "y" * 100 for number in range(200)}])
async def test_a_head_that_is_too_large_is_refused_also_when_it_comes_at_once(
    callback_server: CallbackServer, large: Mapping[str, str]
) -> None:
    """With the body behind it, as one packet after another that were waiting to be read."""
    status, _ = await callback_server.post(sealed(), **large)

    assert status == 0
    assert callback_server.closed == {"too-much": 1}
    assert callback_server.published == []


@pytest.mark.parametrize(
    "beginning",
    [b"", b"POST", request(sealed())[:60], request(sealed())[:-20], b"\r\n"],
    ids=["nothing", "a word", "half a head", "half a body", "an empty line"],
)
async def test_a_request_that_does_not_go_on_is_cut_off(beginning: bytes) -> None:
    """The time is from the connection to the last byte."""
    async with running_callback_server(ConnectionLimits(request_seconds=0.2)) as callback_server:
        status, _ = await callback_server.send_raw(beginning)

        assert status == 0
        assert callback_server.closed == {"too-slow": 1}
        assert callback_server.published == []


async def test_a_second_request_has_no_more_time_than_the_first(callback_server: CallbackServer) -> None:
    """Also behind one that was too large, of which the rest is still coming."""
    async with running_callback_server(ConnectionLimits(request_seconds=0.2)) as callback_server:
        for first, status in ((request(sealed()), 200), (request(_of_size(MAX_BODY_BYTES + 1)), 413)):
            reader, writer = await callback_server.connect()
            writer.write(first)
            assert (await answered(reader))[0] == status
            writer.write(b"POST")
            assert (await answered(reader))[0] == 0
            writer.close()

        assert callback_server.closed == {"too-slow": 2}


async def test_a_slow_publication_is_not_a_slow_request() -> None:
    """Once the whole request is here, its time is over no more."""
    async with running_callback_server(ConnectionLimits(request_seconds=0.1)) as callback_server:
        callback_server.open.clear()
        asking = asyncio.create_task(callback_server.post(sealed()))
        await asyncio.wait({asking}, timeout=0.3)
        callback_server.open.set()

        assert (await asking)[0] == 200


async def _ask_for_nothing(client: socket.socket, server_end: HttpToolsProtocol, **headers: str) -> None:
    """A request, and a wait until it is answered or its answer is stuck."""
    before = server_end.cycle
    await asyncio.get_running_loop().sock_sendall(client, request(b"", "/", **headers))
    await until(lambda: server_end.cycle is not before)
    await until(lambda: server_end.cycle.response_complete or server_end.flow.write_paused)


async def test_an_unread_answer_is_not_kept_for_ever() -> None:
    """Its connection is one of few; so it is closed, and another is served in its place."""
    async with (
        running_callback_server(ConnectionLimits(connections=1, answer_seconds=1)) as callback_server,
        callback_server.reluctant() as (client, server_end),
    ):
        while not server_end.flow.write_paused:
            await _ask_for_nothing(client, server_end)
        if server_end.cycle.response_complete:  # its answer fitted, so that the next one is the first that does not
            await _ask_for_nothing(client, server_end)

        await until(lambda: bool(callback_server.closed))

        assert callback_server.closed == {"too-slow": 1}
        assert (await callback_server.post(sealed()))[0] == 200


async def test_a_closing_connection_does_not_wait_for_ever_for_its_last_answer_to_be_read() -> None:
    """It counts until it is gone."""
    async with (
        running_callback_server(ConnectionLimits(connections=1, request_seconds=1)) as callback_server,
        callback_server.reluctant() as (client, server_end),
    ):
        while server_end.transport.get_write_buffer_size() == 0:
            await _ask_for_nothing(client, server_end)
        await _ask_for_nothing(client, server_end, connection="close")
        assert server_end.transport.is_closing()

        await until(lambda: bool(callback_server.closed))

        assert callback_server.closed == {"too-slow": 1}
        assert (await callback_server.post(sealed()))[0] == 200


@pytest.mark.parametrize("behind", [b"G", request(b"", "/"), request(sealed()), b"\0", b"G" * 100_000])
@pytest.mark.parametrize("times", [1, 100])
async def test_nothing_behind_an_unanswered_request_is_read(
    callback_server: CallbackServer, behind: bytes, times: int
) -> None:
    """The one in front is answered, and its connection closed: each one that waits would take many times its bytes."""
    callback_server.open.clear()
    reader, writer = await callback_server.connect()
    writer.write(request(sealed()) + behind * times)
    await until(lambda: callback_server.waiting == 1)
    writer.write(behind * times)
    callback_server.open.set()

    assert (await answered(reader))[0] == 200
    assert (await answered(reader))[0] == 0
    assert callback_server.closed == {}
    assert len(callback_server.published) == 1
    writer.close()


async def test_a_request_after_an_answer_is_read(callback_server: CallbackServer) -> None:
    """Also if the one before was answered early and the rest of it comes together with the next one."""
    large = request(_of_size(MAX_BODY_BYTES + 1))
    reader, writer = await callback_server.connect()
    writer.write(large[:-10])
    assert (await answered(reader))[0] == 413
    writer.write(large[-10:] + request(sealed()))

    assert (await answered(reader))[0] == 200
    writer.close()


@pytest.mark.parametrize("count", [ConnectionLimits().headers, ConnectionLimits().headers + 1])
@pytest.mark.parametrize("place", ["head", "trailer"])
async def test_a_request_has_a_limited_number_of_headers(
    callback_server: CallbackServer, count: int, place: str
) -> None:
    """However short they are: a parsed header needs many times its bytes on the wire."""
    extra = b"a:b\r\n" * (count - 4)  # beside host, content-type, content-length or transfer-encoding, and x
    body = sealed()
    if place == "head":
        whole = request(body, x="y").replace(b"\r\n\r\n", b"\r\n" + extra + b"\r\n", 1)
    else:
        whole = request(b"", content_length="", transfer_encoding="chunked", x="y")
        whole += b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, extra)

    status, _ = await callback_server.send_raw(whole)

    allowed = count == ConnectionLimits().headers
    assert status == (200 if allowed else 0)
    assert callback_server.closed == ({} if allowed else {"too-much": 1})


async def test_half_a_body_is_counted_and_not_published(callback_server: CallbackServer) -> None:
    """The client went away."""
    _, writer = await callback_server.connect()
    writer.write(request(sealed())[:-20])
    await writer.drain()
    writer.close()

    await until(lambda: bool(callback_server.outcomes))
    assert callback_server.outcomes == {"cut-off": 1}
    assert callback_server.published == []


# -- trouble of our own --------------------------------------------------------------------------------------------


async def test_what_cannot_be_published_is_an_error(callback_server: CallbackServer) -> None:
    """ECPay sends it again."""
    callback_server.publish_error = BrokerUnavailable("no broker")

    assert await callback_server.post(sealed()) == (503, b"Service Unavailable")
    assert callback_server.outcomes == {"not-published": 1}


async def test_a_mistake_of_ours_is_an_error_and_is_not_shown(
    callback_server: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted and logged; the stranger sees the status."""
    monkeypatch.setattr(callback_server, "notification_verified", lambda *_: 1 / 0)

    with capture_logs() as logs:
        assert await callback_server.post(sealed()) == (500, b"Internal Server Error")

    assert callback_server.outcomes == {"internal-error": 1}
    (line,) = logs
    assert (line["event"], line["log_level"], line["callback"]) == ("notification-error", "error", "use-status")


async def test_stopping_answers_what_is_here(callback_server: CallbackServer) -> None:
    """A request under way is published and answered; no new one is taken."""
    callback_server.open.clear()
    asking = asyncio.create_task(callback_server.post(sealed()))
    await until(lambda: callback_server.waiting == 1)

    stopping = asyncio.create_task(callback_server.stop())
    await until(lambda: not callback_server.listens())
    assert not asking.done()
    callback_server.open.set()
    await stopping

    assert (await asking)[0] == 200


# -- what an operator reads ----------------------------------------------------------------------------------------


async def test_refusals_are_logged_without_their_content(callback_server: CallbackServer) -> None:
    """By reason and kind of address; what a stranger sent is in no line."""
    with capture_logs() as lines:
        assert (await callback_server.post(b"secret-body"))[0] == 400
        assert (await callback_server.post(sealed(), "/secret-path"))[0] == 404
        assert (await callback_server.send_raw(request(b"", USE_STATUS, method="GET")))[0] == 405
        assert (await callback_server.post(b"x" * (MAX_BODY_BYTES + 1)))[0] == 413
        assert (await callback_server.post(sealed(MerchantID="9999999")))[0] == 400

    refused = [(line["reason"], line["address"]) for line in lines if line["event"] == "request-refused"]
    assert refused == [
        ("not-an-envelope", "use-status"),
        ("no-such-address", "other"),
        ("no-such-method", "other"),
        ("too-large", "use-status"),
        ("unknown-merchant", "use-status"),
    ]
    assert "secret" not in str(lines)
    assert "9999999" not in str(lines)
