"""The real Apache Kafka, from pip alone: it serves, survives a crash with its data, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.jars import cache_directory
from adapter.dev.producing import producing
from adapter.errors import LocalKafkaError
from adapter.kafka import topics
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_to_end
from adapter.kafka.topics import TopicSpec
from dev.local_kafka.processes import comes_true, failure, goes, is_gone, parent

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("local_kafka_ready")]

BOUND_SECONDS = 60.0


async def write(connection: KafkaConnection, topic: str, value: bytes) -> None:
    async with producing(connection, acks="all") as producer:
        await producer.send_and_wait(topic, value)


async def read(connection: KafkaConnection, topic: str) -> list[bytes | None]:
    async with asyncio.timeout(BOUND_SECONDS), aclosing(read_to_end(connection, [topic])) as records:
        return [record.value async for record in records]


async def test_a_broker_serves_crashes_and_comes_back_with_its_data() -> None:
    """Start, write, SIGKILL, start, read, restart, read, stop: same address, nothing lost, nothing left."""
    with LocalKafka() as kafka:
        connection = KafkaConnection(bootstrap_servers=kafka.bootstrap_servers)
        assert await topics.create(connection, [TopicSpec(name="orders", partitions=1, config={})]) == ("orders",)
        await write(connection, "orders", b"one")
        first = kafka.pid

        kafka.kill()
        kafka.start()
        assert await read(connection, "orders") == [b"one"]
        await write(connection, "orders", b"two")
        await asyncio.to_thread(kafka.restart)

        assert await read(connection, "orders") == [b"one", b"two"]
        assert kafka.ready_after_seconds > 0
        last, directory = kafka.pid, kafka.directory
    assert first is not None
    assert last is not None
    assert is_gone(first)
    assert is_gone(last)
    assert not directory.exists()


SCRIPT = """
import time
from adapter.dev.local_kafka.broker import LocalKafka
with LocalKafka() as kafka:
    print(kafka.pid, kafka.directory, kafka.bootstrap_servers, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_nothing_is_left_when_the_parent_goes(tmp_path: Path, how: signal.Signals) -> None:
    """kill -9 and Ctrl-C: broker and folder go with the parent. Nothing on the PATH, neither Java nor Maven."""
    environment = {
        "PATH": str(tmp_path),
        "XDG_CACHE_HOME": str(cache_directory().parent),
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "HOME": os.environ.get("HOME", str(tmp_path)),
    }
    process = await asyncio.to_thread(parent, SCRIPT, environment)
    pid, directory, address = await asyncio.to_thread(failure, process)
    assert await topics.missing(KafkaConnection(bootstrap_servers=address), ["orders"]) == ("orders",)

    process.send_signal(how)
    await asyncio.to_thread(process.wait)

    assert await asyncio.to_thread(goes, int(pid))
    assert process.stdout is not None
    process.stdout.close()
    # The watchdog ends last: it removes the folder when the broker is gone.
    assert await asyncio.to_thread(comes_true, lambda: not Path(directory).exists())


def test_the_log_of_a_broker_that_does_not_start_is_shown(tmp_path: Path) -> None:
    """Data of another node: the error has the broker's reason, without its stack, and the log's path."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n", encoding="utf-8")

    with pytest.raises(LocalKafkaError) as failure:
        LocalKafka(tmp_path).start()

    message = str(failure.value)
    assert "died while starting" in message
    assert "node id" in message
    assert "\tat " not in message
    assert str(tmp_path / "kafka.log") in message
