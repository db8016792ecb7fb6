"""An HTTP proxy that a test scripts: it opens tunnels to servers on loopback, or answers CONNECT with anything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ConnectProxy:
    """Listens on loopback. `servers` gives the port behind each `host:port`; others are on loopback already."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, servers: Mapping[str, int] | None = None) -> None:
        self.heads: list[bytes] = []
        self.open_connections = 0
        self.sent_up = b""
        self.changed = asyncio.Event()
        self.answer: Answer | None = None
        """How CONNECT is answered instead of with a tunnel."""
        self.breaks_after: int | None = None
        """The number of bytes from the client after which a tunnel is closed; they are passed on first."""
        self.port = 0
        self._tls = tls
        self._servers = dict(servers or {})
        self._tasks: set[asyncio.Task[None]] = set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition about the proxy is true."""
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.open_connections += 1
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            self.changed.set()
            if self.answer is not None:
                await self.answer(reader, writer)
            else:
                await self._tunnel(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self.changed.set()
            writer.transport.abort()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = self.heads[-1].decode().split(" ", 2)
        assert method == "CONNECT"
        port = self._servers.get(target) or int(target.rpartition(":")[2])
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n")
        down = asyncio.create_task(_copy(up_reader, writer))
        try:
            while data := await reader.read(65536):
                self.sent_up += data
                up_writer.write(data)
                await up_writer.drain()
                self.changed.set()
                if self.breaks_after is not None and len(self.sent_up) >= self.breaks_after:
                    return
        finally:
            down.cancel()
            await asyncio.wait([down])
            up_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.transport.abort()
    except ConnectionError:
        writer.transport.abort()


def answering(*pieces: bytes, then_closes: bool = False, endless: bool = False) -> Answer:
    """Answer CONNECT with these bytes; with `endless`, with the last piece again and again while they are taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        while endless:
            writer.write(pieces[-1])
            await writer.drain()
            await asyncio.sleep(0)
        if not then_closes:
            await reader.read()

    return answer
