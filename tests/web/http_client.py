"""The callbacks' port over real sockets, with a publisher that does what the test says."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adapter.errors import AdapterError
from adapter.flows.receive import Receiver
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.envelope import Response, open_response, seal_request
from adapter.protocol.notification import CallbackKind
from adapter.stream.records import ProducerRecord
from adapter.web.callbacks import callbacks_app
from adapter.web.connection_limits import ConnectionLimits
from adapter.web.server import WebServer

PLATFORM = Credentials(hash_key="b15bd8514fed472c", hash_iv="9c8458263def47cd")
MERCHANT = Merchant(
    merchant_id="3085676",
    credentials=Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b"),
    platform_id="3085672",
    platform_credentials=PLATFORM,
)
"""ECPay's public test merchant, as one of the public test platform's."""
SISTER = Merchant(
    merchant_id="3362787",
    credentials=Credentials(hash_key="c539115ea7674f20", hash_iv="86f625e60cb1473a"),
    platform_id="3085672",
    platform_credentials=PLATFORM,
)
"""Another one of the same platform's."""
ALONE = Merchant(merchant_id="3085676", credentials=MERCHANT.credentials)
"""The merchant as it signs without its platform."""
STATUS: Mapping[str, object] = {
    "MerchantID": "3085676",
    "MerchantTradeNo": "CBX20220302153064851",
    "TicketNo": "CB2SY20220302153",
    "UseStatus": 2,
}
REFUND: Mapping[str, object] = {
    "MerchantID": "3085676",
    "MerchantTradeNo": "CBX20220302153064851",
    "TradeAmount": 1000,
    "TotalRefundAmount": 500,
    "RefundAmount": 200,
}
PATHS = {CallbackKind.REFUND: "/callbacks/ecticket/refund", CallbackKind.USE_STATUS: "/callbacks/ecticket/use-status"}
USE_STATUS = PATHS[CallbackKind.USE_STATUS]


def sealed(payload: Mapping[str, object] = STATUS, merchant: Merchant = ALONE, **changed: object) -> bytes:
    """A notification, with fields of its envelope changed; None leaves one out."""
    envelope = json.loads(seal_request(payload, merchant, timestamp=1_700_000_000)) | changed
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


@dataclass
class CallbackServer:
    """The port; what it published, and what it counted."""

    port: int = 0
    published: list[ProducerRecord] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    publish_error: AdapterError | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Publishing waits for it."""
    waiting: int = 0
    ids: tuple[str, ...] = (MERCHANT.merchant_id, SISTER.merchant_id)
    server: WebServer | None = None

    async def stop(self) -> None:
        """Stop listening, with time enough for what is here."""
        assert self.server is not None
        await self.server.stop(10)

    def cancel_requests(self) -> None:
        """End the requests that wait for something, so that `stop` need not."""
        assert self.server is not None
        for task in tuple(self.server._server.server_state.tasks):
            task.cancel()

    def find(self, merchant_id: str) -> Merchant | None:
        return {each.merchant_id: each for each in (MERCHANT, SISTER)}.get(merchant_id)

    async def publish(self, producer_record: ProducerRecord) -> None:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        if self.publish_error is not None:
            raise self.publish_error
        self.published.append(producer_record)

    def notification_ended(self, posted_to: str, outcome: str) -> None:
        self.outcomes[outcome] += 1

    def notification_verified(self, merchant_id: str, encoder: str) -> None:
        """Not looked at here."""

    def notification_answered(self, seconds: float) -> None:
        self.outcomes["answered"] += 1

    def connection_closed(self, reason: str) -> None:
        self.closed[reason] += 1

    async def send_raw(self, *pieces: bytes) -> tuple[int, bytes]:
        """Send these bytes over a connection of their own; the status and body of what is answered."""
        reader, writer = await self.connect()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await answered(reader)
        finally:
            writer.close()

    def listens(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as trying:
            return trying.connect_ex(("127.0.0.1", self.port)) == 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    @asynccontextmanager
    async def reluctant(self) -> AsyncIterator[tuple[socket.socket, HttpToolsProtocol]]:
        """A connection whose client does not read, so that little can be written to it; and the server's end of it."""
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
            await until(lambda: bool(self._connections()))
            (server_end,) = self._connections()
            server_end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            yield client, server_end

    def _connections(self) -> list[HttpToolsProtocol]:
        assert self.server is not None
        return [each for each in self.server._server.server_state.connections if isinstance(each, HttpToolsProtocol)]

    async def post(self, body: bytes, path: str = USE_STATUS, **headers: str) -> tuple[int, bytes]:
        """Post a whole request."""
        return await self.send_raw(request(body, path, **headers))


def request(body: bytes, path: str = USE_STATUS, method: str = "POST", **headers: str) -> bytes:
    """A whole request; headers with underscores for dashes, and left out when empty."""
    lines = {"host": "shop.example", "content_type": "application/json", "content_length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that offers no event. Raises TimeoutError."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # sockets and counts offer no event
            await asyncio.sleep(0.005)


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and body of the next answer; status 0 when the connection ended without one."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    length = next(line.partition(":")[2] for line in head.splitlines() if line.startswith("content-length"))
    return int(head.split()[1]), await reader.readexactly(int(length))


def reply(body: bytes, merchant: Merchant = ALONE) -> Response:
    """The opened answer."""
    return open_response(body, merchant)


@asynccontextmanager
async def running_callback_server(limits: ConnectionLimits | None = None) -> AsyncIterator[CallbackServer]:
    """A port that publishes at once."""
    callback_server = CallbackServer()
    callback_server.open.set()
    receiver = Receiver(
        topic="ecticket.tickets",
        merchants=callback_server,
        publisher=callback_server,
        observer=callback_server,
        now=lambda: datetime.now(UTC),
    )
    server = WebServer(
        callbacks_app(receiver, callback_server, PATHS),
        host="127.0.0.1",
        port=0,
        purpose="callbacks",
        limits=limits,
        on_closed=callback_server.connection_closed,
    )
    await server.start()
    callback_server.port, callback_server.server = server.port, server
    try:
        yield callback_server
    finally:
        callback_server.open.set()
        await callback_server.stop()
