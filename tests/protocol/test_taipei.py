"""Taiwan's time: always UTC+8, read in the forms that ECTicket writes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.protocol.taipei import TAIPEI, compact_date, parse_date, parse_time

from .samples import fast


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20220801 15:30", datetime(2022, 8, 1, 7, 30, tzinfo=UTC)),
        ("20220801 15:30:45", datetime(2022, 8, 1, 7, 30, 45, tzinfo=UTC)),
        ("2022/08/01 15:30:45", datetime(2022, 8, 1, 7, 30, 45, tzinfo=UTC)),
        ("2022/08/01 15:30", datetime(2022, 8, 1, 7, 30, tzinfo=UTC)),
        ("2022/8/1 5:30", datetime(2022, 7, 31, 21, 30, tzinfo=UTC)),
        ("2022-08-01T15:30:45", datetime(2022, 8, 1, 7, 30, 45, tzinfo=UTC)),
        (" 20220801 00:00 ", datetime(2022, 7, 31, 16, 0, tzinfo=UTC)),
    ],
)
def test_time_is_read(text: str, expected: datetime) -> None:
    """The documented forms and their near relations, as aware times."""
    moment = parse_time(text)

    assert moment == expected
    assert moment is not None
    assert moment.utcoffset() == timedelta(hours=8)
    assert moment.tzname() == "Asia/Taipei"


@pytest.mark.parametrize(
    "text",
    ["", "20220801", "20220801 1530", "20221301 15:30", "20220230 15:30", "20220801 24:00", "20220801 15:60",
     "00000101 00:00", "2022/08/01", "20220801 15:30 PM", "２０２２0801 15:30", "20220801\n15:30", "15:30", "0",
     "\ud800"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_time_is_not_read(text: str) -> None:
    """Days and hours that do not exist, other digits, more or less than a time."""
    assert parse_time(text) is None


@pytest.mark.parametrize(
    "text", ["", "2022/02/30", "2022/13/01", "0000/01/01", "20220801 15:30", "2022.08.01", "08/01/2022", "202281"]
)
def test_what_is_no_date_is_not_read(text: str) -> None:
    """As with times."""
    assert parse_date(text) is None


@fast
@given(st.dates())
def test_dates_are_read_as_they_are_written(day: date) -> None:
    """All years have four digits on the wire."""
    assert len(compact_date(day)) == 8
    assert parse_date(compact_date(day)) == day
    assert parse_date(f"{day.year:04}/{day.month}/{day.day}") == day


@fast
@given(st.datetimes(timezones=st.just(TAIPEI)))
def test_times_are_read_as_reports_write_them(moment: datetime) -> None:
    """yyyy/mm/dd hh:mm:ss."""
    text = f"{moment.year:04}/{moment:%m/%d %H:%M:%S}"

    assert parse_time(text) == moment.replace(microsecond=0)
