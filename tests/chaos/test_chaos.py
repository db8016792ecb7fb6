"""The bounded run of the chaos suite: one day of each weather. The long one is `make chaos`.

`CHAOS_SEED` repeats a plan.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.connection import KafkaConnection
from adapter.values import replace
from chaos.run import ChaosRun, run_plan
from chaos.scenario import PROFILES, FaultKind, plan

SEED = int(os.environ.get("CHAOS_SEED", "3"))
ORDERS, PER_SECOND = 300, 12.0
"""As long as the faults last, at a pace that leaves the other tests of `make test` their share of the machine."""


@pytest.fixture
def brokers(local_kafka_ready: None) -> Iterator[dict[str, LocalKafka]]:
    """A broker for each weather, since it is killed."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(LocalKafka()) for name in PROFILES}


@pytest.mark.alone
@pytest.mark.broker
@pytest.mark.timeout(900)
async def test_every_order_becomes_tickets_once_whatever_happens(
    brokers: dict[str, LocalKafka], tmp_path: Path
) -> None:
    """Three processes, killed, stopped, frozen and fenced, on brokers that are killed, at an ECTicket at its worst."""

    async def run(name: str, broker: LocalKafka) -> ChaosRun:
        kafka = KafkaConnection(bootstrap_servers=broker.bootstrap_servers)
        folder = tmp_path / name
        folder.mkdir()
        return await run_plan(
            plan(replace(PROFILES[name], per_second=PER_SECOND), SEED, orders=ORDERS), kafka, folder, broker=broker
        )

    runs = await asyncio.gather(*(run(name, broker) for name, broker in brokers.items()))

    for lived in runs:
        print(
            f"\n{lived.plan}: {lived.issuances} issuances, {lived.recovered} recovered, {lived.seconds:.0f} s", end=""
        )
        print(f"\n  {' '.join(lived.hit)}; faults {dict(lived.faults)}", end="")
    assert [sentence for lived in runs for sentence in lived.wrong] == []
    for lived in runs:
        dealt = {each.partition(":")[0] for each in lived.hit}
        assert dealt == {kind.value for kind in lived.plan.scenario.scheduled_faults}
        assert lived.recovered > 0
        assert FaultKind.KILL in dealt
