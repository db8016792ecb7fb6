"""The programs in `examples/` do what the manual says of them, on a real broker."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from conftest import TopicFactory
from key_words import mentions

from adapter.dev.producing import producing
from adapter.flows.messages.events import (
    IssuanceData,
    IssuanceIssued,
    IssuanceSubmitted,
    Item,
    Notified,
    OrderRefunded,
    Origin,
    TicketStatusChanged,
    issuance_event,
    notification_event,
)
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.kafka.connection import KafkaConnection
from adapter.stream.records import ProducerRecord
from adapter.values import replace

ROOT = Path(__file__).parent.parent
FIRST_ORDER = ROOT / "examples" / "first_order.py"
READ_EVENTS = ROOT / "examples" / "read_events.py"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COMMON: dict[str, object] = {
    "merchant_id": "3085676",
    "reference": None,
    "trade_no_kind": "merchant",
    "issue_type": "electronic",
    "part": 1,
    "parts": 1,
    "items": (Item(item_no="VQT04959", name=None, quantity=2),),
    "ticket_count": 2,
    "ticket_trade_no": None,
}


def _issuance_record(data: IssuanceData, topic: str) -> ProducerRecord:
    return issuance_event(data, topic=topic, origin=Origin(topic="orders.paid", partition=0, offset=1), now=NOW)


def _submitted(number: str, topic: str, *, order_id: str = "A-1", recovered: bool = False) -> ProducerRecord:
    content = {**COMMON, "order_id": order_id, "trade_no": number, "recovered": recovered}
    return _issuance_record(IssuanceSubmitted.model_validate(content), topic)


def _issued(number: str, topic: str, *, order_id: str = "A-1") -> ProducerRecord:
    content = {**COMMON, "order_id": order_id, "trade_no": number}
    more = {"recovered": False, "submitted_at": NOW, "queries": 1}
    return _issuance_record(IssuanceIssued.model_validate({**content, **more}), topic)


def _notified(kind: type[Notified], topic: str, event_id: str, **fields: object) -> ProducerRecord:
    common = {"merchant_id": "3085676", "trade_no": "ONE", "trade_no_kind": "merchant", "ticket_trade_no": None}
    data = kind.model_validate({**common, "raw": {}, "withheld": (), **fields})
    return notification_event(data, topic=topic, event_id=event_id, now=NOW)


async def _publish(kafka: KafkaConnection, *records: ProducerRecord, abort: bool = False) -> None:
    """Write these in one transaction, which is aborted where that is asked for."""
    async with producing(kafka, transactional_id="test-issuances") as producer:
        await producer.begin_transaction()
        for each in records:
            await producer.send_and_wait(each.topic, each.value, key=each.key, headers=list(each.headers))
        await (producer.abort_transaction() if abort else producer.commit_transaction())


@asynccontextmanager
async def _reading(kafka: KafkaConnection, database: Path, topic: str) -> AsyncIterator[asyncio.StreamReader]:
    """The example at work, ended by Ctrl-C, upon which it leaves its group: what it prints."""
    command = (sys.executable, str(READ_EVENTS), kafka.bootstrap_servers, str(database), topic)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), 60)


async def _line(out: asyncio.StreamReader) -> str:
    return (await asyncio.wait_for(out.readline(), 60)).decode().strip()


async def _next_record(kafka: KafkaConnection, topic: str) -> ConsumerRecord:
    """The first record of a topic, once there is one."""
    reader = AIOKafkaConsumer(topic, **kafka.client_options(), auto_offset_reset="earliest")
    try:
        await reader.start()
        return await asyncio.wait_for(reader.getone(), 60)
    finally:
        await reader.stop()


async def test_first_order_sends_an_order_and_follows_it_to_its_end(
    kafka: KafkaConnection, topic: TopicFactory
) -> None:
    """What it sends is an order that can be read, and it ends with the event that ends the order."""
    orders, issuances = await topic("orders"), await topic("issuances")
    command = (sys.executable, str(FIRST_ORDER), kafka.bootstrap_servers, orders, issuances)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        sent = await _next_record(kafka, orders)
        order = parse_order_paid(sent.value, (), None)
        number = order.trade_no or ""
        await _publish(kafka, _submitted("OTHER", issuances), _submitted(number, issuances, order_id=order.order_id))
        await _publish(kafka, _issued(number, issuances, order_id=order.order_id))
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    lines = out.decode().splitlines()

    assert process.returncode == 0
    assert sent.key == order.order_id.encode()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["ecticket.issuance.submitted.v1", number],
        ["ecticket.issuance.issued.v1", number],
    ]


async def test_read_events_stores_each_fact_once(kafka: KafkaConnection, topic: TopicFactory, tmp_path: Path) -> None:
    """Started again, and with a later event of a known id, it stores only what is new."""
    issuances, database = await topic("issuances"), tmp_path / "events.sqlite"
    await _publish(kafka, _submitted("NEVER", issuances), abort=True)
    await _publish(kafka, _submitted("ONE", issuances), replace(_issued("NEVER", issuances), headers=()))
    async with _reading(kafka, database, issuances) as out:
        first = await _line(out)
    await _publish(kafka, _issued("ONE", issuances), _submitted("ONE", issuances, recovered=True))
    await _publish(kafka, _submitted("TWO", issuances))
    async with _reading(kafka, database, issuances) as out:
        later = [await _line(out), await _line(out)]

    assert [first, *later] == ["A-1: ONE is submitted", "A-1: ONE is issued", "A-1: TWO is submitted"]
    with sqlite3.connect(database) as kept:
        assert kept.execute("select trade_no, is_now from issuances order by trade_no").fetchall() == [
            ("ONE", "issued"),
            ("TWO", "submitted"),
        ]


async def test_read_events_notes_ticket_notifications_once(
    kafka: KafkaConnection, topic: TopicFactory, tmp_path: Path
) -> None:
    """With all that it may mean; an event that is published again is stored once."""
    tickets, database = await topic("tickets"), tmp_path / "events.sqlite"
    use: dict[str, object] = {"ticket_ref": None, "use_status": 2, "may_mean": ("redeemed", "refunded")}
    money: dict[str, object] = {"trade_amount": 2400, "refund_amount": 1200, "total_refund_amount": 1200}
    redeemed = _notified(TicketStatusChanged, tickets, "fact-1", **use)
    unknown = _notified(TicketStatusChanged, tickets, "fact-2", **use | {"use_status": None, "may_mean": ()})
    refunded = _notified(OrderRefunded, tickets, "fact-3", **money)
    await _publish(kafka, redeemed, redeemed, unknown, refunded)
    async with _reading(kafka, database, tickets) as out:
        lines = [await _line(out) for _ in range(3)]

    for line, words in zip(
        lines, ("redeemed refunded UseStatus 2", "changed UseStatus None", "refund RefundAmount 1200"), strict=True
    ):
        assert mentions(line, f"ONE: {words}")
