"""What an order has been through travels in its headers, and nothing broken is ever taken for "never sent"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import Unreadable
from adapter.flows.messages.events import Origin
from adapter.flows.messages.record_history import (
    RecordHistory,
    foreign_headers,
    history_headers,
    read_coordinates,
    read_history,
    read_history_leniently,
)
from adapter.stream.records import Record, moment_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EARLIER = datetime(2026, 2, 28, 8, 30, 15, 250_000, tzinfo=UTC)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BEGINNING = RecordHistory(
    origin=Origin(topic="orders.paid", partition=3, offset=41), origin_timestamp=EARLIER, first_seen=NOW
)


def _record(*headers: tuple[str, bytes | None]) -> Record:
    return Record(
        topic="orders.paid", partition=3, offset=41, timestamp=EARLIER, key=b"k", value=b"{}", headers=headers
    )


def _handed_off(history: RecordHistory) -> Record:
    headers = tuple((name, text.encode()) for name, text in history_headers(history).items())
    return Record(
        topic="ecticket.orders.deferred",
        partition=0,
        offset=7,
        timestamp=NOW,
        key=b"k",
        value=b"{}",
        headers=headers if history.traceparent is None else (*headers, ("traceparent", history.traceparent.encode())),
    )


def test_a_fresh_record_is_at_its_beginning() -> None:
    """Without headers of ours the record itself is the origin, first seen now, and nothing was sent."""
    assert read_history(_record(("content-type", b"application/json")), NOW) == BEGINNING


MOMENTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)
HISTORIES = st.builds(
    RecordHistory,
    origin=st.builds(
        Origin,
        topic=st.text("abc.-_", min_size=1, max_size=10),
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, 2**63 - 1),
    ),
    origin_timestamp=MOMENTS,
    first_seen=MOMENTS,
    attempts=st.integers(0, 10**6),
    replays=st.integers(0, 10**6),
    possibly_sent_at=st.none() | MOMENTS,
    not_before=st.none() | MOMENTS,
    plan=st.none() | st.text(min_size=1).map(str.encode),
    traceparent=st.none() | st.just(TRACE.decode()),
)


@pytest.mark.parametrize("odd", [-(2**63), -1, 1_764_400_000_000_000, 2**63 - 1])
def test_an_odd_timestamp_survives_every_copy(odd: int) -> None:
    """Where RFC 3339 cannot say it, the header has the number of the topic, also after the next copy."""
    moment, kept = moment_of(odd)
    first = Record(
        topic="orders.paid", partition=3, offset=41, timestamp=moment, key=None, value=b"", raw_timestamp_ms=kept
    )

    history = read_history(_handed_off(read_history(first, NOW)), NOW)

    assert (history.origin_timestamp, history.raw_origin_timestamp_ms) == (moment, odd)
    assert history_headers(history)["ecticket-timestamp"] == str(odd)


@given(HISTORIES)
def test_what_is_written_is_read(history: RecordHistory) -> None:
    """Headers hold the whole history; the record's own coordinates do not matter."""
    record = _handed_off(history)

    assert read_history(record, NOW + timedelta(days=1)) == history
    assert read_history_leniently(record, NOW + timedelta(days=1)) == history


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ecticket-possibly-sent-at", b"yesterday"),
        ("ecticket-possibly-sent-at", b"2026-01-01T00:00:00"),
        ("ecticket-possibly-sent-at", b""),
        ("ecticket-possibly-sent-at", None),
        ("ecticket-possibly-sent-at", b"0001-01-01T00:00:00+14:00"),
        ("ecticket-not-before", b"\xff"),
        ("ecticket-possibly-sent-at", b"9999-12-31T23:59:59.999999Z"),
        ("ecticket-not-before", b"1969-12-31T23:59:59Z"),
        ("ecticket-first-seen", b"1700000000"),
        ("ecticket-timestamp", b"9223372036854775808"),
        ("ecticket-timestamp", b"1.5"),
        ("ecticket-timestamp", b"2026-13-01T00:00:00Z"),
        ("ecticket-attempts", b"-1"),
        ("ecticket-attempts", b"1.0"),
        ("ecticket-replays", "٣".encode()),
        ("ecticket-partition", b"2147483648"),
        ("ecticket-offset", b"9223372036854775808"),
        ("ecticket-offset", b"0x1"),
        ("ecticket-plan", b"\xc3\x28"),
    ],
)
def test_a_broken_header_makes_the_record_unreadable(name: str, value: bytes | None) -> None:
    """The sentence names the header; guessing from it would be buying tickets on a guess."""
    with pytest.raises(Unreadable, match=name):
        read_history(_record((name, value)), NOW)


def test_other_peoples_headers_may_be_anything() -> None:
    """What is not ours is not looked at."""
    read_history(
        _record(
            ("x-shop", b"\xff"), ("content-type", b"\xff\xfe"), ("kafka_dlt-original-offset", b"\0" * 8), ("a", None)
        ),
        NOW,
    )


@given(st.lists(st.tuples(st.sampled_from([*history_headers(BEGINNING), "ecticket-plan"]), st.binary(max_size=30))))
def test_no_header_raises_anything_else(headers: list[tuple[str, bytes]]) -> None:
    """However broken, headers are read or are Unreadable, and what can be read always is."""
    record = _record(*headers)

    try:
        assert read_history(record, NOW) == read_history_leniently(record, NOW)
    except Unreadable:
        history_headers(read_history_leniently(record, NOW))


def test_of_unreadable_headers_the_readable_ones_survive() -> None:
    """A dead letter still says where the record came from, what was planned and how often it was tried."""
    history = read_history_leniently(
        _record(
            ("ecticket-topic", b"orders.paid"),
            ("ecticket-partition", b"1"),
            ("ecticket-offset", b"2"),
            ("ecticket-attempts", b"many"),
            ("ecticket-replays", b"3"),
            ("ecticket-plan", b"{}"),
        ),
        NOW,
    )

    assert str(history.origin) == "orders.paid/1/2"
    assert (history.attempts, history.replays, history.plan) == (0, 3, b"{}")


@pytest.mark.parametrize("value", [b"yesterday", b"\xff", None])
def test_an_unreadable_possibly_sent_counts_as_sent_now(value: bytes | None) -> None:
    """The writer knew that tickets may exist; a dead letter must not lose this because of a broken date."""
    assert read_history_leniently(_record(("ecticket-possibly-sent-at", value)), NOW).possibly_sent_at == NOW


def test_times_are_written_in_utc() -> None:
    """Whatever the zone, headers end in Z, to the millisecond."""
    taipei = EARLIER.astimezone(timezone(timedelta(hours=8)))

    headers = history_headers(BEGINNING.possibly_sent(taipei))

    assert headers["ecticket-possibly-sent-at"] == "2026-02-28T08:30:15.250Z"


def test_the_later_sending_counts() -> None:
    """Waiting times are counted from the last moment at which something may have been sent."""
    history = BEGINNING.possibly_sent(NOW).possibly_sent(EARLIER).possibly_sent(None)

    assert history.possibly_sent_at == NOW
    assert BEGINNING.possibly_sent(None).possibly_sent_at is None


def test_only_the_shops_headers_are_its_own() -> None:
    """Ours and Spring's are replaced and never repeated; a header without a value stays one."""
    headers = (("x", b"1"), ("ecticket-reason", b"y"), ("kafka_dlt-original-offset", b"z"), ("x", b"2"), ("n", None))

    assert foreign_headers(headers) == (("x", b"1"), ("x", b"2"), ("n", None))


@pytest.mark.parametrize("name", ["traceparent", "ce_traceparent", "Traceparent"])
def test_the_trace_goes_on(name: str) -> None:
    """The trace context comes from Kafka's header or from the CloudEvents extension."""
    assert read_history(_record((name, TRACE)), NOW).traceparent == TRACE.decode()


@pytest.mark.parametrize("value", [b"", None, b"00-xyz-01", b"\xff" * 55, b" " * 55, TRACE.upper(), TRACE + b"-1"])
def test_a_broken_trace_is_only_dropped(value: bytes | None) -> None:
    """No order is parked for a trace."""
    assert read_history(_record(("traceparent", value)), NOW).traceparent is None


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("orders.paid/2/17", Origin(topic="orders.paid", partition=2, offset=17)),
        ("orders.paid", None),
        ("orders.paid/x/1", None),
        ("orders.paid/\N{SUPERSCRIPT TWO}/1", None),
        ("orders.paid/1/" + "1" * 5000, None),
        ("orders.paid/-1/1", None),
        ("", None),
        (None, None),
    ],
)
def test_coordinates_are_read(text: str | None, origin: Origin | None) -> None:
    """As events write them; what another program wrote there is none."""
    assert read_coordinates(text) == origin
