"""Keep books of what is told of issuances: each fact once, also when this program dies in between.

python examples/read_events.py BOOTSTRAP_SERVERS BOOKS.sqlite [TOPIC...]
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaConnectionError

GROUP = "books"
TOPICS = ("ecticket.issuances",)
WORDS = {f"ecticket.issuance.{word}.v1": word for word in ("submitted", "issued", "failed", "delayed")}
TABLES = """
create table if not exists facts (id text primary key);
create table if not exists issuances (trade_no text primary key, order_id text, is_now text);
"""


def note(books: sqlite3.Connection, record: ConsumerRecord) -> str | None:
    """Note what a record tells; None when it was noted before, or is of a type that these books do not keep."""
    attributes = {name: text.decode() for name, text in record.headers}
    word = WORDS.get(attributes.get("ce_type", ""))
    if word is None:
        return None
    with books:  # one transaction: the fact's id, and what follows from it
        if not books.execute("insert or ignore into facts values (?)", [attributes["ce_id"]]).rowcount:
            return None
        data = json.loads(record.value)
        row = (data["trade_no"], data["order_id"], word)
        books.execute("insert or replace into issuances values (?, ?, ?)", row)
    return f"{data['order_id']}: {data['trade_no']} is {word}"


async def main(servers: str, file: str, *topics: str) -> None:
    """Read from where this group has come to, and then whatever is told."""
    books = sqlite3.connect(file)
    books.executescript(TABLES)
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
            said = note(books, record)
            await reader.commit()  # after the books: what is read again is known there
            if said:
                print(said, flush=True)
    finally:
        await reader.stop()
        books.close()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KafkaConnectionError as error:
        sys.exit(f"No Kafka at {sys.argv[1]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
