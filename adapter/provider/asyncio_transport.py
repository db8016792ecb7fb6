"""HTTP/1.1 with httpx's interface on asyncio's transports: one request, one write, one answer.

A call needs little between the envelope and the socket, and a general client does more: aiohttp took about twice the
CPU time for one call (sessions, cookies, tracing, four timers, streams; decision 0014). llhttp parses the answers.
There are no redirects, cookies, compression and time-outs: the caller sets a deadline, and a cancelled call closes its
connection. Through a proxy, each connection is a tunnel (`proxy`).

It keeps the promises of `transport` as follows:

* One plain function, `_Connection.send_request`, calls `authorize_send` and writes head and body. It has no `await`, so
  no other task can run in between. What `authorize_send` raises is not changed, and nothing is written.
* A failure before that is `httpx.ConnectError`, that of a proxy too; a failure after it never is. The dialogue with a
  proxy has nothing of the request in it, and is over before `authorize_send` is called.
* A connection is reused only if its answer is complete, its request was written completely, the server keeps it open,
  and no byte came after the answer. Data on an idle connection closes it, because it answers no request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from math import inf
from time import monotonic

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec import Struct

from adapter.errors import SettingsError
from adapter.provider.proxy import Proxy, open_tunnel

MAX_HEAD_BYTES = 64 * 1024
"""The limit of an answer's status line and headers, interim answers included; llhttp sets no limit."""

MAX_HEADERS = 100
"""The limit of an answer's headers, with those of interim answers and of trailers; Python's own client has the same. A
short one needs thirty times its bytes on the wire.
"""

FRAMING_PER_BODY_BYTE = 16
"""The limit of what is around a body in chunks, for each of its bytes and beyond `MAX_HEAD_BYTES`; a chunk of one byte
needs 5. Without it, extensions and trailers could go on until the call's time is up, and parsing them takes quadratic
time.
"""

PAUSE_ABOVE_BYTES = 256 * 1024
"""The size of an unread body above which reading from the connection pauses."""

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class WholeAnswer(Struct, frozen=True, kw_only=True):
    """An answer with its whole body, as it was received."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class AsyncioTransport(httpx.AsyncBaseTransport):
    """An httpx transport with a connection pool of its own.

    `keep_alive_seconds` is how long an idle connection may be used again; it must be shorter than the server's.
    `proxy`, if there is one, is used for every request.
    Belongs to one event loop, which must be asyncio's own: others write later than they are asked to (decision 14). On
    another one, requests raise SettingsError.
    """

    calls_authorize_send = True

    def __init__(self, *, tls: ssl.SSLContext, keep_alive_seconds: float, proxy: Proxy | None = None) -> None:
        self._tls = tls
        self._proxy = proxy
        self._pool = _Pool(keep_alive_seconds)
        self._deadlines = _Deadlines(self._pool)

    async def post(
        self,
        origin: Origin,
        data: bytes,
        *,
        authorize_send: Callable[[], None],
        waits_for: Callable[[str], None],
        connect_seconds: float,
        answer_seconds: float,
        max_bytes: int,
    ) -> WholeAnswer:
        """Write `data`, a complete request, and wait for the whole answer.

        It costs a third of what `handle_async_request` and its objects cost. `waits_for` is called with what a call
        without a connection waits for.

        Raises:
            TimeoutError: no connection in `connect_seconds`, or no whole answer in `answer_seconds` after the write.
            httpx.HTTPError: as from `handle_async_request`; or the answer's body is larger than `max_bytes`.
        """
        connection = self._pool.acquire(origin)
        if connection is None:
            async with asyncio.timeout(connect_seconds):
                connection = await self._connect(origin, waits_for)
        response = connection.send_request(data, authorize_send)
        try:
            self._deadlines.add(response, answer_seconds)
            while True:
                await response.more()
                if len(response.unread) > max_bytes:
                    raise httpx.DecodingError(f"the answer is larger than {max_bytes} bytes")
                if response.complete:
                    return WholeAnswer(status=response.status, headers=response.headers, body=bytes(response.unread))
                connection.resume_reading()
        finally:
            connection.close_unless_complete(response)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and wait for the head of its answer; honours the extension `authorize_send`."""
        data = _serialized(request, await request.aread())
        origin = origin_of(request.url)
        connection = self._pool.acquire(origin) or await self._connect(
            origin, request.extensions.get("waits_for", _drop)
        )
        response = connection.send_request(data, request.extensions.get("authorize_send"))
        try:
            while not response.has_head:
                await response.more()
        except BaseException:
            connection.close_unless_complete(response)
            raise
        return httpx.Response(response.status, headers=response.headers, stream=_Stream(response, connection))

    async def aclose(self) -> None:
        """Close every connection; later requests raise `httpx.ConnectError`."""
        self._pool.close()

    async def _connect(self, origin: Origin, waits_for: Callable[[str], None]) -> _Connection:
        self._pool.raise_if_closed()
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.SelectorEventLoop):
            raise SettingsError(
                f"The event loop {type(loop).__module__} may write a request after its permission was withdrawn. "
                "Use asyncio's own loop."
            )
        scheme, host, port = origin
        tls = self._tls if scheme == "https" else None
        connection = _Connection(origin, self._pool)
        try:
            if self._proxy is not None:
                await open_tunnel(self._proxy, host, port, tls=tls, connection=connection, waits_for=waits_for)
            else:
                waits_for(f"a connection to {host}")
                await loop.create_connection(lambda: connection, host, port, ssl=tls, happy_eyeballs_delay=0.25)
        except httpx.HTTPError:
            raise
        except Exception as failure:
            # Nothing is written before. Besides OSErrors (TLS, DNS), asyncio raises UnicodeError for a name that no
            # host can have, and TypeError for a failed handshake in a TLS tunnel (CPython before 3.11.8 and 3.12.2).
            raise httpx.ConnectError(type(failure).__name__) from failure
        return connection


def _drop(_what: str) -> None: ...


class _Pool:
    """The open connections, and which of them are idle."""

    def __init__(self, keep_alive_seconds: float) -> None:
        self._keep_alive_seconds = keep_alive_seconds
        self.open: set[_Connection] = set()
        self._idle: defaultdict[Origin, deque[tuple[_Connection, float]]] = defaultdict(deque)
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def opened(self, connection: _Connection) -> None:
        """Add a new connection; close it if the pool is closed."""
        self.open.add(connection)
        if self._closed:
            connection.close()

    def lost(self, connection: _Connection) -> None:
        """Remove a connection."""
        self.open.discard(connection)

    def acquire(self, origin: Origin) -> _Connection | None:
        """Return the idle connection that was used last, so that the others can expire; None if there is none."""
        idle = self._idle[origin]
        oldest = monotonic() - self._keep_alive_seconds
        while idle:
            connection, since = idle.pop()
            if connection.usable and since > oldest:
                return connection
            connection.close()
        return None

    def release(self, connection: _Connection) -> None:
        """Keep a connection for the next call."""
        self._idle[connection.origin].append((connection, monotonic()))
        if self._sweep is None:
            self._sweep_later()

    def raise_if_closed(self) -> None:
        """Raise httpx.ConnectError if the pool is closed."""
        if self._closed:
            raise httpx.ConnectError("this transport is closed")

    def close(self) -> None:
        """Close all connections and accept no new ones."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in tuple(self.open):
            connection.close()

    def _sweep_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._keep_alive_seconds, self._close_expired)

    def _close_expired(self) -> None:
        oldest = monotonic() - self._keep_alive_seconds
        for idle in self._idle.values():
            while idle and (idle[0][1] <= oldest or not idle[0][0].usable):
                idle.popleft()[0].close()
        self._sweep = None
        if any(self._idle.values()):
            self._sweep_later()


class _Deadlines:
    """Fails the answers that are not whole in time.

    One timer looks at the answers of all open connections. It is then set for the one that is due first, so an answer
    that comes in time is in no list that it must leave.
    """

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def add(self, response: _Response, seconds: float) -> None:
        """Give an answer its time, from now on."""
        response.due = monotonic() + seconds
        if response.due < self._timer_at:
            self._fail_late_at(response.due)

    def _fail_late_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = None if due == inf else asyncio.get_running_loop().call_at(due, self._fail_late)

    def _fail_late(self) -> None:
        now, first_due = monotonic(), inf
        for connection in self._pool.open:
            response = connection.response
            if response is None:
                continue
            if response.due <= now:
                response.fail(TimeoutError())
            else:
                first_due = min(first_due, response.due)
        self._fail_late_at(first_due)


class _Response:
    """The received part of one answer."""

    __slots__ = ("_failure", "_waiter", "body_bytes", "complete", "due", "has_head", "headers", "status", "unread")

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.complete = False
        self.unread = bytearray()
        self.body_bytes = 0
        self.due = inf
        self._failure: httpx.TransportError | TimeoutError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def more(self) -> asyncio.Future[None]:
        """Return what is done when more data has come.

        It raises httpx.TransportError if no more can come, and TimeoutError if it is too late.
        """
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def fail(self, failure: httpx.TransportError | TimeoutError) -> None:
        """Record that no more data comes."""
        if not self.complete and self._failure is None:
            self._failure = failure
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(failure)

    def wake(self) -> None:
        """Wake the reader, because data has come."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _TooManyHeaders(Exception):
    """Stops the parser, which reports it as an HttpParserError."""


class _Connection(asyncio.Protocol):
    """One connection, with at most one request in progress.

    The methods `on_*` are llhttp's callbacks.
    """

    def __init__(self, origin: Origin, pool: _Pool) -> None:
        self.origin = origin
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self.response: _Response | None = None
        self._received = 0
        self._headers = 0
        self._ends_with_connection = False
        self._keep_alive = False
        self._unusable = False

    # --- sending -----------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether it is open and free, and no unexpected data came on it."""
        open_still = self._transport is not None and not self._transport.is_closing()
        return open_still and self.response is None and not self._unusable

    def send_request(self, data: bytes, authorize_send: Callable[[], None] | None) -> _Response:
        """Write a complete request, unless `authorize_send` forbids it by raising.

        It closes the connection if it raises.

        Raises httpx.ConnectError: the connection was lost before; nothing was written.
        """
        if not self.usable or self._transport is None:
            self.close()
            raise httpx.ConnectError("the connection was lost before anything was written to it")
        try:
            if authorize_send is not None:
                authorize_send()
            self.response = response = _Response()
            self._received = self._headers = 0
            self._ends_with_connection = True
            try:
                self._transport.write(data)
            except Exception as failure:
                raise httpx.WriteError(type(failure).__name__) from failure
        except BaseException:
            self.close()
            raise
        return response

    def close_unless_complete(self, response: _Response) -> None:
        """Close it after its answer failed; a complete answer has released it, and another call may use it."""
        if not response.complete:
            self.close()

    def close(self) -> None:
        """Close it at once; unwritten data is dropped, and the rest of an answer is missing."""
        self._ends_with_connection = False
        if self._transport is not None:
            self._transport.abort()

    def resume_reading(self) -> None:
        """Resume reading, because the body received so far was consumed."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- callbacks of asyncio ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Add the new connection to the pool."""
        self._transport = transport  # type: ignore[assignment]  # a stream connection's transport is a Transport
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Parse received data and wake the reader of the answer."""
        response = self.response
        if response is None:
            self._mark_unusable()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as failure:
            self._mark_unusable()
            response.fail(httpx.RemoteProtocolError(type(failure).__name__))
        self._received += len(data)
        if response.complete:
            self._end(response)
        elif self._received > MAX_HEAD_BYTES + FRAMING_PER_BODY_BYTE * response.body_bytes:
            self._mark_unusable()
            response.fail(httpx.RemoteProtocolError("the answer's head, or what is around its body, is too long"))
        elif len(response.unread) > PAUSE_ABOVE_BYTES and self._transport is not None:
            self._transport.pause_reading()
        response.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection; an answer without a length of its own ends with it."""
        self._pool.lost(self)
        response, self.response = self.response, None
        if response is None:
            return
        if exc is None and response.has_head and self._ends_with_connection:
            response.complete = True
            response.wake()
        elif exc is None:
            response.fail(httpx.RemoteProtocolError("the server closed the connection before the answer was whole"))
        else:
            failure = httpx.ReadError(type(exc).__name__)
            failure.__cause__ = exc
            response.fail(failure)

    # --- callbacks of llhttp -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Mark the connection unusable if an answer begins that no request asked for."""
        if self.response is None or self.response.complete:
            self._unusable = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header of the head; ignore the trailer of a chunked body. Raises _TooManyHeaders."""
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise _TooManyHeaders
        response = self.response
        if response is None or response.has_head:
            return
        response.headers.append((name, value))
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._ends_with_connection = False

    def on_headers_complete(self) -> None:
        """Keep the status; after a 1xx the real answer is still to come."""
        response = self.response
        if response is None or response.complete:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            response.status = status
            response.has_head = True
        else:
            response.headers.clear()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        response = self.response
        if response is not None and not response.complete:
            response.unread += body
            response.body_bytes += len(body)

    def on_message_complete(self) -> None:
        """Mark the answer as complete."""
        response = self.response
        if response is not None and response.has_head and not response.complete:
            response.complete = True
            self._keep_alive = self._parser.should_keep_alive()  # only here does llhttp know

    # --- afterwards --------------------------------------------------------------------------------------------------

    def _end(self, response: _Response) -> None:
        """Release the connection after a complete answer, or close it."""
        self.response = None
        unwritten = self._transport is None or self._transport.get_write_buffer_size() > 0
        if self._unusable or unwritten or not self._keep_alive:
            self.close()
        elif self.usable:
            self._pool.release(self)

    def _mark_unusable(self) -> None:
        """Close the connection and never use it again."""
        self._unusable = True
        self.close()


class _Stream(httpx.AsyncByteStream):
    """The body of an answer as it arrives; closing it early closes its connection."""

    def __init__(self, response: _Response, connection: _Connection) -> None:
        self._response = response
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        response = self._response
        while True:
            if response.unread:
                chunk = bytes(response.unread)
                response.unread.clear()
                yield chunk
            elif response.complete:
                return
            else:
                self._connection.resume_reading()
                await response.more()

    async def aclose(self) -> None:
        """Close the connection unless the answer is complete; the connection may then have another request."""
        self._connection.close_unless_complete(self._response)


def origin_of(url: httpx.URL) -> Origin:
    """Return scheme, host and port; raise httpx.UnsupportedProtocol for another scheme."""
    if url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol("the address is neither http nor https")
    return url.scheme, url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


def _serialized(request: httpx.Request, body: bytes) -> bytes:
    """Return the request's bytes; httpx has refused characters that could break out of a header."""
    lines = [b"%s: %s\r\n" % header for header in request.headers.raw]
    return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (request.method.encode("ascii"), request.url.raw_path, b"".join(lines), body)
