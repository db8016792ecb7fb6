"""The port on which ECTicket's notifications arrive (contract, section 7).

It is the one port that strangers reach. So everything about a request is bounded, and a refusal tells nothing: whatever
was wrong, it is the same answer after the same time, since by telling a wrong padding from a wrong checksum, be it by
how long that takes, one can decrypt what one has recorded. What exactly was wrong is counted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Protocol

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from adapter.errors import EnvelopeError, StreamError
from adapter.flows.receive import Receiver, reason
from adapter.protocol.notification import CallbackKind
from adapter.web.connection_limits import ConnectionLimits, limited_protocol
from adapter.web.refusal_log import RefusalLog
from adapter.web.server import WebServer

LARGEST_BODY = 64 * 1024
REFUSED_AFTER_SECONDS = 0.1
"""From the whole request to a refusal: longer than any reason for one takes to find."""

_log = structlog.stdlib.get_logger(__name__)


class RunningPublisher(Protocol):
    """The part of the publisher that the server runs and watches."""

    @property
    def in_touch(self) -> bool: ...
    @property
    def last_heartbeat(self) -> float: ...
    async def run(self, stop: asyncio.Event) -> None: ...


class CallbackObserver(Protocol):
    """Is told what became of requests, for metrics. Called on the loop: quick, and never raising."""

    def notification_ended(self, posted_to: str, end: str) -> None:
        """One came to an end before it was opened."""

    def notification_answered(self, seconds: float) -> None:
        """One was published and answered, so long after the whole request was there."""

    def connection_closed(self, reason: str) -> None:
        """A connection went beyond its bounds."""


class _TooLargeError(Exception):
    """The body is longer than any notification."""


class _CutOffError(Exception):
    """The connection ended before the body did."""


class _NotificationEndpoint:
    """One address: from a request to a notification, and back."""

    def __init__(
        self, kind: CallbackKind, receiver: Receiver, observer: CallbackObserver, refusals: RefusalLog
    ) -> None:
        self._kind = kind
        self._refusals = refusals
        self._receiver = receiver
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await _body(scope, receive)
        except _TooLargeError:
            self._observer.notification_ended(self._kind, "too-large")
            self._refusals.note("too-large", self._kind)
            await _refuse(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        except _CutOffError:
            self._observer.notification_ended(self._kind, "cut-off")
            return
        await self._receive_notification(body, send)

    async def _receive_notification(self, body: bytes, send: Send) -> None:
        began = time.monotonic()
        try:
            answer = await self._receiver.receive(body, self._kind)
        except EnvelopeError as error:
            self._refusals.note(reason(error), self._kind)
            await asyncio.sleep(began + REFUSED_AFTER_SECONDS - time.monotonic())
            await _refuse(send, HTTPStatus.BAD_REQUEST)
        except StreamError as error:
            self._refusals.note(reason(error), self._kind)
            await _refuse(send, HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:  # noqa: BLE001  # the top of a request: counted, logged, and not shown to a stranger
            # A mistake of ours: ECPay sends again, and somebody must hear of it.
            _log.exception("a notification could not be received")
            self._observer.notification_ended(self._kind, "internal-error")
            await _refuse(send, HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            await _answer(send, HTTPStatus.OK, b"application/json", answer)
            self._observer.notification_answered(time.monotonic() - began)


def callbacks_app(
    receiver: Receiver,
    observer: CallbackObserver,
    paths: Mapping[CallbackKind, str],
    refusals: RefusalLog | None = None,
) -> Starlette:
    """The receiver's application; the paths are those that Issue requests carry."""
    refusals = refusals or RefusalLog()
    routes = [
        Route(path, _NotificationEndpoint(kind, receiver, observer, refusals), methods=["POST"])
        for kind, path in paths.items()
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _other_address(refusals)})
    app.router.redirect_slashes = False
    return app


def _other_address(refusals: RefusalLog) -> Callable[[Request, Exception], Response]:
    """Answers what is at no address of the receiver's, or comes by another method, as starlette does; and logs it."""

    def answer(_request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
        refusals.note("no-such-method" if status == HTTPStatus.METHOD_NOT_ALLOWED else "no-such-address", "other")
        return PlainTextResponse(HTTPStatus(status).phrase, status_code=status, headers=getattr(error, "headers", None))

    return answer


class ReceiveStage:
    """The port and the publisher behind it; see `app.RunningStage`.

    It listens from its start on, and publishes while it runs: what comes before, or while no broker answers, is
    answered with an error within some seconds, and ECPay sends it again.
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
        refusals = RefusalLog()

        def closed(reason: str) -> None:
            observer.connection_closed(reason)
            refusals.note(reason, "connection")

        self._server = WebServer(
            app,
            host=host,
            port=port,
            purpose="callbacks",
            protocol=limited_protocol(limits or ConnectionLimits(), closed),
        )
        self._stop = asyncio.Event()

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._server.port

    @property
    def in_touch(self) -> bool:
        """Whether what comes can be published."""
        return self._publisher.in_touch

    @property
    def last_heartbeat(self) -> float:
        """When the publisher's loop last turned."""
        return self._publisher.last_heartbeat

    async def start(self) -> None:
        """Listen. Raises SettingsError when the address cannot be listened on."""
        await self._server.start()
        _log.info("listening for notifications", port=self.port)

    async def run(self) -> None:
        """Publish until stopped."""
        await self._publisher.run(self._stop)

    async def stop(self, grace_seconds: float) -> None:
        """Take no more requests, answer those that are here, end; stopping what has ended is fine."""
        await self._server.stop(grace_seconds)
        self._stop.set()


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The whole body. Raises _TooLargeError as soon as it is known to be, and _CutOffError."""
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > LARGEST_BODY:
            raise _TooLargeError
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _CutOffError
        body += message["body"]
        if len(body) > LARGEST_BODY:
            raise _TooLargeError
        if not message["more_body"]:
            return bytes(body)


async def _refuse(send: Send, status: HTTPStatus) -> None:
    """Say the status and nothing else; what may still come of the request is read within bounds and not kept."""
    await _answer(send, status, b"text/plain", status.phrase.encode())


async def _answer(send: Send, status: HTTPStatus, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})
