"""Sends notifications as ECPay does, as fast as Python can or at a pace, from a separate process.

All are sealed before the first is sent, each about another ticket. It checks only the status of answers; its caller
compares the results.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast

from adapter.protocol.envelope import seal_request
from benchmarks.orders import trade_no
from benchmarks.processes import cpu_seconds
from benchmarks.sealing import MERCHANT

_PATH = b"/callbacks/ecticket/use-status"
_OK = b"HTTP/1.1 200 "


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What is sent: `count` notifications over `connections`; `per_second` 0 is as fast as they are answered."""

    port: int
    count: int
    first: int
    connections: int
    per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The result: the seconds of each (at a pace, from when it was due), and how many were not answered 200."""

    seconds: float
    each: Sequence[float]
    refused: int
    cpu: float


class _Caller(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # TCP's is one

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(False)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if separator and len(rest) >= length and self._answer is not None:
            self._buffer = b""
            self._answer.set_result(head.startswith(_OK))

    def ask(self, request: bytes) -> asyncio.Future[bool]:
        """Send a request; whether it is answered 200."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._answer.set_result(False)
        else:
            self._transport.write(request)
        return self._answer


def _requests(sending: Sending) -> Iterator[bytes]:
    for number in range(sending.first, sending.first + sending.count):
        payload = {
            "MerchantID": MERCHANT.merchant_id,
            "MerchantTradeNo": trade_no(number),
            "TicketTradeNo": f"{number:016}",
            "TicketNo": f"CB2SY{number:011}",
            "UseStatus": 2,
        }
        body = seal_request(payload, MERCHANT, timestamp=int(time.time()))
        head = b"POST %s HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        yield head % (_PATH, len(body)) + body


async def _send(sending: Sending, requests: Sequence[bytes]) -> Sent:
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(_Caller, "127.0.0.1", sending.port))[1] for _ in range(sending.connections)
    ]
    each: list[float] = []
    refused = 0
    left = iter(enumerate(requests))
    cpu, began = cpu_seconds(os.getpid()), time.perf_counter()

    async def call(caller: _Caller) -> None:
        nonlocal refused
        for number, request in left:
            due = began + number / sending.per_second if sending.per_second else time.perf_counter()
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            refused += not await caller.ask(request)
            each.append(time.perf_counter() - due)

    await asyncio.gather(*(call(caller) for caller in callers))
    seconds = time.perf_counter() - began
    return Sent(seconds=seconds, each=each, refused=refused, cpu=cpu_seconds(os.getpid()) - cpu)


def _work(parent: Connection, sending: Sending) -> None:
    requests = list(_requests(sending))
    parent.send(None)
    parent.recv()
    parent.send(asyncio.run(_send(sending, requests)))


class Notifier:
    """The process: sealed and ready when made; `send` starts it."""

    def __init__(self, sending: Sending) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, sending), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv()

    def send(self) -> Sent:
        """Send everything; returns when all is answered."""
        self._ours.send(None)
        sent = cast(Sent, self._ours.recv())
        self._process.join()
        return sent
