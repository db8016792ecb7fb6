"""Calls through a proxy: the same promises, and whatever the proxy does before the tunnel is open, nothing was sent."""

from __future__ import annotations

import asyncio
import base64
import gc
import pickle
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import trustme
from connect_proxy import Answer, ConnectProxy, answering

from adapter.errors import InDoubt, LeaseLost, NotSent, SettingsError
from adapter.provider.asyncio_transport import AsyncioTransport
from adapter.provider.connection_failures import TunnelFailed
from adapter.provider.exchange import HttpExchange
from adapter.provider.http_status import HttpAnswer
from adapter.provider.limits import CallLimits
from adapter.provider.proxy import MAX_CONNECT_ANSWER_BYTES, Proxy, ProxyCredentials
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport
from adapter.secret import Secret

from .conftest import QUICK
from .server import RawServer, Visit, unused_port

SECRET = "MARKED-PROXY-PASSWORD"  # not used anywhere
IMPATIENT = CallLimits(timeout_seconds=0.6, connect_timeout_seconds=0.3, max_calls_per_second=0, max_wait_seconds=0.2)
NAME = "ecticket.test"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority that signs the certificates of server and proxy."""
    return trustme.CA()


def _server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def _echo(visit: Visit) -> None:
    await visit.answer(b"answer to " + visit.body)


def _credentials(password: str) -> ProxyCredentials:
    return ProxyCredentials(username="shop", password=Secret(password))


@dataclass(slots=True, kw_only=True)
class Way:
    """A server, the proxy before it, and an exchange that calls through the proxy."""

    server: RawServer
    proxy: ConnectProxy
    exchange: HttpExchange
    passwords: list[str]

    async def post(self, body: bytes = b"question", authorize_send: Callable[[], None] = lambda: None) -> HttpAnswer:
        """Call the server."""
        return await self.exchange.post(
            "/path", body, headers=(), max_bytes=100_000, authorize_send=authorize_send, what="a call"
        )


OpenWay = Callable[..., Awaitable[Way]]


@pytest.fixture
async def open_way(authority: trustme.CA, trusting: ssl.SSLContext) -> AsyncIterator[OpenWay]:
    """Make ways; all parts of them are closed at the end."""
    exits = []

    async def make(
        *, tls: bool = False, proxy_tls: bool = False, trusted: bool = True, limits: CallLimits = QUICK
    ) -> Way:
        signer = authority if trusted else trustme.CA()
        server = RawServer(tls=_server_tls(signer, NAME) if tls else None)
        server.behave = _echo
        await server.__aenter__()
        port = int(server.url.rpartition(":")[2])
        proxy = ConnectProxy(
            tls=_server_tls(authority, "127.0.0.1") if proxy_tls else None, servers={f"{NAME}:{port}": port}
        )
        await proxy.__aenter__()
        passwords: list[str] = []
        address = Proxy(
            host="127.0.0.1",
            port=proxy.port,
            tls=trusting if proxy_tls else None,
            credentials=lambda: (
                ProxyCredentials(username="shop", password=Secret(passwords[-1])) if passwords else None
            ),
        )
        exchange = HttpExchange(
            AsyncioTransport(tls=trusting, keep_alive_seconds=3.0, proxy=address),
            base_url=f"{'https' if tls else 'http'}://{NAME}:{port}",
            limits=limits,
            clock=TimeSource(),
        )
        exits.append((exchange, proxy, server))
        return Way(server=server, proxy=proxy, exchange=exchange, passwords=passwords)

    yield make
    for exchange, proxy, server in exits:
        await exchange.close()
        await proxy.__aexit__(None, None, None)
        await server.__aexit__(None, None, None)


@pytest.fixture
async def way(open_way: OpenWay) -> Way:
    """A plain server behind a plain proxy."""
    return await open_way()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("proxy_tls", [False, True], ids=["plain-proxy", "tls-proxy"])
async def test_a_call_goes_through_a_tunnel(open_way: OpenWay, *, tls: bool, proxy_tls: bool) -> None:
    """To every kind of address, over every kind of proxy: the name is resolved there, and connections are kept."""
    way = await open_way(tls=tls, proxy_tls=proxy_tls)

    answers = [await way.post(b"%d" % number) for number in range(3)]

    assert [answer.body for answer in answers] == [b"answer to %d" % number for number in range(3)]
    assert len(way.proxy.heads) == way.server.connections == 1
    first, *headers = way.proxy.heads[0].decode().strip().split("\r\n")
    assert first.startswith(f"CONNECT {NAME}:")
    assert [header.partition(":")[0] for header in headers] == ["Host"]
    assert (b"/path" in way.proxy.sent_up) is not tls


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_lost_lease_lets_no_byte_into_the_tunnel(open_way: OpenWay, *, tls: bool) -> None:
    """The tunnel is open by then, and the server's application has received nothing."""
    way = await open_way(tls=tls)
    seen: list[int] = []

    def lost() -> None:
        seen.append(len(way.proxy.heads))
        raise LeaseLost("the partition is another's")

    with pytest.raises(LeaseLost):
        await way.post(authorize_send=lost)
    await way.server.until(lambda: way.server.open_connections == 0)

    assert seen == [1]
    assert way.server.bytes_received == 0


HEAD = b"HTTP/1.1 %b X\r\n%b\r\n"
REFUSALS: dict[str, tuple[Answer, int | None]] = {
    "credentials": (answering(HEAD % (b"407", b"Proxy-Authenticate: Basic\r\n")), 407),
    "forbidden": (answering(HEAD % (b"403", b"Content-Length: 5\r\n") + b"sorry"), 403),
    "bad-gateway": (answering(HEAD % (b"502", b"")), 502),
    "busy": (answering(HEAD % (b"503", b"Retry-After: 5\r\n")), 503),
    "redirect": (answering(HEAD % (b"302", b"Location: http://login.test/\r\n")), 302),
    "not-implemented": (answering(b"HTTP/1.0 405 X\r\n\r\n", then_closes=True), 405),
    "closed": (answering(then_closes=True), None),
    "closed-in-head": (answering(b"HTTP/1.1 200 Connec", then_closes=True), None),
    "closed-after-interim": (answering(HEAD % (b"102", b""), then_closes=True), None),
    "no-http": (answering(b"SSH-2.0-OpenSSH_9.6\r\n"), None),
    "no-http-byte-by-byte": (answering(b"H", b"T", b"M", b"L"), None),
    "speaks-first": (answering(HEAD % (b"200", b"") + b"HTTP/1.1 200 OK\r\n\r\n"), None),
    "body": (answering(HEAD % (b"200", b"Content-Length: 4\r\n") + b"fine"), None),
    "huge-head": (answering(HEAD % (b"200", b"X: " + b"x" * 2 * MAX_CONNECT_ANSWER_BYTES + b"\r\n")), None),
    "endless-head": (answering(b"HTTP/1.1 200 X\r\n", b"X: x\r\n", endless=True), None),
    "endless-line": (answering(b"HTTP/1.1 200 ", b"x" * 1000, endless=True), None),
    "endless-interim": (answering(HEAD % (b"102", b""), endless=True), None),
}
"""What a proxy may do instead of opening a tunnel, with the status that is reported."""


@pytest.mark.parametrize("case", REFUSALS)
async def test_whatever_a_proxy_does_before_the_tunnel_is_open_nothing_was_sent(way: Way, case: str) -> None:
    """It is no answer of ECTicket's: no lock-out, no doubt. The permission is not asked for, nothing stays open."""
    way.proxy.answer, status = REFUSALS[case]
    asked: list[str] = []

    with pytest.raises(NotSent) as caught:
        await way.post(authorize_send=lambda: asked.append("asked"))

    assert caught.value.remedy is not None
    assert isinstance(caught.value.__cause__, TunnelFailed)
    assert caught.value.__cause__.status == status
    assert f"127.0.0.1:{way.proxy.port}" in str(caught.value)
    await way.proxy.until(lambda: way.proxy.open_connections == 0)
    assert (asked, way.server.connections) == ([], 0)
    way.proxy.answer = None
    assert (await way.post()).status == 200


async def test_a_proxy_that_does_not_answer_costs_the_time_for_a_connection(open_way: OpenWay) -> None:
    """Not sent, and the message names what was waited for."""
    way = await open_way(limits=IMPATIENT)
    way.proxy.answer = answering(b"HTTP/1.1 200 X\r\n")

    with pytest.raises(NotSent, match=rf"waited for the proxy http://127\.0\.0\.1:{way.proxy.port} to open a tunnel"):
        await way.post()

    await way.proxy.until(lambda: way.proxy.open_connections == 0)
    assert way.server.connections == 0


@pytest.mark.parametrize(
    ("host", "cause"), [("127.0.0.1", "refused the connection"), ("nowhere.invalid", "cannot be resolved")]
)
async def test_a_proxy_that_is_not_reached_is_named(trusting: ssl.SSLContext, host: str, cause: str) -> None:
    """It is the proxy's name or port that is wrong, not ECTicket's."""
    proxy = Proxy(host=host, port=unused_port())
    transport = AsyncioTransport(tls=trusting, keep_alive_seconds=3.0, proxy=proxy)
    exchange = HttpExchange(transport, base_url="https://ecticket.test", limits=QUICK, clock=TimeSource())

    with pytest.raises(NotSent) as caught:
        await exchange.post("/", b"", headers=(), max_bytes=1, authorize_send=lambda: None, what="a call")

    assert cause in str(caught.value)
    assert str(proxy) in str(caught.value)
    assert "provider.proxy" in str(caught.value.remedy)


REMEDIES = (
    (b"HTTP/1.1 407 X\r\n\r\n", "LOGIN_VARIABLE"),
    (b"HTTP/1.1 404 X\r\n\r\n", "ADDRESS_VARIABLE"),
    (b"SSH-2.0-OpenSSH\r\n", "ADDRESS_VARIABLE"),
    (None, "ADDRESS_VARIABLE"),
)
"""What a proxy answers (None: nothing listens there), and where its mistake is to be corrected."""


@pytest.mark.parametrize(("answer", "named"), REMEDIES)
async def test_a_remedy_names_where_the_proxy_comes_from(
    open_way: OpenWay, trusting: ssl.SSLContext, answer: bytes | None, named: str
) -> None:
    """A variable of the environment, and no setting that is not set."""
    way = await open_way(limits=QUICK)
    if answer is not None:
        way.proxy.answer = answering(answer)
    proxy = Proxy(
        host="127.0.0.1",
        port=unused_port() if answer is None else way.proxy.port,
        credentials=lambda: _credentials(SECRET),
        source="ADDRESS_VARIABLE",
        credentials_source="LOGIN_VARIABLE",
    )
    transport = AsyncioTransport(tls=trusting, keep_alive_seconds=3.0, proxy=proxy)
    exchange = HttpExchange(transport, base_url="https://ecticket.test", limits=QUICK, clock=TimeSource())

    with pytest.raises(NotSent) as caught:
        await exchange.post("/", b"", headers=(), max_bytes=1, authorize_send=lambda: None, what="a call")

    assert named in str(caught.value.remedy)
    assert "provider.proxy" not in str(caught.value.remedy)


async def test_a_tunnel_that_breaks_after_the_write_is_a_doubt(way: Way) -> None:
    """The proxy may have passed on what it received."""
    way.proxy.breaks_after = 1

    with pytest.raises(InDoubt):
        await way.post()


async def test_a_tunnel_that_breaks_while_idle_costs_no_call(way: Way) -> None:
    """The next call opens another one."""
    await way.post()
    way.server.visits[0].close()
    await way.proxy.until(lambda: way.proxy.open_connections == 0)
    for _ in range(10):
        await asyncio.sleep(0)

    assert (await way.post()).status == 200
    assert len(way.proxy.heads) == 2


@pytest.mark.parametrize("proxy_tls", [False, True], ids=["http-proxy", "https-proxy"])
async def test_a_tunnel_that_breaks_in_the_tls_handshake_carried_nothing(open_way: OpenWay, *, proxy_tls: bool) -> None:
    """TLS begins before anything of the request is written."""
    way = await open_way(tls=True, proxy_tls=proxy_tls)
    way.proxy.breaks_after = 1

    with pytest.raises(NotSent):
        await way.post()

    assert way.server.bytes_received == 0
    await way.proxy.until(lambda: way.proxy.open_connections == 0)


@pytest.mark.parametrize("proxy_tls", [False, True], ids=["http-proxy", "https-proxy"])
async def test_an_untrusted_server_in_a_tunnel_gets_nothing_and_is_named(open_way: OpenWay, *, proxy_tls: bool) -> None:
    """As when a company's proxy inspects TLS, and its certificate is not trusted or has changed."""
    way = await open_way(tls=True, proxy_tls=proxy_tls, trusted=False)

    with pytest.raises(NotSent, match=r"provider\.ssl_ca_file"):
        await way.post()

    assert way.server.bytes_received == 0


@pytest.mark.parametrize("host", ["proxy..test", ".proxy.test", "p" * 64 + ".test"])
async def test_a_name_that_no_host_can_have_gets_nothing(trusting: ssl.SSLContext, host: str) -> None:
    """asyncio raises UnicodeError for it, which is no OSError."""
    transport = AsyncioTransport(tls=trusting, keep_alive_seconds=3.0, proxy=Proxy(host=host, port=3128))
    exchange = HttpExchange(transport, base_url=f"https://{NAME}", limits=QUICK, clock=TimeSource())

    with pytest.raises(NotSent):
        await exchange.post("/", b"", headers=(), max_bytes=1, authorize_send=lambda: None, what="a call")
    await exchange.close()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_a_call_cancelled_at_any_step_leaves_nothing_open(open_way: OpenWay, *, tls: bool) -> None:
    """Each call is cancelled some steps later than the one before; one that comes through has its own answer."""
    way = await open_way(tls=tls)
    ends = set()
    for steps in range(60):
        call = asyncio.create_task(way.post(b"%d" % steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled() or call.result().body == b"answer to %d" % steps
        ends.add(call.cancelled())

    await way.exchange.close()
    gc.collect()  # asyncio leaves a socket that was connected in the step of the cancellation to the collector
    await way.proxy.until(lambda: way.proxy.open_connections == 0)
    assert True in ends


async def test_credentials_are_sent_to_the_proxy_alone_and_may_change(way: Way) -> None:
    """The scheme is Basic (RFC 7617); the next tunnel uses the next password."""
    for password in (SECRET, "pässword:2"):
        way.passwords.append(password)
        await way.post()
        way.server.visits[-1].close()
        await way.proxy.until(lambda: way.proxy.open_connections == 0)
        for _ in range(10):
            await asyncio.sleep(0)

    sent = [head.decode().partition("Proxy-Authorization: Basic ")[2].partition("\r\n")[0] for head in way.proxy.heads]
    assert [base64.b64decode(each).decode() for each in sent] == [f"shop:{SECRET}", "shop:pässword:2"]
    assert not any(b"Authorization" in visit.head for visit in way.server.visits)


async def test_rejected_credentials_are_in_no_message(way: Way) -> None:
    """The remedy differs from that for missing ones."""
    way.proxy.answer = REFUSALS["credentials"][0]
    with pytest.raises(NotSent) as without:
        await way.post()
    way.passwords.append(SECRET)
    with pytest.raises(NotSent) as wrong:
        await way.post()

    assert without.value.remedy != wrong.value.remedy
    encoded = base64.b64encode(f"shop:{SECRET}".encode()).decode()
    error: BaseException | None = wrong.value
    while error is not None:
        assert not [text for text in (str(error), repr(error)) if SECRET in text or encoded in text]
        error = error.__cause__


def test_credentials_do_not_show_themselves() -> None:
    """In no text, and in no pickle."""
    credentials = ProxyCredentials(username="shop", password=Secret(SECRET))
    proxy = Proxy(host="proxy.test", port=3128, credentials=lambda: credentials)

    assert not [text for text in (str(credentials), repr(credentials), str(proxy), repr(proxy)) if SECRET in text]
    with pytest.raises(TypeError):
        pickle.dumps(credentials)


def test_an_address_is_written_as_a_url() -> None:
    """An IPv6 address in brackets."""
    assert str(Proxy(host="fd00::1", port=3128)) == "http://[fd00::1]:3128"
    assert str(Proxy(host="proxy.test", port=3128, tls=ssl.create_default_context())) == "https://proxy.test:3128"


def test_httpx_own_transport_takes_no_proxy() -> None:
    """Its answer to a plain http call may be the proxy's own."""
    with pytest.raises(SettingsError):
        make_transport(TransportKind.HTTPX, proxy=Proxy(host="proxy.test", port=3128))
