"""Why a call was not sent: each problem of certificates and TLS has its own cause and remedy, on both ways to ECTicket.

The servers are real: what OpenSSL reports for a case is not ours to assume.
"""

from __future__ import annotations

import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest
import trustme
from connect_proxy import ConnectProxy

from adapter.errors import NotSent
from adapter.provider.exchange import HttpExchange
from adapter.provider.proxy import Proxy
from adapter.provider.time_source import TimeSource
from adapter.provider.transport import TransportKind, make_transport, tls_context

from .conftest import QUICK
from .server import RawServer

HERE = "127.0.0.1"


def _context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def _at_most(version: ssl.TLSVersion) -> Callable[[trustme.CA], ssl.SSLContext]:
    def context(authority: trustme.CA) -> ssl.SSLContext:
        made = _context(authority.issue_cert(HERE))
        made.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version, made.maximum_version = ssl.TLSVersion.TLSv1, version
        return made

    return context


class Handshakes:
    """Takes connections and shakes hands as a blocking server does: asyncio's drops the alert that names the cause.

    Without a context it answers as a plain HTTP server answers a TLS hello.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._socket = socket.create_server((HERE, 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    self._shake_hands(connection)

    def _shake_hands(self, connection: socket.socket) -> None:
        if self._context is None:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        with self._context.wrap_socket(connection, server_side=True) as inside:
            inside.recv(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A server's TLS, and what the message has; `remedy` is in the remedy, `not_in_it` is not."""

    server: Callable[[trustme.CA], ssl.SSLContext | None]
    cause: str
    remedy: str
    not_in_it: str = "ca_file"


_YESTERDAY = datetime.now(UTC) - timedelta(days=1)
CASES = {
    "expired": Case(
        server=lambda ours: _context(ours.issue_cert(HERE, not_after=_YESTERDAY)), cause="has expired", remedy="clock"
    ),
    "not-yet": Case(
        server=lambda ours: _context(ours.issue_cert(HERE, not_before=datetime.now(UTC) + timedelta(days=1))),
        cause="is not valid yet",
        remedy="clock",
    ),
    "unknown-authority": Case(
        server=lambda _: _context(trustme.CA().issue_cert(HERE)),
        cause="is not trusted",
        remedy="ca_file",
        not_in_it="clock",
    ),
    "other-host": Case(
        server=lambda ours: _context(ours.issue_cert("elsewhere.test")),
        cause="is for another host",
        remedy="Correct the address",
    ),
    "tls-1.1": Case(server=_at_most(ssl.TLSVersion.TLSv1_1), cause="TLS 1.2 or later", remedy="Update"),
    "no-tls": Case(server=lambda _: None, cause="does not speak TLS on this port", remedy="scheme"),
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority that the client trusts."""
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The adapter's own context, with the authority as `provider.ssl_ca_file`."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return tls_context(path)


async def _not_sent(exchange: HttpExchange) -> NotSent:
    with pytest.raises(NotSent) as caught:
        await exchange.post(
            "/", b"question", headers=(), max_bytes=100, authorize_send=lambda: pytest.fail("asked"), what="a call"
        )
    await exchange.close()
    return caught.value


def _holds(error: NotSent, case: Case) -> bool:
    remedy = error.remedy or ""
    return case.cause in str(error) and case.remedy in remedy and remedy in str(error) and case.not_in_it not in remedy


@pytest.mark.parametrize("way", ["direct", "httpx", "through-a-proxy"])
@pytest.mark.parametrize("name", CASES)
async def test_each_problem_with_ectickets_tls_has_its_cause_and_remedy(
    authority: trustme.CA, trusting: ssl.SSLContext, name: str, way: str
) -> None:
    """Whatever the way: nothing was sent, and the permission was not asked for."""
    case = CASES[name]
    with Handshakes(case.server(authority)) as server:
        async with ConnectProxy() as proxy:
            await _check(case, way, server, proxy, trusting)


async def _check(case: Case, way: str, server: Handshakes, proxy: ConnectProxy, trusting: ssl.SSLContext) -> None:
    transport = make_transport(
        TransportKind.HTTPX if way == "httpx" else TransportKind.DIRECT,
        tls=trusting,
        proxy=Proxy(host=HERE, port=proxy.port) if way == "through-a-proxy" else None,
    )
    exchange = HttpExchange(transport, base_url=f"https://{HERE}:{server.port}", limits=QUICK, clock=TimeSource())

    error = await _not_sent(exchange)

    assert _holds(error, case), str(error)
    assert len(proxy.heads) == (way == "through-a-proxy")


@pytest.mark.parametrize("name", CASES)
async def test_each_problem_with_the_proxys_own_tls_names_the_proxy(
    authority: trustme.CA, trusting: ssl.SSLContext, name: str
) -> None:
    """A proxy with an https address; its certificates have a setting of their own."""
    case = CASES[name]
    with Handshakes(case.server(authority)) as proxy:
        address = Proxy(host=HERE, port=proxy.port, tls=trusting)
        transport = make_transport(TransportKind.DIRECT, tls=trusting, proxy=address)
        exchange = HttpExchange(transport, base_url="https://ecticket.test", limits=QUICK, clock=TimeSource())

        error = await _not_sent(exchange)

        assert _holds(error, case), str(error)
        assert f"the proxy {address}" in str(error)
        assert ("provider.proxy_ca_file" in str(error)) is (name == "unknown-authority")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_newer_are_spoken(
    authority: trustme.CA, trusting: ssl.SSLContext, version: ssl.TLSVersion, kind: TransportKind
) -> None:
    """The counterpart of the table: with a good certificate the same server is called."""
    context = _context(authority.issue_cert(HERE))
    context.minimum_version = context.maximum_version = version
    async with RawServer(tls=context) as server:

        async def answer(visit: object) -> None:
            await server.visits[-1].answer(b"fine")

        server.behave = answer
        exchange = HttpExchange(
            make_transport(kind, tls=trusting), base_url=server.url, limits=QUICK, clock=TimeSource()
        )
        reply = await exchange.post(
            "/", b"question", headers=(), max_bytes=100, authorize_send=lambda: None, what="a call"
        )
        await exchange.close()

    assert reply.body == b"fine"
