"""An ECTicket that accepts every Issue call, as fast as Python can: several processes on one port, without rules.

It answers Issue calls after a fixed delay and keeps their numbers, so that the results can be compared. It refuses
everything else. The sandbox is the ECTicket that checks requests.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Self, cast

from benchmarks.processes import cpu_seconds
from benchmarks.sealing import Sealer, UnknownRequestError

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s"
_NO = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_ISSUE = b"POST /api/Ticket/Issue "
_BACKLOG = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class StubResults:
    """The numbers of all answered Issue calls, each call once, and the number of other requests."""

    numbers: Sequence[str]
    refused: int


class _Desk:
    """What the connections of one process share."""

    def __init__(self, delay_seconds: float, silent: str | None) -> None:
        self.delay_seconds = delay_seconds
        self.silent = None if silent is None else f'"MerchantID":"{silent}"'.encode()
        self.sealer = Sealer()
        self.numbers: list[str] = []
        self.refused = 0

    def answer(self, head: bytes, body: bytes) -> bytes | None:
        """The whole HTTP answer; None if there is none."""
        if self.silent is not None and self.silent in body:
            return None
        try:
            number = self.sealer.number(body if head.startswith(_ISSUE) else b"")
        except UnknownRequestError:
            self.refused += 1
            return _NO
        self.numbers.append(number.decode())
        sealed = self.sealer.answer(number)
        return _OK % (len(sealed), sealed)


class _Caller(asyncio.Protocol):
    """One connection; requests come whole or in pieces, and one after another."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # TCP's is one

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if not separator or len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer(self._desk.answer(head, rest[:length]))

    def _answer(self, answer: bytes | None) -> None:
        if answer is None:
            return
        if self._desk.delay_seconds:
            asyncio.get_running_loop().call_later(self._desk.delay_seconds, self._transport.write, answer)
        else:
            self._transport.write(answer)


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", port))
    return listening


def _work(parent: Connection, port: int, delay_seconds: float, silent: str | None) -> None:
    """One process of the stub: serves until its parent hangs up, and sends its results on request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(parent, port, _Desk(delay_seconds, silent)))


async def _serve(parent: Connection, port: int, desk: _Desk) -> None:
    loop = asyncio.get_running_loop()
    over, listening = asyncio.Event(), _listen(port)
    server = await loop.create_server(lambda: _Caller(desk), sock=listening, backlog=_BACKLOG)

    def heard() -> None:
        try:
            parent.recv()
            parent.send(StubResults(numbers=desk.numbers, refused=desk.refused))
        except (EOFError, OSError):
            loop.remove_reader(parent.fileno())
            over.set()

    loop.add_reader(parent.fileno(), heard)
    parent.send(listening.getsockname()[1])
    await over.wait()
    server.close()


class Stub:
    """The running stub: `with Stub(delay_seconds=0.05) as stub: ... stub.base_url`.

    The merchant `silent` never gets an answer.
    """

    def __init__(self, *, delay_seconds: float, processes: int = 2, silent: str | None = None) -> None:
        self._delay_seconds = delay_seconds
        self._silent = silent
        self._wanted = processes
        self._processes: list[tuple[BaseProcess, Connection]] = []
        self._port = 0

    @property
    def base_url(self) -> str:
        """The stub's URL."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The port of loopback that its processes share."""
        return self._port

    def cpu_seconds(self) -> float:
        """The CPU time of all its processes so far."""
        return sum(cpu_seconds(process.pid or os.getpid()) for process, _ in self._processes)

    def results(self) -> StubResults:
        """The calls so far."""
        published = []
        for _, connection in self._processes:
            connection.send(None)
            published.append(cast(StubResults, connection.recv()))
        return StubResults(
            numbers=[number for results in published for number in results.numbers],
            refused=sum(results.refused for results in published),
        )

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        for _ in range(self._wanted):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, self._port, self._delay_seconds, self._silent), daemon=True
            )
            process.start()
            theirs.close()
            self._processes.append((process, ours))
            self._port = cast(int, ours.recv())
        return self

    def __exit__(self, *_: object) -> None:
        for process, connection in self._processes:
            connection.close()
            process.join(5)
            process.kill()
            process.join()
        self._processes.clear()
