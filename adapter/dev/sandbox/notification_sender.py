"""Sends the queued notifications over HTTP: at most `notify_concurrency` POSTs at once.

It connects only to addresses from Issue requests, follows no redirect and uses no proxy. `notification_envelope` judges
answers; this module names the ways in which no answer came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Final

import httpx

from adapter.dev.sandbox.notification_envelope import Verdict, judge, seal_notification
from adapter.dev.sandbox.notification_queue import Delivery, NotificationQueue, Sent
from adapter.dev.sandbox.notifications import OutgoingNotification
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.protocol.credentials import Merchant

LARGEST_ANSWER: Final = 65_536
POLL_SECONDS: Final = 0.1
"""Polling interval while something waits: a clock that a test moves wakes no sleeping task."""


class NotificationSender:
    """Sends due notifications while `run` runs."""

    def __init__(self, queue: NotificationQueue, settings: SandboxSettings, now: Callable[[], datetime]) -> None:
        self._queue = queue
        self._settings = settings
        self._now = now
        self._merchants = {(each.merchant_id, each.platform_id): each for each in settings.merchants}
        self._free = settings.notify_concurrency
        self._wake = asyncio.Event()
        self._noted = asyncio.Condition()
        queue.on_change = self._wake.set

    async def run(self) -> None:
        """Send until cancelled; running requests are then aborted."""
        try:
            async with asyncio.TaskGroup() as sendings:
                while True:
                    await self._until_due()
                    for delivery in self._queue.take(self._now(), self._free):
                        self._free -= 1
                        sendings.create_task(self._deliver(delivery))
        finally:
            if "_client" in vars(self):
                await self._client.aclose()

    async def all_delivered(self) -> None:
        """Wait until every notification is answered or given up."""
        async with self._noted:
            await self._noted.wait_for(lambda: not self._queue.open_count)

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """Made at first use, because certificates are slow to load; a kept-alive connection could be dead."""
        limits = httpx.Limits(max_connections=self._settings.notify_concurrency, max_keepalive_connections=0)
        return httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False, timeout=None)  # noqa: S113 # `_post` limits the whole of it

    async def _until_due(self) -> None:
        """Wait until something may be due and can be sent, or until something changed."""
        self._wake.clear()
        due = self._queue.next_due()
        if due is None or not self._free:
            await self._wake.wait()
            return
        seconds = (due - self._now()).total_seconds()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, POLL_SECONDS)):
                    await self._wake.wait()

    async def _deliver(self, delivery: Delivery) -> None:
        """One attempt: as many identical POSTs as the faults require, one after another."""
        sent = [await self._send(delivery, copy) for copy in range(1, delivery.injected.copies + 1)]
        self._queue.record_attempt(delivery, sent, self._now())
        self._free += 1
        self._wake.set()
        async with self._noted:
            self._noted.notify_all()

    async def _send(self, delivery: Delivery, copy: int) -> Sent:
        notification, tampered = delivery.notification, delivery.injected.tampered
        merchant = self._merchants[notification.merchant_id, notification.platform_id]
        now = self._now()
        body = seal_notification(
            notification, merchant, self._settings, timestamp=int(now.timestamp()), tampered=tampered
        )
        verdict = await self._post(notification, merchant, body)
        return Sent(attempt=delivery.attempt, copy=copy, at=now, tampered=tampered, verdict=verdict)

    async def _post(self, notification: OutgoingNotification, merchant: Merchant, body: bytes) -> Verdict:
        seconds = self._settings.notify_timeout_seconds
        if not _usable(notification.url):
            return Verdict(name="not_reached", message="the address cannot be used")
        try:
            async with asyncio.timeout(seconds):
                status, answer = await self._exchange(notification.url, body)
        except TimeoutError:
            return Verdict(name="timed_out", message=f"no answer within {seconds:g} seconds")
        except httpx.ConnectError:
            return Verdict(name="not_reached", message="no connection to that address")
        except httpx.HTTPError:
            return Verdict(name="connection_lost", message="the connection ended before the answer was whole")
        if answer is None:
            return Verdict(name="too_large", message=f"more than {LARGEST_ANSWER} bytes of answer", http_status=status)
        return judge(status, answer, merchant, self._settings)

    async def _exchange(self, url: str, body: bytes) -> tuple[int, bytes | None]:
        """The answer's status and body; None for a body that is too large."""
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("POST", url, content=body, headers=headers) as response:
            answer = bytearray()
            async for part in response.aiter_raw():
                answer += part
                if len(answer) > LARGEST_ANSWER:
                    return response.status_code, None
            return response.status_code, bytes(answer)


def _usable(url: str) -> bool:
    """Whether a connection is possible at all: a host, and a port that exists.

    Issue accepts any text that looks like an address, and below the HTTP client some of them raise undocumented errors.
    """
    try:
        address = httpx.URL(url)
        address.host.encode("idna")
    except (httpx.InvalidURL, ValueError):
        return False
    return bool(address.host) and (address.port is None or 0 < address.port < 65_536)
