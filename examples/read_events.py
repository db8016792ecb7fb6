"""Keep books of what is told of issuances and tickets: each fact once, also when this program dies in between.

python examples/read_events.py BOOTSTRAP_SERVERS BOOKS.sqlite [TOPIC...]
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaConnectionError

GROUP = "books"
TOPICS = ("ecticket.issuances", "ecticket.tickets")
WORDS = {f"ecticket.issuance.{word}.v1": word for word in ("submitted", "issued", "failed", "delayed")}
HINTS = {
    "ecticket.ticket.status-changed.v1": "a ticket was {what}, says ECPay (UseStatus {use_status})",
    "ecticket.order.refunded.v1": "money was given back, says ECPay (RefundAmount {refund_amount})",
}
TABLES = """
create table if not exists facts (id text primary key);
create table if not exists issuances (trade_no text primary key, order_id text, is_now text);
create table if not exists hints (trade_no text, said text);
"""


def note(database: sqlite3.Connection, record: ConsumerRecord) -> str | None:
    """Note what a record tells; None when it was noted before, or is of a type that these books do not keep."""
    attributes = {name: text.decode() for name, text in record.headers}
    kind = attributes.get("ce_type", "")
    if kind not in WORDS and kind not in HINTS:
        return None
    with database:  # one transaction: the fact's id, and what follows from it
        if not database.execute("insert or ignore into facts values (?)", [attributes["ce_id"]]).rowcount:
            return None
        data = json.loads(record.value)
        return note_issuance(database, data, WORDS[kind]) if kind in WORDS else note_hint(database, data, HINTS[kind])


def note_issuance(database: sqlite3.Connection, data: dict[str, Any], word: str) -> str:
    """What the issuance is now."""
    row = (data["trade_no"], data["order_id"], word)
    database.execute("insert or replace into issuances values (?, ?, ?)", row)
    return f"{data['order_id']}: {data['trade_no']} is {word}"


def note_hint(database: sqlite3.Connection, data: dict[str, Any], hint: str) -> str:
    """What ECPay said of a ticket or of money. It is to be looked up before anything follows from it."""
    text = hint.format(what=" or ".join(data.get("may_mean", ())) or "changed", **data)
    database.execute("insert into hints values (?, ?)", (data["trade_no"], text))
    return f"{data['trade_no']}: {text}"


async def main(servers: str, file: str, *topics: str) -> None:
    """Read from where this group has come to, and then whatever is told."""
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
            await reader.commit()  # after the books: what is read again is known there
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
