"""Failures that a broker can have while it runs: topics recreated, records gone, offsets reset, and more."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from aiokafka.errors import CommitFailedError
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)
from key_words import line_mentions
from log_lines import shown

from adapter.kafka import client
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.fetched_records import FETCH_AT_ONCE
from adapter.kafka.wire_requests import StableOffsetFetchRequest
from adapter.stream.commit_metadata import CommitMetadata, encode
from stream.broker_harness import SLOW_MACHINE, BrokerHarness, named, until
from stream.error_injection import ErrorInjector

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("nothing_overlooked")]

LOADING, NOT_AVAILABLE, NOT_COORDINATOR = 14, 15, 16
NOT_ENOUGH_REPLICAS = 19

MOST_IN_HAND = 2 * 32 + 100 + FETCH_AT_ONCE
"""Of one partition, with 32 in flight; what is not reserved is not sent beyond it."""


SIX_OFFSETS = 6
"""Three transactions of one record each: every one ends with a marker."""


@pytest.fixture
def quick(kafka: KafkaConnection) -> KafkaConnection:
    """The session's broker, with short time-outs."""
    return KafkaConnection(
        bootstrap_servers=kafka.bootstrap_servers, session_timeout_seconds=6, transaction_timeout_seconds=2
    )


async def a_harness(connection: KafkaConnection, *, partitions: int = 1, settled: int = 0) -> BrokerHarness:
    """A harness that has settled so many records, 0 and on; no engine runs any more."""
    harness = BrokerHarness(connection, partitions=partitions)
    await harness.make()
    if settled:
        async with harness.at_work():
            await harness.feed(*range(settled))
            await harness.settled(settled)
    return harness


# --- the topic -------------------------------------------------------------------------------------------------------


async def test_a_topic_recreated_with_fewer_partitions_is_read_from_its_start(quick: KafkaConnection) -> None:
    """Under its reader: open outcomes are published, and all of the new topic is queried."""
    harness = await a_harness(quick, partitions=3)
    async with harness.at_work() as engine:
        await harness.feed(*range(60))
        await harness.settled(60)
        await harness.remake(partitions=1)
        await harness.feed(*range(60, 80))
        await harness.settled(80)
        await until(lambda: engine.assigned == {(harness.source, 0)}, seconds=10)
        await harness.feed(*range(80, 100))
        await harness.settled(100)

    assert await harness.published() == named(0, 100)
    assert sorted(harness.sent) == named(0, 100)
    assert sorted(harness.queried) == named(60, 80)


async def test_a_recreated_topic_longer_than_the_old_one_is_read_from_its_start(
    quick: KafkaConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """The committed offset lies within the new log and means nothing there; the topic's id shows it."""
    harness = await a_harness(quick, settled=5)
    offset, metadata = await harness.committed()
    await harness.remake(partitions=1)
    await harness.feed(*range(5, 35))
    await harness.commit(offset, metadata)  # as when an owner's last transaction ends after the topic was deleted
    async with harness.at_work():
        await harness.settled(35)

    assert await harness.published() == named(0, 35)
    assert sorted(harness.queried) == named(5, 35)
    assert line_mentions(shown(caplog.records), "deleted topic same name")


async def test_partitions_that_are_added_are_read_without_waiting_for_the_client_to_look(
    quick: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whichever process of a fleet gets them, from their first record on; the client itself looks once a minute."""
    monkeypatch.setattr(client, "METADATA_MAX_AGE_MS", 3_600_000)
    harness = await a_harness(quick)
    async with harness.at_work() as engine, harness.beside() as other:
        await harness.add_partitions(4)
        began = time.monotonic()
        for partition in range(4):
            await harness.feed(partition, partition=partition)
        await harness.settled(4)
        print(f"\nadded partitions were read and settled after {time.monotonic() - began:.1f} s")
        await until(lambda: len(engine.assigned | other.assigned) == 4, seconds=20)

        assert len(engine.assigned) == len(other.assigned) == 2
    assert await harness.published() == named(0, 4)
    assert sorted(harness.sent) == named(0, 4)
    assert harness.queried == []


# --- the records -----------------------------------------------------------------------------------------------------


async def test_records_deleted_before_they_were_read_are_logged_and_counted(
    quick: KafkaConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """Under their reader, and while no process reads; each loss once, with its count; open outcomes are published."""
    harness = await a_harness(quick)
    harness.seconds = 0.3
    async with harness.at_work():
        await harness.feed(*range(2000))
        await until(lambda: harness.sent, seconds=10)
        await harness.delete_before(1990)
        harness.seconds = 0.001
        await until(lambda: harness.counts.lost, seconds=20)
        lost_under_its_reader = harness.counts.lost
        await harness.settled(2000 - lost_under_its_reader)
        await harness.feed(*range(2000, 2005))
        await harness.settled(2005 - lost_under_its_reader)
    assert 0 < lost_under_its_reader < 1990
    assert line_mentions(shown(caplog.records), f"records-lost count={lost_under_its_reader} offset=1990")
    read = 1990 - lost_under_its_reader
    assert await harness.published() == sorted(named(0, read) + named(1990, 2005))

    await harness.feed(*range(2005, 2020))
    await harness.delete_before(2015)
    for _ in range(2):
        async with harness.at_work():
            await harness.settled(read + 15 + 5)
    assert harness.counts.lost - lost_under_its_reader == 10
    assert harness.queried == []


async def test_a_settled_log_that_retention_emptied_has_lost_nothing(quick: KafkaConnection) -> None:
    """Whether its records were committed one by one, or aborted; for the process that settled it, and for the next."""
    harness = await a_harness(quick)
    async with harness.at_work():
        await harness.feed_transaction(0)
        await harness.feed_transaction(1)
        await harness.feed_transaction(2, aborted=True)
        await harness.settled(2)
        async with asyncio.timeout(10 * SLOW_MACHINE):
            while (await harness.committed())[0] < SIX_OFFSETS:  # noqa: ASYNC110  # a broker signals nothing
                await asyncio.sleep(0.05)
        assert await harness.empty() == SIX_OFFSETS
    async with harness.at_work():
        await harness.feed_transaction(3)
        await harness.settled(3)
    await harness.empty()
    async with harness.at_work():
        await harness.feed(4)
        await harness.settled(4)

    assert harness.counts.lost == 0
    assert await harness.published() == [b"0", b"1", b"3", b"4"]


# --- the offsets -----------------------------------------------------------------------------------------------------


async def test_offsets_reset_to_earlier_are_recognised_and_nothing_is_sent_again(
    quick: KafkaConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """Tools are refused while an engine runs. Afterwards the records are published again, and queried first."""
    harness = await a_harness(quick)
    async with harness.at_work():
        await harness.feed(*range(20))
        await harness.settled(20)
        with pytest.raises(CommitFailedError):
            await harness.commit(5)
    await harness.commit(5)
    await harness.feed(*range(20, 25))
    async with harness.at_work():
        await harness.settled(40)
        await harness.feed(*range(25, 30))
        await harness.settled(45)

    assert sorted(harness.sent) == named(0, 30)
    assert sorted(harness.queried) == named(5, 25)
    assert await harness.published() == sorted(named(0, 30) + named(5, 20))
    assert line_mentions(shown(caplog.records), "nothing known committed 5 metadata format")


async def test_offsets_reset_to_later_skip_as_requested_and_doubt_the_rest(
    quick: KafkaConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator who moved the offset knows why; what lies behind it may have been sent before."""
    harness = await a_harness(quick, settled=5)
    await harness.feed(*range(5, 30))
    await harness.commit(20)
    async with harness.at_work():
        await harness.settled(15)

    assert await harness.published() == sorted(named(0, 5) + named(20, 30))
    assert sorted(harness.queried) == named(20, 30)
    assert line_mentions(shown(caplog.records), "nothing known committed 20")


async def test_offsets_that_were_deleted_are_not_taken_for_a_group_that_never_was(
    quick: KafkaConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """A new group sends what it finds; one that lost its offsets asks first, for it may all have been sent."""
    harness = await a_harness(quick)
    await harness.feed(*range(10))
    async with harness.at_work():
        await harness.settled(10)
    assert harness.queried == []
    await harness.forget()
    assert await harness.committed() == (-1, "")
    await harness.feed(*range(10, 15))
    async with harness.at_work():
        await harness.settled(25)

    assert sorted(harness.sent) == named(0, 15)
    assert sorted(harness.queried) == named(0, 15)
    assert line_mentions(shown(caplog.records), "committed offset expired")


@pytest.mark.parametrize(
    ("cluster_id", "version", "why"),
    [("elsewhere", "ea1", "another cluster"), ("", "ea9", "metadata format")],
    ids=["another-cluster", "another-version"],
)
async def test_metadata_of_another_cluster_or_version_is_not_believed(
    quick: KafkaConnection, caplog: pytest.LogCaptureFixture, cluster_id: str, version: str, why: str
) -> None:
    """A mirrored group's commit says that records are settled and others never sent; here it says neither."""
    harness = await a_harness(quick)
    await harness.feed(*range(10))
    harness.sent += named(0, 5)
    metadata = CommitMetadata(
        cluster_id=cluster_id,
        committed=2,
        reserved_until=2,
        other_fingerprint_until=0,
        fingerprint="x",
        settled=((3, 8),),
    )
    await harness.commit(2, encode(metadata).replace("ea1", version))
    async with harness.at_work():
        await harness.settled(8)

    assert sorted(harness.queried) == named(2, 10)
    assert sorted(harness.sent) == named(0, 10)
    assert await harness.published() == named(2, 10)
    assert line_mentions(shown(caplog.records), why)


# --- coordinators, transactions, disks -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [NOT_COORDINATOR, LOADING, NOT_AVAILABLE])
async def test_a_lost_coordinator_is_found_again(
    quick: KafkaConnection, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Of the group or of the transactions, before or after it acted: nothing is lost, sent twice or published twice."""
    injector, harness = ErrorInjector(monkeypatch), await a_harness(quick, partitions=2)
    of_transactions = (AddPartitionsToTxnRequest, AddOffsetsToTxnRequest, EndTxnRequest)
    durability_warnings = [
        (of_transactions, True),
        ((AddOffsetsToTxnRequest, EndTxnRequest, HeartbeatRequest), False),
        ((TxnOffsetCommitRequest, HeartbeatRequest), True),
    ]
    async with harness.at_work():
        for number, (kinds, reaches) in enumerate(durability_warnings):
            injector.injected.clear()
            feeding = asyncio.create_task(harness.feed(*range(40 * number, 40 * number + 40)))
            with injector.at(code, *kinds, reaches=reaches):
                await until(lambda: injector.injected.total() >= 5, seconds=20)
            await feeding
            await harness.settled(40 * number + 40)
    with injector.at(code, InitProducerIdRequest, StableOffsetFetchRequest):
        restored = asyncio.get_running_loop().call_later(0.5, setattr, injector, "_kinds", ())
        async with harness.at_work():
            await harness.feed(*range(120, 130))
            await harness.settled(130)
        restored.cancel()

    assert sorted(harness.sent) == named(0, 130)
    assert await harness.published() == named(0, 130)


async def test_outcomes_that_cannot_be_written_wait_and_little_is_sent_meanwhile(
    quick: KafkaConnection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a full disk: the transaction is given up, orders wait, and processing resumes when it is repaired."""
    caplog.set_level(logging.INFO, "adapter")
    injector, harness = ErrorInjector(monkeypatch), await a_harness(quick)
    harness.seconds = 0.5
    async with harness.at_work() as engine:
        await harness.feed(*range(2000))
        with injector.at(NOT_ENOUGH_REPLICAS, ProduceRequest):
            harness.seconds = 0.001
            await until(lambda: "kafka_error" in harness.counts.dropped, seconds=20)
            sent = len(harness.sent)
            await until(lambda: engine.assigned, seconds=20)
            await asyncio.sleep(0.5)
        sent_when_sick = len(harness.sent)
        await harness.settled(2000)

    print(f"\nsent while nothing could be written: {sent} until dropped, {sent_when_sick} in all, of 2000")
    assert sent_when_sick <= MOST_IN_HAND
    assert line_mentions(shown(caplog.records), "partition-dropped transaction failed: TimeoutError()")
    assert await harness.published() == named(0, 2000)
    assert sorted(harness.sent) == named(0, 2000)
