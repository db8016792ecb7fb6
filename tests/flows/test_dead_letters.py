"""A dead letter is the record as it came, and everything a person needs to know beside it."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime

from adapter.flows.dead_letters import MESSAGE_MAX_CHARACTERS, RECORD_MAX_BYTES, Verdict, dead_letter
from adapter.flows.events import Origin
from adapter.flows.journey import Journey, read_journey
from adapter.stream.records import ProducerRecord, Record

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EARLIER = datetime(2026, 2, 28, 8, 30, 15, 250_000, tzinfo=UTC)
TOPIC = "ecticket.dead-letters"
VERDICT = Verdict(reason="unmapped-item", stage="map", message="No ticket is known for sku A-1. Add it.", plugin="shop")
JOURNEY = Journey(
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


def _letter(record: Record, verdict: Verdict = VERDICT, journey: Journey = JOURNEY) -> ProducerRecord:
    return dead_letter(record, verdict, journey, topic=TOPIC, now=NOW)


def _size(letter: ProducerRecord) -> int:
    return len(letter.key or b"") + len(letter.value or b"") + sum(len(n) + len(v or b"") for n, v in letter.headers)


def test_the_record_stays_as_it_came() -> None:
    """Key, value and the shop's headers are untouched, also when they are repeated or empty."""
    headers: tuple[tuple[str, bytes | None], ...] = (("x", b"1"), ("x", b"\xff"), ("empty", None))

    letter = _letter(_record(b"\xff\x00", b"\xfe", headers))

    assert (letter.topic, letter.key, letter.value) == (TOPIC, b"\xfe", b"\xff\x00")
    assert letter.headers[:3] == (("x", b"1"), ("x", b"\xff"), ("empty", None))


def test_everything_known_is_beside_it() -> None:
    """The headers of the contract, section 2.3, in its spelling."""
    ours = {name: (value or b"").decode() for name, value in _letter(_record()).headers if name.startswith("ecticket-")}

    assert ours == {
        "ecticket-stage": "map",
        "ecticket-reason": "unmapped-item",
        "ecticket-message": "No ticket is known for sku A-1. Add it.",
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
    headers = {name: value or b"" for name, value in _letter(_record()).headers}

    assert headers["kafka_dlt-original-topic"] == b"orders.paid"
    assert struct.unpack(">i", headers["kafka_dlt-original-partition"]) == (3,)
    assert struct.unpack(">q", headers["kafka_dlt-original-offset"]) == (41,)
    assert struct.unpack(">q", headers["kafka_dlt-original-timestamp"]) == (int(EARLIER.timestamp() * 1000),)
    assert headers["kafka_dlt-exception-message"] == VERDICT.message.encode()


def test_an_odd_timestamp_is_kept_in_both_forms() -> None:
    """Microseconds where milliseconds belong: no date says it, so the dead letter has the number of the topic."""
    odd = 1_764_400_000_000_000
    letter = _letter(_record(), journey=replace(JOURNEY, odd_origin_timestamp=odd))
    headers = {name: value or b"" for name, value in letter.headers}

    assert headers["ecticket-timestamp"] == str(odd).encode()
    assert struct.unpack(">q", headers["kafka_dlt-original-timestamp"]) == (odd,)


def test_parked_again_headers_are_replaced() -> None:
    """A dead letter that was replayed and comes back has every header once, the new ones."""
    first = _letter(_record())
    again = Record(
        topic=TOPIC, partition=0, offset=9, timestamp=NOW, key=first.key, value=first.value, headers=first.headers
    )
    second = _letter(again, Verdict(reason="gave-up", stage="submit", message="Never sent."), read_journey(again, NOW))

    names = [name for name, _ in second.headers]
    assert len(names) == len(set(names))
    assert dict(second.headers)["ecticket-reason"] == b"gave-up"
    assert "ecticket-plugin" not in names
    assert dict(second.headers)["ecticket-offset"] == b"41"


def test_a_record_too_large_leaves_its_value_behind() -> None:
    """The headers still say what happened and where the record is."""
    letter = _letter(_record(b"x" * RECORD_MAX_BYTES))

    assert letter.value is None
    assert letter.key == b"k"
    assert dict(letter.headers)["ecticket-value-omitted"] == b"true"
    assert dict(letter.headers)["ecticket-offset"] == b"41"


def test_one_megabyte_stays_whole() -> None:
    """What an ordinary topic takes, the dead letters take too."""
    assert _letter(_record(b"x" * 1024 * 1024)).value == b"x" * 1024 * 1024


def test_no_record_is_too_large_to_be_parked() -> None:
    """Huge headers, a huge key or plan stay behind as well, or the record would stop its partition for good."""
    huge = b"x" * RECORD_MAX_BYTES
    records = (_record(headers=(("x", huge),)), _record(key=huge))

    for letter in (*map(_letter, records), _letter(_record(), journey=replace(JOURNEY, plan=huge))):
        assert _size(letter) < RECORD_MAX_BYTES
        assert dict(letter.headers)["ecticket-value-omitted"] == b"true"


def test_a_tombstone_stays_one() -> None:
    """Nothing was left out where nothing was."""
    letter = _letter(_record(None, None))

    assert (letter.key, letter.value) == (None, None)
    assert "ecticket-value-omitted" not in dict(letter.headers)


def test_messages_are_cut_and_never_break() -> None:
    """A plugin's message may be anything; half a surrogate pair is no reason to fail while parking."""
    letter = _letter(_record(), Verdict(reason="plugin-error", stage="map", message="\ud800" + "票" * 9000))
    message = (dict(letter.headers)["ecticket-message"] or b"").decode()

    assert message[:2] == "?票"
    assert len(message) == MESSAGE_MAX_CHARACTERS
