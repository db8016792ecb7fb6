"""What our own transport promises beyond the others: every way in which an answer may come, or fail to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from adapter.errors import InDoubt, NotSent
from adapter.provider.asyncio_transport import MAX_HEAD_BYTES, PAUSE_ABOVE_BYTES, AsyncioTransport, _Connection
from adapter.provider.exchange import HttpExchange
from adapter.provider.http_status import HttpAnswer
from adapter.provider.time_source import TimeSource

from .conftest import QUICK
from .server import RawServer, Visit


@pytest.fixture
async def exchange(server: RawServer, tls: ssl.SSLContext) -> AsyncIterator[HttpExchange]:
    """An exchange with the raw server."""
    made = HttpExchange(
        AsyncioTransport(tls=tls, keep_alive_seconds=3.0), base_url=server.url, limits=QUICK, clock=TimeSource()
    )
    yield made
    await made.close()


async def _post(exchange: HttpExchange, body: bytes = b"question", *, max_bytes: int = 4_000_000) -> HttpAnswer:
    return await exchange.post(
        "/path", body, headers=(), max_bytes=max_bytes, authorize_send=lambda: None, what="a call"
    )


def _responds(server: RawServer, *pieces: bytes, close: bool = False) -> None:
    """Let the server answer with these bytes, each piece on its own."""

    async def respond(visit: Visit) -> None:
        for piece in pieces:
            visit.writer.write(piece)
            await visit.writer.drain()
            await asyncio.sleep(0.001)
        if close:
            visit.close()

    server.behave = respond


OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 4\r\n\r\nfine"


@pytest.mark.parametrize(
    ("pieces", "closes"),
    [
        ((SIZED,), False),
        (tuple(bytes((byte,)) for byte in SIZED), False),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2\r\nne\r\n0\r\n\r\n",), False),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"), False),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED), False),
        ((OK + b"\r\nfi", b"ne"), True),
        ((OK + b"Connection: close\r\nContent-Length: 4\r\n\r\nfine",), True),
        ((b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfine",), False),
    ],
    ids=["at-once", "byte-by-byte", "chunked", "trailer", "interim", "ends-with-connection", "closed", "http-1.0"],
)
async def test_an_answer_is_read_however_it_comes(
    server: RawServer, exchange: HttpExchange, pieces: tuple[bytes, ...], closes: bool
) -> None:
    """In one piece or many, sized, chunked, or ended by the connection; and the next call has its own answer."""
    _responds(server, *pieces, close=closes)

    for _ in range(3):
        answer = await _post(exchange)

        assert (answer.status, answer.body) == (200, b"fine")


@pytest.mark.parametrize(
    ("response", "connections"),
    [(SIZED, 1), (SIZED.replace(OK, OK + b"Connection: close\r\n"), 3), (SIZED + SIZED, 3), (SIZED + b"x", 3)],
    ids=["kept", "to-be-closed", "a-second-answer", "a-byte-too-many"],
)
async def test_a_connection_is_used_again_only_after_a_clean_end(
    server: RawServer, exchange: HttpExchange, response: bytes, connections: int
) -> None:
    """Data after an answer belongs to no request, and its connection is closed."""
    _responds(server, response)

    for _ in range(3):
        assert (await _post(exchange)).body == b"fine"

    assert server.connections == connections


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        OK + b"Content-Length: 40\r\n\r\nfine",
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nfine5",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        OK + b"X: " + b"x" * 2 * MAX_HEAD_BYTES,
    ],
    ids=["nothing", "half-head", "half-body", "half-chunk", "no-chunk", "not-http", "two-lengths", "upgrade", "long"],
)
async def test_what_is_no_whole_answer_is_in_doubt(server: RawServer, exchange: HttpExchange, response: bytes) -> None:
    """The request was written, so its effect is unknown; and its connection is closed."""
    _responds(server, response, close=True)

    with pytest.raises(InDoubt):
        await _post(exchange)
    await server.until(lambda: server.open_connections == 0)


async def test_an_answer_cut_off_by_our_own_closing_is_in_doubt(server: RawServer, exchange: HttpExchange) -> None:
    """It would have ended with the connection, but it was not the server that ended it."""
    _responds(server, OK + b"\r\nfi")
    call = asyncio.create_task(_post(exchange))
    await server.until(lambda: len(server.visits) == 1)
    await asyncio.sleep(0.02)  # the half reaches us: seen or not, it is no whole answer

    await exchange.close()

    with pytest.raises(InDoubt):
        await call


async def test_a_large_answer_comes_through_and_a_too_large_one_does_not(
    server: RawServer, exchange: HttpExchange
) -> None:
    """More than is held unread at once, up to what the caller allows."""
    size = 3 * PAUSE_ABOVE_BYTES
    _responds(server, OK + b"Content-Length: %d\r\n\r\n" % size, b"x" * size)

    assert len((await _post(exchange)).body) == size
    with pytest.raises(InDoubt):
        await _post(exchange, max_bytes=size - 1)


async def test_head_and_body_go_out_in_one_piece(server: RawServer, exchange: HttpExchange) -> None:
    """So nothing can come between authorize_send and the last byte of a usual request."""
    sizes: list[int] = []

    async def note(visit: Visit) -> None:
        sizes.append(server.bytes_received - sum(sizes))
        await visit.answer(b"fine")

    server.behave = note
    server.changed = _Counting(server)
    await _post(exchange)

    assert set(server.changed.seen) - {0} == set(sizes)


class _Counting(asyncio.Event):
    """Notes how much had come in at each sign of life."""

    def __init__(self, server: RawServer) -> None:
        super().__init__()
        self._server = server
        self.seen: list[int] = []

    def set(self) -> None:
        self.seen.append(self._server.bytes_received)
        super().set()


async def test_after_closing_nothing_is_sent(server: RawServer, exchange: HttpExchange) -> None:
    """A closed transport raises; nothing was written, so nothing can have happened."""
    await exchange.close()

    with pytest.raises(NotSent):
        await _post(exchange)
    assert server.connections == 0


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://127.0.0.1:1"])
async def test_nothing_is_sent_to_an_invalid_address(tls: ssl.SSLContext, url: str) -> None:
    """Not HTTP, no host, no server: not sent."""
    transport = AsyncioTransport(tls=tls, keep_alive_seconds=3.0)

    with pytest.raises(NotSent):
        await _post(HttpExchange(transport, base_url=url, limits=QUICK, clock=TimeSource()))
    await transport.aclose()


async def test_an_idle_connection_is_closed_when_it_is_too_old(server: RawServer, tls: ssl.SSLContext) -> None:
    """Without another call, too: idle connections do not occupy the server."""
    _responds(server, SIZED)
    transport = AsyncioTransport(tls=tls, keep_alive_seconds=0.02)
    await _post(HttpExchange(transport, base_url=server.url, limits=QUICK, clock=TimeSource()))

    await server.until(lambda: server.open_connections == 0)
    await transport.aclose()


async def test_a_call_that_fails_with_a_complete_answer_does_not_close_the_next_calls_connection(
    server: RawServer, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The complete answer has released the connection, and another call may be under way on it."""
    transport = AsyncioTransport(tls=tls, keep_alive_seconds=3.0)
    exchange = HttpExchange(transport, base_url=server.url, limits=QUICK, clock=TimeSource())
    _responds(server, SIZED)
    following: list[asyncio.Task[HttpAnswer]] = []
    release = transport._pool.release

    def release_and_take(connection: _Connection) -> None:
        release(connection)
        if not following:  # this task runs before the first call looks at its answer
            following.append(asyncio.create_task(_post(exchange)))

    monkeypatch.setattr(transport._pool, "release", release_and_take)
    with pytest.raises(InDoubt):
        await _post(exchange, max_bytes=3)

    assert (await following[0]).body == b"fine"
    assert (server.connections, len(server.visits)) == (1, 2)
    await exchange.close()


async def test_each_answer_has_its_own_time(server: RawServer, exchange: HttpExchange) -> None:
    """One timer serves all: it fails those that are late, one after another, and no other."""
    held = asyncio.Event()

    async def respond(visit: Visit) -> None:
        if visit.body == b"late":
            await held.wait()
        visit.writer.write(SIZED)

    server.behave = respond
    late = [asyncio.create_task(_post(exchange, b"late"))]
    halfway = asyncio.get_running_loop().time() + QUICK.timeout_seconds / 2
    while asyncio.get_running_loop().time() < halfway:
        assert (await _post(exchange)).body == b"fine"
    late.append(asyncio.create_task(_post(exchange, b"late")))
    done, _ = await asyncio.wait(late, timeout=60 * QUICK.timeout_seconds)
    held.set()

    assert done == set(late)
    assert [type(call.exception()) for call in late] == [InDoubt, InDoubt]
