"""A sandbox and a merchant in a thread, so that a test can drive the browser one line after another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TypeVar

import httpx
from dev.sandbox.helpers import MERCHANT, Clock, Payload
from dev.sandbox.receiver import Receiver

from adapter.dev.sandbox import RunningSandbox, SandboxSettings
from adapter.protocol.endpoints import Endpoint, Family, path
from adapter.protocol.envelope import open_response, seal_request

TIMEOUT_SECONDS = 30

_Result = TypeVar("_Result")


class BrowserHarness:
    """What runs, and the calls a test makes to it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sandbox: RunningSandbox, receiver: Receiver, clock: Clock
    ) -> None:
        self._loop = loop
        self.sandbox = sandbox
        self.receiver = receiver
        self.clock = clock
        self.base_url = sandbox.base_url
        self.urls = {"RefundNotifyURL": receiver.url("/refund"), "UseStatusNotifyURL": receiver.url("/use")}

    def issue(self, order: Payload) -> None:
        """Have an order's tickets issued."""
        body = seal_request(order, MERCHANT, timestamp=int(self.clock.now.timestamp()))
        answer = httpx.post(self.base_url + path(Endpoint.ISSUE, Family.TICKET), content=body, trust_env=False)
        payload = open_response(answer.content, MERCHANT).payload
        assert payload is not None
        assert payload["RtnCode"] == 1, payload

    def put(self, what: str, document: object) -> None:
        """Change something at the sandbox as an operator's program would."""
        httpx.put(f"{self.base_url}/_/{what}", json=document, trust_env=False).raise_for_status()

    def notifications(self, count: int) -> list[dict[str, object]]:
        """What the merchant received, once so many notifications have come whose checksum fits."""
        self._run(self.receiver.received(count))
        return self.receiver.payloads()

    def _run(self, work: Coroutine[object, object, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_SECONDS)


@contextmanager
def open_harness(settings: SandboxSettings) -> Iterator[BrowserHarness]:
    """Everything on any free ports of loopback; the clock stands until the test moves it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    stack, clock = AsyncExitStack(), Clock()

    async def start() -> BrowserHarness:
        receiver = await stack.enter_async_context(Receiver())
        sandbox = await stack.enter_async_context(RunningSandbox(settings, now=clock))
        return BrowserHarness(loop, sandbox, receiver, clock)

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(TIMEOUT_SECONDS)
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(TIMEOUT_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_SECONDS)
        loop.close()
