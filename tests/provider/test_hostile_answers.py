"""Hostile answers of ECTicket, or of a proxy in between: bounded memory and time, and doubt stays doubt.

Each runs over every transport. A call that was written ends as in doubt, whatever came back, unless a whole answer did.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Mapping

import pytest

from adapter.errors import InDoubt
from adapter.provider.asyncio_transport import (
    FRAMING_PER_BODY_BYTE,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    _Connection,
    _Pool,
)
from adapter.provider.exchange import HttpExchange
from adapter.provider.http_status import HttpAnswer
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport
from adapter.values import replace

from .conftest import QUICK
from .server import RawServer, Visit

PATIENT = replace(QUICK, timeout_seconds=300.0)
"""Where the time of a call must decide nothing."""
MAX_BYTES = 1_000_000
MIB = 1024 * 1024
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n"
BOMB = gzip.compress(b"0" * 200 * MIB)
"""200 KB that inflate to 200 MiB."""

ENDLESS: Mapping[str, tuple[bytes, bytes]] = {
    "one header line": (OK + b"x: ", b"y" * 65536),
    "headers": (OK, b"x: y\r\n" * 10_000),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 1000),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "reason phrase": (b"HTTP/1.1 200 ", b"O" * 65536),
    "a body without a length": (OK + b"\r\n", b"x" * 65536),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 0x10000 + b"\r\n"),
    "a chunk's extension": (OK + b"Transfer-Encoding: chunked\r\n\r\n4;", b"x" * 65536),
    "a chunk's size": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536),
    "one trailer line": (CHUNKED + b"0\r\nx: ", b"y" * 65536),
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 10_000),
    "a larger body than it may be": (OK + b"Content-Length: 999999999999\r\n\r\n", b"x" * 65536),
}


@pytest.fixture(params=list(TransportKind))
async def exchange(
    server: RawServer, request: pytest.FixtureRequest, tls: ssl.SSLContext
) -> AsyncIterator[HttpExchange]:
    made = HttpExchange(make_transport(request.param, tls=tls), base_url=server.url, limits=QUICK, clock=TimeSource())
    yield made
    await made.close()


async def _post(exchange: HttpExchange) -> HttpAnswer:
    return await exchange.post(
        "/path", b"question", headers=(), max_bytes=MAX_BYTES, authorize_send=lambda: None, what="a call"
    )


async def _peak_of_doubt(exchange: HttpExchange) -> int:
    """Call, expect a doubt, and return the most bytes that were in memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InDoubt):
            await _post(exchange)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", ENDLESS)
async def test_an_endless_answer_is_in_doubt_and_not_kept(server: RawServer, exchange: HttpExchange, what: str) -> None:
    """The connection is closed, by its size or by the time of a call; a little more than an answer is in memory."""
    begin, piece = ENDLESS[what]

    async def respond(visit: Visit) -> None:
        visit.writer.write(begin)
        while True:
            visit.writer.write(piece)
            await visit.writer.drain()
            await asyncio.sleep(0)

    server.behave = respond
    assert await _peak_of_doubt(exchange) < 16 * MIB
    await server.until(lambda: server.open_connections == 0)


FRAMING = [name for name in ENDLESS if "body" not in name and name != "chunks"]
"""What is around a body; a body itself ends with the size that its caller allows."""


class _OpenTransport(asyncio.Transport):
    """A connection that sends nothing and can be closed."""

    aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nothing."""

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def _fed_until_refused(begin: bytes, piece: bytes, read_bytes: int) -> tuple[int, int]:
    """Feed an answer until the transport refuses it; return the bytes fed, and the most that were in memory."""
    wire, connection = _OpenTransport(), _Connection(("http", "host", 80), _Pool(1.0))
    connection.connection_made(wire)
    response = connection.send_request(b"question", None)
    wanted = 4 * (MAX_HEAD_BYTES + FRAMING_PER_BODY_BYTE * 4)
    data = begin + piece * (wanted // len(piece) + 1)
    tracemalloc.start()
    try:
        fed = 0
        while not wire.aborted and fed < wanted:
            connection.data_received(data[fed : fed + read_bytes])
            fed += read_bytes
        assert response._failure is not None
        assert not response.complete
        return fed, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read_bytes", [16, 256 * 1024])
@pytest.mark.parametrize("what", [*FRAMING, "short headers", "trailer of short headers", "a folded header"])
def test_what_is_around_a_body_is_refused_by_its_size(what: str, read_bytes: int) -> None:
    """By nothing else: no time passes here, and no caller counts. So a slow one is refused as well, piece by piece."""
    begin, piece = {
        **ENDLESS,
        "short headers": (OK, b"a:\r\n"),
        "trailer of short headers": (CHUNKED + b"0\r\n", b"a:\r\n"),
        "a folded header": (OK + b"x: y", b"\r\n z"),
    }[what]

    fed, peak = _fed_until_refused(begin, piece, read_bytes)

    assert fed <= MAX_HEAD_BYTES + FRAMING_PER_BODY_BYTE * len(b"fine") + read_bytes
    assert peak < MIB


@pytest.mark.parametrize("count", [MAX_HEADERS, MAX_HEADERS + 1])
@pytest.mark.parametrize("place", ["head", "interim answers", "trailer"])
async def test_an_answer_has_a_limited_number_of_headers(
    server: RawServer, tls: ssl.SSLContext, count: int, place: str
) -> None:
    """However short they are."""
    extra = b"a:b\r\n" * (count - 1)
    whole = {
        "head": OK + extra + b"Content-Length: 4\r\n\r\nfine",
        "interim answers": b"HTTP/1.1 103 X\r\n%s\r\n" % extra + OK + b"Content-Length: 4\r\n\r\nfine",
        "trailer": CHUNKED + b"0\r\n" + extra + b"\r\n",
    }[place]

    async def respond(visit: Visit) -> None:
        visit.writer.write(whole)

    server.behave = respond
    transport = make_transport(TransportKind.DIRECT, tls=tls)
    exchange = HttpExchange(transport, base_url=server.url, limits=PATIENT, clock=TimeSource())
    if count > MAX_HEADERS:
        with pytest.raises(InDoubt):
            await _post(exchange)
    else:
        assert (await _post(exchange)).body == b"fine"
    await exchange.close()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "br", "deflate", "gzip, gzip"])
async def test_a_compressed_answer_that_expands_enormously_is_in_doubt(
    server: RawServer, exchange: HttpExchange, coding: str
) -> None:
    """It is inflated up to the limit and no further."""

    async def respond(visit: Visit) -> None:
        await visit.answer(BOMB, headers={"Content-Encoding": coding})

    server.behave = respond
    assert await _peak_of_doubt(exchange) < 16 * MIB


WHOLE = OK + b"Content-Length: 4\r\nX-Header: value\r\n\r\nfine"


async def test_an_answer_cut_off_at_any_byte_is_in_doubt(server: RawServer, exchange: HttpExchange) -> None:
    """Only the whole answer is one."""

    async def respond(visit: Visit) -> None:
        visit.writer.write(WHOLE[: len(server.visits) - 1])
        visit.close()

    server.behave = respond
    for _ in WHOLE:
        with pytest.raises(InDoubt):
            await _post(exchange)
    assert (await _post(exchange)).body == b"fine"


@pytest.mark.parametrize(
    "length", [b"3", b"5", b"-4", b"+4", b"0x4", b"4, 4", b"4\r\nContent-Length: 9", b"99999999999999999999"]
)
async def test_an_answer_with_a_wrong_length_is_never_taken_for_another_one(
    server: RawServer, exchange: HttpExchange, length: bytes
) -> None:
    """What was read belongs to this call, or the call is in doubt; and the next call never gets the rest of it."""

    async def respond(visit: Visit) -> None:
        visit.writer.write(OK + b"Content-Length: " + length + b"\r\n\r\nfine")
        await visit.writer.drain()
        visit.close()

    server.behave = respond
    try:
        first = (await _post(exchange)).body
    except InDoubt:
        first = b""
    assert first in (b"", b"fin", b"fine")

    async def answer(visit: Visit) -> None:
        await visit.answer(b"second")

    server.behave = answer
    assert (await _post(exchange)).body == b"second"


@pytest.mark.parametrize("kind", TransportKind)
async def test_one_byte_at_a_time_ends_with_the_time_of_a_call(
    server: RawServer, kind: TransportKind, tls: ssl.SSLContext
) -> None:
    """However much of the answer is still to come."""

    async def respond(visit: Visit) -> None:
        for byte in OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000:
            visit.writer.write(bytes([byte]))
            await visit.writer.drain()
            await asyncio.sleep(0.02)

    server.behave = respond
    exchange = HttpExchange(make_transport(kind, tls=tls), base_url=server.url, limits=QUICK, clock=TimeSource())
    with pytest.raises(InDoubt):
        await _post(exchange)
    await exchange.close()
    await server.until(lambda: server.open_connections == 0)
