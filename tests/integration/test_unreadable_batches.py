"""An unreadable batch delays its partition and no other; a compression bomb affects only itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from stream.batch_bytes import GZIP, LZ4, SNAPPY, ZSTD, Written, batch
from stream.raw_batches import send_raw

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.errors import StreamError
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_one, read_to_end
from integration.cluster import PARTITIONS, Cluster, Worker, open_cluster
from integration.commands import run
from integration.order_source import OrderSource

WHY = "the disk was bad"

BOMBS_MIB = {GZIP: 200, SNAPPY: 18, LZ4: 200, ZSTD: 200}
"""By codec; what a broker takes by default on the wire. Snappy compresses zeros only to a twentieth."""
MOST_MORE_MIB = 120
"""What the process may grow by, at most, while it reads bombs of 200 MiB and issues orders."""


async def test_a_damaged_batch_is_waited_for_and_then_given_up(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """The other partitions are read on; `/readyz`, a metric and `check` name the batch; `dead-letters skip` ends it."""
    connection = KafkaConnection(bootstrap_servers=own_kafka.bootstrap_servers)
    order_source = OrderSource(seed=41)
    async with open_cluster(connection, tmp_path) as cluster:
        topic = cluster.topic("orders_paid")
        before = await cluster.feed(order_source.orders(2), partition=0)
        lost = await send_raw(connection, topic, batch(Written(value=b"lost"), Written(value=b"too")), partition=0)
        await cluster.feed(order_source.orders(3), partition=0)
        _damage(own_kafka, topic, b"lost")
        worker = await cluster.start(ready=False)
        ref = f"{topic}/0/{lost[0]}"
        cluster.refs[ref] = None

        reasons = await _until_not_ready_for(worker, ref)
        for partition in range(1, PARTITIONS):
            await cluster.feed(order_source.orders(5), partition=partition)
        await _until_submitted(cluster, 2 + 5 * (PARTITIONS - 1))
        checked = await run(worker, "check")
        readable = await run(worker, "dead-letters", "skip", before[0], "--why", "a mistake")
        unknown = await run(worker, "dead-letters", "skip", f"{topic}/0/99", "--why", "a mistake")
        absent = await run(worker, "dead-letters", "skip", f"{topic}/77/0", "--why", "a mistake")
        wrong = await run(worker, "dead-letters", "skip", f"{cluster.topic('dead_letters')}/0/0", "--why", "a mistake")
        metrics = (await worker.get("/metrics")).text
        with pytest.raises(StreamError, match=ref):
            [record async for record in read_to_end(connection, [topic])]
        alone = await read_one(connection, topic, 0, lost[0])
        skipped = await run(worker, "dead-letters", "skip", ref, "--why", WHY, "--json")
        again = await run(worker, "dead-letters", "skip", ref, "--why", WHY)
        await cluster.all_delivered(seconds=60)
        await worker.until_ready()

        assert "checksum" in reasons
        assert alone is None
        assert checked.code == 1
        assert f"dead-letters skip {ref}" in " ".join((checked.out + checked.err).split())
        assert (readable.code, unknown.code, absent.code, wrong.code) == (1, 1, 1, 2)
        assert f"{topic}/0/{lost[0]}" in readable.err
        assert 'ecticket_unreadable_partitions{stage="submit"} 1.0' in metrics
        assert (skipped.code, skipped.lines[0]["first"], skipped.lines[0]["last"]) == (0, lost[0], lost[0] + 1)
        assert again.code == 0
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        (dead_letter,) = cluster.event_log.by_topic[cluster.topic("dead_letters")]
        headers = {name: value.decode() for name, value in dead_letter.headers if name.startswith("ecticket-")}
        assert (headers["ecticket-reason"], headers["ecticket-offsets"]) == ("unreadable", f"{lost[0]}-{lost[0] + 1}")
        assert WHY in headers["ecticket-message"]
        warned = [line for line in worker.log_lines if line["event"] == "batch-unreadable"]
        assert 0 < len(warned) < 10
        assert {(line["level"], line["topic"], line["offset"]) for line in warned} == {("error", topic, lost[0])}
        assert await worker.dismiss() == 0


async def test_an_order_with_an_odd_timestamp_and_header_is_an_order(kafka: KafkaConnection, tmp_path: Path) -> None:
    """.NET's first year, a time before 1970, a header name that is not UTF-8: each order is issued all the same."""
    order_source = OrderSource(seed=43)
    async with open_cluster(kafka, tmp_path) as cluster:
        worker = await cluster.start()
        topic = cluster.topic("orders_paid")
        for partition, timestamp_ms in enumerate((-62_135_596_800_000, -(2**62), -2)):
            order = order_source.order()
            written = Written(
                key=order.order_id.encode(),
                value=order.value,
                timestamp_ms=timestamp_ms,
                headers=[(b"\xff\xfe", None), (b"", b"\xff")],
            )
            (offset,) = await send_raw(kafka, topic, batch(written, codec=LZ4), partition=partition)
            cluster.refs[f"{topic}/{partition}/{offset}"] = order.parts
        await cluster.all_delivered(seconds=60)

        assert cluster.disagreements() == []
        assert {event.type for event in cluster.event_log.events} == {"submitted", "issued"}
        assert await cluster.uncommitted() == []
        assert await worker.dismiss() == 0


async def test_bombs_are_parked_by_their_coordinates(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Each codec: memory stays bounded, no person has to act, and the orders before and after it are issued."""
    order_source = OrderSource(seed=42)
    async with open_cluster(kafka, tmp_path) as cluster:
        worker = await cluster.start()
        await cluster.feed(order_source.orders(4))
        await cluster.all_delivered(seconds=60)
        before = _most_memory_mib(worker)
        for partition, (codec, mebibytes) in enumerate(BOMBS_MIB.items()):
            bomb = Written(key=b"bomb", value=b'{"order_id":"' + bytes(mebibytes << 20))
            wire = await asyncio.to_thread(batch, bomb, codec=codec)
            (offset,) = await send_raw(kafka, cluster.topic("orders_paid"), wire, partition=partition)
            cluster.refs[f"{cluster.topic('orders_paid')}/{partition}/{offset}"] = None
        await cluster.feed(order_source.orders(20))
        await cluster.all_delivered(seconds=90)

        dead_letters = cluster.event_log.by_topic[cluster.topic("dead_letters")]
        reasons = Counter(dict(dead_letter.headers)["ecticket-reason"] for dead_letter in dead_letters)
        assert reasons == {b"too-large": len(BOMBS_MIB)}
        assert [dead_letter.value for dead_letter in dead_letters] == [None] * len(BOMBS_MIB)
        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        assert _most_memory_mib(worker) - before < MOST_MORE_MIB
        assert await worker.dismiss() == 0


def _damage(kafka: LocalKafka, topic: str, content: bytes) -> None:
    """Flip a bit of a batch on the broker's disk."""
    log = kafka.directory / "data" / f"{topic}-0" / "00000000000000000000.log"
    with log.open("r+b") as file:
        at = file.read().index(content)
        file.seek(at)
        file.write(bytes([content[0] ^ 1]))


async def _until_not_ready_for(worker: Worker, ref: str) -> str:
    """Wait until `/readyz` names these coordinates; what it says."""
    async with asyncio.timeout(120):
        while True:
            with suppress(httpx.TransportError):
                answer = await worker.get("/readyz")
                if answer.status_code == 503 and ref in answer.text:
                    return answer.text
            await asyncio.sleep(0.1)


async def _until_submitted(cluster: Cluster, orders: int) -> None:
    ended = await cluster.reader.until(
        lambda: len({event.ref for event in cluster.event_log.events}) >= orders, seconds=60
    )
    assert ended


def _most_memory_mib(worker: Worker) -> int:
    """The largest resident set so far."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024
