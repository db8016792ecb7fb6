"""What a status means, and how long a Retry-After holds back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import CallError, InDoubt, NotAccepted, Throttled
from adapter.provider.http_status import HttpAnswer, classify, retry_after_seconds
from adapter.provider.limits import CallLimits

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _judge(status: int, **headers: str) -> CallError | None:
    named = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    answer = HttpAnswer(status=status, raw_headers=named.raw, body=b"", sent_at=NOW, sent_steady=0)
    return classify(answer, what="a call", limits=CallLimits(), clock=lambda: NOW)


def _held_back(error: CallError | None) -> float:
    assert isinstance(error, Throttled)
    return (error.retry_at - NOW).total_seconds()


def test_only_200_goes_on() -> None:
    """Of all statuses there is one that may hold an answer."""
    assert [status for status in range(100, 600) if _judge(status) is None] == [200]


@pytest.mark.parametrize("status", [400, 401, 404, 405, 413, 415, 422, 300, 301, 302, 303, 307, 308, 399])
def test_statuses_of_a_server_that_took_nothing_in_are_not_accepted(status: int) -> None:
    """The list in docs/delivery.md, "Answers of Issue", and every redirection."""
    assert isinstance(_judge(status), NotAccepted)


@pytest.mark.parametrize(
    "status", [402, 406, 407, 408, 409, 410, 418, 421, 425, 500, 501, 502, 503, 504, 520, 201, 204]
)
def test_every_other_status_is_in_doubt(status: int) -> None:
    """Also 503 without Retry-After: a proxy may send it while the server already processes the call."""
    assert isinstance(_judge(status), InDoubt)


def test_403_locks_out_for_thirty_minutes_or_for_retry_after() -> None:
    """ECPay's rule for too many calls."""
    assert _held_back(_judge(403)) == 1800
    assert _held_back(_judge(403, Retry_After="120")) == 120


def test_429_waits_for_retry_after_or_a_minute() -> None:
    """Refused before execution, with or without a Retry-After."""
    assert _held_back(_judge(429)) == 60
    assert _held_back(_judge(429, Retry_After="7")) == 7


def test_503_is_refused_unread_only_with_a_readable_retry_after() -> None:
    """Without it, the effect is unknown."""
    assert _held_back(_judge(503, Retry_After="7")) == 7
    assert isinstance(_judge(503, Retry_After="soon"), InDoubt)


@pytest.mark.parametrize("status", [403, 429, 503])
def test_no_retry_after_holds_back_longer_than_the_cap(status: int) -> None:
    """A wrong value of the server must not stop a merchant for a year."""
    assert _held_back(_judge(status, Retry_After="99999999999999999999999999")) == 3600


def test_a_retry_after_of_other_statuses_means_nothing() -> None:
    """A 500 may have had its effect, whatever its Retry-After is."""
    assert isinstance(_judge(500, Retry_After="7"), InDoubt)
    assert isinstance(_judge(404, Retry_After="7"), NotAccepted)


def test_a_date_is_held_against_the_servers_own_clock() -> None:
    """Its Date and its Retry-After agree with each other, even when our clock agrees with neither."""
    theirs = NOW + timedelta(hours=9)
    until = format_datetime(theirs + timedelta(seconds=90), usegmt=True)

    assert retry_after_seconds({"Retry-After": until, "Date": format_datetime(theirs, usegmt=True)}, NOW) == 90


def test_a_date_without_a_date_is_held_against_ours() -> None:
    """There is nothing better."""
    until = format_datetime(NOW + timedelta(seconds=90), usegmt=True)

    assert retry_after_seconds({"Retry-After": until}, NOW) == 90


def test_a_date_in_the_past_is_now() -> None:
    """Never a negative wait."""
    past = format_datetime(NOW - timedelta(days=1), usegmt=True)

    assert retry_after_seconds({"Retry-After": past}, NOW) == 0


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "٣", "Fri, 99 Foo 2026", "0x10", "+5"])
def test_what_is_neither_seconds_nor_a_date_is_no_retry_after(value: str) -> None:
    """Read by the grammar, not by guessing."""
    assert retry_after_seconds({"Retry-After": value}, NOW) is None


@given(st.text(), st.text())
def test_no_header_breaks_the_reader(retry_after: str, date: str) -> None:
    """Any header of a server."""
    seconds = retry_after_seconds({"Retry-After": retry_after, "Date": date}, NOW)

    assert seconds is None or seconds >= 0
