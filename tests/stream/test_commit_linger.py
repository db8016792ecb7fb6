"""A commit lingers so that outcomes share its transaction, and never when something waits for it.

The engines of these tests linger for an hour: whatever is published in a test was published because something waited.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.stream.commit_linger import CommitDemand, commit_delay
from adapter.stream.stage import Outcome, RecordContext
from adapter.values import replace
from stream.engine_harness import (
    DEFERRED,
    PAID,
    PAID_TOO,
    StageOfTests,
    echo,
    metadata_at,
    outcome_with,
    running,
    until,
)
from stream.fake_kafka import FakeCluster, FakeKafka

AN_HOUR = 3600.0
IDLE = CommitDemand(
    reservation=False, release=False, open_records=1, max_open=100, finished_bytes=400, max_bytes=1_000_000
)

# --- the decision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("demand", "seconds"),
    [
        (IDLE, 0.2),
        (replace(IDLE, reservation=True), 0.0),
        (replace(IDLE, release=True), 0.0),
        (replace(IDLE, open_records=49), 0.2),
        (replace(IDLE, open_records=50), 0.0),
        (replace(IDLE, finished_bytes=499_999), 0.2),
        (replace(IDLE, finished_bytes=500_000), 0.0),
    ],
)
def test_a_commit_lingers_unless_something_waits_for_it(demand: CommitDemand, seconds: float) -> None:
    """A reservation, a release, and limits of which half is reached."""
    assert commit_delay(demand, 0.2) == seconds


demands = st.builds(
    CommitDemand,
    reservation=st.booleans(),
    release=st.booleans(),
    open_records=st.integers(0, 300),
    max_open=st.integers(1, 300),
    finished_bytes=st.integers(0, 300),
    max_bytes=st.integers(1, 300),
)


@settings(max_examples=examples(300))
@given(demands, st.floats(0, 10))
def test_the_delay_is_all_of_the_linger_or_none(demand: CommitDemand, linger: float) -> None:
    """What stops reading, sending or a release is never delayed."""
    delay = commit_delay(demand, linger)

    stops_reading = demand.open_records >= demand.max_open or demand.finished_bytes >= demand.max_bytes
    assert delay in (0.0, linger)
    if demand.reservation or demand.release or stops_reading:
        assert delay == 0.0


@settings(max_examples=examples(300))
@given(demands, st.integers(0, 100), st.integers(0, 100), st.floats(0.01, 10))
def test_more_demand_never_delays_a_commit(demand: CommitDemand, records: int, size: int, linger: float) -> None:
    """A commit that would start at once still does if more outcomes wait for it."""
    more = replace(
        demand, open_records=demand.open_records + records, finished_bytes=demand.finished_bytes + size, release=True
    )

    assert commit_delay(more, linger) <= commit_delay(demand, linger)


# --- the engine ------------------------------------------------------------------------------------------------------


class Handled:
    """Counts the records whose handling has ended; those of `held` wait until the test releases them."""

    def __init__(self, *held: str) -> None:
        self.ended: list[str] = []
        self.released = asyncio.Event()
        self._held = held

    async def __call__(self, subject: str, context: RecordContext) -> Outcome:
        if subject in self._held:
            await self.released.wait()
        self.ended.append(subject)
        return outcome_with(subject)

    def has_ended(self, subject: str) -> bool:
        return subject in self.ended


def lingering(handle: Handled, **changes: object) -> StageOfTests:
    return StageOfTests(handle, linger_seconds=AN_HOUR, **changes)


async def reserved(cluster: FakeCluster, stage: StageOfTests) -> None:
    """Let a first record be handled, which takes the commit that reserves more than the tests need."""
    cluster.append(PAID, "first")
    await until(lambda: stage.handled)


async def test_outcomes_share_a_transaction_and_a_revocation_cuts_the_linger(cluster: FakeCluster) -> None:
    """They are committed by the owner that has them, before its partition has another one."""
    handled = Handled()
    stage = lingering(handled)
    async with running(stage, cluster, PAID):
        await reserved(cluster, stage)
        before = len(cluster.transactions)
        for value in ("a", "b", "c"):
            cluster.append(PAID, value)
            await until(partial(handled.has_ended, value))
        assert cluster.published == []

        await cluster.assign([PAID_TOO])
        assert cluster.published == ["first", "a", "b", "c"]
        assert [count for partition, count in cluster.transactions[before:] if partition == PAID and count] == [4]
        assert metadata_at(cluster, PAID).reserved_until == 0


async def test_a_revocation_cuts_the_linger_while_another_order_is_on_the_wire(cluster: FakeCluster) -> None:
    """The outcomes do not wait until that order has ended or its time is over."""
    handled, kafka = Handled("slow"), FakeKafka(cluster, (PAID,))
    kafka.rebalance_timeout = 120
    stage = lingering(handled)
    async with running(stage, cluster, kafka=kafka):
        await reserved(cluster, stage)
        cluster.append(PAID, "slow", "a")
        await until(partial(handled.has_ended, "a"))
        assert cluster.published == []

        revoking = asyncio.create_task(cluster.assign([PAID_TOO]))
        await until(lambda: cluster.published == ["first", "a"])
        assert not revoking.done()
        handled.released.set()
        await revoking

    assert cluster.published == ["first", "a", "slow"]


async def test_a_stop_cuts_the_linger_while_another_order_is_on_the_wire(cluster: FakeCluster) -> None:
    """Outcomes that are there are safe before the grace period is over."""
    handled = Handled("slow")
    stage = lingering(handled)
    async with running(stage, cluster, PAID, grace=60) as engine:
        await reserved(cluster, stage)
        cluster.append(PAID, "slow", "a")
        await until(partial(handled.has_ended, "a"))
        assert cluster.published == []

        stopping = asyncio.create_task(engine.stop(60))
        await until(lambda: cluster.published == ["first", "a"])
        assert not stopping.done()
        handled.released.set()
        await stopping

    assert cluster.published == ["first", "a", "slow"]


async def test_what_ends_during_a_stop_does_not_linger(cluster: FakeCluster) -> None:
    """It is committed before the next one ends."""
    handled, last = Handled("slow"), Handled("slower")

    async def handle(subject: str, context: RecordContext) -> Outcome:
        return await (last if subject == "slower" else handled)(subject, context)

    stage = StageOfTests(handle, linger_seconds=AN_HOUR)
    async with running(stage, cluster, PAID, grace=60) as engine:
        await reserved(cluster, stage)
        cluster.append(PAID, "slow", "slower")
        await until(lambda: len(stage.handled) == 3)
        stopping = asyncio.create_task(engine.stop(60))
        await until(lambda: not any(owned.working for owned in engine._partitions.partitions.values()))

        handled.released.set()
        await until(lambda: cluster.published == ["first", "slow"])
        last.released.set()
        await stopping


async def test_records_that_need_a_reservation_do_not_wait_for_a_linger(cluster: FakeCluster) -> None:
    """One after another is handled, although each commit reserves only two offsets more than were requested."""
    handled = Handled()
    async with running(lingering(handled, max_in_flight=1), cluster, PAID):
        cluster.append(PAID, *(str(number) for number in range(40)))

        await until(lambda: len(handled.ended) == 40)
        assert len(cluster.transactions) < 40


async def test_reading_does_not_stop_for_a_linger(cluster: FakeCluster) -> None:
    """Finished records count as open until they are committed; more of them than may be open are read."""
    handled = Handled()
    async with running(lingering(handled, sends=False), cluster, PAID):
        cluster.append(PAID, *(str(number) for number in range(400)))

        await until(lambda: len(handled.ended) == 400)


async def test_what_is_handed_off_does_not_linger(cluster: FakeCluster) -> None:
    """Waiting records are handed off so that others can be read, and keep their memory until that is committed."""
    stage = StageOfTests(echo, linger_seconds=AN_HOUR, max_waiting=3, sends=False)
    async with running(stage, cluster, PAID, DEFERRED):
        cluster.append(DEFERRED, *(f"next century {number}" for number in range(6)))

        await until(lambda: "next century 0 handed off" in cluster.published)


async def test_a_lone_outcome_is_committed_when_its_linger_is_over(cluster: FakeCluster) -> None:
    """Nothing else has to happen."""
    async with running(StageOfTests(linger_seconds=0.01), cluster, PAID):
        cluster.append(PAID, "a")

        await until(lambda: cluster.published == ["a"])
