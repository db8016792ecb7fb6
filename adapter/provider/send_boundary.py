"""The instant at which a request leaves: the line between "nothing can have happened" and "anything can have".

Exists because that line decides about money, and no exception's name draws it reliably: a connection may be found
closed before or after the first byte, a time-out may come on either side. So the transport calls `authorize_send` in
the same step in which it writes, and whatever happens to the call is judged by whether that was passed.

`authorize_send` checks the caller's lease (architecture section 2: "seal the envelope, then, as close to the write as
the client allows, check that this partition is still ours, then write"), and sets the deadline over from waiting for a
connection to waiting for the answer. Refuses to know sockets and tickets.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import httpx

from adapter.errors import InDoubt, NotSent
from adapter.provider.time_source import TimeSource

NEVER_WRITTEN: tuple[type[httpx.HTTPError], ...] = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
"""What httpx raises only before a request is written; believed where a transport cannot tell the departure."""


class SendBoundary:
    """The departure of one request.

    `authorize_send` is called last before the write and may raise to forbid it. `deadline` guards the whole call: until
    the departure it limits the wait for a connection, from then on the `answer_seconds` for the whole answer.
    `called_by_transport` False means that the transport cannot say when it writes, so that `authorize_send` was called
    before it was even asked. `at` and `at_steady` are the instant, once it is past.
    """

    def __init__(
        self,
        *,
        authorize_send: Callable[[], None],
        deadline: asyncio.Timeout,
        answer_seconds: float,
        clock: TimeSource,
        called_by_transport: bool,
    ) -> None:
        self.at: datetime | None = None
        self.at_steady = 0.0
        self._authorize_send = authorize_send
        self._deadline = deadline
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._called_by_transport = called_by_transport

    def authorize_send(self) -> None:
        """Allow the write that follows in the same step, or forbid it by raising.

        Raises:
            LeaseLost: or whatever else the lease raises.
            httpx.ConnectTimeout: the caller has given up meanwhile.
            httpx.WriteError: this request was written before; sending it again is nobody's business here.
        """
        if self.at is not None:
            raise httpx.WriteError("a transport tried to write the same request a second time")
        try:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._answer_seconds)
        except RuntimeError as over:
            raise httpx.ConnectTimeout("a connection was held only after the caller had given up") from over
        self._authorize_send()
        self.at, self.at_steady = self._clock.now(), self._clock.steady()

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Be the `trace` extension of httpx's own transports, which announces the write of the headers."""
        tunnel = getattr(info.get("request"), "method", None) == b"CONNECT"
        if event.endswith(".send_request_headers.started") and not tunnel:
            self.authorize_send()

    def classify_failure(self, failure: Exception, what: str) -> NotSent | InDoubt:
        """Say what a failed call means; `what` names the call in the message."""
        if self._nothing_written(failure):
            return NotSent(
                f"{what} was not sent: {_describe_failure(failure)}. Nothing can have happened; try again later."
            )
        return InDoubt(
            f"{what} was sent and brought no usable answer: {_describe_failure(failure)}. Ask before anything else."
        )

    def _nothing_written(self, failure: Exception) -> bool:
        if self._called_by_transport:
            return self.at is None
        return isinstance(failure, NEVER_WRITTEN)


def _describe_failure(failure: Exception) -> str:
    """Tell a failure in our own words; a library's may quote what was received."""
    if isinstance(failure, TimeoutError):
        return "time was up"
    chain = tuple(_causes(failure))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _describe_untrusted(cause)
        if isinstance(cause, socket.gaierror):
            return "the name of the host cannot be resolved (DNS)"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
    innermost = chain[-1]
    if isinstance(innermost, ssl.SSLError):
        return f"the TLS handshake failed ({innermost.reason or type(innermost).__name__})"
    if innermost is failure:
        return type(failure).__name__
    return f"{type(failure).__name__} after {type(innermost).__name__}"


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """The failure and what led to it, the innermost last; also what a library has hidden with `from None`."""
    seen: set[int] = set()
    cause: BaseException | None = failure
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


_NOT_THE_CA = frozenset({9, 10, 62, 64})
"""OpenSSL's verify codes that no other CA helps against: not yet valid, expired, another host, another address."""


def _describe_untrusted(cause: ssl.SSLCertVerificationError) -> str:
    """Why the server's certificate was not taken, and which setting says whom to trust."""
    reason = str(getattr(cause, "verify_message", "")).rstrip(".") or "no reason given"
    if getattr(cause, "verify_code", None) in _NOT_THE_CA:
        return f"the server's certificate is not valid here ({reason}); check the clock and the address that is called"
    return (
        f"the server's certificate is not trusted ({reason}); set provider.ssl_ca_file to a PEM file with the "
        "certificate of the authority that signed it"
    )
