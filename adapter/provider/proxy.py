"""The proxy through which ECTicket is called, and the dialogue that opens a tunnel through it (RFC 9110, CONNECT).

Every call goes through a tunnel, those to a plain http address too. So a proxy's own answer is never taken for one of
ECTicket: its 403 is no lock-out, and its 502 is no doubt. Nothing of a request is written before the tunnel is open,
and a failure until then is `TunnelFailed`, an `httpx.ConnectError`.

Does not decide which proxy is used: `settings.proxies` does.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

import h11
import httpx

from adapter.provider.connection_failures import FailureCause, TunnelFailed, describe_tls_failure
from adapter.secret import Secret

MAX_CONNECT_ANSWER_BYTES = 16 * 1024
"""The limit of all that a proxy may send before the tunnel is open, interim answers included."""
LOGIN_SETTINGS = "provider.proxy_username and provider.proxy_password"
_BEGINNING = b"HTTP/"
"""How an answer begins; a server of another protocol is found at its first bytes, not when the time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyCredentials:
    """User name and password for the scheme Basic, the only one that is supported."""

    username: str = field(repr=False)
    password: Secret[str]


def _no_credentials() -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy. Its text is its address, without credentials."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """How to verify a proxy that is itself reached over TLS (an https address); None: a plain connection."""
    credentials: Callable[[], ProxyCredentials | None] = field(default=_no_credentials, repr=False)
    """Called for each tunnel, so that a changed password counts from the next one on."""
    source: str = "provider.proxy"
    """Which setting or variable names the proxy, for messages."""
    credentials_source: str = LOGIN_SETTINGS
    """Which settings or variable have the credentials, or can have them."""

    def __str__(self) -> str:
        """Return scheme, host and port."""
        return f"{'https' if self.tls else 'http'}://{_with_port(self.host, self.port)}"


async def open_tunnel(
    proxy: Proxy,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    connection: asyncio.Protocol,
    waits_for: Callable[[str], None],
) -> None:
    """Connect `connection` to a host through the proxy, with TLS inside the tunnel if `tls` is given.

    `waits_for` is called with what is waited for next. A cancelled or failed attempt leaves nothing open.

    Raises:
        TunnelFailed: the proxy was not reached, or did not open the tunnel.
        OSError: the TLS handshake with the host failed.
        httpx.ConnectError: the connection was lost in the handshake.
    """
    target = _with_port(host, port)
    waits_for(f"a connection to the proxy {proxy}")
    raw, dialogue = await _connected(proxy, target)
    try:
        waits_for(f"the proxy {proxy} to open a tunnel to {target}")
        raw.write(dialogue.request(proxy.credentials()))
        await dialogue.opened
        waits_for(f"TLS with {target} through the proxy {proxy}")
        inside = await _inside(raw, connection, dialogue, tls=tls, host=host)
    except BaseException:
        raw.abort()
        raise
    connection.connection_made(inside)


async def _inside(
    raw: asyncio.Transport,
    connection: asyncio.Protocol,
    dialogue: _ConnectDialogue,
    *,
    tls: ssl.SSLContext | None,
    host: str,
) -> asyncio.Transport:
    """Return the transport of the open tunnel, from which `connection` receives from now on.

    The protocol changes in the step in which `raise_if_more` looks, so that no byte comes in between.
    """
    dialogue.raise_if_more()
    if tls is None:
        raw.set_protocol(connection)
        return raw
    inside = await asyncio.get_running_loop().start_tls(raw, connection, tls, server_hostname=host)
    if inside is None or inside.is_closing():  # None: the connection was closed in the handshake
        raise httpx.ConnectError("the connection was lost in the TLS handshake")
    return inside


async def _connected(proxy: Proxy, target: str) -> tuple[asyncio.Transport, _ConnectDialogue]:
    """Connect to the proxy. Raises TunnelFailed."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_connection(
            lambda: _ConnectDialogue(proxy, target), proxy.host, proxy.port, ssl=proxy.tls, happy_eyeballs_delay=0.25
        )
    except socket.gaierror as failure:
        raise _failed(
            f"the name of the proxy {proxy} cannot be resolved (DNS)",
            f"Correct the host in {proxy.source}, or the name server of this host",
        ) from failure
    except ssl.SSLError as failure:
        server = f"the proxy {proxy}"
        raise TunnelFailed(
            describe_tls_failure(failure, server=server, ca_setting="provider.proxy_ca_file")
        ) from failure
    except OSError as failure:
        how = "refused the connection" if isinstance(failure, ConnectionRefusedError) else "cannot be reached"
        raise _failed(
            f"the proxy {proxy} {how} ({type(failure).__name__})",
            f"Correct host and port in {proxy.source}, start the proxy, or let the network pass this connection",
        ) from failure


class _ConnectDialogue(asyncio.Protocol):
    """Asks the proxy for a tunnel, and reads its answer up to the end of the head."""

    def __init__(self, proxy: Proxy, target: str) -> None:
        self._proxy = proxy
        self._target = target
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_CONNECT_ANSWER_BYTES)
        self._received = 0
        self._beginning = b""
        self._has_credentials = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the tunnel is open; otherwise fails with TunnelFailed."""
        self._has_more = False

    def request(self, credentials: ProxyCredentials | None) -> bytes:
        """Return the bytes that ask for the tunnel."""
        headers = [("Host", self._target)]
        if credentials is not None:
            self._has_credentials = True
            text = f"{credentials.username}:{credentials.password.reveal()}".encode()
            headers.append(("Proxy-Authorization", f"Basic {base64.b64encode(text).decode()}"))
        return self._http.send(h11.Request(method="CONNECT", target=self._target, headers=headers)) or b""

    def raise_if_more(self) -> None:
        """Raise TunnelFailed if data came after the answer: in a new tunnel, no server speaks first."""
        if self._has_more:
            raise _garbled(self._proxy)

    def data_received(self, data: bytes) -> None:
        """Read the answer; what comes after it is noted and not kept."""
        if self.opened.done():
            self._has_more = True
            return
        self._received += len(data)
        self._beginning = (self._beginning + data)[: len(_BEGINNING)]
        if self._received > MAX_CONNECT_ANSWER_BYTES or not _BEGINNING.startswith(self._beginning):
            self._fail(_garbled(self._proxy))
            return
        try:
            self._http.receive_data(data)
            answer = self._http.next_event()
            while isinstance(answer, h11.InformationalResponse):
                answer = self._http.next_event()
        except h11.RemoteProtocolError:
            self._fail(_garbled(self._proxy))
            return
        if isinstance(answer, h11.Response):
            self._answered(answer.status_code)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the attempt if there was no whole answer."""
        cause = f"the proxy {self._proxy} closed the connection before it opened a tunnel to {self._target}"
        self._fail(_failed(cause, "Look into the proxy's log; it may forbid this host or port"))

    def _answered(self, status: int) -> None:
        if 200 <= status < 300:
            self._has_more = bool(self._http.trailing_data[0])
            self.opened.set_result(None)
        else:
            self._fail(_refused(self._proxy, self._target, status, has_credentials=self._has_credentials))

    def _fail(self, failure: TunnelFailed) -> None:
        if not self.opened.done():
            self.opened.set_exception(failure)
            self.opened.exception()  # the attempt may have been cancelled, and then no task awaits it


def _refused(proxy: Proxy, target: str, status: int, *, has_credentials: bool) -> TunnelFailed:
    """The failure for each answer of a proxy that is not 2xx."""
    cause = f"the proxy {proxy} answered CONNECT {target} with HTTP {status}"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and has_credentials:
        cause = f"{cause}: it does not accept the credentials"
        remedy = f"Correct {proxy.credentials_source}; the scheme is Basic"
    elif status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        cause = f"{cause}: it needs credentials"
        remedy = f"Set {proxy.credentials_source}"
    elif status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        cause = f"{cause}: it forbids this tunnel"
        remedy = f"Allow CONNECT to {target} in the proxy's rules"
    elif status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        cause = f"{cause}: it does not reach this host"
        remedy = "Check at the proxy whether it resolves the name and may connect there"
    else:
        remedy = f"Check whether {proxy.source} names an HTTP proxy that supports CONNECT, and look into its log"
    return _failed(cause, remedy, status)


def _garbled(proxy: Proxy) -> TunnelFailed:
    return _failed(
        f"the proxy {proxy} answered CONNECT with what is no short HTTP answer",
        f"Check whether {proxy.source} names an HTTP proxy, and its scheme (http or https) and port",
    )


def _failed(cause: str, remedy: str, status: int | None = None) -> TunnelFailed:
    return TunnelFailed(FailureCause(cause=cause, remedy=remedy), status=status)


def _with_port(host: str, port: int) -> str:
    """Return host and port as in a URL, with brackets around an IPv6 address."""
    try:
        return f"[{host}]:{port}" if ipaddress.ip_address(host).version == 6 else f"{host}:{port}"
    except ValueError:
        return f"{host}:{port}"
