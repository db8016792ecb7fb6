"""`explain` over a million records: time, CPU time and memory of the command.

Half of the records are the shop's orders, and half are events `issued` of the same orders. The command is the real
process. It is given an order by its id, an order by its trade number, and an id that no record has: that one must read
everything.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from aiokafka.partitioner import DefaultPartitioner
from rich.console import Console

from adapter.dev.producing import producing
from adapter.flows.messages.events import IssuanceIssued, Item, Origin, issuance_event
from adapter.kafka.connection import KafkaConnection
from adapter.settings import variable
from adapter.wiring import PARTITIONS
from benchmarks.builds import ROOT
from benchmarks.ground import Ground
from benchmarks.orders import order_id, trade_no
from benchmarks.processes import pin
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.sealing import MERCHANT
from benchmarks.subjects import SubjectFailedError

COUNT = 1_000_000
MOST_MIB = 250
"""The Kafka client fetches up to 1 MiB ahead for each of the partitions."""
_BATCH_BYTES = 512 * 1024
_KIB_PER_MIB = 1024


async def measure(ground: Ground, console: Console, *, count: int = COUNT) -> Report:
    """Explain three orders among so many records. Raises SubjectFailedError."""
    orders = count // 2
    console.print(f"explain: writing {count:,} records", style="dim")
    given = await ground.settings({"submit.derive_trade_no": "always"})
    await ground.have_orders(orders)
    await _write_events(ground.connection, given["topics.issuances"], orders)
    questions = (
        ("by its order id", order_id(orders - 1), 0),
        ("by its trade number", trade_no(orders // 2), 0),
        ("an id that no record has", "NO-SUCH-ORDER", 1),
    )
    rows: list[dict[str, Cell]] = [
        {"": what, **await asyncio.to_thread(_explain, ground, given, which, exit_code=code)}
        for what, which, code in questions
    ]
    await ground.remove_topics(given)
    highest = max(float(row["MiB"] or 0) for row in rows)
    aim = Aim(what=f"under {MOST_MIB} MiB", measured=f"{highest:.0f} MiB", met=highest < MOST_MIB)
    return Report(title=f"An order among {count:,} records: the command explain", rows=rows, aims=[aim])


def _explain(ground: Ground, given: Mapping[str, str], which: str, *, exit_code: int) -> dict[str, Cell]:
    """What one run of the command needs, on the core of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ECTICKET_")}
    environment |= {variable(key): value for key, value in given.items()}
    command = [sys.executable, "-m", "adapter", "explain", which, "--json"]
    log = ground.folder / "explain.log"
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=ROOT)  # noqa: S603  # ours
        pin(process.pid, ground.core)
        _, status, used = os.wait4(process.pid, 0)
    seconds, code = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code != exit_code:
        raise SubjectFailedError(f"explain {which} ended with exit code {code}: {log.read_text()[-2_000:]}")
    return {"seconds": seconds, "CPU seconds": used.ru_utime + used.ru_stime, "MiB": used.ru_maxrss / _KIB_PER_MIB}


async def _write_events(connection: KafkaConnection, topic: str, count: int) -> None:
    """Write the events where Kafka's default partitioner puts them; all are copies of one, with other numbers."""
    key, value, headers = _sample(topic)
    partitioner, partitions = DefaultPartitioner(), list(range(PARTITIONS))
    async with producing(connection, max_batch_size=_BATCH_BYTES) as producer:
        batches = {partition: producer.create_batch() for partition in partitions}
        for number in range(count):
            names = ((_SAMPLE_ORDER, order_id(number).encode()), (_SAMPLE_NUMBER, trade_no(number).encode()))
            its_key, its_value = _replaced(key, names), _replaced(value, names)
            its_headers = [(name, _replaced(text, names)) for name, text in headers]
            partition = partitioner(its_key, partitions, [])
            record = {"key": its_key, "value": its_value, "headers": its_headers, "timestamp": None}
            if batches[partition].append(**record) is None:
                await producer.send_batch(batches[partition], topic, partition=partition)
                batches[partition] = producer.create_batch()
                batches[partition].append(**record)
        for partition, batch in batches.items():
            await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()


_SAMPLE_ORDER, _SAMPLE_NUMBER = order_id(0).encode(), trade_no(0).encode()


def _replaced(text: bytes, names: tuple[tuple[bytes, bytes], ...]) -> bytes:
    for old, new in names:
        text = text.replace(old, new)
    return text


def _sample(topic: str) -> tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]:
    now = datetime.now(UTC)
    data = IssuanceIssued(
        merchant_id=MERCHANT.merchant_id,
        order_id=order_id(0),
        reference={"cart": 1, "channel": "web"},
        trade_no=trade_no(0),
        trade_no_kind="merchant",
        issue_type="electronic",
        part=1,
        parts=1,
        items=(Item(item_no="VQT04959", name=None, quantity=2),),
        ticket_count=2,
        ticket_trade_no=None,
        recovered=False,
        submitted_at=now,
        queries=1,
    )
    event = issuance_event(data, topic=topic, origin=Origin(topic="orders.paid", partition=0, offset=0), now=now)
    return event.key or b"", event.value or b"", tuple((name, text or b"") for name, text in event.headers)
