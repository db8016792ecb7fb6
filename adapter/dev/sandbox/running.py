"""A sandbox on a real socket: inside this process for tests and the demo, or as a process of its own.

uvicorn's HTTP protocol runs under our own accept loop, because uvicorn's server handles the process's signals itself
and needs a tenth of a second to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.server import ServerState

from adapter import event_loop
from adapter.dev.sandbox.catalogue import ItemCatalogue
from adapter.dev.sandbox.connection import SandboxProtocol
from adapter.dev.sandbox.faults import Faults
from adapter.dev.sandbox.notification_queue import NotificationQueue
from adapter.dev.sandbox.notification_sender import NotificationSender
from adapter.dev.sandbox.order_store import OrderStore
from adapter.dev.sandbox.redemption import Declined, Done
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.simulator import Simulator
from adapter.dev.sandbox.stats import Stats
from adapter.dev.sandbox.ticket_states import Act
from adapter.dev.sandbox.web import Now, application, utc_now
from adapter.errors import SettingsError
from adapter.protocol.issue import TradeNoKind


class RunningSandbox:
    """A sandbox that serves until the `async with` block ends.

        async with RunningSandbox() as sandbox:
            ...  # call sandbox.base_url, look at sandbox.order_store

    Without settings it uses a free port of loopback. `now` may be any clock that returns aware times.
    """

    def __init__(self, settings: SandboxSettings | None = None, *, now: Now = utc_now) -> None:
        self.settings = settings or SandboxSettings(port=0)
        self._now = now
        self._simulator = Simulator(self.settings)
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._sender = NotificationSender(self._simulator.notification_queue, self.settings, self._now)
        self._sending: asyncio.Task[None] | None = None

    @property
    def order_store(self) -> OrderStore:
        """Every order, including due late effects."""
        self._simulator.catch_up(self._now())
        return self._simulator.order_store

    @property
    def catalogue(self) -> ItemCatalogue:
        """The items."""
        return self._simulator.catalogue

    @property
    def faults(self) -> Faults:
        """The faults in force; `arm` and `clear` change them."""
        return self._simulator.faults

    @property
    def stats(self) -> Stats:
        """The counters."""
        return self._simulator.stats

    @property
    def notification_queue(self) -> NotificationQueue:
        """The notifications: waiting, under way and finished."""
        return self._simulator.notification_queue

    async def all_delivered(self) -> None:
        """Wait until every notification is answered or given up, while it serves."""
        await self._sender.all_delivered()

    def redeem(
        self, merchant_id: str, trade_no: str, ticket_no: str | None = None, *, kind: TradeNoKind | None = None
    ) -> Done:
        """Redeem one ticket of an order, or every possible one, as `POST /_/orders/.../redeem` does.

        Call this on the loop that serves; from another thread, use the POST.

        Raises:
            ValueError: it is impossible; the message gives the reason, and nothing was done.
        """
        return self._use(Act.REDEEM, merchant_id, trade_no, ticket_no, kind)

    def refund(
        self, merchant_id: str, trade_no: str, ticket_no: str | None = None, *, kind: TradeNoKind | None = None
    ) -> Done:
        """Refund in the same way. Raises as `redeem` does."""
        return self._use(Act.REFUND, merchant_id, trade_no, ticket_no, kind)

    @property
    def base_url(self) -> str:
        """The sandbox's URL, without a slash at the end.

        Raises:
            RuntimeError: it is not serving.
        """
        if self._server is None:
            raise RuntimeError("the sandbox is not serving: enter it with `async with` first")
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            SettingsError: the host and port cannot be bound.
        """
        config = self._config()
        config.load()

        def accept() -> SandboxProtocol:
            return SandboxProtocol(config=config, server_state=self._state, app_state={})

        host, port = self.settings.host, self.settings.port
        try:
            self._server = await asyncio.get_running_loop().create_server(accept, host, port)
        except OSError as error:
            raise SettingsError(f"cannot listen at {host}:{port} ({error.strerror}); choose another port") from error
        self._sending = asyncio.create_task(self._sender.run(), name="sandbox-notifications")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, as `aclose`."""
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening and sending, break open connections, and wait for their handlers to end."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.transport.abort()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        await self._server.wait_closed()
        self._server = None
        if self._sending is not None:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending

    def _use(self, act: Act, merchant_id: str, trade_no: str, ticket_no: str | None, kind: TradeNoKind | None) -> Done:
        now = self._now()
        self._simulator.catch_up(now)
        key = self._simulator.redemptions.find(merchant_id, trade_no, kind)
        if key is None:
            raise ValueError(f"no order of merchant {merchant_id} has the number {trade_no}")
        done = self._simulator.redemptions.carry_out(act, key, ticket_no, now)
        match done:
            case Declined(message=message):
                raise ValueError(message)
            case Done():
                return done

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            application(self._simulator, self._now),
            http=SandboxProtocol,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=self.settings.keep_alive_seconds,
        )


def serve(settings: SandboxSettings, *, ready: Callable[[str], None] = lambda _base_url: None) -> None:
    """Serve until SIGINT or SIGTERM, then return; `ready` is called with the base URL once the socket listens.

    For the main thread of a process. Keys cannot be pickled, so a process spawned for this builds its settings itself.

    Raises:
        SettingsError: the host and port cannot be bound.
    """
    event_loop.run(_serve(settings, ready))


async def _serve(settings: SandboxSettings, ready: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: there, Ctrl-C ends asyncio.run by itself
            loop.add_signal_handler(number, stop.set)
    async with RunningSandbox(settings) as sandbox:
        ready(sandbox.base_url)
        await stop.wait()
