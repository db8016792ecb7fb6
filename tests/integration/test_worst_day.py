"""The reason to exist: processes die at the worst moments, at an ECTicket that would issue twice without a word."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from adapter.sandbox.behaviours import AcceptRepeats, AnswerLostAfter, AnswerLostBefore, LateEffect, Slow
from adapter.sandbox.faults import Fault
from adapter.sandbox.settings import SandboxSettings
from adapter.stream.connection import KafkaConnection
from integration.house import House, Worker, open_house, until
from integration.shop import Shop

SEED = int(os.environ.get("WORST_DAY_SEED", "3"))
ORDERS = 600
LAGGING = SandboxSettings(port=0, job_seconds=0.5, visible_after_seconds=0.8)
"""Orders show up in queries late: together with the late effects still well before `submit.reissue_after_seconds`."""
WORST = (
    Fault(behaviour=AcceptRepeats()),
    Fault(behaviour=AnswerLostAfter(), rate=0.05),
    Fault(behaviour=AnswerLostBefore(), rate=0.05),
    Fault(behaviour=LateEffect(seconds=1.5), rate=0.03),
    Fault(behaviour=Slow(seconds=0.4), rate=0.5),
)


async def test_three_processes_killed_in_turn_at_the_worst_server_issue_every_order_once(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """kill -9 with calls on the wire, four times: one set of tickets for each order, and each event once."""
    print(f"\nseed {SEED}")
    chance = random.Random(SEED)
    async with open_house(kafka, tmp_path, sandbox=LAGGING) as house:
        house.sandbox.faults.arm(*WORST, seed=SEED)
        began = time.monotonic()
        workers = await asyncio.gather(*(house.start() for _ in range(3)))
        feeding = asyncio.create_task(house.feed(Shop(SEED).orders(ORDERS), per_second=40))
        victims = [*chance.sample(workers, 3), chance.choice(workers)]
        hit = [await _kill_at_work(house, victim, chance) for victim in victims]
        await feeding
        await house.all_told(seconds=90)
        await until(lambda: house.sandbox._desk.late_pending == 0, seconds=5)

        assert house.disagreements() == []
        assert await house.uncommitted() == []
        assert all(on_the_wire > 0 for on_the_wire in hit), hit
        fired = dict(house.sandbox.faults.fired)
        recovered = sum(1 for event in house.told.events if event.kind == "submitted" and event.data["recovered"])
        assert recovered > 0
        assert fired["accept_repeats"] > 0
        assert [await worker.dismiss() for worker in workers] == [0, 0, 0]
        print(
            f"{ORDERS} orders, {house.sandbox.books.number_count} issuances in {time.monotonic() - began:.0f} s; "
            f"calls on the wire when killed: {hit}; recovered {recovered}; faults {fired}"
        )


async def _kill_at_work(house: House, victim: Worker, chance: random.Random) -> int:
    """Kill a process at some moment in which ECTicket is answering it, and start it again."""
    await asyncio.sleep(chance.uniform(2.0, 4.0))
    await victim.until_on_the_wire(2)
    on_the_wire = await victim.kill()
    await house.restart(victim)
    return on_the_wire
