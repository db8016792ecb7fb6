"""`hold` and `release` write one record, and say what they did."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from key_words import mentions

from adapter.flows.messages.hold import read_hold
from adapter.kafka import single_record
from adapter.stream.records import ProducerRecord, Record

from .command_runner import MERCHANT, Commands

HELD = MERCHANT.merchant_id


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[ProducerRecord]:
    """What is written; there is no broker."""
    found: list[ProducerRecord] = []

    async def publish_one(_connection: object, record: ProducerRecord) -> None:
        found.append(record)

    monkeypatch.setattr(single_record, "publish_one", publish_one)
    return found


def as_read(record: ProducerRecord) -> Record:
    return Record(
        topic=record.topic, partition=0, offset=0, timestamp=datetime.now(UTC), key=record.key, value=record.value
    )


def test_a_merchant_is_held_until_a_time(run: Commands, written: list[ProducerRecord]) -> None:
    """The record has the end, the operator's words and the time of the command; the facts are JSON on request."""
    result = run("hold", HELD, "--until", "1h", "--reason", " wrong price ", "--json")

    (record,) = written
    merchant_id, hold = read_hold(as_read(record))
    assert (result.code, record.topic, merchant_id) == (0, "ecticket.control", HELD)
    assert hold is not None
    assert hold.until is not None
    assert (hold.until - hold.held_at, hold.reason) == (timedelta(hours=1), "wrong price")
    facts = json.loads(result.out)
    assert {"merchant_id", "held_at", "until", "reason"} == facts.keys()
    assert mentions(result.err, f"ecticket_merchant_held ecticket-adapter release {HELD} 2")


def test_without_an_end_a_merchant_is_held_until_it_is_released(run: Commands, written: list[ProducerRecord]) -> None:
    """The line says so."""
    result = run("hold", HELD)

    (record,) = written
    _, hold = read_hold(as_read(record))
    assert hold is not None
    assert (hold.until, hold.reason) == (None, None)
    assert mentions(result.out, f"held {HELD} released")


def test_a_release_is_a_record_without_a_value(run: Commands, written: list[ProducerRecord]) -> None:
    """So that compaction removes the hold."""
    result = run("release", HELD)

    (record,) = written
    assert (result.code, record.key, record.value) == (0, HELD.encode(), None)
    assert mentions(result.out, f"released {HELD}")


@pytest.mark.parametrize("command", ["hold", "release"])
def test_an_unknown_merchant_is_wrong_usage_with_the_nearest_name(
    run: Commands, written: list[ProducerRecord], command: str
) -> None:
    """A hold of a misspelt merchant would stop nothing."""
    result = run(command, HELD[:-1])

    assert (result.code, written) == (2, [])
    assert mentions(result.err, HELD)


@pytest.mark.parametrize(
    "options", [("--until", "tomorrow"), ("--until", "0s"), ("--until", "2020-01-01T00:00Z"), ("--reason", "x" * 201)]
)
def test_a_hold_that_means_nothing_is_wrong_usage(
    run: Commands, written: list[ProducerRecord], options: tuple[str, str]
) -> None:
    """Nothing is written."""
    result = run("hold", HELD, *options)

    assert (result.code, written) == (2, [])
    assert options[0] in result.err


@pytest.mark.parametrize("command", ["hold", "release"])
def test_without_a_broker_the_command_fails(run: Commands, command: str) -> None:
    """The operator must not believe that the merchant is held."""
    result = run(command, HELD)

    assert (result.code, result.out) == (1, "")
