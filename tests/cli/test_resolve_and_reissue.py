"""`resolve` and `reissue` where there is nothing to do, or the request is wrong; the integration tests show what they
do.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from committed_records import committed_records
from flows.harness import Harness

from adapter.dev.producing import producing
from adapter.dev.sandbox import RunningSandbox
from adapter.flows.messages.events import IssuanceFailed, IssuanceSubmitted, Origin, issuance_event
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import TopicSpec, create
from adapter.stream.records import ProducerRecord, Record
from adapter.testing.ecticket import LOST_BEFORE

from .command_runner import MERCHANT, Commands
from .conftest import settings_for

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOPICS = ("orders_paid", "orders_deferred", "confirmations", "issuances", "dead_letters")
ORDER = {
    "order_id": "A-1",
    "issue_type": "electronic",
    "customer": {"name": "王小明", "phone": "0912345678", "email": "ming@example.com"},
    "lines": [{"sku": "VQT04959", "quantity": 2}],
    "trade_no": "PAID1",
}
FAILED = IssuanceFailed(
    merchant_id=MERCHANT.merchant_id,
    order_id="A-1",
    reference=None,
    trade_no="PAID1",
    trade_no_kind="merchant",
    issue_type="electronic",
    part=1,
    parts=1,
    items=({"item_no": "VQT04959", "name": None, "quantity": 2},),  # type: ignore[arg-type]  # pydantic reads it
    ticket_count=2,
    ticket_trade_no=None,
    stage="submit",
    rtn_code=10_200_001,
    rtn_msg="Inventory shortage",
    remark=None,
)
NEW = derive_trade_no(MERCHANT.merchant_id, "A-1", 1, reissue=1)


@pytest.fixture
def on_broker(run: Commands, kafka: KafkaConnection, names: dict[str, str]) -> Commands:
    """Commands with topics that are there, and empty."""
    group = {"bootstrap_servers": kafka.bootstrap_servers, "group_prefix": names["orders_paid"]}
    run.settings({**settings_for("http://127.0.0.1:1"), "kafka": group, "topics": names})
    asyncio.run(create(kafka, [TopicSpec(name=names[name], partitions=1, config={}) for name in TOPICS]))
    return run


@pytest.fixture
def failed(on_broker: Commands, kafka: KafkaConnection, names: dict[str, str]) -> Commands:
    """An order with a published failure, whose record is gone."""
    origin = Origin(topic=names["orders_paid"], partition=0, offset=41)
    asyncio.run(_put(kafka, issuance_event(FAILED, topic=names["issuances"], origin=origin, now=NOW)))
    return on_broker


async def _put(kafka: KafkaConnection, record: ProducerRecord) -> None:
    async with producing(kafka) as producer:
        await producer.send_and_wait(record.topic, record.value, record.key, headers=list(record.headers))


def _on(kafka: KafkaConnection, topic: str) -> list[Record]:
    return asyncio.run(committed_records(kafka, [topic]))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("resolve", "X1", "--as", "lost", "--why", "x"), "issued or failed"),
        (("resolve", "X1", "--as", "issued", "--why", " "), "--why"),
        (("resolve", "X1", "--as", "issued", "--why", "x" * 201), "200"),
        (("resolve", "X1", "--as", "issued"), "--why"),
        (("resolve",), "TRADE_NO"),
        (("reissue",), "ORDER_ID|TRADE_NO"),
    ],
)
def test_wrong_options_are_wrong_usage(run: Commands, arguments: tuple[str, ...], expected: str) -> None:
    """Nothing is asked and nothing is read."""
    result = run(*arguments)

    assert result.code == 2
    assert expected in result.err


def test_a_number_in_no_dead_letter_cannot_be_resolved(on_broker: Commands) -> None:
    """ECTicket is not even asked."""
    result = on_broker("resolve", "X1", "--as", "issued", "--why", "x")

    assert (result.code, result.out) == (1, "")
    assert "dead letter" in result.err
    assert "X1" in result.err


def test_an_order_with_another_orders_number_can_only_be_closed_as_failed(
    on_broker: Commands, kafka: KafkaConnection, names: dict[str, str]
) -> None:
    """The issuances topic says whose the number is; ECTicket, which cannot be reached here, would say "issued"."""
    harness = Harness()
    asyncio.run(harness.run(harness.order(order_id="A-1", trade_no="PAID1")))
    dead_letter = asyncio.run(harness.run(harness.order(order_id="B-1", trade_no="PAID1"))).dead_letter
    data = FAILED.model_dump(exclude={"stage", "rtn_code", "rtn_msg", "remark"})
    origin = Origin(topic=names["orders_paid"], partition=0, offset=41)
    submitted = IssuanceSubmitted(**data, recovered=False)
    asyncio.run(_put(kafka, issuance_event(submitted, topic=names["issuances"], origin=origin, now=NOW)))
    asyncio.run(_put(kafka, _as_published(dead_letter, names)))

    issued = on_broker("resolve", "PAID1", "--as", "issued", "--why", "ECTicket has it")
    other = on_broker("resolve", "PAID1", "--order", "A-1", "--as", "failed", "--why", "x")
    failed = on_broker("resolve", "PAID1", "--order", "B-1", "--as", "failed", "--why", "paid with A-1", "--json")

    assert (issued.code, other.code, failed.code) == (1, 1, 0)
    assert "order A-1's" in issued.err
    assert (failed.json["order_id"], failed.json["published"]) == ("B-1", ["failed"])


def test_two_orders_with_one_number_are_not_resolved_together(
    on_broker: Commands, kafka: KafkaConnection, names: dict[str, str]
) -> None:
    """Both are in dead letters: the command wants to know which one is meant."""
    for order in ("A-1", "B-1"):
        harness = Harness(policy=SubmitPolicy(give_up_after_seconds=60))
        harness.ecticket.always = LOST_BEFORE
        dead_letter = asyncio.run(harness.run(harness.order(order_id=order, trade_no="PAID1"))).dead_letter
        asyncio.run(_put(kafka, _as_published(dead_letter, names)))

    result = on_broker("resolve", "PAID1", "--as", "issued", "--why", "x")

    assert result.code == 2
    assert "--order: A-1, B-1" in " ".join(result.err.split())


def _as_published(dead_letter: Record, names: dict[str, str]) -> ProducerRecord:
    headers = tuple((name, value or b"") for name, value in dead_letter.headers)
    return ProducerRecord(topic=names["dead_letters"], key=dead_letter.key, value=dead_letter.value, headers=headers)


def test_an_order_without_events_cannot_be_reissued(on_broker: Commands) -> None:
    """Neither an order nor a number."""
    result = on_broker("reissue", "A-1")

    assert result.code == 1
    assert "A-1" in result.err


def test_an_order_without_a_record_is_requested_as_a_file(failed: Commands) -> None:
    """With the option that takes it."""
    result = failed("reissue", "A-1")

    assert result.code == 1
    assert "--order FILE" in result.err


def test_an_order_comes_from_a_file_where_its_topic_has_forgotten_it(
    failed: Commands, kafka: KafkaConnection, names: dict[str, str], tmp_path: Path, ecticket: RunningSandbox
) -> None:
    """Refused without ECTicket; then shown, written, found under way: once, with its coordinates and its new number."""
    file = tmp_path / "order.json"
    file.write_text(json.dumps({**ORDER, "order_id": "A-0", "trade_no": "KNOWN1"}), encoding="utf-8")
    sandbox = ("--set", f"provider.base_url={ecticket.base_url}")
    keys = ("--set", f"merchants.{MERCHANT.merchant_id}.known_trade_no=KNOWN1")
    issued = failed("issue", str(file), *sandbox)
    file.write_text(json.dumps(ORDER), encoding="utf-8")

    unreachable = failed("reissue", "PAID1", "--order", str(file), "--dry-run", "--json")
    dry = failed("reissue", "PAID1", "--order", str(file), "--dry-run", "--json", *sandbox, *keys)
    done = failed("reissue", "PAID1", "--order", str(file), "--json", *sandbox, *keys)
    again = failed("reissue", "A-1", "--order", str(file), *sandbox, *keys)

    assert (issued.code, unreachable.code, unreachable.out) == (0, 1, "")
    assert "could not be queried about PAID1" in unreachable.err
    assert (dry.code, done.code, again.code) == (0, 0, 1)
    assert dry.json == {**done.json, "outcome": "would be reissued"}
    assert done.json == {
        "outcome": "reissued",
        "merchant_id": MERCHANT.merchant_id,
        "order_id": "A-1",
        "part": 1,
        "parts": 1,
        "trade_no": NEW,
        "trade_no_kind": "merchant",
        "reissue": 1,
        "ticket_count": 2,
        "target": names["orders_deferred"],
    }
    assert NEW in again.err
    (record,) = _on(kafka, names["orders_deferred"])
    headers = dict(record.headers)
    assert (record.key, json.loads(record.value or b"")) == (b"A-1", ORDER)
    assert (headers["ecticket-topic"], headers["ecticket-offset"]) == (names["orders_paid"].encode(), b"41")
    assert "王小明" not in done.out + done.err


def test_another_orders_file_is_refused(
    failed: Commands, kafka: KafkaConnection, names: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is issued for another order."""
    file = tmp_path / "order.json"
    file.write_text(json.dumps({**ORDER, "order_id": "A-2"}), encoding="utf-8")

    result = failed("reissue", "A-1", "--order", str(file))

    assert result.code == 1
    for fact in ("order A-1", f"merchant {MERCHANT.merchant_id}", "--order"):
        assert fact in result.err
    assert _on(kafka, names["orders_deferred"]) == []
