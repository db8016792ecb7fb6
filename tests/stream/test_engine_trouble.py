"""Leases, failed transactions, fences and logs made anew: what the engine does when it is not sure."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

import pytest

from adapter.errors import LeaseLost
from adapter.stream import workshop
from adapter.stream.stage import Grant, Outcome
from stream.engine_stories import (
    PAID,
    Sends,
    StageOfTests,
    running,
    told,
    until,
)
from stream.fake_kafka import FakeCluster


async def test_nothing_is_sent_while_the_group_does_not_answer(cluster: FakeCluster) -> None:
    """The record stays open, and is handled again once the lease is good."""
    sends = Sends()
    async with running(StageOfTests(sends), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.members[0].lease.answers = False
        cluster.append(PAID, "a")
        await asyncio.sleep(0.1)
        assert sends.sent == []

        cluster.members[0].lease.answers = True
        await until(lambda: cluster.told)

    assert sends.sent == ["a"]


async def test_a_send_that_began_before_the_lease_was_lost_counts_as_possibly_sent(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time it is asked for first."""
    monkeypatch.setattr(workshop, "LEASE_PAUSE_SECONDS", 0.01)
    doubts: list[datetime | None] = []

    async def loses_its_lease(subject: str, grant: Grant) -> Outcome:
        doubts.append(grant.possibly_sent_since)
        grant.clear_to_send()
        if len(doubts) == 1:
            raise LeaseLost("for the second part")
        return told(subject)

    cluster.append(PAID, "a")
    async with running(StageOfTests(loses_its_lease), cluster, PAID):
        await until(lambda: cluster.told)

    assert doubts[0] is None
    assert doubts[1] is not None


async def test_a_stage_that_sends_nothing_may_not_send(cluster: FakeCluster) -> None:
    """Its records are not reserved, so nobody would know."""

    async def sends_after_all(subject: str, grant: Grant) -> Outcome:
        grant.clear_to_send()
        return told(subject)

    cluster.append(PAID, "a")
    async with running(StageOfTests(sends_after_all, sends=False), cluster, PAID):
        await until(lambda: cluster.told)

    assert cluster.told == ["a broken AssertionError"]


async def test_after_a_failed_transaction_the_outcome_is_published_and_nothing_sent_again(cluster: FakeCluster) -> None:
    """The partition is taken over anew; what is known already is not worked on again."""
    sends = Sends()
    stage = StageOfTests(sends)
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.faults = ["", "failed"]
        cluster.append(PAID, "a", "b")
        await until(lambda: len(cluster.told) == 2)

    assert stage.handled == ["a", "b"]
    assert cluster.told == ["a", "b"]
    assert cluster.epochs[PAID] == 2


async def test_a_transaction_whose_answer_was_lost_is_not_done_again(cluster: FakeCluster) -> None:
    """Whether it was committed is read from the broker, not guessed."""
    stage = StageOfTests()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.faults = ["", "committed, and failed"]
        cluster.append(PAID, "a", "b")
        await until(lambda: len(cluster.told) == 2)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.told) == 3)

    assert cluster.told == ["a", "b", "c"]
    assert stage.handled == ["a", "b", "c"]


async def test_a_fenced_partition_is_taken_over_only_when_the_group_has_answered(cluster: FakeCluster) -> None:
    """A new writer of somebody who lost the partition would fence its rightful owner."""
    async with running(StageOfTests(), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        member = cluster.members[0]
        member.lease.answers = False
        cluster.epochs[PAID] += 1
        cluster.append(PAID, "a")
        await until(lambda: not engine.assigned)
        await asyncio.sleep(0.05)
        assert len(member.writers) == 1

        member.lease.answers = True
        await until(lambda: cluster.told)

    assert member.writers[0].ended == "abandoned"
    assert cluster.told == ["a"]


async def test_a_failing_take_over_is_tried_again(cluster: FakeCluster) -> None:
    """A hiccup of the broker leaves no partition dead."""
    cluster.writers_to_fail = 2
    cluster.append(PAID, "a")
    async with running(StageOfTests(), cluster, PAID):
        await until(lambda: cluster.told)

    assert cluster.told == ["a"]


async def test_a_log_that_seems_too_short_for_a_moment_is_asked_again(cluster: FakeCluster) -> None:
    """A new leader may not know its own end yet: nothing is read again for that."""
    cluster.append(PAID, "a", "b")
    stage = StageOfTests()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(cluster.told) == 2)
        log, cluster.logs[PAID] = cluster.logs[PAID], []
        moving = asyncio.create_task(cluster.assign([PAID]))
        await asyncio.sleep(0.05)
        cluster.logs[PAID] = log
        await moving
        await until(lambda: engine.assigned)
        cluster.append(PAID, "c")
        await until(lambda: len(cluster.told) == 3)

    assert stage.handled == ["a", "b", "c"]


async def test_a_log_that_was_made_anew_is_read_from_its_start(cluster: FakeCluster) -> None:
    """Reading that goes back means another log: the partition is taken over anew, and nothing is mixed up."""
    cluster.append(PAID, "a", "b", "c")
    stage = StageOfTests()
    async with running(stage, cluster, PAID) as engine:
        await until(lambda: len(cluster.told) == 3)
        cluster.logs[PAID].clear()
        cluster.append(PAID, "new a")
        cluster.members[0].seek(PAID, 0)
        await until(lambda: len(cluster.told) == 4)

        assert engine.assigned == {("paid", 0)}
    assert cluster.told[3] == "new a"
    assert cluster.commits[PAID].offset == 1


async def test_an_outage_is_said_once_a_session_is_over_and_again_when_it_ends(
    cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the log knows why nothing goes on, and that it goes on again by itself."""
    caplog.set_level(logging.INFO)
    async with running(StageOfTests(), cluster, PAID) as engine:
        await until(lambda: engine.assigned)
        cluster.members[0].lease.answers = False
        await until(lambda: "no broker answers" in caplog.text)
        assert "in touch with the brokers again" not in caplog.text
        assert not engine.in_touch
        cluster.members[0].lease.answers = True
        await until(lambda: "in touch with the brokers again" in caplog.text)

        assert engine.in_touch
