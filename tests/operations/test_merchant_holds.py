"""When a hold ends, as an operator writes it; and how a hold is described."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions

from adapter.flows.messages.hold import MerchantHold
from adapter.operations.merchant_holds import LONGEST_HOLD, InvalidEnd, describe_hold, parse_end

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
"""14:00 in Taipei."""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("1h", "2026-03-01T07:00Z"),
        ("90m", "2026-03-01T07:30Z"),
        ("1h30m", "2026-03-01T07:30Z"),
        ("2d", "2026-03-03T06:00Z"),
        ("1d2h3m4s", "2026-03-02T08:03:04Z"),
        (" 45s ", "2026-03-01T06:00:45Z"),
        ("15:00", "2026-03-01T07:00Z"),
        ("23:59:59", "2026-03-01T15:59:59Z"),
        ("2026-03-01T15:00", "2026-03-01T07:00Z"),
        ("2026-03-01 15:00", "2026-03-01T07:00Z"),
        ("2026-03-01T15:00+08:00", "2026-03-01T07:00Z"),
        ("2026-03-01T15:00Z", "2026-03-01T15:00Z"),
    ],
)
def test_an_end_is_a_duration_or_a_time_in_taipei(text: str, end: str) -> None:
    """A time without a zone is Taipei's, as everywhere in ECTicket's protocol."""
    assert parse_end(text, NOW) == datetime.fromisoformat(end)


@pytest.mark.parametrize(
    "text", ["", " ", "h", "1", "60", "1w", "1h 30m", "30m1h", "-1h", "1.5h", "\uff11h", "99999999999h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Units in the order d, h, m, s, without blanks."""
    with pytest.raises(InvalidEnd) as refused:
        parse_end(text, NOW)

    assert mentions(str(refused.value), "1h30m 15:00 +08:00")


@pytest.mark.parametrize(
    "text", ["25:00", "15:60", "15", "soon", "15:00Z", "2026-03-02", "2026-02-30T15:00", "2026-W09-7"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """A day without a time is refused too: it does not say whether the hold lasts that day."""
    with pytest.raises(InvalidEnd) as refused:
        parse_end(text, NOW)

    assert mentions(str(refused.value), "1h30m 15:00 +08:00")


@pytest.mark.parametrize("text", ["0s", "0d0h", "14:00", "13:59", "2026-03-01T13:00", "2026-03-01T05:59Z"])
def test_the_past_is_refused(text: str) -> None:
    """A clock time that is past is not tomorrow's: the operator would hold a merchant for a day by mistake."""
    with pytest.raises(InvalidEnd) as refused:
        parse_end(text, NOW)

    assert mentions(str(refused.value), f"{text} 2026-03-01 14:00:00 Taipei")


@pytest.mark.parametrize("text", ["367d", "9999d", "2126-03-01T15:00", "9999-12-31T23:59Z"])
def test_an_end_in_more_than_a_year_is_refused(text: str) -> None:
    """A year too many is a typing error; a hold without an end needs no time."""
    with pytest.raises(InvalidEnd) as refused:
        parse_end(text, NOW)

    assert mentions(str(refused.value), "366 released")


@given(text=st.text(max_size=30), now=st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2100, 1, 1)))
def test_every_text_is_an_end_in_the_future_or_refused(text: str, now: datetime) -> None:
    """No text makes it raise anything else."""
    moment = now.replace(tzinfo=UTC)
    try:
        end = parse_end(text, moment)
    except InvalidEnd:
        return
    assert timedelta(0) < end - moment <= LONGEST_HOLD


@pytest.mark.parametrize(
    ("until", "reason", "words"),
    [
        (None, None, "2026-03-01 14:00:00 until released"),
        (NOW + timedelta(hours=1), "price.", "15:00:00 Taipei 07:00:00 UTC price."),
    ],
)
def test_a_hold_is_described_with_its_end_and_the_way_out(
    until: datetime | None, reason: str | None, words: str
) -> None:
    """The sentence of `check`."""
    hold = MerchantHold(held_at=NOW, until=until, reason=reason)

    assert mentions(describe_hold("3085676", hold), f"3085676 ecticket-adapter release {words}")


@pytest.mark.parametrize("merchant_id", ["3085676", "$(ls)", "1; ls", "1\n2"])
def test_the_command_that_releases_is_one_that_can_be_copied(merchant_id: str) -> None:
    """The id is the key of a record, and another program may have written it."""
    hold = MerchantHold(held_at=datetime(2026, 3, 2, tzinfo=UTC), until=None, reason=None)

    assert describe_hold(merchant_id, hold).endswith(f"ecticket-adapter release {shlex.quote(merchant_id)}")
