"""`dead-letters replay` on a real broker: each dead letter is replayed once, however often the command runs."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from committed_records import committed_records
from flows.harness import SIGNER, Harness, derived

from adapter.dev.producing import producing
from adapter.flows.messages.dead_letters import RECORD_MAX_BYTES, DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import OrderSkipped, Origin, order_event
from adapter.flows.messages.record_history import RecordHistory
from adapter.issuance.decide import SubmitPolicy
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import TopicSpec, create
from adapter.stream.records import ProducerRecord, Record
from adapter.testing.ecticket import LOST_BEFORE
from adapter.values import replace

from .command_runner import MERCHANT, Commands, Result, in_own_process
from .conftest import settings_for

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UNMAPPED = DeadLetterCause(
    reason="unmapped-item", stage="map", message="No ticket is known for sku x. Add it.", plugin="shop"
)
UNRESOLVED = DeadLetterCause(reason="unresolved", stage="confirm", message="No proof. Look it up.")
GAVE_UP = DeadLetterCause(reason="gave-up", stage="submit", message="Never sent. Replay it.")
SINK = DeadLetterCause(reason="sink-failed", stage="deliver", message="The sink raised. Fix it.")
SECRET = "王小明"
CHAT = """
from pathlib import Path
from adapter import RetryAfter, hookimpl

class Chat:
    name = "chat"

    def wants(self, event):
        return event.id != "unwanted"

    async def deliver(self, event):
        if event.id.startswith("busy"):
            raise RetryAfter(60, "was busy")
        with Path(__file__).with_name("observed").open("a") as observed:
            observed.write(f"{event.id} {event.data['order_id']}\\n")

@hookimpl
def notification_sinks():
    return [Chat()]
"""
"""A sink that writes down the events it gets."""


def _sink_dead_letter(event_id: str, *, sink: str = "chat", value: bytes = b'{"order_id": "B-1"}') -> ProducerRecord:
    attributes = {
        "specversion": "1.0",
        "id": event_id,
        "type": "ecticket.issuance.issued.v1",
        "source": "/ecticket-adapter/merchants/3085676",
        "subject": f"T-{event_id}",
        "time": "2026-03-01T12:00:00.000Z",
    }
    headers = tuple((f"ce_{name}", text.encode()) for name, text in attributes.items())
    event = Record(
        topic="issuances", partition=0, offset=7, timestamp=NOW, key=b"3085676/T1", value=value, headers=headers
    )
    cause = DeadLetterCause(
        reason="sink-failed", stage="deliver", message="It was full. Fix it.", plugin="chat", sink=sink
    )
    history = RecordHistory(
        origin=Origin(topic="issuances", partition=0, offset=7), origin_timestamp=NOW, first_seen=NOW
    )
    return dead_letter_record(event, cause, history, topic="", now=NOW)


class Shelf:
    """Five dead letters: two orders unmapped, one confirmation unresolved, one order given up, one of a sink."""

    def __init__(self, run: Commands, kafka: KafkaConnection, names: dict[str, str]) -> None:
        self.run = run
        self.kafka = kafka
        self.names = names

    def __call__(self, *arguments: str) -> Result:
        return self.run("dead-letters", *arguments)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """What `replay --json` says, line by line."""
        return [json.loads(line) for line in self("replay", "--json", *arguments).out.splitlines()]

    def open(self) -> list[str]:
        dead_letters = self("list", "--json").json["dead_letters"]
        assert isinstance(dead_letters, list)
        return [dead_letter["order_id"] for dead_letter in dead_letters]

    def on(self, topic: str) -> list[Record]:
        return asyncio.run(committed_records(self.kafka, [self.names[topic]]))

    def back(self) -> list[bytes]:
        """The keys of what was replayed."""
        return sorted(record.key or b"" for topic in ("orders_deferred", "confirmations") for record in self.on(topic))

    def put(self, *dead_letters: ProducerRecord) -> None:
        """Write dead letters as an adapter with the same keys does."""
        asyncio.run(self.put_all(tuple(SIGNER.sign(each, MERCHANT.merchant_id) for each in dead_letters)))

    async def put_all(self, dead_letters: tuple[ProducerRecord, ...]) -> None:
        async with producing(self.kafka, max_request_size=8_000_000) as producer:
            for each in dead_letters:
                topic = each.topic or self.names["dead_letters"]
                headers = list(each.headers)
                await producer.send_and_wait(topic, key=each.key, value=each.value, headers=headers, partition=0)

    def lose_commits(self) -> None:
        """Offsets set back by hand: what was settled beyond them is forgotten, as it is by brokers after a week."""

        async def lose() -> None:
            group = f"{self.names['orders_paid']}.dead-letters"
            consumer = AIOKafkaConsumer(**self.kafka.client_options(), group_id=group, enable_auto_commit=False)
            place = TopicPartition(self.names["dead_letters"], 0)
            try:
                await consumer.start()
                consumer.assign([place])
                await consumer.commit({place: OffsetAndMetadata(0, "")})
            finally:
                await consumer.stop()

        asyncio.run(lose())


def _dead_letter(
    order_id: str, cause: DeadLetterCause, *, offset: int, replays: int = 0, value: bytes | None = None
) -> ProducerRecord:
    order = {"order_id": order_id, "merchant_id": "3085676", "customer": {"name": SECRET}}
    record = Record(
        topic="orders.paid",
        partition=0,
        offset=offset,
        timestamp=NOW,
        key=order_id.encode(),
        value=value or json.dumps(order, ensure_ascii=False).encode(),
        headers=(("x-shop", b"web"),),
    )
    origin = Origin(topic="orders.paid", partition=0, offset=offset)
    history = RecordHistory(origin=origin, origin_timestamp=NOW, first_seen=NOW, replays=replays)
    return dead_letter_record(record, cause, history, topic="", now=NOW)


DEAD_LETTERS = (
    _dead_letter("A-1", UNMAPPED, offset=1),
    _dead_letter("A-2", UNRESOLVED, offset=2),
    _dead_letter("A-3", UNMAPPED, offset=3),
    _dead_letter("A-4", GAVE_UP, offset=4, replays=3),
    _dead_letter("A-5", SINK, offset=5),
)


@pytest.fixture
def shelf(run: Commands, kafka: KafkaConnection, names: dict[str, str]) -> Shelf:
    """The dead letters, on topics of their own."""
    settings = settings_for("http://127.0.0.1:1")
    group = {"bootstrap_servers": kafka.bootstrap_servers, "group_prefix": names["orders_paid"]}
    run.settings({**settings, "kafka": group, "topics": names})
    large = {"max.message.bytes": str(RECORD_MAX_BYTES)}
    specs = [
        TopicSpec(name=names[name], partitions=1, config=large if "dead" in name or "deferred" in name else {})
        for name in ("orders_paid", "orders_deferred", "confirmations", "issuances", "dead_letters")
    ]
    asyncio.run(create(kafka, specs))
    shelf = Shelf(run, kafka, names)
    shelf.put(*DEAD_LETTERS)
    return shelf


def test_nothing_named_is_wrong_usage(run: Commands) -> None:
    """Everything is a lot: it has to be asked for."""
    result = run("dead-letters", "replay")

    assert result.code == 2
    assert "--all" in result.err


def test_a_dry_run_shows_where_everything_would_go_and_writes_nothing(shelf: Shelf) -> None:
    """And what would be left out, with the reason."""
    result = shelf("replay", "--all", "--dry-run")
    lines = {line["order_id"]: line for line in shelf.lines("--all", "--dry-run")}

    deferred, confirmations = shelf.names["orders_deferred"], shelf.names["confirmations"]
    assert result.code == 1
    assert {order: line["outcome"] for order, line in lines.items()} == {
        **dict.fromkeys(("A-1", "A-2", "A-3"), "would be replayed"),
        **dict.fromkeys(("A-4", "A-5"), "left out"),
    }
    facts = ("target", "replays", "mapped_again")
    assert [lines["A-1"][fact] for fact in facts] == [deferred, 1, True]
    assert [lines["A-2"][fact] for fact in facts] == [confirmations, 1, False]
    assert "--max-replays" in lines["A-4"]["why"]
    assert "ecticket-sink" in lines["A-5"]["why"]
    for order, target in (("A-1", deferred), ("A-2", confirmations)):
        (line,) = (line for line in result.out.splitlines() if f"order {order} " in line)
        assert f"→ {target} (replay 1" in line
        assert bool(re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", line)) is (order == "A-1")
    assert [lines[order]["lacks_known_number"] for order in ("A-1", "A-2", "A-3")] == [True, False, True]
    assert sum("merchants.3085676.known_trade_no" in each for each in result.err.splitlines()) == 1
    assert re.findall(r"\d+", result.err.splitlines()[-1]) == ["3"]
    assert shelf.back() == []
    assert shelf.open() == ["A-1", "A-2", "A-3", "A-4", "A-5"]


def test_a_selection_leaves_the_others_open_and_a_second_run_repeats_nothing(shelf: Shelf) -> None:
    """What was replayed is handled, for `list` too; `--all` shows it."""
    first = shelf("replay", "--reason", "unmapped-item")
    second = shelf("replay", "--reason", "unmapped-item")

    assert (first.code, second.code) == (0, 0)
    assert first.out.count("replayed  ") == 2
    assert second.out == ""
    assert shelf.back() == [b"A-1", b"A-3"]
    assert shelf.open() == ["A-2", "A-4", "A-5"]
    assert "handled" in shelf("list", "--all").out


def test_each_dead_letter_is_one_line_of_output_and_one_in_the_log(shelf: Shelf) -> None:
    """Coordinates, order, reason, target, how often; and no customer's name."""
    result = shelf("replay", "A-1", "--json")
    line, logged = json.loads(result.out), json.loads(result.err.splitlines()[0])

    assert datetime.fromisoformat(line.pop("issued_from")) > datetime.now(UTC) + timedelta(seconds=300)
    assert logged.pop("issued_from")
    assert line == {
        "outcome": "replayed",
        "dead_letter": f"{shelf.names['dead_letters']}/0/0",
        "origin": "orders.paid/0/1",
        "merchant_id": "3085676",
        "order_id": "A-1",
        "key": "A-1",
        "stage": "map",
        "reason": "unmapped-item",
        "lacks_known_number": True,
        "target": shelf.names["orders_deferred"],
        "replays": 1,
        "mapped_again": True,
    }
    assert logged.pop("event")
    assert logged.pop("user")
    assert logged == {**line, "level": "info", "timestamp": logged["timestamp"]}
    assert SECRET not in result.out + result.err


def test_the_record_goes_back_as_it_came(shelf: Shelf) -> None:
    """Key, value and the shop's headers."""
    shelf("replay", "A-1")
    (again,) = shelf.on("orders_deferred")

    assert (again.key, again.value) == (DEAD_LETTERS[0].key, DEAD_LETTERS[0].value)
    assert again.headers[0] == ("x-shop", b"web")
    assert dict(again.headers)["ecticket-replays"] == b"1"


def test_dead_letters_that_these_keys_did_not_sign_are_counted(shelf: Shelf) -> None:
    """The adapter may have other keys than this command. They are replayed only with `--unsigned`, without plans."""
    unsigned = replace(DEAD_LETTERS[0], key=b"unsigned")
    asyncio.run(shelf.put_all((unsigned,)))

    result = shelf("replay", "--dry-run", "--reason", "unmapped-item")

    demanded = shelf("replay", "--dry-run", "--reason", "unmapped-item", "--unsigned")

    (unsigned_line,) = (line for line in result.err.splitlines() if line.startswith("Without a valid signature"))
    assert re.findall(r"\d+", unsigned_line) == ["1"]
    assert (result.code, demanded.code) == (1, 0)
    assert "keys.signing_key" not in shelf("replay", "--dry-run", "--reason", "gave-up").err


def test_what_keeps_coming_back_is_left_out(shelf: Shelf) -> None:
    """Until the operator allows one more."""
    assert [line["outcome"] for line in shelf.lines("A-4")] == ["left out"]
    assert [line["outcome"] for line in shelf.lines("A-4", "--max-replays", "4")] == ["replayed"]
    assert shelf.back() == [b"A-4"]


def test_a_limit_takes_the_oldest(shelf: Shelf) -> None:
    """And the next run the next ones."""
    assert [line["order_id"] for line in shelf.lines("--all", "--limit", "2") if line["outcome"] == "replayed"] == [
        "A-1",
        "A-2",
    ]
    assert "A-3" in [line["order_id"] for line in shelf.lines("--all", "--limit", "1")]


def test_a_rate_is_kept(shelf: Shelf) -> None:
    """Each dead letter in its own transaction, so many in a second at most."""
    began = time.monotonic()
    shelf("replay", "A-1", "A-2", "A-3", "--per-second", "2")

    assert time.monotonic() - began >= 1
    assert shelf.back() == [b"A-1", b"A-2", b"A-3"]


def test_an_unknown_name_is_reported(shelf: Shelf) -> None:
    """The others are replayed all the same."""
    result = shelf("replay", "A-1", "Z-9")

    assert result.code == 1
    (line,) = (line for line in result.err.splitlines() if "dead-letters list" in line)
    assert "Z-9" in line
    assert shelf.back() == [b"A-1"]


def test_a_handled_dead_letter_is_shown_as_handled(shelf: Shelf) -> None:
    """When it is named."""
    shelf("replay", "A-1")
    result = shelf("replay", "A-1")

    assert result.code == 1
    assert "handled" in result.out


def test_a_record_that_its_topic_does_not_take_is_no_traceback(shelf: Shelf) -> None:
    """The cure is in the sentence, and the dead letter stays open."""
    value = b'{"order_id": "A-6", "x": "' + b"x" * 1_500_000 + b'"}'
    shelf.put(_dead_letter("A-6", UNRESOLVED, offset=6, value=value))
    result = shelf("replay", "A-6")

    assert result.code == 1
    assert "max.message.bytes" in result.err
    assert "A-6" in shelf.open()


def test_a_value_that_was_left_out_is_fetched_from_where_the_record_came(shelf: Shelf) -> None:
    """While its topic still has it; without it the dead letter is left out."""
    shelf.put(ProducerRecord(topic=shelf.names["orders_paid"], key=b"A-7", value=b'{"order_id": "A-7"}'))
    (order,) = shelf.on("orders_paid")
    there = Origin(topic=order.topic, partition=0, offset=order.offset)
    gone = Origin(topic=order.topic, partition=0, offset=99)
    shelf.put(*(_omitted(order, origin) for origin in (there, gone)))

    outcomes = {line["outcome"]: line for line in shelf.lines("--reason", "too-large")}

    assert outcomes.keys() == {"replayed", "left out"}
    assert f"{order.topic}/0/99" in outcomes["left out"]["why"]
    assert [record.value for record in shelf.on("orders_deferred")] == [order.value]


def _omitted(order: Record, origin: Origin) -> ProducerRecord:
    """The dead letter of a record that was too large for it."""
    cause = DeadLetterCause(reason="too-large", stage="parse", message="Too large. Send less.")
    history = RecordHistory(origin=origin, origin_timestamp=order.timestamp, first_seen=NOW)
    dead_letter = dead_letter_record(order, cause, history, topic="", now=NOW)
    return replace(dead_letter, value=None, headers=(*dead_letter.headers, ("ecticket-value-omitted", b"true")))


def test_what_a_sink_did_not_take_is_delivered_to_that_sink_alone(shelf: Shelf, tmp_path: Path) -> None:
    """Once; unwanted events are handled too, failed ones stay open, and no topic receives any of it."""
    plugin = tmp_path / "chat_plugin.py"
    plugin.write_text(CHAT)
    events = ("one", "unwanted", "busy-1", "busy-2", "after-these")
    shelf.put(*map(_sink_dead_letter, events), _sink_dead_letter("one", sink="crm"))
    with_sinks = ("--stage", "deliver", "--set", f"plugins.paths={plugin}")
    before = shelf.on("issuances")

    would = shelf.lines(*with_sinks, "--sink", "chat", "--dry-run")
    first = shelf.lines(*with_sinks)
    second = shelf.lines(*with_sinks)

    assert [line["target"] for line in would] == ["sink chat"] * 5
    assert (tmp_path / "observed").read_text() == "one B-1\n"
    assert [line["outcome"] for line in first].count("replayed") == 2
    whys = [line["why"] for line in first if line["outcome"] == "left out"]
    expected = {"was busy": 1, "pause": 2, "sink crm": 1, "ecticket-sink": 1}
    assert {result: sum(result in why for why in whys) for result in expected} == expected
    assert [line["outcome"] for line in second] == ["left out"] * 5
    assert shelf.on("issuances") == before
    assert shelf.back() == []


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits may be forgotten at once."""
    monkeypatch.setattr("adapter.operations.dead_letter_store.FORGETTABLE_AFTER", timedelta(0))


@pytest.mark.usefixtures("no_patience")
def test_forgotten_commits_are_replaced_by_later_events(shelf: Shelf) -> None:
    """A-1 was replayed and skipped since; its dead letter is not replayed again, and the next commit says so."""
    shelf("replay", "A-1")
    data = OrderSkipped(
        order_id="A-1", reason="x", stage="map", plugin="shop", message="Skipped. Nothing.", parts_done=0
    )
    origin = Origin(topic="orders.paid", partition=0, offset=1)
    event = order_event(data, topic=shelf.names["issuances"], origin=origin, now=NOW, merchant_id="3085676")
    shelf.put(event)
    shelf.lose_commits()

    assert shelf.open() == ["A-2", "A-3", "A-4", "A-5"]
    assert [line["order_id"] for line in shelf.lines("--reason", "unmapped-item")] == ["A-3"]
    assert shelf.open() == ["A-2", "A-4", "A-5"]
    assert shelf.back() == [b"A-1", b"A-3"]


@pytest.mark.usefixtures("no_patience")
def test_a_resolve_after_forgotten_commits_marks_handled_dead_letters_again(shelf: Shelf) -> None:
    """Its commit is the first one after they were lost, and later commands believe only this commit."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=60))
    harness.ecticket.faults = [LOST_BEFORE]
    harness.ecticket.silent = True
    parked = asyncio.run(harness.run(harness.order(order_id="A-6"))).dead_letter
    headers = tuple((name, value or b"") for name, value in parked.headers)
    shelf.put(ProducerRecord(topic="", key=parked.key, value=parked.value, headers=headers))
    shelf("replay", "A-1")
    data = OrderSkipped(
        order_id="A-1", reason="x", stage="map", plugin="shop", message="Skipped. Nothing.", parts_done=0
    )
    origin = Origin(topic="orders.paid", partition=0, offset=1)
    shelf.put(order_event(data, topic=shelf.names["issuances"], origin=origin, now=NOW, merchant_id="3085676"))
    shelf.lose_commits()

    done = shelf.run("resolve", derived("A-6"), "--as", "failed", "--why", "never arrived", "--against-ecticket")

    assert done.code == 0, done.err
    assert shelf.open() == ["A-2", "A-3", "A-4", "A-5"]


def test_another_process_sees_the_same(shelf: Shelf) -> None:
    """The command as it is run in a pod."""
    process = in_own_process("dead-letters", "replay", "A-3", "--config", str(shelf.run.config))

    assert process.returncode == 0, process.stderr
    assert "A-3" in process.stdout
    assert "A-3" not in shelf.open()
