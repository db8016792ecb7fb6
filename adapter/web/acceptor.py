"""Accepts connections, each as soon as it has a slot.

While there is none, newcomers wait in the kernel's queue of the listener, with what they have sent, and their clients
see an open connection. asyncio and uvicorn accept whatever comes, so they could only close a connection without a slot.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from adapter.web.connection_limits import LimitedProtocol
from adapter.web.connection_slots import ConnectionSlots

_RETRY_SECONDS = 1.0
"""How long nothing is accepted after an error of the system, such as too many open files; asyncio's own number."""


class Acceptor:
    """Accepts on one listener, which must not block."""

    def __init__(
        self, listener: socket.socket, slots: ConnectionSlots, make_protocol: Callable[[], LimitedProtocol]
    ) -> None:
        self._listener = listener
        self._slots = slots
        self._make_protocol = make_protocol

    async def run(self) -> None:
        """Accept until cancelled. A connection that has no slot by then is closed."""
        connecting: set[asyncio.Task[None]] = set()
        try:
            while True:
                connection = await self._accept()
                protocol = self._make_protocol()
                try:
                    await self._slots.take(protocol)
                except asyncio.CancelledError:
                    connection.close()
                    raise
                # Several at once: each takes passes of the event loop, which are long under load.
                task = asyncio.create_task(self._connect(connection, protocol))
                connecting.add(task)
                task.add_done_callback(connecting.discard)
        finally:
            if connecting:
                await asyncio.wait(connecting)

    async def _accept(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except ConnectionAbortedError:  # by its client, while it waited
                continue
            except OSError as error:
                # As asyncio does: the connections that wait are accepted once the system has what they need.
                loop.call_exception_handler({"message": "accepting a connection failed", "exception": error})
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return connection

    async def _connect(self, connection: socket.socket, protocol: LimitedProtocol) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: protocol, connection)
        except Exception as error:  # noqa: BLE001  # one connection fails, and the server goes on; as asyncio's own does
            loop.call_exception_handler({"message": "an accepted connection failed", "exception": error})
            connection.close()
            self._slots.remove(protocol)
