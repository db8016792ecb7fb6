"""The sandbox over HTTP: ECTicket's endpoints under the paths of both families, the operator's under `/_/`, the page.

Carries out the simulator's responses: waits, sends, or breaks the connection. Paths are case-insensitive unless the
settings are strict. `/_/` has no access control and belongs on loopback.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Final, TypeAlias

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from adapter.dev.sandbox.connection import connection_of, gone_within
from adapter.dev.sandbox.control_api import control_routes
from adapter.dev.sandbox.csrf import SameOriginOnly, foreign_page
from adapter.dev.sandbox.page import page_routes
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.simulator import Closed, Download, Reply, Simulator
from adapter.protocol.endpoints import Endpoint, Family, path

Now: TypeAlias = Callable[[], datetime]

# The families share all paths except that of Issue; a shared one counts as family `ticket`, which is added last.
_PATHS: Final = {path(endpoint, family): (endpoint, family) for family in reversed(Family) for endpoint in Endpoint}

# Without a charset: the encoding of reports is undocumented, and a client must find it out.
_CSV: Final = {"content-type": "text/csv"}
_CLOSING_SECONDS: Final = 5.0
"""How long to wait for an aborted connection; it takes one iteration of the loop."""


def utc_now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def create_app(settings: SandboxSettings, *, now: Now = utc_now) -> Starlette:
    """A sandbox as an ASGI application; only `RunningSandbox` and `serve` can lose answers and send notifications."""
    return application(Simulator(settings), now)


def application(simulator: Simulator, now: Now) -> Starlette:
    """The ASGI application of a simulator."""
    host = simulator.settings.host
    no_other_page = Middleware(
        SameOriginOnly, host=host, rejection=lambda _method, headers, configured: foreign_page(headers, configured)
    )
    ecticket = Route("/{rest:path}", EcticketEndpoint(simulator, now), middleware=[no_other_page])
    same_origin_only = Middleware(SameOriginOnly, host=host)
    control_api = Mount("/_", routes=control_routes(simulator, now), middleware=[same_origin_only])
    return Starlette(routes=[*page_routes(), control_api, ecticket])


class EcticketEndpoint:
    """ECTicket's endpoints: an ASGI application, because only those see the connection."""

    def __init__(self, simulator: Simulator, now: Now) -> None:
        self._simulator = simulator
        self._now = now
        self._strict = simulator.settings.strict_paths
        self._paths = _PATHS if self._strict else {name.lower(): target for name, target in _PATHS.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, or break its connection."""
        target = self._paths.get(scope["path"] if self._strict else scope["path"].lower())
        if target is None or scope["method"] != "POST":
            await _bare(404 if target is None else 405)(scope, receive, send)
            return
        body = await _read(receive, self._simulator.settings.max_body_bytes)
        if body is None:
            return
        if len(body) > self._simulator.settings.max_body_bytes:
            await _bare(413)(scope, receive, send)
            return
        await self._answer(*target, body, scope, receive, send)

    async def _answer(
        self, endpoint: Endpoint, family: Family, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        response = self._simulator.respond(endpoint, family, body, self._now())
        if response.after_seconds and await gone_within(receive, response.after_seconds):
            return
        match response.answer:
            case Closed(reset=reset):
                connection_of(scope).close(reset=reset)
                await gone_within(receive, _CLOSING_SECONDS)
            case Download(chunks=chunks):
                await StreamingResponse(_stream(chunks), headers=_CSV)(scope, receive, send)
            case Reply(status=status, body=answer, retry_after=retry_after):
                headers: dict[str, str] = {"content-type": self._simulator.settings.answer_type}
                if retry_after is not None:
                    headers["retry-after"] = str(retry_after)
                await Response(answer, status, headers)(scope, receive, send)


def _bare(status: int) -> Response:
    return Response(status_code=status)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The request's body, cut off soon after `limit`; None when the client left before it was whole."""
    parts: list[bytes] = []
    size, more = 0, True
    while more and size <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    return b"".join(parts)


async def _stream(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces one after another, all generated on the loop, which owns the order store."""
    for chunk in chunks:
        yield chunk
