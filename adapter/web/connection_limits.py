"""Limits connections: their number, the time of a request and of its answer, and the size of a request.

uvicorn has no time limit for a request that is incomplete or for an answer that is not read, and no limit for the size
of headers and the number of pipelined requests. That is fine for probes inside a pod, but not for a port that is
reachable from the internet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of one server."""

    connections: int = 256
    request_seconds: float = 10.0
    """From the connection, or the previous answer, to the last byte of the request."""
    answer_seconds: float = 10.0
    """From there until the answer is written."""
    requests_ahead: int = 16
    """Pipelined requests that wait for the answer to an earlier one."""
    head_bytes: int = 16 * 1024
    message_bytes: int = 512 * 1024
    """Bytes on the wire: a body in chunks of one byte is six times as long there."""


class _TooMuchError(Exception):
    """Stops the parser, which would otherwise complete the request."""


def limited_protocol(limits: ConnectionLimits, on_closed: Callable[[str], None]) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with limits: it closes a connection that exceeds them and calls `on_closed`.

    The reason is `too-many`, `too-slow` or `too-much`.
    """

    class LimitedProtocol(HttpToolsProtocol):
        """One connection."""

        _deadline: asyncio.TimerHandle | None = None
        _in_head = True
        _received = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._close("too-many")
            else:
                self._start_timer(limits.request_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._received += len(data)
            super().data_received(data)
            too_much = self._received > (limits.head_bytes if self._in_head else limits.message_bytes)
            if too_much and not self.transport.is_closing():
                self._close("too-much")

        def on_headers_complete(self) -> None:
            head = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if head > limits.head_bytes or len(self.pipeline) >= limits.requests_ahead:
                self._close("too-much")
                raise _TooMuchError
            self._in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head, self._received = True, 0
            super().on_message_complete()
            answered = self.cycle.response_complete  # already before the request was complete, as for too large ones
            self._start_timer(limits.request_seconds if answered else limits.answer_seconds)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self in self.connections:  # also a closing one: it would stay until the client has read everything
                self._start_timer(limits.request_seconds)

        def _start_timer(self, seconds: float) -> None:
            self._cancel_timer()
            self._deadline = self.loop.call_later(seconds, self._close, "too-slow")

        def _cancel_timer(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _close(self, reason: str) -> None:
            """Close immediately: a client that sends slowly would also read slowly."""
            on_closed(reason)
            self.transport.abort()

    return LimitedProtocol
