"""Classify an HTTP answer by its status and Retry-After, before its body is read.

The table of statuses (docs/delivery.md, "Answers of Issue"). Does not read envelopes: a 200 only promises one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx
from msgspec import Struct

from adapter.errors import CallError, InDoubt, NotAccepted, Throttled
from adapter.provider.limits import CallLimits

NOT_ACCEPTED = frozenset({400, 401, 404, 405, 413, 415, 422}) | frozenset(range(300, 400))
"""Statuses of a server, or of a proxy before it, that accepted nothing."""


RawHeaders = Sequence[tuple[bytes, bytes]]
"""Names and values as they were received, in their order."""


class HttpAnswer(Struct, frozen=True, kw_only=True):
    """One complete answer."""

    status: int
    raw_headers: RawHeaders
    body: bytes
    sent_at: datetime
    """When the first byte of its request was written."""
    sent_steady: float
    """The same instant in seconds of a steady clock."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Finds a name in any letter case; made at each access, because few answers are asked for it."""
        return httpx.Headers(self.raw_headers)


def classify(
    answer: HttpAnswer, *, what: object, limits: CallLimits, clock: Callable[[], datetime]
) -> CallError | None:
    """Return None for status 200, else the error to raise; the text of `what` names the call."""
    if answer.status == HTTPStatus.OK:
        return None
    answered = f"{what} was answered with HTTP {answer.status}"
    now = clock()
    wait = _retry_after_of(answer, limits, now)
    if wait is not None:
        retry_at = now + timedelta(seconds=wait)
        return Throttled(f"{answered}: not executed. Retry at {retry_at:%H:%M:%S} UTC.", retry_at=retry_at)
    if answer.status in NOT_ACCEPTED:
        return NotAccepted(f"{answered}: nothing was accepted. Check provider.environment, base_url and family.")
    return InDoubt(f"{answered}, so its effect is unknown. Query before anything else.")


def _retry_after_of(answer: HttpAnswer, limits: CallLimits, now: datetime) -> float | None:
    """Return how long a throttled call has to wait; None if the status does not mean throttling."""
    wait = retry_after_seconds(answer.headers, now)
    defaults = {
        HTTPStatus.FORBIDDEN: limits.lock_out_seconds,
        HTTPStatus.TOO_MANY_REQUESTS: limits.busy_seconds,
        HTTPStatus.SERVICE_UNAVAILABLE: None,
    }
    if answer.status not in defaults:
        return None
    return defaults[HTTPStatus(answer.status)] if wait is None else min(wait, limits.max_retry_after_seconds)


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds or a date, never negative; None if absent or unreadable.

    A date is compared with the answer's own Date if it has one, so our clock need not agree with the server's.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = _http_date(value)
    if until is None:
        return None
    return max(0.0, (until - (_http_date(headers.get("Date", "")) or now)).total_seconds())


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
