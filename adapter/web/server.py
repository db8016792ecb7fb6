"""Serving an application on the loop that is already running, stopped by whoever started it.

uvicorn wants to own signals and the process; inside the adapter it may not, since SIGTERM belongs to `app`, which must
commit before it leaves.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adapter.errors import SettingsError

_BACKLOG = 2048
"""How many connections wait to be accepted; uvicorn's own number."""


class _QuietServer(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """One application on one port; `port` 0 takes a free one, told by `.port` after `start`."""

    def __init__(
        self,
        app: Starlette,
        *,
        host: str,
        port: int,
        purpose: str,
        protocol: type[asyncio.Protocol] = HttpToolsProtocol,
    ) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
        )
        self._server = _QuietServer(config)
        self._host = host
        self._purpose = purpose
        self._task: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> None:
        """Listen; returns once connections are taken.

        Raises SettingsError when the address cannot be listened on.
        """
        listener = self._bind()
        self.port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name=f"web-{self._purpose}")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110  # uvicorn offers a flag, no event
            await asyncio.sleep(0.01)

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Take no more connections, give requests that are here so long to be answered, and end."""
        self._server.config.timeout_graceful_shutdown = int(grace_seconds)
        self._server.should_exit = True
        if self._task is not None:
            await self._task
            self._task = None

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self.port))
            # At once: two processes can bind one port as long as neither listens, and the later one would learn of it
            # where nobody hears it, inside uvicorn.
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise SettingsError(
                f"{self._purpose}.port: {self._host}:{self.port} cannot be listened on ({error.strerror}); "
                f"set another port, 0 for a free one."
            ) from error
        return listener
