"""The engines below httpx's interface, and the one over aiohttp.

Exists because httpx is the interface we want (any httpx transport can be plugged in) and its stock engine is slow with
many calls in flight (`benchmarks/provider_transport.py` measures them). Refuses to know what is sent: an engine writes
a request once, says so beforehand, and hands back what came.

What `direct` and the one over aiohttp promise beyond an ordinary httpx transport:

* `request.extensions["clearance"]`, a function without arguments, is called when a connection is held and in the same
  step as the write, with no other task in between. What it raises comes out untouched, and nothing was written.
* A failure before that is `ConnectTimeout`, `ConnectError` or `UnsupportedProtocol`, one after it never is.
* Nothing is sent twice, redirected, decompressed or remembered (no cookies); nothing is read from the environment
  unless asked for.
* A pooled connection on which something came unasked, or on which a time-out fired while idle, is not used: aiohttp
  would take the unasked answer for ours (aio-libs/aiohttp issue 13656).
* A cancelled or failed call closes its connection.

How the latter does: the body is an aiohttp payload of our own. aiohttp (since 3.12) keeps the headers back and writes
them together with the first piece of the body, so the payload's `write` is the one place that runs just before the
first byte.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from enum import StrEnum, unique
from functools import lru_cache
from pathlib import Path

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_writer import StreamWriter
from yarl import URL

from adapter.provider.direct import DirectTransport

FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError)
"""All that aiohttp raises when a call fails; time-outs and TLS errors are OSErrors."""

_BEFORE: tuple[tuple[tuple[type[Exception], ...], type[httpx.TransportError]], ...] = (
    ((TimeoutError,), httpx.ConnectTimeout),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), httpx.UnsupportedProtocol),
    ((Exception,), httpx.ConnectError),
)
_AFTER: tuple[tuple[tuple[type[Exception], ...], type[httpx.TransportError]], ...] = (
    ((TimeoutError,), httpx.ReadTimeout),
    (
        (
            aiohttp.ClientResponseError,
            aiohttp.ClientPayloadError,
            aiohttp.ServerDisconnectedError,
            HttpProcessingError,
        ),
        httpx.RemoteProtocolError,
    ),
    ((Exception,), httpx.ReadError),
)

# aiohttp adds these where they are missing; httpx decides about headers, and nobody else.
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@unique
class TransportKind(StrEnum):
    """The engines that come with the adapter (setting `provider.transport`)."""

    DIRECT = "direct"
    AIOHTTP = "aiohttp"
    HTTPX = "httpx"


def make_transport(
    kind: TransportKind, *, tls: ssl.SSLContext | None = None, keep_alive_seconds: float = 3.0
) -> httpx.AsyncBaseTransport:
    """Build one of the engines; `tls` None is `tls_context()`."""
    if kind is TransportKind.DIRECT:
        return DirectTransport(tls=tls or tls_context(), keep_alive_seconds=keep_alive_seconds)
    if kind is TransportKind.AIOHTTP:
        return AiohttpTransport(tls=tls, keep_alive_seconds=keep_alive_seconds)
    return httpx.AsyncHTTPTransport(
        verify=tls or tls_context(),
        trust_env=False,
        limits=httpx.Limits(keepalive_expiry=keep_alive_seconds),
    )


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Make a context that verifies, with TLS 1.2 or later.

    `ca_file` (PEM) says whom to trust; without it the system's CAs are trusted, and certifi's.
    """
    if ca_file is None:
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
    else:
        context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx's interface, aiohttp's engine.

    `keep_alive_seconds` is how long an idle connection may be used again; it must be shorter than the server's, for a
    connection closed at the very moment of the write turns a call into a doubt. `max_connections` 0 is unlimited.
    `trust_env` lets HTTPS_PROXY and its kin be read. Belongs to the event loop of its first request.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        keep_alive_seconds: float = 3.0,
        max_connections: int = 0,
        trust_env: bool = False,
    ) -> None:
        self._tls = tls or tls_context()
        self._keep_alive_seconds = keep_alive_seconds
        self._max_connections = max_connections
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and wait for the head of its answer; honours the extensions `clearance` and `timeout`."""
        body = _Body(await request.aread(), request.extensions.get("clearance"))
        try:
            answer = await self._opened().request(
                request.method,
                _address(str(request.url)),
                data=body,
                headers=[(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw],
                timeout=_timeouts(request.extensions.get("timeout", {})),
                allow_redirects=False,
            )
        except FAILURES as failure:
            if body.refusal is None:
                raise as_httpx(failure, begun=body.begun, request=request) from failure
        else:
            return _response(answer, body, request)
        raise body.refusal

    async def aclose(self) -> None:
        """Close every connection; later requests raise `httpx.ConnectError`."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise aiohttp.ClientConnectionError("this transport is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls, keepalive_timeout=self._keep_alive_seconds, limit=self._max_connections
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_NOT_ADDED,
                trust_env=self._trust_env,
            )
        return self._session


def as_httpx(failure: Exception, *, begun: bool, request: httpx.Request | None = None) -> httpx.TransportError:
    """Give the httpx exception for an aiohttp one; `begun` says whether the request was being written by then."""
    for types, becomes in _AFTER if begun else _BEFORE:
        if isinstance(failure, types):
            return becomes(type(failure).__name__, request=request)
    raise failure


def _response(answer: aiohttp.ClientResponse, body: _Body, request: httpx.Request) -> httpx.Response:
    """Hand on an answer, unless it lay on the connection before the question was written."""
    if not body.begun:
        answer.close()  # and with it the connection, so that the question is not written after all
        raise httpx.ConnectError("an answer came before the question, which was not written", request=request)
    return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Answer(answer, request))


class _Body(aiohttp.BytesPayload):
    """The request's body, which asks for clearance when its turn to be written comes."""

    def __init__(self, content: bytes, clearance: Callable[[], None] | None) -> None:
        super().__init__(content)
        self.begun = False
        self.refusal: BaseException | None = None
        self._clearance = clearance

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write headers and body in one go, with nothing between clearance and write."""
        if self.begun or not _usable(writer):
            raise aiohttp.ClientConnectionError("this connection cannot carry this request; nothing was written to it")
        if self._clearance is not None:
            try:
                self._clearance()
            except BaseException as refusal:
                self.refusal = refusal
                raise
        self.begun = True
        await super().write_with_length(writer, content_length)


def _usable(writer: AbstractStreamWriter) -> bool:
    """Whether the connection is open and nothing lies on it that was not asked for."""
    if not isinstance(writer, StreamWriter) or not isinstance(writer.protocol, ResponseHandler):
        return False
    return writer.protocol.is_connected() and not writer.protocol.should_close


class _Answer(httpx.AsyncByteStream):
    """The body of an answer as it comes in; closing it early closes its connection."""

    def __init__(self, answer: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.content.iter_any():
                yield piece
        except FAILURES as failure:
            raise as_httpx(failure, begun=True, request=self._request) from failure

    async def aclose(self) -> None:
        self._answer.close()


def _timeouts(asked: dict[str, float | None]) -> aiohttp.ClientTimeout:
    """Say httpx's time-outs in aiohttp's words; it has none for writing, which the caller's deadline covers."""
    connect, pool = asked.get("connect"), asked.get("pool")
    return aiohttp.ClientTimeout(
        total=None,
        connect=None if connect is None or pool is None else connect + pool,
        sock_connect=connect,
        sock_read=asked.get("read"),
    )


@lru_cache(maxsize=64)
def _address(url: str) -> URL:
    return URL(url, encoded=True)
