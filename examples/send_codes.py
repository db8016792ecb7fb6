"""Put the redemption codes of collected tickets into a shop's outbox: each set once, even if this program is killed.

python examples/send_codes.py BOOTSTRAP_SERVERS DATABASE.sqlite TOPIC

A mailer takes the rows that are not sent, looks the customer up by `order_id` or `reference`, and sends the codes.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaConnectionError

GROUP = "send-codes-example"
COLLECTED = "ecticket.ticket.collected.v1"
TABLES = """
create table if not exists facts (id text primary key);
create table if not exists outbox (order_id text, reference text, name text, ticket_no text, redemption_code text,
                                   sent_at text);
"""


def put(database: sqlite3.Connection, record: ConsumerRecord) -> str | None:
    """Put an event's codes into the outbox; None if they are there already, or if it is another event."""
    attributes = {name: text.decode() for name, text in record.headers}
    if attributes.get("ce_type") != COLLECTED:
        return None
    with database:  # one transaction: the fact's id, and its effect
        if not database.execute("insert or ignore into facts values (?)", [attributes["ce_id"]]).rowcount:
            return None
        data = json.loads(record.value)
        order = data["order_id"], json.dumps(data["reference"])
        database.executemany(
            "insert into outbox values (?, ?, ?, ?, ?, null)",
            [(*order, each["name"], each["ticket_no"], each["redemption_code"]) for each in data["tickets"]],
        )
    return f"{data['order_id']}: {data['ticket_count']} codes to send"


async def main(servers: str, file: str, topic: str) -> None:
    """Read from the committed offset of this group on, and wait for more."""
    database = sqlite3.connect(file)
    database.executescript(TABLES)
    reader = AIOKafkaConsumer(
        topic,
        bootstrap_servers=servers,
        group_id=GROUP,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await reader.start()
        async for record in reader:
            text = put(database, record)
            await reader.commit()  # after the database: a record that is read again is known there
            if text:
                print(text, flush=True)
    finally:
        await reader.stop()
        database.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except KafkaConnectionError as error:
        sys.exit(f"No Kafka at {sys.argv[1]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
