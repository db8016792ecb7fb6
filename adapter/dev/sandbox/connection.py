"""The server's side of a connection, so that an answer can be lost for real: the socket closes and nothing was said.

ASGI offers no way to break a connection; uvicorn's protocol knows its transport and copies its `app_state` into the
`state` of every request, and that is the whole bridge. An application served by anything else finds no connection
there and says so.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from starlette.types import Receive, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

_STATE_KEY: Final = "sandbox_connection"
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)


class Connection:
    """One accepted connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def close(self, *, reset: bool) -> None:
        """Close the socket now, unsent bytes and all; `reset` sends RST where FIN would do."""
        sock = self._transport.get_extra_info("socket")
        if reset and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()


class SandboxProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with the connection within reach of the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn itself
        """Put the connection into the state of every request that comes over it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _STATE_KEY: Connection(transport)}


def connection_of(scope: Scope) -> Connection:
    """The connection a request came over.

    Raises:
        RuntimeError: the application is not served by `RunningSandbox`.
    """
    connection = scope.get("state", {}).get(_STATE_KEY)
    if not isinstance(connection, Connection):
        raise RuntimeError("answers can only be lost when the sandbox is served by RunningSandbox or serve()")  # noqa: TRY004
    return connection


async def gone_within(receive: Receive, seconds: float) -> bool:
    """Wait that long, or until the client (or the sandbox itself) has closed the connection; whether it has."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
