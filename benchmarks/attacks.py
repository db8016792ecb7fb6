"""Attacks on the callbacks' port, from a separate process: each repeats one kind of hostile connection.

Every attack is bounded in time and in the number of its connections, and goes to this machine only.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast

from adapter.protocol.envelope import seal_request
from benchmarks.sealing import MERCHANT

CONNECTIONS = 300
"""More than the adapter has slots."""
PER_SECOND = 1500
"""The most connections that one attack opens in a second."""

_HEAD = b"POST /callbacks/ecticket/use-status HTTP/1.1\r\nHost: shop.example\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What is sent where, and for how long."""

    name: str
    port: int
    seconds: float


def _request(body: bytes) -> bytes:
    return b"%sContent-Length: %d\r\n\r\n%s" % (_HEAD, len(body), body)


def _notification(**changed: object) -> bytes:
    payload = {
        "MerchantID": MERCHANT.merchant_id,
        "MerchantTradeNo": "RECORDED1",
        "TicketNo": "RECORDED1",
        "UseStatus": 2,
    }
    return json.dumps(json.loads(seal_request(payload, MERCHANT, timestamp=1)) | changed).encode()


def _forged(size: int) -> bytes:
    """A request whose text decrypts to noise; as much work as a genuine one of this size."""
    return _request(_notification(Data="A" * (size // 64 * 64), CheckMacValue="0" * 64))


class _Attacker:
    """Runs one attack and counts what it sent."""

    def __init__(self, port: int, ends: float) -> None:
        self._port = port
        self._ends = ends
        self._due = time.monotonic()
        self.sent = 0

    @property
    def over(self) -> bool:
        return time.monotonic() > self._ends

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection, no sooner than the rate allows."""
        self._due = max(self._due, time.monotonic()) + 1 / PER_SECOND
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def hold(self, beginning: bytes, drip: bytes = b"") -> None:
        """Open a connection, send the beginning, then a little each second; again when it is closed."""
        while not self.over:
            with suppress(OSError):
                reader, writer = await self.connect()
                writer.write(beginning)
                self.sent += 1
                while not self.over:
                    with suppress(TimeoutError):
                        if not await asyncio.wait_for(reader.read(4096), 1.0):
                            break
                    writer.write(drip)
                writer.close()

    async def repeat(self, request: bytes, answers: int = 1) -> None:
        """Send a request as soon as the one before is answered; over a new connection when it is closed."""
        while not self.over:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                reader, writer = await self.connect()
                while not self.over:
                    writer.write(request)
                    await writer.drain()
                    for _ in range(answers):
                        head = await reader.readuntil(b"\r\n\r\n")
                        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                        await reader.readexactly(int(length))
                        self.sent += 1

    async def pour(self, beginning: bytes, piece: bytes) -> None:
        """Send without end; again when it is closed."""
        while not self.over:
            with suppress(OSError):
                _, writer = await self.connect()
                writer.write(beginning)
                self.sent += 1
                while not self.over:
                    writer.write(piece)
                    await writer.drain()
                writer.close()

    async def dribble(self, beginning: bytes, piece: bytes) -> None:
        """Send small pieces, each as a segment of its own, as fast as all connections can; again when it is closed."""
        while not self.over:
            with suppress(OSError):
                _, writer = await self.connect()
                writer.write(beginning)
                self.sent += 1
                while not writer.is_closing():
                    writer.write(piece)
                    await asyncio.sleep(0)
                    if self.over:
                        writer.close()


_MEMBERS = b"[" + b"{}," * 21_000 + b"{}]"
_LARGEST_HEAD = _HEAD + b"a:b\r\n" * 98 + b"x: " + b"y" * 15_700
"""All but the end of a head that is within every limit of the adapter."""
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_SMUGGLED = _HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _request(_notification())
_CLOSE = b"Connection: close\r\n"

ATTACKS: Mapping[str, Callable[[_Attacker], Awaitable[None]]] = {
    "silent connections": lambda attacker: attacker.hold(b"P"),
    "headers, a byte a second": lambda attacker: attacker.hold(_HEAD, b"x"),
    "bodies, a byte a second": lambda attacker: attacker.hold(_request(b"x" * 9999)[:-9999], b"x"),
    "bodies, byte by byte": lambda attacker: attacker.dribble(_request(b"x" * 9999)[:-9999], b"x"),
    "largest heads, held": lambda attacker: attacker.hold(_LARGEST_HEAD),
    "largest bodies, held": lambda attacker: attacker.hold(_request(b"x" * 65_536)[:-1]),
    "endless heads": lambda attacker: attacker.pour(_HEAD, b"x: y\r\n" * 500),
    "endless chunks": lambda attacker: attacker.pour(_CHUNKED, b"1\r\nx\r\n" * 2000),
    "smuggled": lambda attacker: attacker.hold(_SMUGGLED),
    "forged, 1 KiB": lambda attacker: attacker.repeat(_forged(512)),
    "forged, 64 KiB": lambda attacker: attacker.repeat(_forged(64_000)),
    "64 KiB of empty objects": lambda attacker: attacker.repeat(_request(_MEMBERS)),
    "pipelined": lambda attacker: attacker.repeat(_forged(512) * 16, answers=16),
    "replayed": lambda attacker: attacker.repeat(_request(_notification())),
    "each on a connection": lambda attacker: attacker.hold(_forged(512).replace(_HEAD, _HEAD + _CLOSE)),
    "answers not read": lambda attacker: attacker.pour(b"", _request(_notification())),
}
MIXTURE = "a mixture of all"
ALL = (*ATTACKS, MIXTURE)


async def _attack(attack: Attack) -> int:
    attacker = _Attacker(attack.port, time.monotonic() + attack.seconds)
    kinds = list(ATTACKS.values()) if attack.name == MIXTURE else [ATTACKS[attack.name]]
    await asyncio.gather(*(kinds[number % len(kinds)](attacker) for number in range(CONNECTIONS)))
    return attacker.sent


def _work(parent: Connection, attack: Attack) -> None:
    parent.send(asyncio.run(_attack(attack)))


class AttackProcess:
    """The attack in a process of its own: begins when made."""

    def __init__(self, attack: Attack) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, attack), daemon=True)
        self._process.start()
        theirs.close()

    def result(self) -> int:
        """How many connections or requests were sent; waits for the end."""
        sent = cast(int, self._ours.recv())
        self._process.join()
        return sent
