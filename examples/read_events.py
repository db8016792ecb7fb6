"""Store the events of issuances and tickets in a database: each fact once, even if this program is killed.

python examples/read_events.py BOOTSTRAP_SERVERS DATABASE.sqlite [TOPIC...]
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaConnectionError

GROUP = "read-events-example"
TOPICS = ("ecticket.issuances", "ecticket.tickets")
WORDS = {f"ecticket.issuance.{word}.v1": word for word in ("submitted", "issued", "failed", "delayed")}
HINTS = {
    "ecticket.ticket.status-changed.v1": "ECPay reports a ticket as {what} (UseStatus {use_status})",
    "ecticket.order.refunded.v1": "ECPay reports a refund (RefundAmount {refund_amount})",
}
TABLES = """
create table if not exists facts (id text primary key);
create table if not exists issuances (trade_no text primary key, order_id text, is_now text);
create table if not exists hints (trade_no text, hint text);
"""


def note(database: sqlite3.Connection, record: ConsumerRecord) -> str | None:
    """Store the fact of a record and describe it; None if it is known already, or of another type."""
    attributes = {name: text.decode() for name, text in record.headers}
    kind = attributes.get("ce_type", "")
    if kind not in WORDS and kind not in HINTS:
        return None
    with database:  # one transaction: the fact's id, and its effect
        if not database.execute("insert or ignore into facts values (?)", [attributes["ce_id"]]).rowcount:
            return None
        data = json.loads(record.value)
        return note_issuance(database, data, WORDS[kind]) if kind in WORDS else note_hint(database, data, HINTS[kind])


def note_issuance(database: sqlite3.Connection, data: dict[str, Any], word: str) -> str:
    """Store the state of an issuance."""
    row = (data["trade_no"], data["order_id"], word)
    database.execute("insert or replace into issuances values (?, ?, ?)", row)
    return f"{data['order_id']}: {data['trade_no']} is {word}"


def note_hint(database: sqlite3.Connection, data: dict[str, Any], hint: str) -> str:
    """Store a notification of ECPay. Look the ticket up before you act on it."""
    text = hint.format(what=" or ".join(data.get("may_mean", ())) or "changed", **data)
    database.execute("insert into hints values (?, ?)", (data["trade_no"], text))
    return f"{data['trade_no']}: {text}"


async def main(servers: str, file: str, *topics: str) -> None:
    """Read from the committed offset of this group on, and wait for more."""
    database = sqlite3.connect(file)
    database.executescript(TABLES)
    reader = AIOKafkaConsumer(
        *(topics or TOPICS),
        bootstrap_servers=servers,
        group_id=GROUP,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await reader.start()
        async for record in reader:
            text = note(database, record)
            await reader.commit()  # after the database: a record that is read again is known there
            if text:
                print(text, flush=True)
    finally:
        await reader.stop()
        database.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KafkaConnectionError as error:
        sys.exit(f"No Kafka at {sys.argv[1]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
