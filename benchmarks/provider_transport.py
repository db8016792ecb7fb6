"""How many calls a second go through each engine of the provider, with many in flight at once.

    .venv/bin/python benchmarks/provider_transport.py [--calls 1000] [--in-flight 64] [--rounds 3]

A stub in a separate process answers every request at once with the same sealed answer, over plain HTTP on loopback.
Three layers are measured with either engine, in turns, and the best round of each counts: the transport alone (as httpx
defines it), the exchange (send boundary, deadline, bounded reading), and a whole `EcticketClient.query` (limiter,
sealing, opening). What counts is the ratio on one machine in one run, not the numbers themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from time import perf_counter
from typing import cast

import httpx

from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.endpoints import Family
from adapter.protocol.envelope import seal_response
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.provider.client import CallLimits, EcticketClient, Purpose, TimeSource
from adapter.provider.exchange import HttpExchange
from adapter.provider.transport import TransportKind, make_transport

# ECPay's public test merchant.
MERCHANT = Merchant(
    merchant_id="3085676", credentials=Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b")
)
TRADE_NO = TradeNo(kind=TradeNoKind.MERCHANT, value="CBX20220302153064851")
BODY = b"x" * 700
# The stock engine keeps single calls waiting for a connection for seconds with many in flight.
LIMITS = CallLimits(max_calls_per_second=0, max_concurrent_calls=10_000, connect_timeout_seconds=60)

Call = Callable[[], Awaitable[object]]


def _answer() -> bytes:
    payload = {"RtnCode": 1, "RtnMsg": "成功", "MerchantTradeNo": TRADE_NO.value, "Status": 1, "Remark": ""}
    body = seal_response(payload, MERCHANT, timestamp=1_700_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Stub(asyncio.Protocol):
    """Answers whole requests, one after another."""

    answer = _answer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # TCP's is one
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if not separator or len(rest) < length:
                return
            self._buffer = rest[length:]
            self._transport.write(self.answer)


def _serve(parent: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Stub, "127.0.0.1", 0)
        parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())


@contextmanager
def _stub() -> Iterator[str]:
    """Run the stub; gives its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _layers(transport: httpx.AsyncBaseTransport, url: str) -> dict[str, Call]:
    exchange = HttpExchange(transport, base_url=url, limits=LIMITS, clock=TimeSource())
    provider = EcticketClient(base_url=url, family=Family.TICKET, transport=transport, limits=LIMITS)

    async def by_transport() -> None:
        response = await transport.handle_async_request(httpx.Request("POST", f"{url}/path", content=BODY))
        async for _ in response.aiter_raw():
            pass
        await response.aclose()

    return {
        "transport": by_transport,
        "exchange": lambda: exchange.post(
            "/path", BODY, headers=(), max_bytes=1_000_000, authorize_send=lambda: None, what="a call"
        ),
        "provider": lambda: provider.query(MERCHANT, TRADE_NO, purpose=Purpose.CONFIRM),
    }


async def _calls_per_second(call: Call, calls: int, in_flight: int) -> float:
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    begun = perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return calls / (perf_counter() - begun)


async def _measure(url: str, calls: int, in_flight: int, rounds: int) -> dict[tuple[str, TransportKind], float]:
    best: dict[tuple[str, TransportKind], float] = {}
    transports = {kind: make_transport(kind) for kind in TransportKind}
    for _ in range(rounds):
        for kind, transport in transports.items():
            for layer, call in _layers(transport, url).items():
                speed = await _calls_per_second(call, calls, in_flight)
                best[layer, kind] = max(speed, best.get((layer, kind), 0.0))
    for transport in transports.values():
        await transport.aclose()
    return best


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="calls per round, layer and engine")
    parser.add_argument("--in-flight", type=int, default=64, help="calls at once")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many rounds counts")
    asked = parser.parse_args()
    with _stub() as url:
        best = asyncio.run(_measure(url, asked.calls, asked.in_flight, asked.rounds))
    print(f"calls a second, {asked.in_flight} in flight, best of {asked.rounds} rounds of {asked.calls}")
    print(f"{'':10} " + " ".join(f"{kind:>9}" for kind in TransportKind))
    for layer in dict.fromkeys(layer for layer, _ in best):
        print(f"{layer:10} " + " ".join(f"{best[layer, kind]:9.0f}" for kind in TransportKind))


if __name__ == "__main__":
    main()
