"""What a stranger's connection may cost: how many there are, how long a request and its answer take, how large it is.

uvicorn waits without end for a request that does not come or does not go on, and for an answer to be read; it keeps
headers of any size, and as many requests as are sent ahead of their answers. That is fine for probes inside a pod and
not for a port that the internet reaches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """`request_seconds` from the connection, or the answer before, to the last byte of the request.

    `answer_seconds` from there until the answer is out of our hands. `requests_ahead` were sent before the answer to an
    earlier one was, and wait for it. `message_bytes` count as they come: a body in chunks of one byte is six times as
    long on the wire.
    """

    connections: int = 256
    request_seconds: float = 10.0
    answer_seconds: float = 10.0
    requests_ahead: int = 16
    head_bytes: int = 16 * 1024
    message_bytes: int = 512 * 1024


class _TooMuchError(Exception):
    """Ends the parser, which would make a request of all that has come."""


def limited_protocol(limits: ConnectionLimits, on_closed: Callable[[str], None]) -> type[HttpToolsProtocol]:
    """uvicorn's protocol within bounds; a connection beyond them is closed, and `on_closed` hears why.

    That is `too-many`, `too-slow` or `too-much`.
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
                self._end_after(limits.request_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_never()
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
            answered = self.cycle.response_complete  # before the whole request was here, as too large ones are
            self._end_after(limits.request_seconds if answered else limits.answer_seconds)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self in self.connections:  # also one that is closing: it stays until all is read, be it for ever
                self._end_after(limits.request_seconds)

        def _end_after(self, seconds: float) -> None:
            self._end_never()
            self._deadline = self.loop.call_later(seconds, self._close, "too-slow")

        def _end_never(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _close(self, reason: str) -> None:
            """At once: whoever sends slowly would read slowly too."""
            on_closed(reason)
            self.transport.abort()

    return LimitedProtocol
