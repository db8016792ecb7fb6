"""The stub alone: how fast it answers when nothing else is measured, to show that it is not the bottleneck."""

from __future__ import annotations

import asyncio
import os
import time
from typing import cast

from adapter.protocol.envelope import seal_request
from benchmarks.ground import Ground
from benchmarks.processes import pin
from benchmarks.sealing import MERCHANT
from benchmarks.stub import Stub

_CALLS = 20_000
_CONNECTIONS = 64


class _Knocker(asyncio.Protocol):
    """Sends the same request again as soon as it is answered, while there are calls left."""

    def __init__(self, request: bytes, left: list[int], done: asyncio.Event) -> None:
        self._request = request
        self._left = left
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # TCP's is one
        self._transport.write(self._request)

    def data_received(self, _data: bytes) -> None:
        self._left[0] -= 1
        if self._left[0] > 0:
            self._transport.write(self._request)
        else:
            self._done.set()


async def stub_alone(ground: Ground) -> str:
    """One sentence: answers a second, and CPU for each."""
    with Stub(delay_seconds=0) as stub:
        pin(os.getpid(), ground.core)
        try:
            seconds = await _knock(stub.port)
        finally:
            pin(os.getpid(), ground.others)
        cpu = stub.cpu_seconds()
    return (
        f"The stub alone: {_CALLS / seconds:,.0f} answers a second to {_CONNECTIONS} connections that send without "
        f"pause, {1000 * cpu / _CALLS:.2f} CPU seconds per 1,000."
    )


async def _knock(port: int) -> float:
    payload = {"MerchantID": MERCHANT.merchant_id, "MerchantTradeNo": "B000000000001", "Filler": "x" * 300}
    body = seal_request(payload, MERCHANT, timestamp=int(time.time()))
    request = b"POST /api/Ticket/Issue HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    left, done, began = [_CALLS], asyncio.Event(), time.perf_counter()
    loop = asyncio.get_running_loop()
    knockers = [
        await loop.create_connection(lambda: _Knocker(request, left, done), "127.0.0.1", port)
        for _ in range(_CONNECTIONS)
    ]
    await done.wait()
    seconds = time.perf_counter() - began
    for transport, _ in knockers:
        transport.close()
    return seconds
