"""What the engine's tests use: a stage whose handling the test writes, and a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from adapter.stream.commit_metadata import CommitMetadata, decode
from adapter.stream.engine import Engine
from adapter.stream.port import TopicPartition
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext, RetryLater
from stream.fake_kafka import CLUSTER_ID, FakeCluster, FakeKafka

PAID = TopicPartition("paid", 0)
PAID_TOO = TopicPartition("paid", 1)
DEFERRED = TopicPartition("deferred", 0)

Handler = Callable[[str, RecordContext], Awaitable[Outcome | RetryLater[str]]]


def outcome_with(text: str) -> Outcome:
    return Outcome(records=(ProducerRecord(topic="out", key=None, value=text.encode()),))


async def echo(subject: str, context: RecordContext) -> Outcome:
    return outcome_with(subject)


class Sends:
    """A handler that sends each record to a remote side that keeps everything."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.doubted: list[str] = []

    async def __call__(self, subject: str, context: RecordContext) -> Outcome:
        if context.possibly_sent_since is not None:
            self.doubted.append(subject)
            if subject in self.sent:
                return outcome_with(f"{subject} recovered")
        context.authorize_send()
        self.sent.append(subject)
        return outcome_with(subject)


class StageOfTests:
    """A stage whose handling the test writes; the first word of a record is its bulkhead, unless `bulkheads` is off."""

    name = "test"
    group = "group"

    def __init__(self, handle: Handler = echo, **changes: object) -> None:
        self.topics: tuple[str, ...] = ("paid", "deferred")
        self.sends = True
        self.starts_at_latest = False
        self.linger_seconds = 0.0
        self.max_in_flight = 8
        self.max_waiting = 100
        self.bulkheads = True
        self.fingerprint = "one"
        self.handler = handle
        self.handled: list[str] = []
        self.most_at_once = 0
        self._at_once = 0
        for name, value in changes.items():
            setattr(self, name, value)

    async def prepare(self, record: Record) -> PreparedRecord[str]:
        text = (record.value or b"").decode()
        if text.startswith("unreadable"):
            raise ValueError(text)
        return PreparedRecord(
            lane=record.key,
            subject=text,
            not_before=datetime(2099, 1, 1, tzinfo=UTC) if text.startswith("next century") else None,
            bulkhead=text.partition(" ")[0] if self.bulkheads else None,
            may_hand_off=self.bulkheads,
        )

    async def handle(self, subject: str, context: RecordContext) -> Outcome | RetryLater[str]:
        self.handled.append(subject)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self.handler(subject, context)
        finally:
            self._at_once -= 1

    def hand_off(self, record: Record, subject: str, context: RecordContext) -> Outcome:
        return outcome_with(f"{subject} handed off")

    def on_error(self, record: Record, error: Exception, context: RecordContext) -> Outcome:
        return outcome_with(f"{(record.value or b'').decode()[:20]} broken {type(error).__name__}")


@asynccontextmanager
async def running(
    stage: StageOfTests, cluster: FakeCluster, *partitions: TopicPartition, grace: float = 1.0, **options: object
) -> AsyncIterator[Engine[str]]:
    """An engine at work, stopped at the end whatever happens."""
    engine = Engine(
        stage,
        **{"kafka": FakeKafka(cluster, partitions), **options},  # type: ignore[arg-type]  # a test's shorthand
    )
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        await engine.stop(grace)
        await task


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    """Let the engine go on until `condition` is true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # conditions are the engine's, which signals nothing to tests
            await asyncio.sleep(0.001)


def metadata_at(cluster: FakeCluster, partition: TopicPartition) -> CommitMetadata:
    commit = cluster.commits[partition]
    metadata = decode(commit.metadata, cluster_id=CLUSTER_ID, committed=commit.offset)
    assert isinstance(metadata, CommitMetadata)
    return metadata
