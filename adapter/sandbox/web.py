"""The sandbox over HTTP: ECTicket's endpoints where both families place them, the operator's under `/_/`, the page.

Carries out what the desk decided: waits, sends, or breaks the connection. Paths are found case-insensitively unless the
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

from adapter.protocol.endpoints import Endpoint, Family, path
from adapter.sandbox.connection import connection_of, gone_within
from adapter.sandbox.desk import Closed, Desk, Download, Reply
from adapter.sandbox.operator import operator_routes
from adapter.sandbox.origin import OwnPagesOnly
from adapter.sandbox.page import page_routes
from adapter.sandbox.settings import SandboxSettings

Now: TypeAlias = Callable[[], datetime]

# The families share all paths but that of Issue; a shared one counts as family `ticket`, which is entered last.
_PATHS: Final = {path(endpoint, family): (endpoint, family) for family in reversed(Family) for endpoint in Endpoint}

# Without a charset: the encoding of reports is undocumented, and a client must find it out.
_CSV: Final = {"content-type": "text/csv"}
_CLOSING_SECONDS: Final = 5.0
"""How long to wait for a connection that was aborted; it takes one turn of the loop."""


def utc_now() -> datetime:
    """The clock on the wall."""
    return datetime.now(UTC)


def create_app(settings: SandboxSettings, *, now: Now = utc_now) -> Starlette:
    """A sandbox as an ASGI application; only `RunningSandbox` and `serve` can lose answers and send notifications."""
    return application(Desk(settings), now)


def application(desk: Desk, now: Now) -> Starlette:
    """The ASGI application in front of a desk."""
    ecticket = Route("/{rest:path}", EcticketEndpoint(desk, now))
    own_pages_only = Middleware(OwnPagesOnly, host=desk.settings.host)
    operator = Mount("/_", routes=operator_routes(desk, now), middleware=[own_pages_only])
    return Starlette(routes=[*page_routes(), operator, ecticket])


class EcticketEndpoint:
    """Everything that is not the operator's: an ASGI application, because only those see the connection."""

    def __init__(self, desk: Desk, now: Now) -> None:
        self._desk = desk
        self._now = now
        self._strict = desk.settings.strict_paths
        self._paths = _PATHS if self._strict else {name.lower(): place for name, place in _PATHS.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call, or do not."""
        place = self._paths.get(scope["path"] if self._strict else scope["path"].lower())
        if place is None or scope["method"] != "POST":
            await _bare(404 if place is None else 405)(scope, receive, send)
            return
        body = await _read(receive, self._desk.settings.max_body_bytes)
        if body is None:
            return
        if len(body) > self._desk.settings.max_body_bytes:
            await _bare(413)(scope, receive, send)
            return
        await self._answer(*place, body, scope, receive, send)

    async def _answer(
        self, endpoint: Endpoint, family: Family, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        turn = self._desk.take(endpoint, family, body, self._now())
        if turn.after_seconds and await gone_within(receive, turn.after_seconds):
            return
        match turn.answer:
            case Closed(reset=reset):
                connection_of(scope).close(reset=reset)
                await gone_within(receive, _CLOSING_SECONDS)
            case Download(chunks=chunks):
                await StreamingResponse(_stream(chunks), headers=_CSV)(scope, receive, send)
            case Reply(status=status, body=answer, retry_after=retry_after):
                headers: dict[str, str] = {"content-type": self._desk.settings.answer_type}
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
    """The pieces one after another, all made on the loop, where the books live."""
    for chunk in chunks:
        yield chunk
