"""Kafka in memory, as `port.py` promises it, with everything that can go wrong going wrong when told.

Fencing is real: a writer that was started later makes every earlier one of its place fail. Transactions are atomic.
Rebalances happen when the test says so, and go through the members' callbacks as the real client's do.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from adapter.errors import BrokerAway
from adapter.stream.port import (
    Commit,
    KafkaTrouble,
    LogRange,
    OutOfRange,
    Place,
    PublicationsTooLarge,
    UnreadableBatch,
)
from adapter.stream.records import Publication, Record

CLUSTER_ID = "fake"
SKIPS = "skips"
"""The group whose commits are skip requests."""
_AT_ONCE = 50


class FakeCluster:
    """Logs, commits, and who may write; also what is to fail."""

    def __init__(self) -> None:
        self.logs: defaultdict[Place, list[Record]] = defaultdict(list)
        self.ids: defaultdict[str, str] = defaultdict(lambda: "first")
        self.starts: defaultdict[Place, int] = defaultdict(int)
        self.markers: defaultdict[Place, int] = defaultdict(int)
        self.commits: dict[Place, Commit] = {}
        self.skips: dict[Place, Commit] = {}
        self.unreadable: dict[Place, tuple[int, int]] = {}
        self.published: list[Publication] = []
        self.transactions: list[tuple[Place, int]] = []
        self.epochs: defaultdict[Place, int] = defaultdict(int)
        self.away = False
        self.largest = 1000
        self.faults: list[str] = []
        self.writers_to_fail = 0
        self.slow_transactions = 0.0
        self.slow_starts = 0.0
        self.members: list[FakeMember] = []
        self.generation = 0
        self.news = asyncio.Event()

    def append(self, place: Place, *values: str, key: str | None = None, hole: int = 0) -> list[Record]:
        """Put records at the end of a log, each after `hole` offsets that are no records."""
        made = []
        for value in values:
            record = Record(
                topic=place.topic,
                partition=place.partition,
                offset=self.end(place) + hole,
                timestamp=datetime(2026, 1, 1, tzinfo=UTC),
                key=key.encode() if key is not None else None,
                value=value.encode(),
            )
            self.logs[place].append(record)
            self.markers[place] = 0
            made.append(record)
        self.news.set()
        return made

    def end_transaction(self, place: Place, count: int = 1) -> None:
        """Put so many markers at the end of a log; aborted records are no records either."""
        self.markers[place] += count
        self.news.set()

    def end(self, place: Place) -> int:
        last = self.logs[place][-1].offset + 1 if self.logs[place] else self.starts[place]
        return last + self.markers[place]

    def delete_before(self, place: Place, offset: int) -> None:
        """Delete records, as retention does."""
        end = self.end(place)
        self.logs[place] = [record for record in self.logs[place] if record.offset >= offset]
        self.starts[place] = offset
        if not self.logs[place]:
            self.markers[place] = max(0, end - offset)
        self.news.set()

    def remake(self, topic: str) -> None:
        """Delete a topic and make it anew: other logs of the same name, and no offsets."""
        self.ids[topic] = f"after {self.ids[topic]}"
        for place in [place for place in self.logs if place.topic == topic]:
            self.logs[place] = []
            self.starts[place] = self.markers[place] = 0
            self.commits.pop(place, None)

    @property
    def told(self) -> list[str]:
        """The values published, in order."""
        return [(publication.value or b"").decode() for publication in self.published]

    async def assign(self, *assignments: Collection[Place]) -> None:
        """A rebalance: every member that answers gives up everything, then each of them gets its own."""
        members = [member for member in self.members if member.lease.answers]
        await asyncio.gather(*(member.revoked() for member in members))
        self.generation += 1
        for member, places in zip(members, assignments, strict=False):
            if member in self.members:
                member.give(places)


class FakeLease:
    """A lease that holds as long as the test lets the group answer."""

    def __init__(self) -> None:
        self.generation = -1
        self.answers = True
        self._time = 0.0

    def holds(self, generation: int) -> bool:
        return self.answers and generation == self.generation

    def answered(self) -> bool:
        return self.answers

    def clock(self) -> float:
        self._time += 1
        return self._time

    def check_proven(self) -> None:
        pass

    async def proven_after(self, moment: float) -> None:
        while not self.answers:  # noqa: ASYNC110  # tests set `answers`, a plain attribute
            await asyncio.sleep(0.001)


class FakeWriter:
    """A writer of one place, good until a later one is started."""

    def __init__(self, cluster: FakeCluster, place: Place) -> None:
        self.dead = False
        cluster.epochs[place] += 1
        self._cluster = cluster
        self._place = place
        self._epoch = cluster.epochs[place]
        self.first = self._epoch == 1
        self.ended = ""

    async def publish(self, publications: Sequence[Publication], *, offset: int, metadata: str) -> None:
        cluster = self._cluster
        await asyncio.sleep(cluster.slow_transactions)
        await _answer(self)
        fault = cluster.faults.pop(0) if cluster.faults else ""
        if self._epoch != cluster.epochs[self._place]:
            raise KafkaTrouble("fenced")
        if fault == "failed":
            raise KafkaTrouble("nothing was written")
        too_large = [at for at, one in enumerate(publications) if len(one.value or b"") > cluster.largest]
        if too_large:
            self._epoch = -1  # used up
            raise PublicationsTooLarge(too_large)
        assert len(metadata) <= 4096
        cluster.published.extend(publications)
        cluster.commits[self._place] = Commit(offset=offset, metadata=metadata)
        cluster.transactions.append((self._place, len(publications)))
        cluster.news.set()
        if fault == "committed, and failed":
            raise KafkaTrouble("the answer was lost")

    def retire(self) -> None:
        self.ended = "retired"

    def abandon(self) -> None:
        self.ended = "abandoned"


class FakeMember:
    """One member; `give` and `revoked` are what the group does to it."""

    def __init__(self, cluster: FakeCluster, at_once: Collection[Place], group: str = "") -> None:
        self._cluster = cluster
        self._group = group
        self._at_once = at_once
        self._assignment: frozenset[Place] = frozenset()
        self._positions: dict[Place, int] = {}
        self.lease = FakeLease()
        self.cluster_id = CLUSTER_ID
        self.left = False
        self.polled: list[frozenset[Place]] = []
        self.writers: list[FakeWriter] = []
        self.fails_to_poll = False
        self.dead = False

    def die(self) -> None:
        """As after kill -9: nothing of it has any effect any more, and nothing is answered."""
        self.dead = True
        self.lease.answers = False
        for writer in self.writers:
            writer.dead = True
        self._cluster.members.remove(self)

    def join(
        self, topics: Collection[str], *, revoked: Callable[[], Awaitable[None]], assigned: Callable[[], None]
    ) -> None:
        self.revoked = revoked
        self._assigned = assigned
        self._cluster.members.append(self)
        if self._at_once:
            asyncio.get_running_loop().call_soon(self.give, self._at_once)

    def give(self, places: Collection[Place]) -> None:
        self._assignment = frozenset(places)
        # As the real client: reading starts at the committed offset by itself, taken over or not.
        for place in places:
            commit = self._cluster.commits.get(place)
            self._positions[place] = commit.offset if commit else 0
        self.lease.generation = self._cluster.generation
        self._assigned()

    def assignment(self) -> frozenset[Place]:
        return self._assignment

    async def places(self, topics: Collection[str]) -> frozenset[Place]:
        await _answer(self)
        return frozenset(place for place in self._cluster.logs if place.topic in topics)

    async def commit_unjoined(self, commits: Mapping[Place, Commit]) -> bool:
        await _answer(self)
        if self._cluster.members:
            return False
        self._cluster.commits.update(commits)
        return True

    async def unread(self, places: Collection[Place]) -> Mapping[Place, int]:
        await _answer(self)
        return {place: self._cluster.end(place) - self._positions[place] for place in places}

    async def poll(self, places: Collection[Place], *, timeout: float) -> Mapping[Place, Sequence[Record]]:  # noqa: ASYNC109  # as the port has it
        self.polled.append(frozenset(places))
        await _answer(self)
        if self.fails_to_poll:
            raise KafkaTrouble("this member can go on no more")
        batches = self._drain(places)
        if not batches:
            self._cluster.news.clear()
            try:
                async with asyncio.timeout(min(timeout, 0.02)):
                    await self._cluster.news.wait()
            except TimeoutError:
                return {}
            batches = self._drain(places)
        await asyncio.sleep(0)
        return batches

    def _drain(self, places: Collection[Place]) -> dict[Place, list[Record]]:
        batches = {}
        for place in places:
            if place in self._assignment:
                if not self._cluster.starts[place] <= self._positions[place] <= self._cluster.end(place):
                    raise OutOfRange([place])
                end = self._readable_until(place)
                ahead = [one for one in self._cluster.logs[place] if self._positions[place] <= one.offset < end]
                if ahead:
                    batches[place] = ahead[:_AT_ONCE]
                    self._positions[place] = batches[place][-1].offset + 1
                if len(ahead) <= _AT_ONCE:
                    self._positions[place] = end
        return batches

    def _readable_until(self, place: Place) -> int:
        """Where the log ends, or an unreadable batch begins. Raises UnreadableBatch: what this poll read is lost."""
        first, last = self._cluster.unreadable.get(place, (-1, -1))
        at, end = self._positions[place], self._cluster.end(place)
        if first <= at <= last and at < end:
            raise UnreadableBatch(place, base=first, first=at, last=last, cause="codec 7 is not known")
        return min(first, end) if first >= at else end

    def position(self, place: Place) -> int | None:
        return self._positions.get(place)

    def seek(self, place: Place, offset: int) -> None:
        if place not in self._assignment:
            raise KafkaTrouble("not assigned")
        self._positions[place] = offset

    async def committed(self, place: Place) -> Commit | None:
        await _answer(self)
        return (self._cluster.skips if self._group == SKIPS else self._cluster.commits).get(place)

    async def log_range(self, place: Place) -> LogRange:
        await _answer(self)
        cluster = self._cluster
        return LogRange(start=cluster.starts[place], end=cluster.end(place), log_id=cluster.ids[place.topic])

    async def log_ids(self, topics: Collection[str]) -> Mapping[str, str]:
        await _answer(self)
        return {topic: self._cluster.ids[topic] for topic in topics}

    async def start_writer(self, place: Place) -> FakeWriter:
        await _answer(self)
        if self._cluster.writers_to_fail:
            self._cluster.writers_to_fail -= 1
            raise KafkaTrouble("no writer today")
        writer = FakeWriter(self._cluster, place)
        await asyncio.sleep(self._cluster.slow_starts)
        self.writers.append(writer)
        return writer

    async def leave(self) -> None:
        self.left = True
        if not self.dead and self in self._cluster.members:
            self._cluster.members.remove(self)


class FakeKafka:
    """Joins members to the cluster; each is given `places` at once when there are any."""

    rebalance_timeout = 0.3

    def __init__(self, cluster: FakeCluster, places: Collection[Place] = ()) -> None:
        self._cluster = cluster
        self._places = places

    async def connect(self, group: str) -> FakeMember:
        await asyncio.sleep(0)
        if self._cluster.away:
            raise BrokerAway("no broker answers")
        return FakeMember(self._cluster, self._places, group)


async def _answer(client: FakeMember | FakeWriter) -> None:
    """Take a turn of the loop, as a network would; the dead are never answered."""
    await asyncio.sleep(0)
    if client.dead:
        await asyncio.Event().wait()
