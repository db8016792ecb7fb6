"""Serves an application on the running event loop, within the limits of `connection_limits`.

uvicorn handles signals by default. Inside the adapter it must not: `app` handles SIGTERM, because it must commit before
the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial

import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

from adapter.errors import SettingsError
from adapter.web.acceptor import Acceptor
from adapter.web.connection_limits import READ_BYTES, ConnectionLimits, LimitedProtocol
from adapter.web.connection_slots import ConnectionSlots
from adapter.web.refusal_log import log_refusal

BACKLOG = 2048
"""Connections that may wait to be accepted; uvicorn's own number. The system may allow fewer (`net.core.somaxconn`)."""

RECEIVE_BUFFER_BYTES = 16 * 1024
"""What the kernel keeps of what a connection has sent and is not read yet, also while it waits to be accepted; Linux
doubles it. With the default, 128 KiB, a full queue would take 256 MiB of the container's memory.
"""


class _DatedState(ServerState):
    """What the connections of one server share; the Date of an answer is made when there is one."""

    def __init__(self) -> None:
        self._second = 0
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()

    @property  # uvicorn has an attribute, which its own main loop replaces once in a second
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of every answer that begins now."""
        second = int(time.time())
        if second != self._second:
            self._second, self._headers = second, [(b"date", formatdate(second, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Ignore uvicorn's initial value."""


class _QuietServer(uvicorn.Server):
    """A uvicorn server that does not handle signals, and whose loop does not run ten times in a second for nothing."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state = _DatedState()
        self.stop_requested = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Serve until `stop_requested` is set."""
        await self.stop_requested.wait()


class WebServer:
    """Serves one application on one port; for `port` 0, `.port` is the free port that `start` took.

    `on_closed` is called with the reason for each connection that exceeds the limits; such a reason is also logged.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        host: str,
        port: int,
        purpose: str,
        limits: ConnectionLimits | None = None,
        on_closed: Callable[[str], None] | None = None,
    ) -> None:
        def closed(reason: str) -> None:
            log_refusal(purpose, reason, "connection")
            if on_closed is not None:
                on_closed(reason)

        config = uvicorn.Config(
            app,
            http=LimitedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
        )
        self._server = _QuietServer(config)
        limits = limits or ConnectionLimits()
        self._slots = ConnectionSlots(limits.connections)
        self._make_protocol = partial(
            LimitedProtocol,
            config,
            self._server.server_state,
            limits=limits,
            slots=self._slots,
            buffer=memoryview(bytearray(READ_BYTES)),
            on_closed=closed,
        )
        self._host = host
        self._purpose = purpose
        self._task: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> None:
        """Start to listen; returns once connections are accepted.

        Raises SettingsError if the adapter cannot listen on the address.
        """
        self._listener = listener = self._bind()
        self.port = listener.getsockname()[1]
        # Without a listener of its own: uvicorn runs the connections that it gets.
        self._task = asyncio.create_task(self._server.serve(sockets=[]), name=f"web-{self._purpose}")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110  # uvicorn has a flag and no event
            await asyncio.sleep(0.01)
        acceptor = Acceptor(listener, self._slots, self._make_protocol)
        self._accepting = asyncio.create_task(acceptor.run(), name=f"accept-{self._purpose}")

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Accept no more connections, answer open requests within the grace, and end."""
        await self._stop_accepting()
        self._server.config.timeout_graceful_shutdown = int(grace_seconds)
        self._server.should_exit = True
        self._server.stop_requested.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait({self._accepting})
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _problem(self, error: OSError) -> str:
        """Which setting is wrong, and what to do."""
        setting, cure = "port", "Set another port, or 0 for a free one."
        if isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            setting, cure = "host", "Set an address of this machine, such as 0.0.0.0, or :: for IPv6."
        elif error.errno == errno.EADDRINUSE:
            cure = "Another process or server of this pod listens there: set another port, or 0 for a free one."
        elif error.errno == errno.EACCES:
            cure = "Only a privileged user may use it: set a port above 1023."
        where = f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"
        return f"{self._purpose}.{setting}: {where} is not available ({error.strerror}). {cure}"

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)  # its connections inherit it
        try:
            if family == socket.AF_INET6:  # `::` also takes IPv4, whatever the system's default is
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((self._host, self.port))
            # Listen here: two processes can bind one port as long as neither listens, and the error of the later one
            # would be lost inside uvicorn.
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise SettingsError(self._problem(error)) from error
        return listener
