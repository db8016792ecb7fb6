"""A merchant's end of the notifications: keeps what arrives, and gives the answers that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapter.errors import EnvelopeError
from adapter.protocol.credentials import Merchant
from adapter.protocol.envelope import Request as Opened
from adapter.protocol.envelope import open_request, seal_response
from adapter.web.server import WebServer

from .helpers import MERCHANT

Answer = Callable[[int], bytes | int]
"""What the so-manieth POST is answered with, counted from 1: a body, or a bare HTTP status."""


def accepting(merchant: Merchant = MERCHANT) -> Answer:
    """Always the envelope with RtnCode 1."""
    body = seal_response({"RtnCode": 1, "RtnMsg": "成功"}, merchant, timestamp=1_700_000_000)
    return lambda _: body


class Receiver:
    """Listens on any free port of loopback as long as the `async with` lasts."""

    def __init__(self, answer: Answer | None = None, *, merchant: Merchant = MERCHANT) -> None:
        self.answer = answer or accepting(merchant)
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self._merchant = merchant
        self._came = asyncio.Condition()
        app = Starlette(routes=[Route("/{rest:path}", self._take, methods=["POST"])])
        self._server = WebServer(app, host="127.0.0.1", port=0, purpose="receiver")

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.stop()

    def url(self, path: str = "/use") -> str:
        """Where to notify it."""
        return f"http://127.0.0.1:{self._server.port}{path}"

    async def received(self, count: int) -> None:
        """Wait until so many POSTs have come."""
        async with self._came, asyncio.timeout(30):
            await self._came.wait_for(lambda: len(self.bodies) >= count)

    def opened(self) -> list[Opened | str]:
        """Every POST opened with the merchant's keys, or the name of what is wrong with it."""
        return [self._open(body) for body in self.bodies]

    def payloads(self) -> list[dict[str, object]]:
        """The Data of those that are as they should be."""
        return [dict(each.payload) for each in self.opened() if isinstance(each, Opened)]

    def _open(self, body: bytes) -> Opened | str:
        try:
            return open_request(body, lambda _merchant_id, _platform_id: self._merchant)
        except EnvelopeError as error:
            return type(error).__name__

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        async with self._came:
            self.bodies.append(body)
            self.paths.append(request.url.path)
            self._came.notify_all()
            answer = self.answer(len(self.bodies))
        return Response(status_code=answer) if isinstance(answer, int) else Response(answer)
