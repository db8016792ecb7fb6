"""Receives ECTicket's notifications over HTTP (docs/callbacks.md).

This port is reachable from the internet. So every request is limited, and every refusal is the same answer after the
same time: if an attacker could distinguish wrong padding from a wrong checksum, also by timing, recorded messages could
be decrypted. The exact reason is counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from adapter.errors import EnvelopeError, StreamError
from adapter.flows.receive import NotificationReceiver, reason
from adapter.protocol.notification import CallbackKind
from adapter.web.connection_limits import EXPENDABLE, ConnectionLimits
from adapter.web.refusal_log import log_refusal
from adapter.web.server import WebServer

MAX_BODY_BYTES = 64 * 1024
REFUSAL_DELAY_SECONDS = 0.1
"""Time from a complete request to its refusal: longer than any check takes."""
LARGE_BODY_BYTES = 8 * 1024
"""ECPay's known notifications have less than 2 KiB."""
LARGE_BODIES_PER_SECOND = 20
LARGE_BODIES_WAITING = 16

UNOPENED = ("too-large", "cut-off", "too-busy", "internal-error")
"""The outcomes of requests that end before they are opened, or by a defect of the adapter."""

_SERVER = "callbacks"
"""The name of this server in log lines and errors."""

_log = logging.getLogger(__name__)


class RunningPublisher(Protocol):
    """The part of the publisher that the server runs and watches."""

    @property
    def connected(self) -> bool: ...
    @property
    def last_heartbeat(self) -> float: ...
    async def run(self, stop: asyncio.Event) -> None: ...


class CallbackObserver(Protocol):
    """Counts the outcomes of requests, for metrics. Called on the event loop: must be quick and must not raise."""

    def notification_ended(self, posted_to: str, outcome: str) -> None:
        """A request ended before it was opened."""

    def notification_answered(self, seconds: float) -> None:
        """A notification was published and answered, `seconds` after its complete request."""

    def connection_closed(self, reason: str) -> None:
        """A connection exceeded its limits and was closed."""


class _TooLargeError(Exception):
    """The body is longer than any notification."""


class _CutOffError(Exception):
    """The connection ended before the body did."""


class _BusyError(Exception):
    """Too many large bodies wait for their turn."""


class _LargeBodies:
    """Opens large bodies one after another: decrypting and verifying 64 KiB takes as long as sixty small ones."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._not_before = 0.0
        self._waiting = 0

    async def take_turn(self) -> None:
        """Wait until the next large body may be opened. Raises _BusyError if too many wait."""
        if self._waiting >= LARGE_BODIES_WAITING:
            raise _BusyError
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                await asyncio.sleep(self._not_before - time.monotonic())
                self._not_before = time.monotonic() + 1 / LARGE_BODIES_PER_SECOND
        finally:
            self._waiting -= 1


class _NotificationEndpoint:
    """The ASGI endpoint of one callback path."""

    def __init__(
        self,
        kind: CallbackKind,
        receiver: NotificationReceiver,
        observer: CallbackObserver,
        large_bodies: _LargeBodies,
    ) -> None:
        self._kind = kind
        self._large_bodies = large_bodies
        self._receiver = receiver
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _body(scope, receive)
            if len(body) > LARGE_BODY_BYTES:
                await self._large_bodies.take_turn()
        except _TooLargeError:
            self._observer.notification_ended(self._kind, "too-large")
            log_refusal(_SERVER, "too-large", self._kind)
            await _refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        except _CutOffError:
            self._observer.notification_ended(self._kind, "cut-off")
            return
        except _BusyError:
            self._observer.notification_ended(self._kind, "too-busy")
            log_refusal(_SERVER, "too-busy", self._kind)
            _give_up_slot(scope)
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
            return
        await self._receive_notification(body, scope, send)

    async def _receive_notification(self, body: bytes, scope: Scope, send: Send) -> None:
        began = time.monotonic()
        try:
            answer = await self._receiver.receive(body, self._kind)
        except EnvelopeError as error:
            log_refusal(_SERVER, reason(error), self._kind)
            _give_up_slot(scope)
            await asyncio.sleep(began + REFUSAL_DELAY_SECONDS - time.monotonic())
            await _refuse(send, HTTPStatus.BAD_REQUEST)
        except StreamError as error:
            log_refusal(_SERVER, reason(error), self._kind)
            await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:  # noqa: BLE001  # the top of a request: counted, logged, and not shown to the sender
            # A bug of the adapter: ECPay sends again, and the log shows it to the operator.
            _log.exception("notification-error", extra={"callback": str(self._kind)})
            self._observer.notification_ended(self._kind, "internal-error")
            await _refuse(send, HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            if answer.repeated:
                _give_up_slot(scope)
                await asyncio.sleep(began + REFUSAL_DELAY_SECONDS - time.monotonic())
            await _answer(send, HTTPStatus.OK, b"application/json", answer.body)
            self._observer.notification_answered(time.monotonic() - began)


def callbacks_app(
    receiver: NotificationReceiver,
    observer: CallbackObserver,
    paths: Mapping[CallbackKind, str],
) -> Starlette:
    """Return the receiver's application; `paths` are those that Issue requests contain."""
    large_bodies = _LargeBodies()
    routes = [
        Route(path, _NotificationEndpoint(kind, receiver, observer, large_bodies), methods=["POST"])
        for kind, path in paths.items()
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _other_address})
    app.router.redirect_slashes = False
    return app


def _other_address(_request: Request, error: Exception) -> Response:
    """Answer a request with an unknown path or method as starlette does, and log it."""
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    reason = "no-such-method" if status == HTTPStatus.METHOD_NOT_ALLOWED else "no-such-address"
    log_refusal(_SERVER, reason, "other")
    return PlainTextResponse(HTTPStatus(status).phrase, status_code=status, headers=getattr(error, "headers", None))


class ReceiveStage:
    """The server and the publisher behind it; see `app.RunningStage`.

    It listens from `start` and publishes during `run`. Before that, or while no broker is available, a request gets an
    error within a few seconds, and ECPay sends it again.
    """

    assigned: frozenset[tuple[str, int]] = frozenset()
    standing_by = True
    problems: Sequence[str] = ()

    def __init__(
        self,
        app: Starlette,
        publisher: RunningPublisher,
        observer: CallbackObserver,
        *,
        host: str,
        port: int,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._publisher = publisher
        self._server = WebServer(
            app, host=host, port=port, purpose=_SERVER, limits=limits, on_closed=observer.connection_closed
        )
        self._stop = asyncio.Event()

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._server.port

    @property
    def connected(self) -> bool:
        """Whether notifications can be published."""
        return self._publisher.connected

    @property
    def last_heartbeat(self) -> float:
        """When the publisher's loop last ran."""
        return self._publisher.last_heartbeat

    async def start(self) -> None:
        """Start to listen. Raises SettingsError if the adapter cannot listen on the address."""
        await self._server.start()
        _log.info("callbacks-listening", extra={"port": self.port})

    async def run(self) -> None:
        """Publish until stopped."""
        await self._publisher.run(self._stop)

    async def stop(self, grace_seconds: float) -> None:
        """Accept no more requests, answer those that have arrived, and end. May be called again."""
        await self._server.stop(grace_seconds)
        self._stop.set()


async def _body(scope: Scope, receive: Receive) -> bytes:
    """Return the whole body. Raises _TooLargeError as early as possible, and _CutOffError."""
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > MAX_BODY_BYTES:
            raise _TooLargeError
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _CutOffError
        body += message["body"]
        if len(body) > MAX_BODY_BYTES:
            raise _TooLargeError
        if not message["more_body"]:
            return bytes(body)


def _give_up_slot(scope: Scope) -> None:
    give_up_slot = scope["state"].get(EXPENDABLE)
    if give_up_slot is not None:
        give_up_slot()


async def _refuse(send: Send, status: HTTPStatus) -> None:
    """Send the status and nothing else; the rest of the request is read within the limits and dropped."""
    await _answer(send, status, b"text/plain", status.phrase.encode())


async def _answer(send: Send, status: HTTPStatus, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
