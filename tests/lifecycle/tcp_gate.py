"""A TCP address in front of a broker that opens late, as a Service has one before its pods are ready."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapter.dev.local_kafka.ports import free_ports


class TcpGate:
    """Refuses connections at first; after `accept` it accepts them in silence; after `open` it forwards all of them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        (self._port,) = free_ports(1)
        self._opened = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.accepted = asyncio.Event()
        """Set by the first connection."""

    @property
    def address(self) -> str:
        """`host:port` of the gate."""
        return f"127.0.0.1:{self._port}"

    async def accept(self) -> None:
        """Accept connections, and answer nothing on them."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)

    def open(self) -> None:
        """Forward all connections, also those that wait."""
        self._opened.set()

    async def close(self) -> None:
        """Close the address and all connections."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.set()
        task = asyncio.create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._opened.wait()
            there, target = await asyncio.open_connection(*self._target)
            try:
                await asyncio.gather(_copy(reader, target), _copy(there, writer))
            finally:
                target.close()
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def tcp_gate(target: str) -> AsyncIterator[TcpGate]:
    """A gate in front of `host:port`, closed at the end."""
    gate = TcpGate(target)
    try:
        yield gate
    finally:
        await gate.close()
