"""What a stranger's connection may cost: how many there are, how long a request may take to arrive, how large it is.

uvicorn waits without end for a request that does not come or does not go on, and keeps headers of any size. That is
fine for probes inside a pod and not for a port that the internet reaches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`request_seconds` from the connection, or the answer before, to the last byte of the request.

    `message_bytes` count as they come: a body in chunks of one byte is six times as long on the wire.
    """

    connections: int = 256
    request_seconds: float = 10.0
    head_bytes: int = 16 * 1024
    message_bytes: int = 512 * 1024


def bounded_protocol(bounds: Bounds, on_closed: Callable[[str], None]) -> type[HttpToolsProtocol]:
    """uvicorn's protocol within bounds; a connection beyond them is closed, and `on_closed` hears why.

    That is `too-many`, `too-slow` or `too-much`.
    """

    class BoundedProtocol(HttpToolsProtocol):
        """One connection."""

        _deadline: asyncio.TimerHandle | None = None
        _in_head = True
        _received = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
            super().connection_made(transport)
            if len(self.connections) > bounds.connections:
                self._close("too-many")
            else:
                self._expect_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._expect_nothing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._received += len(data)
            super().data_received(data)
            if self._received > (bounds.head_bytes if self._in_head else bounds.message_bytes):
                self._close("too-much")

        def on_headers_complete(self) -> None:
            self._in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_head, self._received = True, 0
            self._expect_nothing()
            super().on_message_complete()
            if self.cycle.response_complete:  # before the whole request was here, as too large ones are
                self._expect_request()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing():
                self._expect_request()

        def _expect_request(self) -> None:
            self._expect_nothing()
            self._deadline = self.loop.call_later(bounds.request_seconds, self._close, "too-slow")

        def _expect_nothing(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _close(self, why: str) -> None:
            """At once: whoever sends slowly would read slowly too."""
            if not self.transport.is_closing():
                on_closed(why)
                self.transport.abort()

    return BoundedProtocol
