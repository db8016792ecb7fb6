"""What the head of an answer means, before a word of ECTicket's is read.

Exists so that the table of statuses stands in one place (contract, section 4) and needs no network to be tested.
Refuses to know envelopes: a 200 is only a promise of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from adapter.errors import CallError, InDoubt, NotAccepted, Throttled
from adapter.provider.limits import CallLimits

NOT_ACCEPTED = frozenset({400, 401, 404, 405, 413, 415, 422}) | frozenset(range(300, 400))
"""Statuses of a server (or of what stands before it) that took nothing in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """One whole answer.

    `headers` finds a name in any letter case. `sent_at` is when its request began to be written, and `sent_steady` the
    same instant in seconds of a clock that is never set.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_at: datetime
    sent_steady: float


def classify(answer: HttpAnswer, *, what: str, limits: CallLimits, now: datetime) -> CallError | None:
    """Say what an answer's status means: None for 200, else the error to raise; `what` names the call in it."""
    if answer.status == HTTPStatus.OK:
        return None
    answered = f"{what} was answered with HTTP {answer.status}"
    wait = _retry_after_of(answer, limits, now)
    if wait is not None:
        retry_at = now + timedelta(seconds=wait)
        return Throttled(f"{answered}: refused unread. Again at {retry_at:%H:%M:%S} UTC.", retry_at=retry_at)
    if answer.status in NOT_ACCEPTED:
        return NotAccepted(f"{answered}: nothing was accepted. Check provider.environment, base_url and family.")
    return InDoubt(f"{answered}, which says nothing about its effect. Ask before anything else.")


def _retry_after_of(answer: HttpAnswer, limits: CallLimits, now: datetime) -> float | None:
    """How long a refused-unread call has to wait; None when the status does not say that it was one."""
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
    """Read Retry-After (RFC 9110, 10.2.3): seconds or a date, never negative; None when absent or unreadable.

    A date is held against the answer's own Date where it has one, so that our clock need not agree with the server's.
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
