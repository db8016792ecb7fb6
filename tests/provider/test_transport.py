"""What the transports promise: written once, authorized first, closed when interrupted."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from adapter.errors import InDoubt, LeaseLost, NotSent
from adapter.provider.asyncio_transport import AsyncioTransport
from adapter.provider.exchange import HttpExchange
from adapter.provider.http_status import HttpAnswer
from adapter.provider.limits import CallLimits
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport, tls_context

from .conftest import QUICK
from .server import RawServer, Visit, self_signed, unused_port


async def _echo(visit: Visit) -> None:
    await visit.answer(b"answer to " + visit.body)


async def _arrival() -> None:
    """Let what was written reach the other end: loopback delivers at once, the loop reads on its next rounds."""
    for _ in range(10):
        await asyncio.sleep(0)


def _always_authorized() -> None:
    """Authorize every write."""


def _exchange(transport: httpx.AsyncBaseTransport, url: str, limits: CallLimits = QUICK) -> HttpExchange:
    return HttpExchange(transport, base_url=url, limits=limits, clock=TimeSource())


async def _post(
    exchange: HttpExchange, body: bytes = b"question", authorize_send: Callable[[], None] = _always_authorized
) -> HttpAnswer:
    return await exchange.post(
        "/path",
        body,
        headers=(("Accept", "text/html"),),
        max_bytes=100_000,
        authorize_send=authorize_send,
        what="a call",
    )


@pytest.fixture
def exchange(transport: httpx.AsyncBaseTransport, server: RawServer) -> HttpExchange:
    """An exchange with the raw server."""
    return _exchange(transport, server.url)


class _Lost:
    """A lost lease that records when it is checked."""

    def __init__(self, server: RawServer) -> None:
        self.error = LeaseLost("the partition is another's")
        self.seen: list[tuple[int, int]] = []
        self._server = server

    def __call__(self) -> None:
        self.seen.append((self._server.connections, self._server.bytes_received))
        raise self.error


async def test_the_request_goes_out_as_httpx_made_it(server: RawServer, exchange: HttpExchange) -> None:
    """No header is added, changed or compressed on the way."""
    server.behave = _echo

    answer = await _post(exchange)

    assert (answer.status, answer.body) == (200, b"answer to question")
    first, *headers = server.visits[0].head.decode().split("\r\n")
    assert first == "POST /path HTTP/1.1"
    assert sorted(header.partition(":")[0].lower() for header in headers) == ["accept", "content-length", "host"]


async def test_a_lost_lease_lets_not_one_byte_out(server: RawServer, exchange: HttpExchange) -> None:
    """Checked once connected and before the first byte; its own error is raised, as the same object."""
    lost = _Lost(server)

    with pytest.raises(LeaseLost) as caught:
        await _post(exchange, authorize_send=lost)
    await server.until(lambda: server.connections == 1 and server.open_connections == 0)

    assert caught.value is lost.error
    assert len(lost.seen) == 1
    assert server.bytes_received == 0


async def test_a_lost_lease_lets_not_one_byte_out_on_a_used_connection_either(
    server: RawServer, exchange: HttpExchange
) -> None:
    """The same on a connection from the pool; and the next call is not affected."""
    server.behave = _echo
    await _post(exchange, b"first")
    before, lost = server.bytes_received, _Lost(server)

    with pytest.raises(LeaseLost):
        await _post(exchange, b"second", authorize_send=lost)
    answer = await _post(exchange, b"third")

    assert lost.seen == [(1, before)]
    assert answer.body == b"answer to third"
    assert [visit.body for visit in server.visits] == [b"first", b"third"]


async def test_the_lease_is_asked_for_once_and_before_the_first_byte(server: RawServer, exchange: HttpExchange) -> None:
    """By then there is a connection, and nothing has been written."""
    server.behave = _echo
    asked: list[int] = []

    await _post(exchange, authorize_send=lambda: asked.append(server.bytes_received))

    assert asked == [0]


async def test_the_fast_engine_writes_headers_and_body_in_one_piece(server: RawServer, tls: ssl.SSLContext) -> None:
    """So nothing can come between authorize_send and the last byte of a usual request."""
    transport = AsyncioTransport(tls=tls, keep_alive_seconds=3.0)
    pieces: list[int] = []
    server.behave = _echo
    server.changed = _Counting(server, pieces)

    await _post(_exchange(transport, server.url))
    await transport.aclose()

    assert len({size for size in pieces if size}) == 1


class _Counting(asyncio.Event):
    """Notes how much had come in at each sign of life."""

    def __init__(self, server: RawServer, pieces: list[int]) -> None:
        super().__init__()
        self._server, self._pieces = server, pieces

    def set(self) -> None:
        self._pieces.append(self._server.bytes_received)
        super().set()


async def test_connections_are_used_again(server: RawServer, exchange: HttpExchange) -> None:
    """Ten calls, one connection."""
    server.behave = _echo
    for _ in range(10):
        await _post(exchange)

    assert server.connections == 1


async def test_an_idle_connection_is_not_used_longer_than_the_keep_alive(
    server: RawServer, kind: TransportKind, tls: ssl.SSLContext
) -> None:
    """Shorter than the server's time-out, so that it does not close while we write."""
    server.behave = _echo
    transport = make_transport(kind, tls=tls, keep_alive_seconds=0.02)
    exchange = _exchange(transport, server.url)
    await _post(exchange)
    await asyncio.sleep(0.06)  # the engine's own clock cannot be moved
    await _post(exchange)
    await transport.aclose()

    assert server.connections == 2


async def test_a_connection_the_server_closed_while_idle_is_not_used(server: RawServer, exchange: HttpExchange) -> None:
    """The usual end of an idle connection costs no call."""

    async def answer_and_close(visit: Visit) -> None:
        await _echo(visit)
        visit.close()

    server.behave = answer_and_close
    for _ in range(3):
        await _post(exchange)
        await server.until(lambda: server.open_connections == 0)
        await _arrival()

    assert len(server.visits) == 3


async def test_an_unrequested_answer_is_not_used(server: RawServer, exchange: HttpExchange) -> None:
    """Earlier data on a pooled connection is not the answer to the next call."""

    server.behave = _echo
    await _post(exchange, b"first")
    await server.visits[0].answer(b"stale")
    await _arrival()
    try:
        answer = await _post(exchange, b"second")
    except NotSent:
        await server.until(lambda: server.open_connections == 0)
        assert [visit.body for visit in server.visits] == [b"first"]
    else:
        assert answer.body == b"answer to second"
    assert (await _post(exchange, b"third")).body == b"answer to third"


async def test_nothing_is_sent_twice(server: RawServer, exchange: HttpExchange) -> None:
    """A connection lost during a request is a doubt, even a reused one: no transport retries by itself."""

    async def die_on_second(visit: Visit) -> None:
        if visit.turn == 1:
            await _echo(visit)
        else:
            visit.reset()

    server.behave = die_on_second
    await _post(exchange, b"first")
    with pytest.raises(InDoubt):
        await _post(exchange, b"second")

    assert [visit.body for visit in server.visits] == [b"first", b"second"]


async def test_redirections_are_not_followed(server: RawServer, exchange: HttpExchange) -> None:
    """The address of ECTicket is a setting, not an answer."""

    async def redirect(visit: Visit) -> None:
        await visit.answer(status=307, headers={"Location": "/elsewhere"})

    server.behave = redirect
    answer = await _post(exchange)

    assert answer.status == 307
    assert len(server.visits) == 1


async def test_cookies_are_not_kept(server: RawServer, exchange: HttpExchange) -> None:
    """Every call is the first one."""

    async def set_cookie(visit: Visit) -> None:
        await visit.answer(headers={"Set-Cookie": "a=b"})

    server.behave = set_cookie
    await _post(exchange)
    await _post(exchange)

    assert b"cookie" not in server.visits[1].head.lower()


async def test_the_environments_proxies_are_not_used(
    server: RawServer, exchange: HttpExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment does not decide where orders are sent."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    server.behave = _echo

    assert (await _post(exchange)).status == 200


async def test_a_cancelled_call_leaves_no_half_used_connection(server: RawServer, exchange: HttpExchange) -> None:
    """Its connection is closed; the next call never sees the answer that comes too late."""
    call = asyncio.create_task(_post(exchange, b"first"))
    await server.until(lambda: len(server.visits) == 1)
    call.cancel()
    await asyncio.wait([call])
    await server.until(lambda: server.open_connections == 0)
    server.behave = _echo

    assert call.cancelled()
    assert (await _post(exchange, b"second")).body == b"answer to second"
    assert server.connections == 2


async def test_a_call_cancelled_in_the_middle_of_its_answer_closes_its_connection(
    server: RawServer, exchange: HttpExchange
) -> None:
    """A connection with a half-read answer cannot be reused."""

    async def half(visit: Visit) -> None:
        await visit.answer(b"x" * 1000, cut=500)
        server.changed.set()

    server.behave = half
    call = asyncio.create_task(_post(exchange, b"first"))
    await server.until(lambda: len(server.visits) == 1)
    await _arrival()
    call.cancel()
    await asyncio.wait([call])
    await server.until(lambda: server.open_connections == 0)

    assert call.cancelled()


async def test_calls_cancelled_at_any_step_never_mix_up_answers(server: RawServer, exchange: HttpExchange) -> None:
    """Forty calls, each cancelled some steps further on; a call that comes through has its own answer."""
    server.behave = _echo
    for steps in range(40):
        call = asyncio.create_task(_post(exchange, b"cancelled %d" % steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled() or call.result().body == b"answer to cancelled %d" % steps

        assert (await _post(exchange, b"next %d" % steps)).body == b"answer to next %d" % steps


async def test_after_closing_nothing_is_sent(server: RawServer, exchange: HttpExchange) -> None:
    """A closed transport raises; it does not open again by itself."""
    server.behave = _echo
    await _post(exchange)
    await exchange.close()
    await server.until(lambda: server.open_connections == 0)


async def test_the_fast_engine_sends_nothing_after_closing(server: RawServer, tls: ssl.SSLContext) -> None:
    """Nothing was written, so nothing can have happened."""
    transport = AsyncioTransport(tls=tls, keep_alive_seconds=3.0)
    await transport.aclose()

    with pytest.raises(NotSent):
        await _post(_exchange(transport, server.url))
    assert server.connections == 0


@pytest.fixture
async def tls_server(tmp_path: Path) -> AsyncIterator[tuple[RawServer, Path]]:
    """A server with an untrusted certificate, and the CA file that makes it trusted."""
    cert_file, context = self_signed(tmp_path)
    async with RawServer(tls=context) as running:
        running.behave = _echo
        yield running, cert_file


async def test_a_certificate_without_a_trusted_issuer_gets_nothing(
    tls_server: tuple[RawServer, Path], transport: httpx.AsyncBaseTransport
) -> None:
    """Certificates are verified: nothing is sent, and the message names the setting for the trusted CA."""
    server, _ = tls_server

    with pytest.raises(NotSent, match=r"certificate .*self.signed.*provider\.ssl_ca_file"):
        await _post(_exchange(transport, server.url))
    assert server.bytes_received == 0


async def test_a_certificate_of_another_host_is_no_matter_of_trust(tmp_path: Path, kind: TransportKind) -> None:
    """No other CA helps there, so the message names none."""
    cert_file, context = self_signed(tmp_path, "elsewhere.example")
    async with RawServer(tls=context) as running:
        transport = make_transport(kind, tls=tls_context(cert_file))

        with pytest.raises(NotSent, match="another host") as caught:
            await _post(_exchange(transport, running.url))
        await transport.aclose()

    assert "ssl_ca_file" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "cause"),
    [("http://127.0.0.1:1", "refused"), ("http://nowhere.invalid", "resolved")],
)
async def test_the_cause_of_a_failed_connection_is_reported(
    transport: httpx.AsyncBaseTransport, address: str, cause: str
) -> None:
    """What an operator can do differs: an address, or a name."""
    with pytest.raises(NotSent, match=cause):
        await _post(_exchange(transport, address))


async def test_a_ca_file_vouches_for_a_server(tls_server: tuple[RawServer, Path], kind: TransportKind) -> None:
    """With the CA file the same server is called, and with a lost lease nothing is written, as without TLS."""
    server, cert_file = tls_server
    transport = make_transport(kind, tls=tls_context(cert_file))
    exchange = _exchange(transport, server.url)

    assert (await _post(exchange)).body == b"answer to question"
    before = server.bytes_received
    with pytest.raises(LeaseLost):
        await _post(exchange, authorize_send=_Lost(server))
    await transport.aclose()
    assert server.bytes_received == before


def test_tls_is_verified_and_not_old() -> None:
    """TLS 1.2 or later, certificate and name checked."""
    context = tls_context()

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_transport_that_cannot_say_when_it_writes_is_rejected() -> None:
    """Its failures would be neither "not sent" nor "in doubt"."""
    with pytest.raises(TypeError, match="authorize_send"):
        _exchange(httpx.MockTransport(lambda _: httpx.Response(200)), "http://ecticket.example")


class _Claiming(httpx.AsyncBaseTransport):
    """Claims to call authorize_send, and calls it a given number of times."""

    calls_authorize_send = True

    def __init__(self, times: int) -> None:
        self._times = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(self._times):
            request.extensions["authorize_send"]()
        return httpx.Response(200, content=b"fine")


async def test_a_plugged_transport_may_call_authorize_send_itself() -> None:
    """It declares this by `calls_authorize_send`."""
    assert (await _post(_exchange(_Claiming(1), "http://ecticket.example"))).body == b"fine"


@pytest.mark.parametrize("times", [0, 2])
async def test_a_transport_that_breaks_its_word_is_in_doubt(times: int) -> None:
    """Never called: the time of the write is unknown. Called twice: it wrote twice, or tried to."""
    with pytest.raises(InDoubt):
        await _post(_exchange(_Claiming(times), "http://ecticket.example"))


async def test_a_connection_that_comes_too_late_is_not_written_to() -> None:
    """The time is up and the caller gives up, and just then the transport would write."""

    class Late(httpx.AsyncBaseTransport):
        calls_authorize_send = True

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                request.extensions["authorize_send"]()
            raise AssertionError("it was allowed to write")

    with pytest.raises(NotSent):
        await _post(_exchange(Late(), "http://ecticket.example"))
