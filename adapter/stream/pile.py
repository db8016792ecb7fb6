"""A topic from which a person takes records one by one, and that remembers which were taken.

It exists for the dead letters: some are dealt with today, others next week, and none twice. What was dealt with is a
consumer group's commit of each partition, with the settled runs beyond it in the commit's metadata, exactly as that of
a stage (`books`, `metadata`); and what is published about a record goes into the same transaction. Whoever begins to
take fences whoever took before, so of two people at once one is told so and nothing happens twice.

Brokers forget the commits of a group without members after a while (`offsets.retention.minutes`, a week by default).
That is told (`forgotten`) and not hidden: then every record counts as open.

It refuses to know what the records are, and it joins no group: nobody is assigned anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from adapter.errors import StreamError
from adapter.stream.books import Flush, PartitionBooks
from adapter.stream.connection import KafkaConnection
from adapter.stream.flushing import MOST_FLUSH_BYTES
from adapter.stream.inheritance import inherit
from adapter.stream.kafka_client import AioKafka
from adapter.stream.metadata import new_owner, short_fingerprint
from adapter.stream.port import BatchTooLarge, Commit, KafkaTrouble, Member, Place, PublicationsTooLarge, Writer
from adapter.stream.records import Publication
from adapter.stream.stage import Outcome

_FINGERPRINT = short_fingerprint("")


@dataclass(frozen=True, slots=True)
class Standing:
    """Which offsets of a partition are open; `forgotten`: no commit says which of them were taken before."""

    open: frozenset[int]
    forgotten: bool


class Pile:
    """The topic as it was read: `records` are the partition and the offset of each."""

    def __init__(self, member: Member, topic: str, records: Iterable[tuple[int, int]]) -> None:
        self._member = member
        self._topic = topic
        self._offsets: dict[int, list[int]] = {}
        for partition, offset in sorted(records):
            self._offsets.setdefault(partition, []).append(offset)

    async def standing(self) -> dict[int, Standing]:
        """Which records are open, by partition; nobody is disturbed. Raises KafkaTrouble, BrokerAway."""
        found = {}
        for partition in self._offsets:
            books, forgotten, _ = await self._books(partition)
            found[partition] = Standing(frozenset(books.unfinished()), forgotten)
        return found

    @asynccontextmanager
    async def taking(self, partition: int) -> AsyncIterator[Taking]:
        """Take records of this partition, which fences whoever did so before. Raises KafkaTrouble, BrokerAway."""
        place = Place(self._topic, partition)
        writer = await self._member.start_writer(place)
        try:
            books, forgotten, commit = await self._books(partition)
        except BaseException:
            writer.abandon()
            raise
        taking = Taking(self._member, place, books, writer, commit, forgotten=forgotten)
        try:
            yield taking
        finally:
            taking.end()

    async def _books(self, partition: int) -> tuple[PartitionBooks, bool, Commit | None]:
        place = Place(self._topic, partition)
        commit = await self._member.committed(place)
        log_range = await self._member.log_range(place)
        cluster_id = self._member.cluster_id
        inheritance = inherit(commit, log_range, cluster_id=cluster_id, fingerprint=_FINGERPRINT)
        # Nothing is ever sent from here: only an unbelievable commit says that something may have been.
        forgotten = commit is None or inheritance.possibly_sent_until > 0
        inheritance = replace(inheritance, possibly_sent_until=0, mixed_until=0, reserved_until=0)
        books = PartitionBooks(
            str(place),
            inheritance,
            cluster_id=cluster_id,
            log_id=log_range.log_id,
            fingerprint=_FINGERPRINT,
            ahead=0,
            owner=new_owner(),  # so that no commit of anybody else's looks like one of these
        )
        for offset in self._offsets.get(partition, ()):
            if offset >= inheritance.offset:
                books.take(offset)
        return books, forgotten, commit


class Taking:
    """One partition of which records are being taken."""

    def __init__(
        self,
        member: Member,
        place: Place,
        books: PartitionBooks,
        writer: Writer,
        commit: Commit | None,
        *,
        forgotten: bool,
    ) -> None:
        self.forgotten = forgotten
        self._commit = commit
        self._member = member
        self._place = place
        self._books = books
        self._writer = writer
        self._fenced = False
        self._open = set(books.unfinished())

    def is_open(self, offset: int) -> bool:
        """Whether nobody has taken the record at this offset."""
        return offset in self._open

    def count_as_taken(self, offsets: Iterable[int]) -> None:
        """Let the next transaction say that these open records were taken before."""
        for offset in offsets:
            self._finish(offset, Outcome())

    async def take(self, outcomes: Mapping[int, Outcome]) -> frozenset[int]:
        """Take open records and publish what comes of them, in one transaction; returns the offsets that were taken.

        Fewer than were given where the commit has no room for more, or one transaction would be too large: the oldest
        first. Raises StreamError when it has
        room for none, when a topic does not take what is to be published, and when somebody else has begun to take:
        in the last case it is not known whether it happened, but whoever looks again sees it.
        """
        for offset, outcome in outcomes.items():
            self._finish(offset, outcome)
        flush = self._books.draft(most_bytes=MOST_FLUSH_BYTES)
        if flush is not None and not flush.fits:
            flush = self._books.fitting()
        if flush is None or not flush.outcomes.keys() & outcomes.keys():
            self._withdraw(outcomes)
            raise StreamError(
                f"The commit of {self._place} has no room left to say which of its records beyond the oldest open one "
                "were dealt with. Nothing was done; deal with the oldest ones first."
            )
        await self._publish(flush)
        self._books.settle(flush)
        self._commit = Commit(offset=flush.offset, metadata=flush.metadata)
        self._withdraw(outcomes.keys() - flush.outcomes.keys())
        return frozenset(outcomes.keys() & flush.outcomes.keys())

    async def _publish(self, flush: Flush) -> None:
        publications = [each for outcome in flush.outcomes.values() for each in outcome.records]
        try:
            await self._write(publications, flush)
        except PublicationsTooLarge as error:
            self._withdraw(flush.outcomes)
            await self._begin_anew()
            topics = ", ".join(sorted({publications[index].topic for index in error.indexes}))
            raise StreamError(
                f"A record is larger than {topics} takes, so nothing was done about it and those it was to go with. "
                "Raise max.message.bytes (`ecticket-adapter topics` says to how much), then run the command again."
            ) from error
        except KafkaTrouble as error:
            self._fenced = True
            raise self._not_alone() from error

    async def _write(self, publications: Sequence[Publication], flush: Flush) -> None:
        """With smaller batches each time that a topic refuses one of records that may each be small enough."""
        while True:
            try:
                await self._writer.publish(publications, offset=flush.offset, metadata=flush.metadata)
            except BatchTooLarge:
                await self._begin_anew()
            else:
                return

    async def _begin_anew(self) -> None:
        """End the transaction that is under way now: until its time-out nobody could read beyond it.

        Raises StreamError when somebody else has taken records meanwhile: what is known here is not true any more.
        """
        self._writer.abandon()
        self._writer = await self._member.start_writer(self._place)
        if await self._member.committed(self._place) != self._commit:
            self._fenced = True
            raise self._not_alone()

    def _not_alone(self) -> StreamError:
        return StreamError(
            f"Writing about {self._place} failed: somebody else is dealing with the same records at this moment, "
            "or a broker went away. Run the command again: it sees what was done, and repeats nothing."
        )

    def end(self) -> None:
        """Take no more."""
        if self._fenced:
            self._writer.abandon()
        else:
            self._writer.retire()

    def _finish(self, offset: int, outcome: Outcome) -> None:
        self._books.finish(offset, outcome)
        self._open.discard(offset)

    def _withdraw(self, offsets: Iterable[int]) -> None:
        for offset in list(offsets):
            self._books.withdraw(offset)
            self._open.add(offset)


@asynccontextmanager
async def open_pile(
    connection: KafkaConnection, *, topic: str, group: str, records: Iterable[tuple[int, int]]
) -> AsyncIterator[Pile]:
    """The pile of the `records` that were read of `topic`, each a partition and an offset, as `group` remembers it.

    Raises BrokerAway, KafkaTrouble.
    """
    member = await AioKafka(connection).connect(group)
    try:
        yield Pile(member, topic, records)
    finally:
        await member.leave()
