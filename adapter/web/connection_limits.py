"""Limits connections: their number, the time of a request and of its answer, and the size of a request.

uvicorn has no time limit for a request that is incomplete or for an answer that is not read, and no limit for the size
and number of headers and of pipelined requests. Every server of the adapter needs these limits: one port is reachable
from the internet, and a probe must be answered whatever else is connected to the other.

A connection has one request at a time. If a client sends more before the answer, the request in front is answered, the
connection is closed, and the rest is never read; RFC 9112 (9.3.2) has clients that pipeline expect this. So the memory
of a connection is that of one request.

If all connections are in use, a newcomer takes the slot of one that waits for its client (`connection_slots`). A
complete request keeps its slot until it is answered, unless the application calls `state[EXPENDABLE]` of its scope.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address, ip_address

from msgspec import Struct
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from adapter.web.connection_slots import CloseReason, ConnectionSlots

EXPENDABLE = "expendable"
"""Name of the function in a request's `state` by which the application gives up the request's slot."""


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """The limits of one server."""

    connections: int = 256
    request_seconds: float = 10.0
    """From the connection, or the previous answer, to the last byte of the request."""
    answer_seconds: float = 10.0
    """From there until the answer is written."""
    head_bytes: int = 16 * 1024
    headers: int = 100
    """Headers of a request, with those of a trailer. A short one needs thirty times its bytes on the wire."""
    message_bytes: int = 512 * 1024
    """Bytes on the wire, also of a body that is too long and was refused."""
    chunks: int = 1000
    """Chunks of a body: parsing a short one takes as long as parsing a kilobyte."""


READ_BYTES = 16 * 1024
"""The most that is read from a connection at once, into one buffer for all; asyncio's own is 256 KiB for each read."""


class _StopParsing(Exception):
    """Stops the parser, which would otherwise read on."""


def _block(host: str) -> str:
    """Return the address; of IPv6 the first 64 bits, because one client has as many addresses as it likes in them."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped:  # an IPv4 client of a listener on `::`
        address = address.ipv4_mapped
    return str(address) if address.version == 4 else address.packed[:8].hex()


class LimitedProtocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """uvicorn's protocol with limits: it closes a connection that exceeds them and calls `on_closed` with the reason.

    All connections of one server have the same `slots` and the same `buffer`.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        *,
        limits: ConnectionLimits,
        slots: ConnectionSlots,
        buffer: memoryview,
        on_closed: Callable[[CloseReason], None],
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self.address = ""
        self._limits = limits
        self._slots = slots
        self._buffer = buffer
        self._on_closed = on_closed
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True
        self._pipelined = False
        self._received = 0
        self._chunks = 0
        self._given_way = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.address = _block(self.client[0]) if self.client else ""
        self._start_timer(self._limits.request_seconds)
        self._slots.set_waiting(self, waits=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self._slots.remove(self)
        super().connection_lost(exc)
        # What was parsed refers to this connection, and the garbage collector runs rarely: let it go now.
        self.scope = self.headers = self.cycle = None  # type: ignore[assignment]  # as in a new connection

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received += nbytes
        self.data_received(self._buffer[:nbytes])  # type: ignore[arg-type]  # the parser copies what it passes on
        if self._received > (self._limits.head_bytes if self._in_head else self._limits.message_bytes):
            self.give_way("too-much")

    def on_message_begin(self) -> None:
        unanswered: RequestResponseCycle | None = self.cycle  # uvicorn begins with None
        if unanswered is not None and not unanswered.response_complete:
            self._pipelined, unanswered.keep_alive = True, False
            self.transport.pause_reading()
            raise _StopParsing
        super().on_message_begin()

    def send_400_response(self, msg: str) -> None:
        if not self._pipelined:
            super().send_400_response(msg)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= self._limits.headers:
            self.give_way("too-much")
            raise _StopParsing
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self._limits.head_bytes:
            self.give_way("too-much")
            raise _StopParsing
        self._in_head, self._chunks = False, 0
        self.scope["state"][EXPENDABLE] = partial(self._slots.set_waiting, self, waits=True)
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > self._limits.chunks:
            self.give_way("too-much")
            raise _StopParsing

    def on_message_complete(self) -> None:
        self._in_head, self._received = True, 0
        super().on_message_complete()
        answered = self.cycle.response_complete  # already before the request was complete, as for too large ones
        self._start_timer(self._limits.request_seconds if answered else self._limits.answer_seconds)
        self._slots.set_waiting(self, waits=answered)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self in self.connections:  # also a closing one: it would stay until the client has read everything
            self._start_timer(self._limits.request_seconds)
            self._slots.set_waiting(self, waits=True)

    def _start_timer(self, seconds: float) -> None:
        self._cancel_timer()
        self._deadline = self.loop.call_later(seconds, self.give_way, "too-slow")

    def _cancel_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def is_unread(self) -> bool:
        """Whether the next pass of the event loop reads something from it."""
        if not self.transport.is_reading():
            return False
        unread = select.poll()
        unread.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(unread.poll(0))

    def give_way(self, reason: CloseReason) -> None:
        """Close immediately: a client that sends slowly would also read slowly."""
        if not self._given_way:
            self._given_way = True
            self._on_closed(reason)
            self._slots.remove(self)
            self._cancel_timer()
            self.transport.abort()
