"""A dead letter is the record as it came, and everything a person needs to know beside it."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from adapter.flows.messages.dead_letters import (
    MESSAGE_MAX_CHARACTERS,
    RECORD_MAX_BYTES,
    DeadLetterCause,
    dead_letter_record,
)
from adapter.flows.messages.events import Origin
from adapter.flows.messages.record_history import RecordHistory, read_history
from adapter.stream.records import ProducerRecord, Record
from adapter.values import replace

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EARLIER = datetime(2026, 2, 28, 8, 30, 15, 250_000, tzinfo=UTC)
TOPIC = "ecticket.dead-letters"
CAUSE = DeadLetterCause(
    reason="unmapped-item", stage="map", message="No ticket is known for sku A-1. Add it.", plugin="shop"
)
HISTORY = RecordHistory(
    origin=Origin(topic="orders.paid", partition=3, offset=41),
    origin_timestamp=EARLIER,
    first_seen=EARLIER,
    attempts=2,
    replays=1,
    possibly_sent_at=EARLIER,
    not_before=NOW,
    plan=b'{"v":1}',
)


def _record(
    value: bytes | None = b"{}", key: bytes | None = b"k", headers: tuple[tuple[str, bytes | None], ...] = ()
) -> Record:
    return Record(
        topic="ecticket.orders.deferred", partition=0, offset=7, timestamp=NOW, key=key, value=value, headers=headers
    )


def _dead_letter(record: Record, cause: DeadLetterCause = CAUSE, history: RecordHistory = HISTORY) -> ProducerRecord:
    return dead_letter_record(record, cause, history, topic=TOPIC, now=NOW)


def _size(dead_letter: ProducerRecord) -> int:
    return (
        len(dead_letter.key or b"")
        + len(dead_letter.value or b"")
        + sum(len(n) + len(v or b"") for n, v in dead_letter.headers)
    )


def test_the_record_stays_as_it_came() -> None:
    """Key, value and the shop's headers are untouched, also when they are repeated or empty."""
    headers: tuple[tuple[str, bytes | None], ...] = (("x", b"1"), ("x", b"\xff"), ("empty", None))

    dead_letter = _dead_letter(_record(b"\xff\x00", b"\xfe", headers))

    assert (dead_letter.topic, dead_letter.key, dead_letter.value) == (TOPIC, b"\xfe", b"\xff\x00")
    assert dead_letter.headers[:3] == (("x", b"1"), ("x", b"\xff"), ("empty", None))


def test_everything_known_is_in_its_headers() -> None:
    """The headers of docs/events.md, "Dead-letter headers", in its spelling."""
    ours = {
        name: (value or b"").decode() for name, value in _dead_letter(_record()).headers if name.startswith("ecticket-")
    }

    assert ours == {
        "ecticket-stage": "map",
        "ecticket-reason": "unmapped-item",
        "ecticket-message": CAUSE.message,
        "ecticket-plugin": "shop",
        "ecticket-failed-at": "2026-03-01T12:00:00.000Z",
        "ecticket-topic": "orders.paid",
        "ecticket-partition": "3",
        "ecticket-offset": "41",
        "ecticket-timestamp": "2026-02-28T08:30:15.250Z",
        "ecticket-first-seen": "2026-02-28T08:30:15.250Z",
        "ecticket-attempts": "2",
        "ecticket-replays": "1",
        "ecticket-possibly-sent-at": "2026-02-28T08:30:15.250Z",
        "ecticket-plan": '{"v":1}',
    }


def test_springs_tools_understand_it() -> None:
    """Numbers are big-endian as Spring writes them: int, long, long."""
    headers = {name: value or b"" for name, value in _dead_letter(_record()).headers}

    assert headers["kafka_dlt-original-topic"] == b"orders.paid"
    assert struct.unpack(">i", headers["kafka_dlt-original-partition"]) == (3,)
    assert struct.unpack(">q", headers["kafka_dlt-original-offset"]) == (41,)
    assert struct.unpack(">q", headers["kafka_dlt-original-timestamp"]) == (int(EARLIER.timestamp() * 1000),)
    assert headers["kafka_dlt-exception-message"] == CAUSE.message.encode()


def test_an_odd_timestamp_is_kept_in_both_forms() -> None:
    """Microseconds where milliseconds belong: no date says it, so the dead letter has the number of the topic."""
    odd = 1_764_400_000_000_000
    dead_letter = _dead_letter(_record(), history=replace(HISTORY, raw_origin_timestamp_ms=odd))
    headers = {name: value or b"" for name, value in dead_letter.headers}

    assert headers["ecticket-timestamp"] == str(odd).encode()
    assert struct.unpack(">q", headers["kafka_dlt-original-timestamp"]) == (odd,)


def test_parked_again_headers_are_replaced() -> None:
    """A dead letter that was replayed and comes back has every header once, the new ones."""
    first = _dead_letter(_record())
    again = Record(
        topic=TOPIC, partition=0, offset=9, timestamp=NOW, key=first.key, value=first.value, headers=first.headers
    )
    second = _dead_letter(
        again, DeadLetterCause(reason="gave-up", stage="submit", message="Never sent."), read_history(again, NOW)
    )

    names = [name for name, _ in second.headers]
    assert len(names) == len(set(names))
    assert dict(second.headers)["ecticket-reason"] == b"gave-up"
    assert "ecticket-plugin" not in names
    assert dict(second.headers)["ecticket-offset"] == b"41"


def test_a_record_too_large_leaves_its_value_behind() -> None:
    """The headers still say what happened and where the record is."""
    dead_letter = _dead_letter(_record(b"x" * RECORD_MAX_BYTES))

    assert dead_letter.value is None
    assert dead_letter.key == b"k"
    assert dict(dead_letter.headers)["ecticket-value-omitted"] == b"true"
    assert dict(dead_letter.headers)["ecticket-offset"] == b"41"


def test_one_megabyte_stays_whole() -> None:
    """What an ordinary topic takes, the dead letters take too."""
    assert _dead_letter(_record(b"x" * 1024 * 1024)).value == b"x" * 1024 * 1024


def test_no_record_is_too_large_to_be_parked() -> None:
    """Huge headers, a huge key or plan stay behind as well, or the record would stop its partition for good."""
    huge = b"x" * RECORD_MAX_BYTES
    records = (_record(headers=(("x", huge),)), _record(key=huge))

    for dead_letter in (*map(_dead_letter, records), _dead_letter(_record(), history=replace(HISTORY, plan=huge))):
        assert _size(dead_letter) < RECORD_MAX_BYTES
        assert dict(dead_letter.headers)["ecticket-value-omitted"] == b"true"


def test_a_tombstone_stays_one() -> None:
    """Nothing was left out where nothing was."""
    dead_letter = _dead_letter(_record(None, None))

    assert (dead_letter.key, dead_letter.value) == (None, None)
    assert "ecticket-value-omitted" not in dict(dead_letter.headers)


def test_messages_are_cut_and_never_break() -> None:
    """A plugin's message may be anything; half a surrogate pair is no reason to fail while parking."""
    dead_letter = _dead_letter(
        _record(), DeadLetterCause(reason="plugin-error", stage="map", message="\ud800" + "票" * 9000)
    )
    message = (dict(dead_letter.headers)["ecticket-message"] or b"").decode()

    assert message[:2] == "?票"
    assert len(message) == MESSAGE_MAX_CHARACTERS
