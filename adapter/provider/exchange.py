"""One POST over a transport: what goes out, how long it may take, how much may come back.

Exists to be the only place where an exception of an HTTP library is caught. Every call ends here in a whole
`HttpAnswer`, in `NotSent` or in `InDoubt`; only what the lease raised passes through as it is. Refuses to know
merchants, envelopes and what a status means.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator

import httpx

from adapter.errors import InDoubt
from adapter.provider.http_status import HttpAnswer
from adapter.provider.limits import CallLimits
from adapter.provider.send_boundary import SendBoundary
from adapter.provider.time_source import TimeSource

FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict, OSError)
"""All that a transport of httpx's interface may raise when a call fails; time-outs and TLS errors are OSErrors."""

_GZIP = 16 + zlib.MAX_WBITS


class HttpExchange:
    """Posts to one server through one transport.

    A transport that calls `request.extensions["authorize_send"]` itself, just before it writes, says so with an
    attribute `calls_authorize_send = True`; ours does, and httpx's own is helped by its trace extension. For any other
    authorize_send is asked for just before the transport is, and what it failed of is believed by httpx's exceptions.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, *, base_url: str, limits: CallLimits, clock: TimeSource
    ) -> None:
        self._transport = transport
        self._transport_calls_it = isinstance(transport, httpx.AsyncHTTPTransport) or bool(
            getattr(transport, "calls_authorize_send", False)
        )
        self._base_url = base_url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        self._limits = limits
        self._clock = clock

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: dict[str, str],
        max_bytes: int,
        authorize_send: Callable[[], None],
        what: str,
    ) -> HttpAnswer:
        """Send `body` and read the whole answer.

        `authorize_send` is called once, just before the first byte is written; what it raises passes through, and
        nothing was written. `what` names the call in messages.

        Raises:
            NotSent: nothing was written.
            InDoubt: writing had begun, and no whole answer of at most `max_bytes` bytes came in time.
        """
        deadline = asyncio.timeout(self._limits.connect_timeout_seconds)
        boundary = SendBoundary(
            authorize_send=authorize_send,
            deadline=deadline,
            answer_seconds=self._limits.timeout_seconds,
            clock=self._clock,
            called_by_transport=self._transport_calls_it,
        )
        request = self._request(path, body, headers, boundary)
        try:
            async with deadline:
                return await self._send_and_read(request, boundary, max_bytes, what)
        except FAILURES as failure:
            raise boundary.classify_failure(failure, what) from failure

    def _request(self, path: str, body: bytes, headers: dict[str, str], boundary: SendBoundary) -> httpx.Request:
        """Make the request with its own headers, as httpx would, but with each address parsed only once.

        Parsing it and adding the headers to a `content` take httpx longer than everything else it does for a call.
        """
        url = self._url(path)
        connect, answer = self._limits.connect_timeout_seconds, self._limits.timeout_seconds
        return httpx.Request(
            "POST",
            url,
            headers=[(b"Host", url.netloc), *_encoded(headers), (b"Content-Length", b"%d" % len(body))],
            stream=httpx.ByteStream(body),
            extensions={
                "authorize_send": boundary.authorize_send,
                "trace": boundary.trace,
                "timeout": {"connect": connect, "pool": connect, "read": answer, "write": answer},
            },
        )

    def _url(self, path: str) -> httpx.URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx.URL(self._base_url + path)
        return url

    async def _send_and_read(
        self, request: httpx.Request, boundary: SendBoundary, max_bytes: int, what: str
    ) -> HttpAnswer:
        if not self._transport_calls_it:
            boundary.authorize_send()
        response = await self._transport.handle_async_request(request)
        try:
            body = await _read(response, max_bytes)
        finally:
            await response.aclose()
        if boundary.at is None:
            raise InDoubt(f"{what} was sent by a transport that never called authorize_send; it must not be used.")
        return HttpAnswer(
            status=response.status_code,
            headers=response.headers,
            body=body,
            sent_at=boundary.at,
            sent_steady=boundary.at_steady,
        )

    async def close(self) -> None:
        """Close the transport and its connections."""
        await self._transport.aclose()


def _encoded(headers: dict[str, str]) -> Iterator[tuple[bytes, bytes]]:
    return ((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Read a whole body, and no more than is allowed of it."""
    if response.is_stream_consumed:  # the transport made an answer that was complete from the start
        return response.content
    body = bytearray()
    # The stream itself: `aiter_raw` cuts pieces to a size nobody asked for, in two more generators for each call.
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise httpx.StreamError("the transport's answer cannot be read asynchronously")
    async for piece in response.stream:
        body += piece
        if len(body) > max_bytes:
            raise httpx.DecodingError(f"the answer is larger than {max_bytes} bytes")
    return _decoded(bytes(body), response.headers.get("Content-Encoding", ""), max_bytes)


def _decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo the gzip of a server that compresses although it was asked not to; anything else is unreadable."""
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() not in ("gzip", "x-gzip"):
        raise httpx.DecodingError("the answer is in a Content-Encoding that was not asked for")
    inflater = zlib.decompressobj(_GZIP)
    try:
        text = inflater.decompress(body, max_bytes)
    except zlib.error as broken:
        raise httpx.DecodingError("the answer says it is gzip, and is not") from broken
    if not inflater.eof:
        raise httpx.DecodingError(f"the answer's gzip is cut short or larger than {max_bytes} bytes")
    return text
