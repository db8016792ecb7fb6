"""Unreadable batches come and go among restarts, holes and failed transactions: nothing is lost, nothing sent twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import PAID, PAID_TOO, StageOfTests, outcome_with, running, until
from stream.fake_kafka import SKIPS, FakeCluster

LIVES = 6
STEPS = 12


@pytest.mark.parametrize("seed", range(16))
async def test_a_batch_that_is_unreadable_for_a_while_loses_and_repeats_nothing(
    cluster: FakeCluster, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No operator gives anything up, and every batch is readable in the end."""
    monkeypatch.setattr("adapter.stream.blockages.FIRST_RETRY_SECONDS", 0.05)
    chance = random.Random(seed)
    sent: Counter[str] = Counter()
    orders = 0

    async def handle(subject: str, context: RecordContext) -> Outcome:
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.01, 0.05]))
        if context.possibly_sent_since is None or not sent[subject]:
            context.authorize_send()
            sent[subject] += 1
            await asyncio.sleep(chance.choice([0, 0.001, 0.02]))
        return outcome_with(subject)

    def something_happens() -> int:
        """Change the world in one way; how many orders came."""
        partition, dice = chance.choice([PAID, PAID_TOO]), chance.random()
        if dice < 0.5:
            new = [f"{chance.choice('abc')} {orders + number}" for number in range(chance.randint(1, 6))]
            cluster.append(partition, *new, hole=chance.choice([0, 0, 1, 3]))
            return len(new)
        if dice < 0.65:
            cluster.end_transaction(partition)
        elif dice < 0.8 and cluster.end(partition) > 2:
            first = chance.randrange(cluster.end(partition))
            cluster.unreadable[partition] = (first, min(first + chance.randint(0, 5), cluster.end(partition) - 1))
        elif dice < 0.9:
            cluster.unreadable.pop(partition, None)
        elif seed % 2:
            cluster.faults = [chance.choice(["failed", "committed, and failed"])]
        return 0

    for _ in range(LIVES):
        async with running(StageOfTests(handle, max_in_flight=4), cluster, PAID, PAID_TOO, skips_group=SKIPS):
            for _ in range(STEPS):
                orders += something_happens()
                await asyncio.sleep(chance.choice([0, 0.002, 0.02]))
    cluster.unreadable.clear()
    cluster.faults = []
    async with running(StageOfTests(handle, max_in_flight=4), cluster, PAID, PAID_TOO, skips_group=SKIPS):
        await until(lambda: len(set(cluster.published)) == orders, 30)

    assert set(Counter(cluster.published).values()) <= {1}
    assert set(sent.values()) <= {1}
