"""`dead-letters` shows what a person must look at, and customer data only when asked for."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from adapter.dev.producing import producing
from adapter.flows.messages.dead_letters import DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import Origin, record_origin
from adapter.flows.messages.record_history import RecordHistory
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import TopicSpec, create
from adapter.operations.dead_letter_filters import Filters, named
from adapter.operations.dead_letter_view import DeadLetter, header_texts, read_dead_letter
from adapter.stream.records import ProducerRecord, Record

from .command_runner import Commands, remove

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECRET = "王小明"


def _parked(order_id: str, cause: DeadLetterCause, *, offset: int, merchant_id: str = "3085676") -> ProducerRecord:
    order = {"order_id": order_id, "merchant_id": merchant_id, "customer": {"name": SECRET}}
    record = Record(
        topic="orders.paid",
        partition=0,
        offset=offset,
        timestamp=NOW,
        key=order_id.encode(),
        value=json.dumps(order, ensure_ascii=False).encode(),
        headers=(("x-shop", b"web"),),
    )
    history = RecordHistory(
        origin=Origin(topic="orders.paid", partition=0, offset=offset),
        origin_timestamp=NOW,
        first_seen=NOW,
        plan=f'{{"customer": "{SECRET}"}}'.encode(),
    )
    return dead_letter_record(record, cause, history, topic="ecticket.dead-letters", now=NOW)


UNMAPPED = DeadLetterCause(
    reason="unmapped-item", stage="map", message="No ticket is known for sku x. Add it.", plugin="shop"
)
GAVE_UP = DeadLetterCause(reason="gave-up", stage="submit", message="Never sent. Replay it.")
DEAD_LETTERS = (
    _parked("A-1", UNMAPPED, offset=1),
    _parked("A-2", GAVE_UP, offset=2),
    _parked("B-3", UNMAPPED, offset=3, merchant_id="2000132"),
    ProducerRecord(topic="", key=b"\xff", value=b"\x00\x1b[31m", headers=(("ecticket-reason", b"unreadable"),)),
    ProducerRecord(topic="", key=b"", value=None, headers=()),
)


def _record(dead_letter: ProducerRecord, offset: int = 0) -> Record:
    return Record(
        topic="dead",
        partition=2,
        offset=offset,
        timestamp=NOW,
        key=dead_letter.key,
        value=dead_letter.value,
        headers=dead_letter.headers,
    )


def test_a_dead_letter_shows_what_its_headers_say() -> None:
    """Everything but value and plan."""
    dead_letter = read_dead_letter(_record(DEAD_LETTERS[0], 7))

    assert (dead_letter.reason, dead_letter.stage, dead_letter.plugin) == ("unmapped-item", "map", "shop")
    assert (dead_letter.name, dead_letter.origin, dead_letter.key) == ("dead/2/7", "orders.paid/0/1", "A-1")
    assert (dead_letter.merchant_id, dead_letter.failed_at) == ("3085676", "2026-03-01T12:00:00.000Z")
    assert SECRET not in repr(dead_letter)


@pytest.mark.parametrize("dead_letter", DEAD_LETTERS[3:])
def test_any_record_is_a_dead_letter(dead_letter: ProducerRecord) -> None:
    """Any record there is shown as far as it can be read."""
    assert read_dead_letter(_record(dead_letter)).stage is None


@pytest.mark.parametrize(
    ("value", "merchant_id"),
    [
        (b'{"merchant_id": "1"}', "1"),
        (b'{"specversion": "1.0", "data": {"merchant_id": "1"}}', "1"),
        (b'{"issuance": {"merchant_id": "1"}}', "1"),
        (b'{"merchant_id": 1}', None),
        (b'{"data": []}', None),
        (b"[]", None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_the_merchant_is_found_where_it_shows(value: bytes | None, merchant_id: str | None) -> None:
    """In orders, structured CloudEvents and confirmations."""
    assert read_dead_letter(_record(ProducerRecord(topic="", key=None, value=value))).merchant_id == merchant_id


@pytest.mark.parametrize(
    "text", ["CBX1; ls", "$(ls)", "A\nB", "", "A" * 26, "\N{FULLWIDTH LATIN CAPITAL LETTER A}", "A B"]
)
def test_only_a_number_goes_into_a_command_that_a_person_copies(text: str) -> None:
    """Another program may have written the dead letter, its plan or its value."""
    plan = json.dumps({"parts": [{"trade_no": text}, {"trade_no": "CBX1"}]}).encode()
    value = json.dumps({"issuance": {"trade_no": text}}).encode()

    dead_letter = read_dead_letter(
        _record(ProducerRecord(topic="", key=None, value=value, headers=(("ecticket-plan", plan),)))
    )

    assert dead_letter.trade_nos == ("CBX1",)


def _of_a_shop(order_id: str, value: bytes = b"<order/>") -> DeadLetter:
    """A letter of a shop with a format of its own, which only its plugin reads."""
    record = Record(topic="orders.paid", partition=0, offset=9, timestamp=NOW, key=None, value=value)
    history = RecordHistory(origin=record_origin(record), origin_timestamp=NOW, first_seen=NOW)
    parsed = history.of_order("3085676", order_id)
    return read_dead_letter(
        _record(dead_letter_record(record, UNMAPPED, parsed, topic="ecticket.dead-letters", now=NOW))
    )


def test_the_parsed_ids_count_for_shops_with_a_format_of_their_own() -> None:
    """`dead-letters list|show|replay ORDER` and `--merchant` find the order, whatever its value is."""
    dead_letter = _of_a_shop("SO-77")

    assert (dead_letter.order_id, dead_letter.merchant_id) == ("SO-77", "3085676")
    assert named("SO-77", [dead_letter]) == [dead_letter]
    assert Filters(merchant="3085676").matches(dead_letter)


@pytest.mark.parametrize("value", [b'{"order_id": "gid://7"}', b"gid://7"])
def test_the_parsed_id_counts_more_than_a_field_of_the_same_name(value: bytes) -> None:
    """A shop's own format may use the name for something else."""
    assert _of_a_shop("SO-77", value).order_id == "SO-77"


def test_an_id_is_whole_where_the_record_has_it() -> None:
    """The header shows the beginning of a long id; an operator may give all of it."""
    long = "A" * 300

    assert _of_a_shop(long, b'{"order_id": "%s"}' % long.encode()).order_id == long


def test_headers_are_readable() -> None:
    """Spring's numbers as numbers, text as text, and anything else in hexadecimal."""
    headers = (
        ("kafka_dlt-original-offset", struct.pack(">q", 41)),
        ("kafka_dlt-original-partition", struct.pack(">i", 3)),
        ("kafka_dlt-original-offset", b"short"),
        ("name", "票".encode()),
        ("name", b"\xff\x00"),
        ("name", None),
    )

    assert [text for _, text in header_texts(headers)] == ["41", "3", "short", "票", "0xff00", ""]


@pytest.mark.parametrize("which", ["3", "dead/2/7", "2/7", "orders.paid/0/1"])
def test_a_dead_letter_is_named_in_four_ways(which: str) -> None:
    """Its place in the list, its own coordinates, with or without the topic, or its origin's."""
    first, second, dead_letter = (read_dead_letter(_record(DEAD_LETTERS[at], 7 - at)) for at in (2, 1, 0))

    assert named(which, [first, second, dead_letter]) == [dead_letter]


@pytest.fixture(scope="module")
def dead_letters(kafka: KafkaConnection) -> Iterator[str]:
    """The topic that holds the letters."""
    topic = f"dead-letters-{uuid.uuid4().hex[:12]}"
    asyncio.run(_publish(kafka, topic))
    yield topic
    asyncio.run(remove(kafka, [topic]))


@pytest.fixture
def on_broker(run: Commands, kafka: KafkaConnection, dead_letters: str) -> Commands:
    """Commands with a broker that holds the letters."""
    run.settings({"kafka": {"bootstrap_servers": kafka.bootstrap_servers}, "topics": {"dead_letters": dead_letters}})
    return run


async def _publish(kafka: KafkaConnection, topic: str) -> None:
    await create(kafka, [TopicSpec(name=topic, partitions=1, config={})])
    async with producing(kafka) as producer:
        for dead_letter in DEAD_LETTERS:
            await producer.send_and_wait(
                topic, key=dead_letter.key, value=dead_letter.value, headers=list(dead_letter.headers)
            )


def test_dead_letters_are_listed_and_counted(on_broker: Commands) -> None:
    """Reason, stage, key, time, place, message; and how many for each reason."""
    result = on_broker("dead-letters", "list")

    assert result.code == 0
    assert UNMAPPED.message in result.out
    assert "orders.paid/0/2" in result.out
    assert "unmapped-item  2" in result.out
    assert SECRET not in result.out
    assert "\x1b" not in result.out


def test_no_dead_letters_are_a_sentence(on_broker: Commands) -> None:
    """And no empty table."""
    result = on_broker("dead-letters", "list", "--reason", "too-large")

    assert (result.code, result.out) == (0, "")
    assert len(result.err.splitlines()) == 1


def test_dead_letters_as_json(on_broker: Commands) -> None:
    """The same, for machines."""
    result = on_broker("dead-letters", "list", "--json").json
    dead_letters = result["dead_letters"]

    assert isinstance(dead_letters, list)
    assert [dead_letter["reason"] for dead_letter in dead_letters] == [
        "unmapped-item",
        "gave-up",
        "unmapped-item",
        "unreadable",
        None,
    ]
    assert result["by_reason"] == {"unmapped-item": 2, "gave-up": 1, "unreadable": 1, "(none)": 1}


@pytest.mark.parametrize(
    ("filters", "places"),
    [
        (("--reason", "unmapped-item"), [1, 3]),
        (("--stage", "submit"), [2]),
        (("--merchant", "2000132"), [3]),
        (("--reason", "unmapped-item", "--merchant", "3085676"), [1]),
        (("--reason", "sink-failed"), []),
        (("--last", "2"), [4, 5]),
    ],
)
def test_dead_letters_are_filtered(on_broker: Commands, filters: tuple[str, ...], places: list[int]) -> None:
    """All filters apply; places stay those of the whole list, so that `show` finds them."""
    dead_letters = on_broker("dead-letters", "list", "--json", *filters).json["dead_letters"]

    assert isinstance(dead_letters, list)
    assert [dead_letter["number"] for dead_letter in dead_letters] == places


def test_one_dead_letter_is_shown_without_customer_data(on_broker: Commands) -> None:
    """Headers in words; value and plan only with `--value`."""
    result = on_broker("dead-letters", "show", "orders.paid/0/2")

    assert result.code == 0
    assert GAVE_UP.message in result.out
    assert "kafka_dlt-original-offset" in result.out
    assert SECRET not in result.out
    assert "--value" in result.err


def test_value_and_plan_are_shown_when_asked_for(on_broker: Commands) -> None:
    """As text, and as JSON."""
    assert on_broker("dead-letters", "show", "2", "--value").out.count(SECRET) == 2
    assert on_broker("dead-letters", "show", "2", "--value", "--json").out.count(SECRET) == 2
    assert "value" not in on_broker("dead-letters", "show", "2", "--json").json


def test_an_unreadable_dead_letter_is_shown(on_broker: Commands) -> None:
    """Bytes that a terminal would obey are not sent to it."""
    result = on_broker("dead-letters", "show", "4", "--value")

    assert result.code == 0
    assert "\x1b" not in result.out
    assert on_broker("dead-letters", "show", "5", "--value").code == 0


def test_a_dead_letter_without_order_id_is_shown_by_its_key(on_broker: Commands) -> None:
    """As the list prints it: bytes that are no text in hexadecimal."""
    assert "unreadable  0xff" in on_broker("dead-letters", "list").out

    result = on_broker("dead-letters", "show", "0xff")

    assert result.code == 0
    assert "unreadable" in result.out


def test_a_missing_dead_letter_is_1(on_broker: Commands) -> None:
    """And where to look."""
    result = on_broker("dead-letters", "show", "99")

    assert result.code == 1
    assert "99" in result.err
    assert "dead-letters list" in result.err


def test_a_missing_topic_is_named(run: Commands, kafka: KafkaConnection) -> None:
    """With the command that makes it."""
    result = run(
        "dead-letters", "list",
        "--set", f"kafka.bootstrap_servers={kafka.bootstrap_servers}",
        "--set", "topics.dead_letters=no-such-topic",
    )  # fmt: skip

    assert result.code == 1
    assert "no-such-topic" in result.err
    assert "topics --create" in result.err
