"""One POST over a transport: what goes out, how long it may take, how much may come back or where it goes.

This is the only module that catches exceptions of an HTTP library. Every call ends in a whole `HttpAnswer`, in
`NotSent` or in `InDoubt`; only what `authorize_send` raised passes through as it is.

`NotSent` or `InDoubt` decides about money, and the name of an exception does not distinguish them: a connection may be
found closed before or after the first byte, and a time-out may come on either side. So the transport calls
`authorize_send` in the same step in which it writes. A failure before this call is `NotSent`, any later one `InDoubt`.

Does not know merchants, envelopes and what a status means.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol

import httpx

from adapter.errors import InDoubt, NotSent
from adapter.provider.asyncio_transport import AsyncioTransport, Origin, origin_of
from adapter.provider.connection_failures import describe_failure
from adapter.provider.http_status import HttpAnswer, RawHeaders
from adapter.provider.limits import CallLimits, DownloadTimeouts
from adapter.provider.time_source import TimeSource

Headers = tuple[tuple[str, str], ...]
"""Names and values, in ASCII."""


class SendBoundary:
    """The instant at which one request is written.

    Before the write it calls the engine's `authorize_send`, which checks that this process still owns the partition and
    may raise to forbid the write. `at` and `at_steady` are the instant, once it is past.
    """

    __slots__ = ("_authorize_send", "_clock", "_waits_for", "at", "at_steady")

    def __init__(self, authorize_send: Callable[[], None], clock: TimeSource) -> None:
        self.at: datetime | None = None
        self.at_steady = 0.0
        self._waits_for = "a connection"
        self._authorize_send = authorize_send
        self._clock = clock

    def waits_for(self, what: str) -> None:
        """Note what a transport waits for before it can write, for the message of a time-out."""
        self._waits_for = what

    def authorize_send(self) -> None:
        """Allow the write that follows in the same step, or forbid it by raising.

        Raises:
            LeaseLost: or whatever else the engine's `authorize_send` raises.
            httpx.WriteError: this request was written before, and no request is sent twice.
        """
        if self.at is not None:
            raise httpx.WriteError("a transport tried to write the same request a second time")
        self._authorize_send()
        self.at, self.at_steady = self._clock.now(), self._clock.steady()

    def classify_failure(self, failure: Exception, what: object) -> NotSent | InDoubt:
        """Return the error that a failed call means; `what` names the call in the message."""
        found = describe_failure(failure)
        if self.at is None:
            waited = f" while it waited for {self._waits_for}" if isinstance(failure, TimeoutError) else ""
            then = found.remedy or "Nothing can have happened; try again later"
            return NotSent(f"{what} was not sent: {found.cause}{waited}. {then}.", remedy=found.remedy)
        return InDoubt(f"{what} was sent and brought no usable answer: {found.cause}. Query before anything else.")


class TimedSendBoundary(SendBoundary):
    """The boundary of a request whose transport keeps no time.

    `deadline` guards the whole call: until the write it limits the wait for a connection, and from then on it allows
    `answer_seconds` for the whole answer, or for its next piece (`piece_came`) within `total_seconds` for all of it.
    """

    __slots__ = ("_answer_seconds", "_deadline", "_ends_at", "_total_seconds")

    def __init__(
        self,
        authorize_send: Callable[[], None],
        clock: TimeSource,
        *,
        deadline: asyncio.Timeout,
        answer_seconds: float,
        total_seconds: float,
    ) -> None:
        super().__init__(authorize_send, clock)
        self._deadline = deadline
        self._answer_seconds = answer_seconds
        self._total_seconds = total_seconds
        self._ends_at = 0.0

    def authorize_send(self) -> None:
        """Allow the write, and limit the time of its answer; see `SendBoundary`.

        Raises:
            httpx.ConnectTimeout: the caller has given up meanwhile.
        """
        if self.at is None:
            self._ends_at = asyncio.get_running_loop().time() + self._total_seconds
            try:
                self.piece_came()
            except RuntimeError as over:
                raise httpx.ConnectTimeout("a connection was held only after the caller had given up") from over
        super().authorize_send()

    def piece_came(self) -> None:
        """Allow `answer_seconds` for the next piece of the answer, within `total_seconds` for all of it."""
        self._deadline.reschedule(min(asyncio.get_running_loop().time() + self._answer_seconds, self._ends_at))

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Be the `trace` extension of httpx's own transports, which announces the write of the headers."""
        tunnel = getattr(info.get("request"), "method", None) == b"CONNECT"
        if event.endswith(".send_request_headers.started") and not tunnel:
            self.authorize_send()


FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict, OSError)
"""All that a transport of httpx's interface may raise when a call fails; time-outs and TLS errors are OSErrors."""

_GZIP = 16 + zlib.MAX_WBITS
INFLATED_BYTES = 256 * 1024
"""The largest piece that is inflated at once."""

INFLATED_PER_BYTE = 100
SMALL_BYTES = 4 * 1024 * 1024
"""The limit of a download in gzip: so many bytes for each that came, and so many more. Reports of real orders inflate
tenfold, and a bomb thousandfold: it would fill the disk within the time of a download.
"""


class AnswerDownload(Protocol):
    """Takes a body of any size, piece by piece."""

    @property
    def timeouts(self) -> DownloadTimeouts:
        """How long it may take."""

    async def write(self, piece: bytes) -> None:
        """Take the next piece; what this raises ends the call, unchanged if it is an error of the adapter."""


class Exchange(Protocol):
    """Posts to one server; `HttpExchange` is the real one, and documents the errors."""

    @property
    def base_url(self) -> str: ...

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Headers,
        max_bytes: int,
        authorize_send: Callable[[], None],
        what: object,
        download: AnswerDownload | None = None,
    ) -> HttpAnswer: ...

    async def close(self) -> None: ...


class HttpExchange:
    """Posts to one server through one transport.

    The transport must call `request.extensions["authorize_send"]` just before it writes. One that does so itself has
    the attribute `calls_authorize_send = True`, as ours has; httpx's own does so by its trace extension.

    Raises TypeError for any other transport, because it cannot say whether a request was written.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, *, base_url: str, limits: CallLimits, clock: TimeSource
    ) -> None:
        calls_it = isinstance(transport, httpx.AsyncHTTPTransport) or getattr(transport, "calls_authorize_send", False)
        if not calls_it:
            raise TypeError(f"{type(transport).__name__} does not call authorize_send before it writes.")
        self._transport = transport
        self._direct = transport if isinstance(transport, AsyncioTransport) else None
        self.base_url = base_url.rstrip("/")
        self._urls: dict[str, httpx.URL] = {}
        self._heads: dict[str, tuple[Headers, Origin, bytes]] = {}
        self._limits = limits
        self._clock = clock

    def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Headers,
        max_bytes: int,
        authorize_send: Callable[[], None],
        what: object,
        download: AnswerDownload | None = None,
    ) -> Coroutine[Any, Any, HttpAnswer]:
        """Send `body` and read the whole answer; the body of a 200 goes to the `download`, if there is one.

        `authorize_send` is called once, just before the first byte is written; what it raises passes through, and
        nothing was written. The text of `what` names the call in messages.

        Raises:
            NotSent: nothing was written.
            InDoubt: writing had begun, and no whole answer of at most `max_bytes` bytes came in time.
            ReportNotStored: or whatever else the `download` raised.
        """
        if self._direct is not None and download is None:
            return self._post_directly(self._direct, path, body, headers, max_bytes, authorize_send, what)
        return self._post(path, body, headers, max_bytes, authorize_send, what, download)

    async def _post(
        self,
        path: str,
        body: bytes,
        headers: Headers,
        max_bytes: int,
        authorize_send: Callable[[], None],
        what: object,
        download: AnswerDownload | None,
    ) -> HttpAnswer:
        """Post through httpx's interface."""
        limits = self._limits
        connect = limits.connect_timeout_seconds if download is None else download.timeouts.connect_seconds
        answer = limits.timeout_seconds if download is None else download.timeouts.read_seconds
        deadline = asyncio.timeout(connect)
        boundary = TimedSendBoundary(
            authorize_send,
            self._clock,
            deadline=deadline,
            answer_seconds=answer,
            total_seconds=answer if download is None else download.timeouts.total_seconds,
        )
        timeouts = {"connect": connect, "pool": connect, "read": answer, "write": answer}
        request = self._request(path, body, headers, boundary, timeouts)
        try:
            async with deadline:
                return await self._send_and_read(request, boundary, max_bytes, what, download)
        except FAILURES as failure:
            raise boundary.classify_failure(failure, what) from failure

    async def _post_directly(
        self,
        transport: AsyncioTransport,
        path: str,
        body: bytes,
        headers: Headers,
        max_bytes: int,
        authorize_send: Callable[[], None],
        what: object,
    ) -> HttpAnswer:
        """Do without httpx's objects, which take longer than the call's own work."""
        boundary = SendBoundary(authorize_send, self._clock)
        try:
            origin, head = self._head(path, headers)
            answer = await transport.post(
                origin,
                b"%s%d\r\n\r\n%s" % (head, len(body), body),
                authorize_send=boundary.authorize_send,
                waits_for=boundary.waits_for,
                connect_seconds=self._limits.connect_timeout_seconds,
                answer_seconds=self._limits.timeout_seconds,
                max_bytes=max_bytes,
            )
            text = _decoded(answer.body, answer.headers, max_bytes)
        except FAILURES as failure:
            raise boundary.classify_failure(failure, what) from failure
        return _http_answer(answer.status, answer.headers, text, boundary, what)

    def _head(self, path: str, headers: Headers) -> tuple[Origin, bytes]:
        """Return where a request goes, and its head up to the length of its body."""
        found = self._heads.get(path)
        if found is None or found[0] != headers:
            url = self._url(path)
            lines = [(b"Host", url.netloc), *_encoded(headers), (b"Content-Length", b"")]
            text = b"\r\n".join([b"POST %s HTTP/1.1" % url.raw_path, *(b"%s: %s" % line for line in lines)])
            found = self._heads[path] = (headers, origin_of(url), text)
        return found[1:]

    def _request(
        self,
        path: str,
        body: bytes,
        headers: Headers,
        boundary: TimedSendBoundary,
        timeouts: Mapping[str, float],
    ) -> httpx.Request:
        """Make the request with its own headers, as httpx would, but with each address parsed only once.

        Parsing it and adding the headers to a `content` take httpx longer than everything else it does for a call.
        """
        url = self._url(path)
        return httpx.Request(
            "POST",
            url,
            headers=[(b"Host", url.netloc), *_encoded(headers), (b"Content-Length", b"%d" % len(body))],
            stream=httpx.ByteStream(body),
            extensions={
                "authorize_send": boundary.authorize_send,
                "waits_for": boundary.waits_for,
                "trace": boundary.trace,
                "timeout": timeouts,
            },
        )

    def _url(self, path: str) -> httpx.URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx.URL(self.base_url + path)
        return url

    async def _send_and_read(
        self,
        request: httpx.Request,
        boundary: TimedSendBoundary,
        max_bytes: int,
        what: object,
        download: AnswerDownload | None,
    ) -> HttpAnswer:
        response = await self._transport.handle_async_request(request)
        try:
            if download is None or response.status_code != HTTPStatus.OK:
                body = await _read(response, max_bytes)
            else:
                body = b""
                await _pass_on(response, boundary, download)
        finally:
            await response.aclose()
        return _http_answer(response.status_code, response.headers.raw, body, boundary, what)

    async def close(self) -> None:
        """Close the transport and its connections."""
        await self._transport.aclose()


def _http_answer(status: int, headers: RawHeaders, body: bytes, boundary: SendBoundary, what: object) -> HttpAnswer:
    if boundary.at is None:
        raise InDoubt(f"{what} was sent by a transport that never called authorize_send; it must not be used.")
    return HttpAnswer(
        status=status, raw_headers=headers, body=body, sent_at=boundary.at, sent_steady=boundary.at_steady
    )


def _encoded(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    return ((name.encode("ascii"), value.encode("ascii")) for name, value in headers)


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Read a complete body of at most `max_bytes`."""
    if response.is_stream_consumed:  # the transport made an answer that was complete from the start
        return response.content
    body = bytearray()
    # Use the stream itself: `aiter_raw` cuts pieces to another size, with two more generators for each call.
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise httpx.StreamError("the transport's answer cannot be read asynchronously")
    async for piece in response.stream:
        body += piece
        if len(body) > max_bytes:
            raise httpx.DecodingError(f"the answer is larger than {max_bytes} bytes")
    return _decoded(bytes(body), response.headers.raw, max_bytes)


async def _pass_on(response: httpx.Response, boundary: TimedSendBoundary, download: AnswerDownload) -> None:
    """Pass a body to the download, and count the time-outs from each piece on."""
    if not isinstance(response.stream, httpx.AsyncByteStream):
        raise httpx.StreamError("the transport's answer cannot be read asynchronously")
    inflater = zlib.decompressobj(_GZIP) if _is_gzip(response.headers.raw) else None
    received = inflated = 0
    async for piece in response.stream:
        boundary.piece_came()
        if inflater is None:
            await download.write(piece)
            boundary.piece_came()  # how long it took to write it is no silence of the server
            continue
        rest = piece
        received += len(piece)
        while rest:
            if inflater.eof:  # a gzip file may have several members
                inflater = zlib.decompressobj(_GZIP)
            try:
                text = inflater.decompress(rest, INFLATED_BYTES)
            except zlib.error as broken:
                raise httpx.DecodingError("the answer has Content-Encoding gzip, but is not gzip") from broken
            inflated += len(text)
            if inflated > SMALL_BYTES + INFLATED_PER_BYTE * received:
                raise httpx.DecodingError("the answer's gzip inflates beyond what any report does")
            rest = inflater.unconsumed_tail or inflater.unused_data
            await download.write(text)
            boundary.piece_came()
    if inflater is not None and not inflater.eof:
        raise httpx.DecodingError("the answer's gzip is cut short")


def _is_gzip(headers: RawHeaders) -> bool:
    """Whether a server compressed although it was asked not to; anything else but identity is unreadable."""
    if b"content-encoding" not in [name.lower() for name, _ in headers]:
        return False
    encoding = httpx.Headers(headers).get("Content-Encoding", "").lower()
    if encoding in ("gzip", "x-gzip"):
        return True
    if encoding not in ("", "identity"):
        raise httpx.DecodingError("the answer is in a Content-Encoding that was not asked for")
    return False


def _decoded(body: bytes, headers: RawHeaders, max_bytes: int) -> bytes:
    """Undo the gzip of a body that is complete."""
    if not _is_gzip(headers):
        return body
    inflater = zlib.decompressobj(_GZIP)
    try:
        text = inflater.decompress(body, max_bytes)
    except zlib.error as broken:
        raise httpx.DecodingError("the answer has Content-Encoding gzip, but is not gzip") from broken
    if not inflater.eof:
        raise httpx.DecodingError(f"the answer's gzip is cut short or larger than {max_bytes} bytes")
    return text
