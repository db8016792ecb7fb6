"""Hostile clients of a port: whole requests are answered, however many clients connect and however slowly."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from adapter.flows.receive import MAX_PUBLICATIONS
from adapter.web import acceptor, callbacks
from adapter.web.admin import admin_app
from adapter.web.connection_limits import ConnectionLimits, LimitedProtocol, _block
from adapter.web.server import RECEIVE_BUFFER_BYTES, WebServer
from web.http_client import (
    STATUS,
    USE_STATUS,
    CallbackServer,
    answered,
    request,
    running_callback_server,
    sealed,
    until,
)

ANOTHER_ADDRESS = "127.0.0.2"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Healthy:
    def liveness_problems(self) -> Sequence[str]:
        return ()

    def readiness_problems(self) -> Sequence[str]:
        return ()

    def info(self) -> Mapping[str, object]:
        return {}


async def _connect(port: int, address: str = "127.0.0.1") -> Connection:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def _closed(connection: Connection) -> bool:
    """Whether the server closed the connection without an answer."""
    try:
        return await asyncio.wait_for(connection[0].read(1), 10) == b""
    except ConnectionError:
        return True


async def _is_answered(connection: Connection) -> int:
    connection[1].write(request(sealed()))
    return (await answered(connection[0]))[0]


# -- many connections ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beginning", [b"", b"P", request(sealed())[:-1]], ids=["silent", "a byte", "all but a byte"])
async def test_a_newcomer_takes_the_slot_of_the_connection_that_waits_longest(beginning: bytes) -> None:
    """However much of a request that one has sent; the others stay."""
    async with running_callback_server(ConnectionLimits(connections=3)) as server:
        waiting = []
        for _ in range(3):
            waiting.append(await server.connect())
            waiting[-1][1].write(beginning)
            count = len(waiting)
            await until(lambda count=count: len(server._connections()) == count)  # type: ignore[misc]

        newcomer = await server.connect()

        assert await _closed(waiting[0])
        assert await _is_answered(newcomer) == 200
        assert server.closed == {"too-many": 1}
        assert len(server._connections()) == 3
        for _, writer in (*waiting, newcomer):
            writer.close()


async def test_an_idle_connection_waits_from_its_last_answer_on() -> None:
    """The one that was used last stays."""
    async with running_callback_server(ConnectionLimits(connections=2)) as server:
        first, second = await server.connect(), await server.connect()
        assert [await _is_answered(each) for each in (first, second, first)] == [200, 200, 200]

        third = await server.connect()

        assert await _is_answered(third) == 200
        assert await _closed(second)
        assert await _is_answered(first) == 200
        assert server.closed == {"too-many": 1}


async def test_newcomers_wait_while_every_slot_has_a_complete_request() -> None:
    """Neither they nor the others are closed, however many there are."""
    async with running_callback_server(ConnectionLimits(connections=2)) as server:
        server.open.clear()
        bodies = [sealed({**STATUS, "TicketNo": f"CB{number}"}) for number in range(40)]
        posted = [asyncio.create_task(server.post(body)) for body in bodies]
        await until(lambda: server.waiting == 2)
        closed = dict(server.closed)
        server.open.set()

        assert [status for status, _ in await asyncio.gather(*posted)] == [200] * 40
        assert len(server.published) == 40
        assert closed == {}


async def test_a_client_that_does_not_take_its_answer_gives_way_to_newcomers() -> None:
    """Its time is over, and the newcomer that waited gets the slot."""
    async with running_callback_server(ConnectionLimits(connections=1)) as server:
        server.open.clear()
        first = asyncio.create_task(server.post(sealed()))
        await until(lambda: server.waiting == 1)
        (connection,) = server._connections()
        assert isinstance(connection, LimitedProtocol)
        newcomer = asyncio.create_task(server.post(sealed({**STATUS, "TicketNo": "CB2"})))
        connection.give_way("too-slow")  # as its timer does
        server.open.set()

        assert (await newcomer)[0] == 200
        assert (await first)[0] == 0
        assert server.closed == {"too-slow": 1}


async def test_a_server_stops_while_newcomers_wait() -> None:
    """It answers the requests that have a slot, and closes the connections without one."""
    async with running_callback_server(ConnectionLimits(connections=1)) as server:
        server.open.clear()
        busy = asyncio.create_task(server.post(sealed()))
        await until(lambda: server.waiting == 1)
        newcomers = [await server.connect() for _ in range(3)]
        stopping = asyncio.create_task(server.stop())
        closed = [await _closed(each) for each in newcomers]
        server.open.set()
        await stopping

        assert closed == [True] * 3
        assert (await busy)[0] == 200
        assert not server.listens()


async def test_the_kernel_keeps_little_for_a_connection_that_is_not_read() -> None:
    """Thousands may wait to be accepted, each with as much as the kernel takes."""
    async with running_callback_server(ConnectionLimits(connections=1)) as server:
        server.open.clear()
        busy = asyncio.create_task(server.post(sealed()))
        await until(lambda: server.waiting == 1)
        with socket.socket() as waiting, socket.socket() as pouring:
            waiting.connect(("127.0.0.1", server.port))  # accepted, and without a slot: it is the next one
            pouring.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            pouring.connect(("127.0.0.1", server.port))
            pouring.setblocking(False)
            taken = 0
            with suppress(BlockingIOError):
                while taken < 10 * RECEIVE_BUFFER_BYTES:
                    taken += pouring.send(b"x" * 1024)

            assert taken <= 4 * RECEIVE_BUFFER_BYTES
        server.open.set()
        await busy


async def test_an_idle_connection_that_has_sent_a_request_keeps_its_slot() -> None:
    """Also if a newcomer comes before the request is read."""
    async with running_callback_server(ConnectionLimits(connections=1)) as server:
        idle = await server.connect()
        assert await _is_answered(idle) == 200
        with socket.socket() as newcomer:
            idle[1].get_extra_info("socket")._sock.send(request(sealed({**STATUS, "TicketNo": "CB2"})))
            newcomer.connect(("127.0.0.1", server.port))  # the server runs in this thread: nothing is read in between
            newcomer.sendall(request(sealed({**STATUS, "TicketNo": "CB3"})))
            newcomer.setblocking(False)

            assert (await answered(idle[0]))[0] == 200
            assert await asyncio.get_running_loop().sock_recv(newcomer, 12) == b"HTTP/1.1 200"
            assert len(server.published) == 3


async def test_connections_are_accepted_again_after_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as too many open files."""
    monkeypatch.setattr(acceptor, "_RETRY_SECONDS", 0)
    async with running_callback_server() as server:
        loop = asyncio.get_running_loop()
        reported: list[object] = []
        loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
        sock_accept = loop.sock_accept
        errors = [OSError(errno.EMFILE, "too many open files"), ConnectionAbortedError()]

        async def accept(listener: socket.socket) -> tuple[socket.socket, object]:
            if errors:
                raise errors.pop(0)
            return await sock_accept(listener)

        monkeypatch.setattr(loop, "sock_accept", accept)

        assert [(await server.post(sealed()))[0] for _ in range(3)] == [200] * 3
        assert [type(each) for each in reported] == [OSError]


async def test_a_connection_that_fails_when_it_is_accepted_leaves_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one is accepted."""
    async with running_callback_server(ConnectionLimits(connections=1)) as server:
        loop = asyncio.get_running_loop()
        reported: list[object] = []
        loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
        connect = loop.connect_accepted_socket
        errors = [OSError(errno.EINVAL, "its client is gone")]

        async def connect_or_fail(*args: Any) -> object:
            if errors:
                raise errors.pop()
            return await connect(*args)

        monkeypatch.setattr(loop, "connect_accepted_socket", connect_or_fail)

        assert [(await server.post(sealed()))[0] for _ in range(3)] == [0, 200, 200]
        assert [type(each) for each in reported] == [OSError]


async def test_the_beginning_of_a_further_request_does_not_keep_the_slot() -> None:
    """A client that has sent only a part waits, also on a connection that was served before."""
    async with running_callback_server(ConnectionLimits(connections=1)) as server:
        greedy = await server.connect()
        greedy[1].write(request(sealed()))
        assert (await answered(greedy[0]))[0] == 200
        greedy[1].write(request(sealed())[:-1])

        assert (await server.post(sealed()))[0] == 200
        assert await _closed(greedy)


async def test_one_address_displaces_only_its_own_connections() -> None:
    """It opens hundreds; those of another address stay, although they are older."""
    async with running_callback_server(ConnectionLimits(connections=8)) as server:
        honest = [await _connect(server.port, ANOTHER_ADDRESS) for _ in range(2)]
        hostile = [await _connect(server.port) for _ in range(200)]
        await until(lambda: server.closed["too-many"] == 194)

        assert [await _is_answered(each) for each in honest] == [200, 200]
        assert len(server._connections()) == 8
        for _, writer in hostile:
            writer.close()


def test_an_ipv4_client_of_an_ipv6_listener_is_one_address() -> None:
    """Its address comes as `::ffff:a.b.c.d`, whose first 64 bits all IPv4 clients share."""
    assert _block("::ffff:192.0.2.1") == _block("192.0.2.1")
    assert _block("::ffff:192.0.2.1") != _block("::ffff:192.0.2.2")
    assert _block("2001:db8::1") == _block("2001:db8::ffff") != _block("2001:db8:0:1::1")


async def test_half_open_connections_are_displaced_too() -> None:
    """Their clients are gone without a word: no FIN and no reset arrives."""
    async with running_callback_server(ConnectionLimits(connections=4)) as server:
        clients = []
        for _ in range(12):
            client = socket.socket()
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", server.port))
            clients.append(client)
        await until(lambda: server.closed["too-many"] == 8)

        assert (await server.post(sealed()))[0] == 200
        for client in clients:
            client.close()


async def test_connections_that_are_reset_leave_nothing_behind() -> None:
    """At every point of a request."""
    whole = request(sealed())
    async with running_callback_server(ConnectionLimits(connections=4)) as server:
        for place in range(0, len(whole), 40):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            await loop.sock_sendall(client, whole[:place])
            client.close()
        await until(lambda: not server._connections())

        assert (await server.post(sealed()))[0] == 200
        assert server.outcomes["published"] == 1


async def test_honest_requests_are_answered_while_silent_connections_are_opened_all_the_time() -> None:
    """With every slot in use at every moment."""
    async with running_callback_server(ConnectionLimits(connections=16)) as server:
        stop = asyncio.Event()

        async def attack() -> None:
            held: list[asyncio.StreamWriter] = []
            while not stop.is_set():
                _, writer = await server.connect()
                writer.write(b"P")
                held.append(writer)
            for writer in held:
                writer.close()

        attacking = asyncio.create_task(attack())
        await until(lambda: server.closed["too-many"] > 0)
        tickets = [sealed({**STATUS, "TicketNo": f"CB{number}"}) for number in range(100)]
        statuses = [(await server.post(each))[0] for each in tickets]
        stop.set()
        await attacking

        assert statuses == [200] * 100


async def test_a_refused_request_keeps_no_slot_while_its_answer_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise forged requests, one after another on every connection, would keep all others out."""
    monkeypatch.setattr(callbacks, "REFUSAL_DELAY_SECONDS", 60)
    async with running_callback_server(ConnectionLimits(connections=4, answer_seconds=60)) as server:
        forged = [asyncio.create_task(server.post(sealed(CheckMacValue="0" * 64))) for _ in range(4)]
        await until(lambda: server.outcomes["wrong-checksum"] == 4)

        assert (await server.post(sealed()))[0] == 200
        await until(lambda: any(each.done() for each in forged))
        assert server.closed == {"too-many": 1}
        server.cancel_requests()
        await asyncio.gather(*forged)


async def test_a_repetition_keeps_no_slot_while_its_answer_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a recorded notification, posted on every connection, would keep all others out."""
    async with running_callback_server(ConnectionLimits(connections=4, answer_seconds=60)) as server:
        for _ in range(MAX_PUBLICATIONS):
            assert (await server.post(sealed()))[0] == 200
        monkeypatch.setattr(callbacks, "REFUSAL_DELAY_SECONDS", 60)
        replayed = [asyncio.create_task(server.post(sealed())) for _ in range(4)]
        await until(lambda: server.outcomes["repeated"] == 4)

        assert (await server.post(sealed({**STATUS, "TicketNo": "CB2"})))[0] == 200
        server.cancel_requests()
        await asyncio.gather(*replayed)


async def test_large_bodies_take_turns_and_small_ones_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come; those that would wait too long are to be sent again."""
    monkeypatch.setattr(callbacks, "LARGE_BODIES_PER_SECOND", 0.001)
    large = sealed() + b" " * callbacks.LARGE_BODY_BYTES
    async with running_callback_server() as server:
        assert (await server.post(large))[0] == 200
        waiting = [asyncio.create_task(server.post(large)) for _ in range(callbacks.LARGE_BODIES_WAITING + 5)]
        await until(lambda: sum(each.done() for each in waiting) == 5)

        assert (await server.post(sealed()))[0] == 200
        refused = [each.result()[0] for each in waiting if each.done()]
        assert refused == [503] * 5
        server.cancel_requests()
        await asyncio.gather(*waiting)


async def test_a_body_has_a_limited_number_of_chunks() -> None:
    """However short they are: parsing one takes as long as parsing a kilobyte."""
    body = sealed()

    def chunked(count: int) -> bytes:
        data = body + b" " * (count - len(body))
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in data)
        return request(b"", content_length="", transfer_encoding="chunked") + chunks + b"0\r\n\r\n"

    most = ConnectionLimits().chunks
    async with running_callback_server() as server:
        assert (await server.send_raw(chunked(most - 1)))[0] == 200
        assert (await server.send_raw(chunked(most)))[0] == 0
        assert server.closed == {"too-much": 1}


async def test_a_request_that_has_come_is_read_before_newcomers_take_its_slot() -> None:
    """However many wait to be accepted together, and however few slots there are."""
    async with running_callback_server(ConnectionLimits(connections=8)) as server:
        clients = []
        for number in range(600):  # the server cannot accept them meanwhile: nothing here waits
            client = socket.socket()
            client.connect(("127.0.0.1", server.port))
            if number % 10 == 0:
                client.sendall(request(sealed({**STATUS, "TicketNo": f"CB{number}"})))
            client.setblocking(False)
            clients.append(client)
        loop = asyncio.get_running_loop()
        answers = [await asyncio.wait_for(loop.sock_recv(each, 12), 10) for each in clients[::10]]

        assert answers == [b"HTTP/1.1 200"] * 60
        assert len(server.published) == 60
        for client in clients:
            client.close()


# -- the admin port ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _admin_server(limits: ConnectionLimits | None = None) -> AsyncIterator[WebServer]:
    server = WebServer(
        admin_app(_Healthy(), CollectorRegistry()), host="127.0.0.1", port=0, purpose="admin", limits=limits
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def _probe(port: int) -> int:
    reader, writer = await _connect(port)
    try:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: pod\r\n\r\n")
        return (await answered(reader))[0]
    finally:
        writer.close()


async def test_a_probe_is_answered_although_silent_connections_have_every_slot() -> None:
    """With the limits that `run` uses."""
    async with _admin_server() as server:
        silent = [await _connect(server.port) for _ in range(ConnectionLimits().connections + 50)]

        assert [await _probe(server.port) for _ in range(5)] == [200] * 5
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 400_000,
        b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 60_000,
        b"GET / HTTP/1.1\r\nx: " + b"y" * 9**6,
    ],
    ids=["path", "headers", "value"],
)
async def test_an_endless_head_is_cut_off_at_the_admin_port(endless: bytes) -> None:
    """Little of it is kept."""
    async with _admin_server() as server:
        hostile = await _connect(server.port)
        hostile[1].write(endless)

        assert await _closed(hostile)
        assert await _probe(server.port) == 200


async def test_a_slow_client_of_the_admin_port_is_cut_off() -> None:
    """After the time for one request."""
    async with _admin_server(ConnectionLimits(request_seconds=0.2)) as server:
        slow = await _connect(server.port)
        slow[1].write(b"GET /livez HTTP/1.1\r\n")

        assert await _closed(slow)


# -- requests that two servers read differently --------------------------------------------------------------------

HIDDEN = request(sealed())
"""A whole notification, as a proxy might take it for a part of the request before it."""


def _outer(
    *lines: str, body: bytes = HIDDEN, end: bytes = b"\r\n", start: str = f"POST {USE_STATUS} HTTP/1.1"
) -> bytes:
    return (
        end.join([start.encode(), b"host: shop.example", *(line.encode("latin-1") for line in lines), b"", b""]) + body
    )


AMBIGUOUS: Mapping[str, bytes] = {
    "length and chunks": _outer("content-length: 4", "transfer-encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunks and length": _outer("transfer-encoding: chunked", "content-length: 4", body=b"0\r\n\r\n" + HIDDEN),
    "two lengths": _outer("content-length: 0", f"content-length: {len(HIDDEN)}"),
    "the same length twice": _outer(f"content-length: {len(HIDDEN)}", f"content-length: {len(HIDDEN)}"),
    "two lengths in one": _outer(f"content-length: 0, {len(HIDDEN)}"),
    "a signed length": _outer(f"content-length: +{len(HIDDEN)}"),
    "a negative length": _outer("content-length: -1"),
    "a length in hex": _outer("content-length: 0x10"),
    "a length with a blank": _outer("content-length: 1 0"),
    "a blank before the colon": _outer(f"content-length : {len(HIDDEN)}"),
    "a folded length": _outer("content-length:", f" {len(HIDDEN)}"),
    "a folded coding": _outer("transfer-encoding:", " chunked", body=b"0\r\n\r\n" + HIDDEN),
    "an unknown coding": _outer("transfer-encoding: xchunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunks and more": _outer("transfer-encoding: chunked, identity", body=b"0\r\n\r\n" + HIDDEN),
    "two codings": _outer("transfer-encoding: chunked", "transfer-encoding: identity", body=b"0\r\n\r\n" + HIDDEN),
    "a vertical tab": _outer("transfer-encoding: \x0bchunked", body=b"0\r\n\r\n" + HIDDEN),
    "a NUL in a name": _outer("content-length\0: 0"),
    "a NUL in a value": _outer("x: \0", "content-length: 0"),
    "bare line feeds": _outer(f"content-length: {len(HIDDEN)}", end=b"\n"),
    "bare carriage returns": _outer(f"content-length: {len(HIDDEN)}", end=b"\r"),
    "a bare line feed in a head": _outer(f"x: y\ncontent-length: {len(HIDDEN)}"),
    "no colon": _outer("content-length 5"),
    "an empty name": _outer(": 5"),
    "a chunk size in letters": _outer("transfer-encoding: chunked", body=b"zz\r\n" + HIDDEN),
    "a chunk size with a sign": _outer("transfer-encoding: chunked", body=b"+5\r\nhello\r\n0\r\n\r\n" + HIDDEN),
    "a chunk size of many digits": _outer("transfer-encoding: chunked", body=b"f" * 17 + b"\r\n" + HIDDEN),
    "a chunk without its end": _outer("transfer-encoding: chunked", body=b"1\r\nxy0\r\n\r\n" + HIDDEN),
    "a chunk with a bare line feed": _outer("transfer-encoding: chunked", body=b"1\nx\n0\n\n" + HIDDEN),
    "chunks under HTTP/1.0": _outer(
        "transfer-encoding: chunked", start=f"POST {USE_STATUS} HTTP/1.0", body=b"0\r\n\r\n" + HIDDEN
    ),
    "a length after the body": _outer(
        "transfer-encoding: chunked", body=b"1\r\nx\r\n0\r\ncontent-length: 9\r\n\r\n" + HIDDEN
    ),
    "another version": _outer("content-length: 0", start=f"POST {USE_STATUS} HTTP/1.2"),
    "HTTP/2 without TLS": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "a tunnel": _outer(start="CONNECT shop.example:443 HTTP/1.1"),
    "an upgrade": _outer("connection: upgrade", "upgrade: h2c", f"content-length: {len(HIDDEN)}"),
}


@pytest.fixture
async def callback_server() -> AsyncIterator[CallbackServer]:
    async with running_callback_server(ConnectionLimits(request_seconds=0.3)) as server:
        yield server


async def _until_closed(connection: Connection) -> bytes:
    read = b""
    try:
        while piece := await asyncio.wait_for(connection[0].read(65536), 10):
            read += piece
    except ConnectionError:
        pass
    connection[1].close()
    return read


@pytest.mark.parametrize("form", AMBIGUOUS)
async def test_nothing_of_an_ambiguous_request_is_published(callback_server: CallbackServer, form: str) -> None:
    """Neither it nor what it hides: it is refused, and the rest of its connection is not read as a request."""
    connection = await callback_server.connect()
    connection[1].write(AMBIGUOUS[form])
    answers = await _until_closed(connection)

    assert b"HTTP/1.1 200" not in answers, answers
    assert callback_server.published == []
    assert answers.count(b"HTTP/1.1 ") <= 1


PLAIN: Mapping[str, Callable[[bytes], bytes]] = {
    "a length": lambda body: _outer(f"content-length: {len(body)}", body=body),
    "one chunk": lambda body: _outer("transfer-encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
    "a chunk with an extension": lambda body: _outer(
        "transfer-encoding: chunked", body=b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    ),
    "a trailer": lambda body: _outer(
        "transfer-encoding: chunked", body=b"%x\r\n%s\r\n0\r\nx: y\r\n\r\n" % (len(body), body)
    ),
}


@pytest.mark.parametrize("form", PLAIN)
async def test_a_request_in_the_body_of_another_one_is_no_request(callback_server: CallbackServer, form: str) -> None:
    """The body is refused, and what follows it is read from where it ends."""
    connection = await callback_server.connect()
    connection[1].write(PLAIN[form](HIDDEN))
    refused = await answered(connection[0])
    connection[1].write(request(sealed()))
    answers = await _until_closed(connection)

    assert refused[0] == 400
    assert re.findall(rb"HTTP/1\.1 (\d+)", answers) == [b"200"]
    assert len(callback_server.published) == 1


async def test_a_body_that_comes_byte_by_byte_is_read_within_its_time() -> None:
    """And not after it."""
    async with running_callback_server(ConnectionLimits(request_seconds=300)) as server:
        assert (await server.send_raw(*(bytes([byte]) for byte in request(sealed()))))[0] == 200
    async with running_callback_server(ConnectionLimits(request_seconds=0.2)) as server:
        connection = await server.connect()

        async def drip() -> None:
            for byte in request(sealed()):
                connection[1].write(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert await _closed(connection)
        dripping.cancel()
        assert server.closed == {"too-slow": 1}
        assert server.published == []
