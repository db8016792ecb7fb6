"""Hostile answers of ECTicket, or of a proxy in between: bounded memory and time, and doubt stays doubt.

Each runs over every transport. A call that was written ends as in doubt, whatever came back, unless a whole answer did.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest

from adapter.errors import InDoubt
from adapter.provider.exchange import HttpExchange
from adapter.provider.http_status import HttpAnswer
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport

from .conftest import QUICK
from .server import RawServer, Visit

PATIENT = replace(QUICK, timeout_seconds=300.0)
"""For our own transport, which must not need the time of a call to end an endless answer."""
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
