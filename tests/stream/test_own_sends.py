"""What a process knows of its own sends when it takes a partition over again, and when that is worth nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest

from adapter.errors import LeaseLost
from adapter.stream import scheduler
from adapter.stream.commit_metadata import CommitMetadata, encode, short_fingerprint
from adapter.stream.port import Commit
from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import PAID, Sends, StageOfTests, outcome_with, running, until
from stream.fake_kafka import CLUSTER_ID, FakeCluster


class Sent:
    """A handler that takes a moment, and records what was in doubt and had not been sent."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.sent: list[str] = []
        self.doubted_for_nothing: set[str] = set()

    async def __call__(self, subject: str, context: RecordContext) -> Outcome:
        if context.possibly_sent_since is not None and subject not in self.sent:
            self.doubted_for_nothing.add(subject)
        if subject not in self.sent:
            context.authorize_send()
            self.sent.append(subject)
        await asyncio.sleep(0.002)
        return outcome_with(subject)


async def settles_400_with_a_failure(cluster: FakeCluster, failure: Callable[[Sent], Awaitable[None]]) -> Sent:
    """Settle 400 records, 8 at a time; once 40 of them were sent, something fails."""
    sent = Sent(cluster)
    cluster.append(PAID, *(f"{number}" for number in range(400)))
    async with running(StageOfTests(sent), cluster, PAID):
        await until(lambda: len(sent.sent) >= 40)
        await failure(sent)
        await until(lambda: len(set(cluster.published)) == 400, 30)
    assert sorted(cluster.published, key=int) == [f"{number}" for number in range(400)]
    assert sorted(sent.sent, key=int) == [f"{number}" for number in range(400)]
    return sent


@pytest.mark.parametrize("faults", [["failed"], ["failed", "", "failed"], ["committed, and failed", "failed"]])
async def test_after_failed_transactions_nothing_is_in_doubt_that_was_not_sent(
    cluster: FakeCluster, faults: list[str]
) -> None:
    """The process knows its own sends, and that no other process has sent anything: its own commit is the last one."""

    async def transactions_fail(sent: Sent) -> None:
        cluster.faults = list(faults)
        await until(lambda: not cluster.faults)

    sent = await settles_400_with_a_failure(cluster, transactions_fail)

    assert sent.doubted_for_nothing == set()


async def test_after_joining_the_group_again_nothing_is_in_doubt_that_was_not_sent(cluster: FakeCluster) -> None:
    """An outage that outlasts the session: the group was empty meanwhile, and its generation went on by several."""

    async def joins_again(sent: Sent) -> None:
        cluster.generation += 3
        cluster.faults = ["failed", "failed", "failed"]
        cluster.members[0].fails_to_poll = True
        await until(lambda: len(cluster.members) == 1 and not cluster.members[0].fails_to_poll)
        cluster.faults = []

    sent = await settles_400_with_a_failure(cluster, joins_again)

    assert sent.doubted_for_nothing == set()


async def test_what_this_process_sent_and_never_heard_of_is_in_doubt_when_it_joins_again(cluster: FakeCluster) -> None:
    """That no other process sent it does not mean that it was not sent."""
    sends, gone = Sends(), asyncio.Event()

    async def hears_nothing_of_a(subject: str, context: RecordContext) -> Outcome:
        outcome = await sends(subject, context)
        if subject == "a" and not sends.doubted:
            await gone.wait()
            raise LeaseLost("too late")
        return outcome

    cluster.append(PAID, "a", "b")
    async with running(StageOfTests(hears_nothing_of_a), cluster, PAID):
        await until(lambda: "b" in cluster.published)
        cluster.generation += 3
        cluster.faults = ["failed"] * 5
        before = cluster.members[0]
        before.fails_to_poll = True
        await until(lambda: cluster.members and cluster.members[0] is not before)
        gone.set()
        cluster.faults = []
        await until(lambda: len(cluster.published) == 2)

    assert sends.doubted == ["a"]
    assert sends.sent == ["a", "b"]


async def test_what_another_process_may_have_sent_in_between_is_in_doubt(cluster: FakeCluster) -> None:
    """It held the partition, committed, and died with its records on the wire; the first one knows nothing of that."""
    sends, never = Sends(), asyncio.Event()

    async def sends_a_moment_later(subject: str, context: RecordContext) -> Outcome:
        if not cluster.published:
            return outcome_with(subject)
        await asyncio.sleep(0.01)
        return await sends(subject, context)

    async def sends_and_hangs(subject: str, context: RecordContext) -> Outcome:
        context.authorize_send()
        sends.sent.append(subject)
        await never.wait()
        return outcome_with(subject)

    cluster.append(PAID, "first")
    async with running(StageOfTests(sends_a_moment_later), cluster, PAID):
        await until(lambda: cluster.published)
        mine = cluster.members[0]
        async with running(StageOfTests(sends_and_hangs), cluster, grace=0.0) as other:
            await until(lambda: len(cluster.members) == 2)
            mine.lease.answers = False
            await cluster.assign([PAID])
            await until(lambda: other.assigned)
            cluster.append(PAID, "a", "b", "c")
            await until(lambda: len(sends.sent) == 3)
            cluster.members[1].die()
            mine.lease.answers = True
            await cluster.assign([PAID])
            await until(lambda: len(cluster.published) == 4)

    assert sorted(sends.doubted) == ["a", "b", "c"]
    assert sorted(sends.sent) == ["a", "b", "c"]


async def test_an_owner_in_between_that_has_committed_nothing_has_sent_nothing(cluster: FakeCluster) -> None:
    """Frozen before its first commit, and it may not send without one: nothing is in doubt for who comes back."""
    first, second = Sends(), Sends()
    cluster.append(PAID, "a")
    async with running(StageOfTests(first), cluster, PAID):
        await until(lambda: cluster.published)
        mine = cluster.members[0]
        async with running(StageOfTests(second), cluster, grace=0.0) as other:
            await until(lambda: len(cluster.members) == 2)
            mine.lease.answers = False
            await cluster.assign([PAID])
            await until(lambda: other.assigned)
            cluster.slow_transactions = 60.0
            cluster.append(PAID, "b", "c")
            await until(lambda: other._gauges().open == 2)
            cluster.members[1].die()
            cluster.slow_transactions = 0.0
            mine.lease.answers = True
            await cluster.assign([PAID])
            await until(lambda: len(cluster.published) == 3)

    assert second.sent == []
    assert first.sent == ["a", "b", "c"]
    assert first.doubted == []


async def test_the_moment_of_a_doubt_does_not_move_with_each_failed_transaction(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for from then on: a broker with hiccups must not put the end of the waiting off for ever."""
    monkeypatch.setattr(scheduler, "LEASE_PAUSE_SECONDS", 0.01)
    moments: list[datetime | None] = []
    may_end = asyncio.Event()

    async def doubts(subject: str, context: RecordContext) -> Outcome:
        if subject == "doubted":
            moments.append(context.possibly_sent_since)
            if not may_end.is_set():
                raise LeaseLost("not now")
        return outcome_with(subject)

    cluster.append(PAID, "doubted")
    metadata = CommitMetadata(
        cluster_id=CLUSTER_ID,
        committed=0,
        reserved_until=1,
        other_fingerprint_until=0,
        fingerprint=short_fingerprint("one"),
    )
    cluster.commits[PAID] = Commit(offset=0, metadata=encode(metadata))
    async with running(StageOfTests(doubts), cluster, PAID):
        for take_overs in range(1, 4):
            await until(lambda count=take_overs: cluster.epochs[PAID] == count and moments)  # type: ignore[misc]  # bound now
            del moments[1:]
            await until(lambda: len(moments) >= 2)
            cluster.faults = ["failed"]
            cluster.append(PAID, f"{take_overs}")
        may_end.set()
        await until(lambda: len(cluster.published) == 4)

    assert moments[0] is not None
    assert set(moments) == {moments[0]}
    assert cluster.epochs[PAID] == 4
