"""The server's side of a connection, so that an answer can really be lost: the socket closes without an answer.

ASGI cannot break a connection. uvicorn's protocol knows its transport and copies its `app_state` into the `state` of
every request; this module uses that. Under any other server no connection is found there, and RuntimeError is raised.
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
        """Close the socket now and discard unsent bytes; `reset` sends RST instead of FIN."""
        sock = self._transport.get_extra_info("socket")
        if reset and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()


class SandboxProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, which makes the connection available to the application."""

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
    """Wait until the client (or the sandbox) closes the connection, at most `seconds`; True if it was closed."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
