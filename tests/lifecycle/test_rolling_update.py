"""Pods are replaced one by one while orders come in: a new one starts, is ready, and an old one gets SIGTERM."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import pytest
from integration.cluster import Worker, open_cluster, until
from integration.order_source import OrderSource

from adapter.kafka.connection import KafkaConnection
from lifecycle.load import accept_repeats, check_exactly_once, longest_pause, selling

_NEXT_RELEASE = (sys.executable, "-m", "lifecycle.other_version", "ea999", "run")


@pytest.mark.alone
async def test_a_rolling_update_of_three_replicas_loses_and_repeats_nothing(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Under load, with the default time-outs. The longest pause between two submitted events is printed."""
    async with open_cluster(
        kafka,
        tmp_path,
        kafka__session_timeout_seconds="10",
        kafka__transaction_timeout_seconds="15",
        shutdown__grace_seconds="25",
    ) as cluster:
        accept_repeats(cluster, answer_after=0.3)
        old = await asyncio.gather(*(cluster.start() for _ in range(3)))
        await cluster.until_shared()

        codes, drains = [], []
        async with selling(cluster, OrderSource(seed=61), per_second=15):
            await cluster.reader.until(lambda: cluster.event_log.count("submitted") >= 20, seconds=60)
            for worker in old:
                await cluster.start()
                began = time.monotonic()
                codes.append(await worker.dismiss(seconds=40))
                drains.append(time.monotonic() - began)
        await cluster.all_delivered(seconds=60)

        assert codes == [0, 0, 0]
        check_exactly_once(cluster)
        assert await cluster.uncommitted() == []
        recovered = sum(1 for event in cluster.event_log.events if event.data.get("recovered"))
        print(
            f"\n{len(cluster.refs)} orders during the update of three replicas: longest pause between two submitted "
            f"events {longest_pause(cluster):.1f} s; SIGTERM to exit {max(drains):.1f} s at most; {recovered} recovered"
        )


async def test_an_upgrade_and_a_roll_back_between_versions_of_the_metadata_buy_nothing_twice(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Each release finds commits that it cannot read: what the other one may have sent is queried first.

    What was finished out of order is not known either, so its event may come again, under the same id.
    """
    async with open_cluster(kafka, tmp_path) as cluster:
        accept_repeats(cluster, answer_after=0.3)
        source = OrderSource(seed=67)
        present = await cluster.start()
        await cluster.feed(source.orders(60))
        await present.until_on_the_wire(5)

        following = await cluster.start(command=_NEXT_RELEASE)
        upgraded = await present.dismiss()
        await cluster.feed(source.orders(60))
        await following.until_on_the_wire(5)
        killed_with = await following.kill()
        rolled_back = await cluster.start()
        await cluster.all_delivered(seconds=90)

        assert upgraded == 0
        assert cluster.sandbox.order_store.repeated() == ()
        assert [each for each in cluster.disagreements() if not _is_repetition(each)] == []
        assert await cluster.uncommitted() == []
        assert _unreadable_commits(following) > 0
        assert _unreadable_commits(rolled_back) > 0
        assert await rolled_back.dismiss() == 0
        print(f"\nthe next release was killed with {killed_with} calls on the wire")


def _is_repetition(disagreement: str) -> bool:
    """Whether it is about an event that came again, at most once from each of the three processes."""
    repeated = r" was published [23] times$|parts that (began|ended) are .*: [23][,}]"
    return re.search(repeated, disagreement) is not None


def _unreadable_commits(worker: Worker) -> int:
    """How often it took a partition over from a commit of another version."""
    return sum("no metadata in this format" in str(line.get("detail")) for line in worker.log_lines)


async def test_sigterm_in_the_middle_of_a_rebalance_loses_and_repeats_nothing(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """First the process that gives its partitions away, then the one that would get some, ends with exit code 0."""
    async with open_cluster(kafka, tmp_path) as cluster:
        accept_repeats(cluster, answer_after=0.5)
        source = OrderSource(seed=71)
        giving, staying = await asyncio.gather(cluster.start(), cluster.start())
        await cluster.until_shared()
        await cluster.feed(source.orders(80))
        await giving.until_on_the_wire(3)

        given_away = _given_away(giving)
        joining = await cluster.start(ready=False)
        await _until_given_away(giving, given_away)
        codes = [await giving.dismiss()]
        await joining.until_ready()
        await cluster.until_shared()
        await cluster.feed(source.orders(80))
        given_away = _given_away(staying)
        leaving = await cluster.start(ready=False)
        await _until_given_away(staying, given_away)
        await _until_it_handles_signals(leaving)
        codes.append(await leaving.dismiss())
        await cluster.all_delivered(seconds=60)

        assert codes == [0, 0]
        check_exactly_once(cluster)
        assert await cluster.uncommitted() == []


def _given_away(worker: Worker) -> int:
    return worker.log.read_text(encoding="utf-8").count('"reason": "revoked"')


async def _until_given_away(worker: Worker, before: int) -> None:
    """Wait until it has released one more partition, and has not got the others back yet."""
    await until(lambda: _given_away(worker) > before, seconds=60)


async def _until_it_handles_signals(worker: Worker) -> None:
    """Wait for its first log line: the stages of another process may still release partitions while it is imported."""
    await until(lambda: worker.log.stat().st_size > 0, seconds=60)
