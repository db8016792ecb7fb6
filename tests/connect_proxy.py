"""An HTTP proxy that a test scripts: it opens tunnels to servers on loopback, or answers CONNECT with anything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping

from loopback_server import LoopbackServer

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ConnectProxy(LoopbackServer):
    """Opens tunnels. `servers` gives the port behind each `host:port`; others are on loopback already."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, servers: Mapping[str, int] | None = None) -> None:
        super().__init__(tls=tls)
        self.heads: list[bytes] = []
        self.sent_up = b""
        self.answer: Answer | None = None
        """How CONNECT is answered instead of with a tunnel."""
        self.breaks_after: int | None = None
        """The number of bytes from the client after which a tunnel is closed; they are passed on first."""
        self._servers = dict(servers or {})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        self.changed.set()
        if self.answer is not None:
            await self.answer(reader, writer)
        else:
            await self._tunnel(reader, writer)

    def _close(self, writer: asyncio.StreamWriter) -> None:
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
