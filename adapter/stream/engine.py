"""The engine: runs one stage, and sees to it that each record's outcome is published exactly once.

Theory of operation. Every partition assigned to this process is *taken over*, worked on, and *let go*.

Taking over: start the partition's writer, which fences the earlier owner and ends its transaction; read the committed
offset only after that; open the books with what its note says; seek; and no `await` between opening the books and
seeking. Every change of what is held raises the *turn*; a batch whose poll began in another turn is thrown away, and
every partition held is sought back to where its books go on. (Measured: leaving out any of this loses or repeats.)

Working: records are opened in the books as they are read, prepared, handled in their lanes, and settled when the
transaction with their outcome is committed. Whatever goes out of Kafka's reach goes through the gate of its holding.

Letting go in good order: close the gate, let what is being handled end, flush, commit the truth about what may have
been sent. All within half of the rebalance time-out. After a failed transaction, or a fence, the partition is dropped
instead, and never just given a new writer: that would fence whoever owns it now. It is taken over again only after the
group has answered a request of ours that was sent later, so that it is known to be ours.

What is left in memory of a partition that was let go is in `leftovers.py`. No fence reaches an HTTP request, so what is
left on the wire by then counts as possibly sent with the next owner.

The engine refuses to know what records mean, and which Kafka client there is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Generic, TypedDict, TypeVar

from adapter.errors import BrokerAway
from adapter.stream.beginning import begin_at_ends
from adapter.stream.blocked_partitions import BlockedPartitions, problems_of
from adapter.stream.connection import KafkaConnection
from adapter.stream.holding import Holding
from adapter.stream.holdings import Holdings
from adapter.stream.intake import Intake
from adapter.stream.kafka_client import AioKafka
from adapter.stream.metadata import short_fingerprint
from adapter.stream.observer import Levels, StreamObserver, Unobserved
from adapter.stream.phases import Phase
from adapter.stream.port import Kafka, KafkaTrouble, Member, OutOfRange, Place, UnreadableBatch
from adapter.stream.records import Record
from adapter.stream.stage import Stage
from adapter.stream.work import Work
from adapter.stream.workshop import Workshop

S = TypeVar("S")
T = TypeVar("T")


class Times(TypedDict):
    """What letting go in good order may take, in seconds; see `Holdings.let_all_go`."""

    patience: float
    flush_seconds: float


log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""How long a poll waits for records when there is room everywhere."""

BUSY_POLL_SECONDS = 0.03
"""How long it waits when some partitions are left out: they may have room again any moment."""

BEAT_SECONDS = 0.5
"""How often the main loop shows that it is alive, whatever it waits for."""

LEVELS_SECONDS = 1.0
"""How often the observer is told the levels."""

SAY_AGAIN_SECONDS = 10.0
"""How often an absent broker is mentioned."""

WATCH_SECONDS = 5.0
"""How often it is looked whether the topics are still the same, and not others of the same name."""

WORK_SHARE = 0.6
"""The part of any time for letting go in which what is being handled may end ..."""

FLUSH_SHARE = 0.3
"""... and the part for the last flush; the rest is for the farewell."""

LEAST_FLUSH_SECONDS = 2.0
"""What the last flush may take even when no grace was given."""

MOST_BACK_OFF_SECONDS = 2.0
"""Between attempts to connect."""

STABLE_SESSION_SECONDS = 10.0
"""A session that ended sooner has failed like an attempt to connect: the next one waits longer ..."""

MOST_REJOIN_SECONDS = 30.0
"""... up to this. Each session fences the writers of the one before, so joining over and over harms other members."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Engine(Generic[S]):
    """Runs `stage` against the brokers of `connection`, in this process, until stopped.

    `now` is the clock that waiting records go by. `kafka` is the client; aiokafka when None. `skips_group`: see
    `blocked_partitions`.
    """

    def __init__(
        self,
        stage: Stage[S],
        connection: KafkaConnection,
        *,
        observer: StreamObserver | None = None,
        now: Callable[[], datetime] = _utc_now,
        kafka: Kafka | None = None,
        skips_group: str | None = None,
    ) -> None:
        self._stage = stage
        self._observer: StreamObserver = observer or Unobserved()
        self._kafka: Kafka = kafka or AioKafka(connection)
        self._workshop = Workshop(stage, self._observer, now, self._note_mistake)
        self._intake = Intake(stage, self._workshop, self._observer)
        self._holdings = Holdings(
            stage, self._workshop, self._observer, now=now, on_turn=self._interrupt, on_mistake=self._note_mistake
        )
        self._blocked: BlockedPartitions[S] = BlockedPartitions(
            self._kafka, skips_group, now=now, take=self._take_one, run=self._run_errand
        )
        self._member: Member | None = None
        self._mistake: BaseException | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._interrupted = asyncio.Event()
        self._stopping = False
        self._grace = 0.0
        self._ended = asyncio.Event()
        self._ended.set()
        self._last_beat = time.monotonic()
        self._said = float("-inf")
        self._levels_told = float("-inf")
        self._in_touch_at = self._belonged = time.monotonic()
        self._missed = False
        self._unread: Mapping[Place, int] = {}
        self._trouble: str | None = None
        self._session_began = float("-inf")
        self._ended_quickly = False

    # --- what others may see -----------------------------------------------------------------------------------------

    @property
    def last_beat(self) -> float:
        """When the main loop last showed that it is alive (`time.monotonic`); it does also while no broker answers."""
        return self._last_beat

    @property
    def assigned(self) -> frozenset[tuple[str, int]]:
        """Topic and partition of what is taken over and being worked on."""
        # A list first: another thread may ask, and what is held must not change while it is gone through.
        return frozenset((place.topic, place.partition) for place in list(self._holdings.held))

    @property
    def in_touch(self) -> bool:
        """Whether the group has answered this process within a session time-out; false while brokers are away."""
        return self._belongs()

    @property
    def standing_by(self) -> bool:
        """Whether this process is a member of the group that was given no partition."""
        return self._belongs() and self._member is not None and not self._member.assignment()

    @property
    def problems(self) -> Sequence[str]:
        """What keeps records from being read, for people: a sentence each, without anything that a record holds."""
        trouble = [self._trouble] if self._trouble is not None and (self._ended_quickly or not self.in_touch) else []
        held = list(self._holdings.held.values())
        full = [
            f"{count} records of {topic} wait for their time, and no more of it are read until some are due"
            for topic, count in self.full_waiting_rooms.items()
        ]
        return [*trouble, *list(self._holdings.troubles.values()), *problems_of(held), *full]

    @property
    def full_waiting_rooms(self) -> Mapping[str, int]:
        """Topics that are not read on because too many of their records wait for their time, and how many wait."""
        waiting = {topic: self._workshop.waiting(topic) for topic in self._stage.topics}
        return {topic: count for topic, count in waiting.items() if count >= self._stage.max_waiting}

    # --- running -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until stopped, through whatever becomes of the brokers.

        Raises what shows that the engine or the stage cannot be trusted any more (a mistake in the books, a client
        that is not the expected one); nothing is committed after it.
        """
        self._ended.clear()
        try:
            back_off = 0.0
            while not self._stopping:
                await self._beating(asyncio.sleep(back_off))
                self._session_began = time.monotonic()
                joined = await self._session()
                if joined and not self._ended_quickly:
                    back_off = 0.0
                else:
                    most = MOST_REJOIN_SECONDS if joined else MOST_BACK_OFF_SECONDS
                    back_off = min(2 * back_off + 0.5, most) * random.uniform(0.8, 1.0)
            if self._mistake is not None:
                raise self._mistake
        finally:
            await self._workshop.stop()
            self._ended.set()

    async def stop(self, grace_seconds: float) -> None:
        """Take no more, let what is in flight end, commit, leave the group; after `grace_seconds` it is cancelled."""
        self._grace = grace_seconds
        self._stopping = True
        self._interrupt()
        await self._ended.wait()

    async def _session(self) -> bool:
        """One member's life, from joining to leaving; False when it could not even join."""
        if self._stopping:
            return False
        try:
            member = await self._beating(self._kafka.connect(self._stage.group))
        except (BrokerAway, KafkaTrouble) as trouble:
            self._say(f"waiting for the broker: {trouble}")
            return False
        if member is None:
            return False
        if self._stage.begins_at_end and not await self._at_end(member):
            await member.leave()
            return False
        self._member = member
        self._holdings.begin(member)
        member.join(self._stage.topics, revoked=self._revoked, assigned=self._assigned)
        self._run_errand(self._watch_logs(member))
        try:
            await self._read(member)
        except KafkaTrouble as trouble:
            self._say(f"joining the group again: {trouble}")
        finally:
            self._ended_quickly = time.monotonic() - self._session_began < STABLE_SESSION_SECONDS
            await self._part(member)
        return True

    async def _at_end(self, member: Member) -> bool:
        """See to it that a new group begins at the end; False when that could not be done yet."""
        begins = begin_at_ends(member, self._stage.topics, fingerprint=short_fingerprint(self._stage.fingerprint))
        try:
            return await self._beating(begins) is not None
        except (BrokerAway, KafkaTrouble) as trouble:
            self._say(f"waiting for the broker: {trouble}")
            return False

    async def _read(self, member: Member) -> None:
        while not self._stopping:
            turn = self._holdings.turn
            held = self._holdings.held
            paused = {place for place, holding in held.items() if self._blocked.is_paused(member, holding)}
            places = [place for place, holding in held.items() if place not in paused and self._has_room(holding)]
            seconds = POLL_SECONDS if len(places) + len(paused) == len(held) else BUSY_POLL_SECONDS
            batches = await self._beating(self._poll(member, places, seconds))
            if self._mistake is not None:
                raise self._mistake
            if turn != self._holdings.turn:
                self._go_back(member)
            elif batches is not None:
                self._take(batches)
                self._pass_over(member, places, batches)

    async def _poll(self, member: Member, places: Sequence[Place], seconds: float) -> Mapping[Place, Sequence[Record]]:
        try:
            return await member.poll(places, timeout=seconds)
        except UnreadableBatch as problem:
            # The same poll may have read other partitions, and what it read is lost with it.
            self._go_back(member)
            holding = self._holdings.held.get(problem.place)
            if holding is not None and holding.working:
                self._blocked.block(member, holding, problem)
            return {}
        except OutOfRange as out:
            for place in out.places & self._holdings.held.keys():
                holding = self._holdings.held[place]
                holding.astray = True
                self._run_errand(self._holdings.look_after(holding, **self._in_good_order()))
            return {}

    async def _watch_logs(self, member: Member) -> None:
        """A topic that is made anew while it is read goes on under its name; offsets would be believed of another.

        How much is left to read is asked too: what a fetch tells of it is old where reading is held up.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                ids = await member.log_ids(self._stage.topics)
                self._unread = await member.unread(list(self._holdings.held))
            except (KafkaTrouble, BrokerAway):
                continue  # whoever reads notices too, and says so
            for holding in list(self._holdings.held.values()):
                if ids.get(holding.place.topic, holding.log_id) != holding.log_id:
                    self._holdings.replace(holding, **self._in_good_order())

    def _has_room(self, holding: Holding[S]) -> bool:
        if not holding.working or holding.busy:
            return False
        if self._workshop.waiting(holding.place.topic) < self._stage.max_waiting and not holding.heavy:
            return True
        self._workshop.make_room(holding, self._unread.get(holding.place, 0))
        return False

    def _go_back(self, member: Member) -> None:
        """What was read across a change of what is held is thrown away, and reading goes on where the books do."""
        assignment = member.assignment()
        for place, holding in self._holdings.held.items():
            if place in assignment:
                member.seek(place, holding.books.next_offset)

    def _take(self, batches: Mapping[Place, Sequence[Record]]) -> None:
        for place, records in batches.items():
            holding = self._holdings.held.get(place)
            if holding is None or not records:
                continue
            if records[0].offset < holding.books.next_offset:
                log.error("%s: reading went back to %s; the log is another one", place, records[0].offset)
                self._holdings.drop(holding, "rewound")
                continue
            self._open(holding, records)

    def _take_one(self, holding: Holding[S], record: Record) -> None:
        """Take a record that stands for offsets which could not be read."""
        self._open(holding, [record])

    def _open(self, holding: Holding[S], records: Sequence[Record]) -> None:
        works = self._intake.open(holding, records)
        if works:
            holding.preparing = True
            self._run_errand(self._admit(holding, works))

    def _pass_over(self, member: Member, places: Sequence[Place], batches: Collection[Place]) -> None:
        """Note how far reading has come: what was not handed out below is no record. No await since the poll's end.

        Where nothing was left to read, a commit that stops before such offsets catches up with them.
        """
        for place in places:
            holding = self._holdings.held.get(place)
            position = member.position(place)
            if holding is not None and position is not None:
                holding.books.pass_over(position)
                self._blocked.passed(holding, position)
                if place not in batches and holding.books.trails:
                    holding.books.catch_up()
                    holding.flush_due.set()

    async def _admit(self, holding: Holding[S], works: Sequence[Work[S]]) -> None:
        try:
            await self._intake.admit(holding, works)
        finally:
            holding.preparing = False

    def _run_errand(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._errands.add(task)
        task.add_done_callback(self._errand_ended)

    def _errand_ended(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and (mistake := task.exception()) is not None:
            self._note_mistake(mistake)

    # --- parting -----------------------------------------------------------------------------------------------------

    async def _part(self, member: Member) -> None:
        """Let everything go and leave the group: with the grace that was given, or quickly after trouble."""
        try:
            if self._mistake is None:
                await self._end_in_peace()
            flush_seconds = max(self._grace * FLUSH_SHARE, LEAST_FLUSH_SECONDS)
            await self._holdings.let_all_go("stopped", patience=0, flush_seconds=flush_seconds)
        finally:
            for task in self._errands:
                task.cancel()
            if self._stopping:
                await self._workshop.stop()
            await member.leave()
            self._member = None

    async def _end_in_peace(self) -> None:
        """Start nothing more, and wait for what is being handled: it may still send, as long as the grace lasts."""
        self._holdings.take_no_more()
        ending = asyncio.ensure_future(self._holdings.all_idle())
        until = time.monotonic() + self._grace * WORK_SHARE
        while not ending.done() and (left := until - time.monotonic()) > 0:
            await asyncio.wait({ending}, timeout=min(BEAT_SECONDS, left))
            self._beat()
        ending.cancel()

    # --- what the group says -----------------------------------------------------------------------------------------

    async def _revoked(self) -> None:
        """The client swallows what this raises, so nothing may get out."""
        try:
            await self._holdings.let_all_go("revoked", **self._in_good_order())
        except Exception as mistake:  # noqa: BLE001  # told to the main loop, which raises it
            self._note_mistake(mistake)

    def _in_good_order(self) -> Times:
        """What letting go may take while the group goes on: half of what it waits in a rebalance."""
        half = self._kafka.rebalance_timeout / 2
        return {"patience": half * WORK_SHARE, "flush_seconds": half * FLUSH_SHARE}

    def _assigned(self) -> None:
        """The client swallows what this raises, so nothing may get out."""
        try:
            self._holdings.assigned()
        except Exception as mistake:  # noqa: BLE001  # told to the main loop, which raises it
            self._note_mistake(mistake)

    def _note_mistake(self, mistake: BaseException) -> None:
        if self._mistake is None:
            self._mistake = mistake
            self._holdings.drop_all()
        self._interrupt()

    # --- the main loop's pulse ---------------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        self._interrupted.set()

    async def _beating(self, work: Coroutine[object, object, T]) -> T | None:
        """Wait for `work`, beating; None when something happened that the main loop must look at first."""
        self._interrupted.clear()
        task = asyncio.ensure_future(work)
        interruption = asyncio.ensure_future(self._interrupted.wait())
        try:
            while not task.done() and not interruption.done():
                self._beat()
                await asyncio.wait({task, interruption}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            interruption.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return None if task.cancelled() else task.result()

    def _beat(self) -> None:
        now = self._last_beat = time.monotonic()
        if now - self._levels_told >= LEVELS_SECONDS:
            self._levels_told = now
            self._observer.levels(self._stage.name, self._levels())
        if self._belongs():
            self._in_touch_again(now)
        elif self._member is None:
            self._belonged = now
        elif not self._member.lease.answered():
            self._say("no broker answers; what is in hand waits, and nothing is sent until one does")
        elif now - self._belonged > self._kafka.rebalance_timeout:
            self._say("the group has not settled for a while; nothing is sent until it does")

    def _in_touch_again(self, now: float) -> None:
        if self._ended_quickly and now - self._session_began >= STABLE_SESSION_SECONDS:
            self._ended_quickly = False
        if not self._ended_quickly:
            self._trouble = None
        if self._missed:
            self._missed = False
            self._said = float("-inf")
            log.info("%s: in touch with the brokers again after %.0f s", self._stage.name, now - self._in_touch_at)
        self._in_touch_at = self._belonged = now

    def _belongs(self) -> bool:
        return self._member is not None and self._member.lease.holds(self._member.lease.generation)

    def _say(self, what: str) -> None:
        self._missed = True
        self._trouble = what
        if time.monotonic() - self._said >= SAY_AGAIN_SECONDS:
            self._said = time.monotonic()
            log.warning("%s: %s", self._stage.name, what)

    def _levels(self) -> Levels:
        held = list(self._holdings.held.values())
        return Levels(
            open=sum(holding.books.open_count for holding in held),
            in_flight=self._workshop.in_flight,
            waiting={topic: self._workshop.waiting(topic) for topic in self._stage.topics},
            full=frozenset(self.full_waiting_rooms),
            finished=sum(holding.count(Phase.FINISHED) for holding in held),
            behind=sum(holding.books.open_count + self._unread.get(holding.place, 0) for holding in held),
            partitions=len(held),
            unreadable=sum(holding.blockage is not None for holding in held),
        )
