"""A broker as far as a client's start goes: it says where it is to be found, and no more."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_VERSIONS, _METADATA = 18, 3
_UP_TO_1 = {_VERSIONS: 0, _METADATA: 1}


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _answer(api: int, advertised: tuple[str, int]) -> bytes:
    if api == _VERSIONS:
        known = b"".join(struct.pack(">hhh", each, 0, most) for each, most in _UP_TO_1.items())
        return struct.pack(">hi", 0, len(_UP_TO_1)) + known
    host, port = advertised
    return struct.pack(">ii", 1, 7) + _text(host) + struct.pack(">ihii", port, -1, 7, 0)


@asynccontextmanager
async def broker_that_advertises(host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serves on loopback; gives its own address, and `host:port` as that of the only broker."""
    serving: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, producer: asyncio.StreamWriter) -> None:
        serving.add(producer)
        try:
            while True:
                (length,) = struct.unpack(">i", await reader.readexactly(4))
                api, _, correlation = struct.unpack(">hhi", (await reader.readexactly(length))[:8])
                body = struct.pack(">i", correlation) + _answer(api, (host, port))
                producer.write(struct.pack(">i", len(body)) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            producer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for producer in serving:
            producer.close()
