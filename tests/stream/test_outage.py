"""A broker that is killed under the engine, again and again, and comes back; runs out of disk; and stays away."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import resource
import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError
from log_lines import shown

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.connection import KafkaConnection
from stream.broker_harness import BrokerHarness, named, until

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("nothing_overlooked")]

SEED = int(os.environ.get("OUTAGE_SEED", "5"))
SESSION_SECONDS, TRANSACTION_SECONDS = 2.0, 3.0
MOST_FILE_BYTES = 250_000
"""What a file of the broker with a full disk may hold: its own log fits, the outcomes of a partition do not."""


@pytest.fixture
async def harness(own_kafka: LocalKafka) -> BrokerHarness:
    """Three partitions, and calls that take a moment."""
    connection = KafkaConnection(
        bootstrap_servers=own_kafka.bootstrap_servers,
        session_timeout_seconds=SESSION_SECONDS,
        transaction_timeout_seconds=TRANSACTION_SECONDS,
    )
    harness = BrokerHarness(connection, partitions=3, seconds=0.01)
    await harness.make()
    return harness


async def test_a_broker_killed_and_restarted_in_mid_transaction_loses_and_repeats_nothing(
    own_kafka: LocalKafka, harness: BrokerHarness
) -> None:
    """At random moments, with transactions under way; coordinators load again what they knew."""
    chance, records = random.Random(SEED), 3000
    await harness.feed(*range(records))
    async with harness.at_work():
        for in_good_order in (False, True):
            await harness.settled(harness.counts.published + chance.randrange(50, 500))
            await asyncio.sleep(chance.uniform(0, 0.05))
            if not in_good_order:
                await asyncio.to_thread(own_kafka.kill)
            assert harness.counts.published < records
            await asyncio.to_thread(own_kafka.restart)
        await harness.caught_up(records, seconds=60)

    assert await harness.published() == named(0, records)
    assert sorted(harness.sent) == named(0, records)
    assert harness.queried_in_vain == []


async def test_a_commit_whose_answer_is_lost_is_neither_repeated_nor_lost(
    harness: BrokerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker commits, and the connection breaks before its answer arrives."""
    commit, commits, lost = AIOKafkaProducer.commit_transaction, itertools.count(1), 0

    async def loses_every_fifth_answer(producer: AIOKafkaProducer) -> None:
        nonlocal lost
        await commit(producer)
        if next(commits) % 5 == 0:
            lost += 1
            raise KafkaConnectionError("the connection was closed")

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", loses_every_fifth_answer)
    await harness.feed(*range(300))
    async with harness.at_work():
        await harness.caught_up(300)

    assert lost > 0
    assert harness.counts.published < 300
    assert await harness.published() == named(0, 300)
    assert sorted(harness.sent) == named(0, 300)
    assert harness.queried_in_vain == []


async def test_a_broker_that_is_unavailable_for_long_is_waited_for_and_logged(
    own_kafka: LocalKafka, harness: BrokerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than sessions and transactions last: soon said, nothing sent, nothing lost, and over by itself."""
    caplog.set_level(logging.INFO, "adapter")
    await harness.feed(*range(1500))
    async with harness.at_work() as engine:
        await harness.settled(100)
        await asyncio.to_thread(own_kafka.kill)
        killed, beat = time.monotonic(), engine.last_heartbeat
        await until(lambda: "no broker answers" in shown(caplog.records), seconds=2 * SESSION_SECONDS)
        logged_after = time.monotonic() - killed
        assert not engine.connected
        sent = len(harness.sent)
        await asyncio.sleep(SESSION_SECONDS + TRANSACTION_SECONDS)
        assert engine.last_heartbeat > beat
        assert len(harness.sent) == sent
        await asyncio.to_thread(own_kafka.start)
        back = time.monotonic()
        await until(lambda: "stage-connected" in caplog.messages, seconds=20)
        await harness.caught_up(1500, seconds=60)
        print(f"\nlogged after {logged_after:.1f} s; all settled {time.monotonic() - back:.1f} s after it was back")

    assert logged_after < 2 * SESSION_SECONDS
    assert await harness.published() == named(0, 1500)
    assert sorted(harness.sent) == named(0, 1500)
    assert harness.queried_in_vain == []


async def test_a_broker_whose_disk_is_full_is_waited_for_and_nothing_is_lost(
    own_kafka: LocalKafka, harness: BrokerHarness
) -> None:
    """Kafka stops when it cannot write to its only disk; an operator makes room and starts it again."""
    values = [f"{number:01000}" for number in range(3000)]
    await harness.feed(*values)
    async with harness.at_work():
        await harness.settled(100)
        pid = own_kafka.pid
        assert pid is not None
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (MOST_FILE_BYTES, hard))
        await until(lambda: own_kafka.pid is None, seconds=20)
        assert harness.counts.published < 3000
        assert "File too large" in own_kafka.log.read_text(errors="replace")
        await asyncio.to_thread(own_kafka.start)
        await harness.caught_up(3000, seconds=60)

    expected = [value.encode() for value in values]
    assert await harness.published() == expected
    assert sorted(harness.sent) == expected


async def test_an_engine_stops_without_a_broker(own_kafka: LocalKafka, harness: BrokerHarness) -> None:
    """SIGTERM during an outage ends within the grace, committing nothing."""
    async with harness.at_work():
        await asyncio.to_thread(own_kafka.kill)
        began = time.monotonic()
    assert time.monotonic() - began < 8
