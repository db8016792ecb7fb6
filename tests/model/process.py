"""One process: what it holds, what it has in hand, and what is left of what it held.

What works on records is the engine's own: intake, scheduler with its lanes, bulkheads and delay queue, owned partitions
with their state and gate, revoked work, committer. Its tasks run on a loop that is stepped. Only what decides which
partitions are held is cut into steps here. Which step comes next is the world's choice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from adapter.errors import LeaseLost
from adapter.flows.messages.record_history import read_history
from adapter.issuance.actions import Action, ControlQuery, Defer, Finish, Park, Probe, Query, Send, Wait
from adapter.issuance.answers import (
    Accepted,
    CallInDoubt,
    ControlAnswered,
    IssueAnswer,
    Known,
    NotFound,
    ProbeAnswered,
    QueryAnswer,
    QueryUnanswered,
)
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.previous_mappings import CandidateQuery, QueryCandidate, QueryCandidateControl
from adapter.issuance.state import Postponement
from adapter.protocol.issue import TradeNo
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.commit_metadata import CommitMetadata, decode, short_fingerprint
from adapter.stream.committer import Committer
from adapter.stream.intake import Intake
from adapter.stream.observer import NullObserver
from adapter.stream.owned_partition import OwnedPartition, WorkItem
from adapter.stream.partition_state import CommitBatch, PartitionState
from adapter.stream.port import KafkaClientError, TopicPartition
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.recovery import OwnSends, RecoveredState, recover
from adapter.stream.revoked_work import RevokedWork
from adapter.stream.scheduler import RecordScheduler
from adapter.stream.stage import Outcome, PreparedRecord, RecordContext
from adapter.values import replace

from .broker import DEFERRED, PAID, Broker, Fate, Transaction
from .clock import Clock, moment
from .ecticket import OK, UNKNOWN, SimulatedEcticket
from .invariants import REISSUE_AFTER, Invariants
from .job import Job, Question
from .loop import SteppedLoop
from .protections import Protections

CLUSTER = "model"
AHEAD = 2
SESSION = 10.0
"""The session time-out, seconds."""
BUSY = 5


class ModelLease:
    """The lease as `stream.lease` has it, proven by the world instead of by a coordinator's answers."""

    def __init__(self, clock: Clock, *, checked: bool) -> None:
        self.generation = -1
        self.sent = float("-inf")
        self._proven_for = -1
        self._clock = clock
        self._checked = checked

    def clock(self) -> float:
        return self._clock.seconds

    def prove(self) -> None:
        """The group answers a request that is sent now."""
        self.sent, self._proven_for = self.clock(), self.generation

    @property
    def lapsed(self) -> bool:
        """Whether the group may have gone on without this process."""
        return self.clock() - self.sent >= SESSION

    def holds(self, generation: int) -> bool:
        return not self._checked or (self.generation == generation == self._proven_for and not self.lapsed)

    def answered(self) -> bool:
        return not self.lapsed

    def check_proven(self) -> None:
        assert self._proven_for >= 0

    async def proven_after(self, moment: float) -> None:
        assert self.sent > moment


class Hoard(RevokedWork[None]):
    """Revoked work that counts whatever other owners may have done since: the protection is off."""

    def taken_over(self, partition: TopicPartition, generation: int, *, proven: bool) -> None:
        """Nothing is forgotten."""

    def outcome(self, item: WorkItem[None]) -> Outcome | None:
        kept = self._outcomes.get(item.owned.partition, {}).pop(item.offset, None)
        return kept.outcome if kept is not None and kept.record == item.record else None


class ModelProducer:
    """A producer whose transactions stay open until the world lets their answers come."""

    first = False

    def __init__(self, partition: TopicPartition, epoch: int, broker: Broker) -> None:
        self.epoch = epoch
        self.owned: OwnedPartition[None] | None = None
        self.flight: Transaction | None = None
        self._partition = partition
        self._broker = broker
        self._answer: asyncio.Future[None] | None = None

    async def publish(self, producer_records: Sequence[ProducerRecord], *, offset: int, metadata: str) -> None:
        """Send a transaction on its way. Raises KafkaClientError: it failed, or the result is unknown."""
        assert self.owned is not None
        outcomes = self._settled_by(offset, metadata)
        assert Counter(each for one in outcomes.values() for each in one.records) == Counter(producer_records)
        batch = CommitBatch(outcomes=outcomes, offset=offset, metadata=metadata, reserved_until=0)
        self.flight = self._broker.begin(self._partition, self.epoch, batch)
        self._answer = asyncio.get_running_loop().create_future()
        await self._answer

    def _settled_by(self, offset: int, metadata: str) -> dict[int, Outcome]:
        """The outcomes that a commit settles: those below its offset, and those in the runs beyond it."""
        assert self.owned is not None
        read = decode(metadata, cluster_id=CLUSTER, committed=offset)
        assert isinstance(read, CommitMetadata)
        return {
            at: outcome
            for at, outcome in self.owned.state.finished().items()
            if at < offset or any(first <= at < past for first, past in read.settled)
        }

    def answer(self, *, committed: bool) -> None:
        """Let the answer come, or none."""
        self.flight = None
        if self._answer is not None and not self._answer.done():
            if committed:
                self._answer.set_result(None)
            else:
                self._answer.set_exception(KafkaClientError("fenced, or not answered"))

    def close(self) -> None:
        """It holds nothing open."""

    def abort(self) -> None:
        """It holds nothing open."""


@dataclass(slots=True, eq=False)
class Simulator:
    """A partition owned: the real OwnedPartition, its producer, and the task of the open commit."""

    partition: TopicPartition
    owned: OwnedPartition[None]
    producer: ModelProducer
    committing: asyncio.Task[int] | None = None

    @property
    def flight(self) -> Transaction | None:
        """The transaction under way."""
        return self.producer.flight


class ModelStage:
    """What the engine asks about a record; its answers come from the sittings that the world steps."""

    name = "model"
    group = "model"
    topics = (PAID.topic, DEFERRED.topic)
    sends = True
    max_in_flight = 100
    max_waiting = 100
    starts_at_latest = False
    linger_seconds = 0.0

    def __init__(self, process: Process) -> None:
        self.fingerprint = process.mapping
        self._process = process

    async def prepare(self, record: Record) -> PreparedRecord[None]:
        not_before = read_history(record, self._process.clock.now).not_before
        return PreparedRecord(
            lane=record.key,
            subject=None,
            not_before=not_before,
            may_hand_off=True,
            resumes=record.topic == DEFERRED.topic,
        )

    async def handle(self, _subject: None, context: RecordContext) -> Outcome:
        return await self._process.sit(context)

    def hand_off(self, _record: Record, _subject: None, context: RecordContext) -> Outcome:
        return self._process.job(context).hand_off(self._process.clock.now)

    def on_error(self, _record: Record, error: Exception, _grant: RecordContext) -> Outcome:
        raise AssertionError("the model's own stage broke") from error


@dataclass(slots=True, eq=False)
class Process:
    """A process under a mapping; `cut_off` from the group it goes on working and does not know it."""

    name: str
    mapping: str
    clock: Clock
    broker: Broker
    ecticket: SimulatedEcticket
    invariants: Invariants
    protections: Protections
    cut_off: bool = False
    assigned: frozenset[TopicPartition] = frozenset()
    desks: dict[TopicPartition, Simulator] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    lease: ModelLease = field(init=False)
    loop: SteppedLoop = field(init=False)
    scheduler: RecordScheduler[None] = field(init=False)
    intake: Intake[None] = field(init=False)
    committer: Committer[None] = field(init=False)
    policy: SubmitPolicy = field(init=False)
    _last_accepted: float | None = None
    _producers: dict[TopicPartition, tuple[int, int, float]] = field(default_factory=dict)
    _own_sends: dict[TopicPartition, OwnSends] = field(default_factory=dict)

    def __post_init__(self) -> None:
        waiting = REISSUE_AFTER if self.protections.waiting else 0.0
        self.lease = ModelLease(self.clock, checked=self.protections.lease)
        stage, observer = ModelStage(self), NullObserver()
        self.loop = SteppedLoop(self.clock)
        self.scheduler = RecordScheduler(stage, observer, lambda: self.clock.now, _raise)
        if not self.protections.fresh_revoked_work:
            self.scheduler.revoked_work = Hoard()
        self.intake = Intake(stage, self.scheduler, observer)
        self.committer = Committer(stage, self.scheduler, observer)
        self.policy = SubmitPolicy(
            reissue_after_seconds=waiting,
            refusal_final_after_seconds=waiting,
            retry_rtn_codes=frozenset({BUSY}),
            give_up_after_seconds=7_200.0,
        )

    def _log(self, what: str) -> None:
        self.invariants.log(f"{self.clock.seconds:9.1f}  {self.name} {what}")

    def end(self) -> None:
        """Nothing of it runs any more, and nothing of that is noticed outside."""
        self.loop.begin(self.scheduler.stop())
        self.loop.end()

    # --- taking over and letting go ----------------------------------------------------------------------------------

    @property
    def untaken(self) -> list[TopicPartition]:
        """What is assigned to it and not taken over yet."""
        return [partition for partition in sorted(self.assigned) if partition not in self.desks]

    def start_producer(self, partition: TopicPartition) -> None:
        """The first half of taking over: fence the earlier owner."""
        if self.lease.holds(self.lease.generation) and not self.lease.lapsed:
            self._producers[partition] = (
                self.broker.start_producer(partition),
                self.lease.generation,
                self.clock.seconds,
            )
            self._log(f"starts a producer for {partition}")

    def open_state(self, partition: TopicPartition) -> None:
        """The second half: read the commit, believe what must be believed, and begin to work."""
        epoch, generation, fenced_at = self._producers.pop(partition, (0, -2, 0.0))
        if not self.lease.holds(generation) or partition in self.desks:
            return
        fingerprint = short_fingerprint(self.mapping)
        recovered = self._believed(
            recover(
                self.broker.commits.get(partition),
                self.broker.offset_range(partition),
                cluster_id=CLUSTER,
                fingerprint=fingerprint,
                had_producer=epoch > 1,
                owner=self.name,
                own=self._own_sends.get(partition),
            ),
            self._own_sends.get(partition),
        )
        self._log(f"takes over {partition}: {recovered}")
        self.scheduler.revoked_work.forget_below(partition, recovered.offset)
        self.scheduler.revoked_work.taken_over(partition, generation, proven=recovered.proven)
        state = PartitionState(
            str(partition),
            recovered,
            cluster_id=CLUSTER,
            fingerprint=fingerprint,
            ahead=AHEAD if self.protections.reservation else 0,
            owner=self.name,
        )
        producer = ModelProducer(partition, epoch, self.broker)
        owned: OwnedPartition[None] = OwnedPartition(
            partition,
            state,
            producer,
            self.lease,
            topic_id="",
            generation=generation,
            fenced_at=recovered.fenced_at or moment(fenced_at),
            sends=True,
            max_open=100,
        )
        producer.owned = owned
        self.desks[partition] = Simulator(partition, owned, producer)

    def _believed(self, recovered: RecoveredState, own: OwnSends | None) -> RecoveredState:
        if not self.protections.own_commit and own is not None:
            recovered = replace(recovered, possibly_sent_until=own.possibly_sent_until, sent=own.sent)
        if not self.protections.possibly_sent:
            recovered = replace(recovered, possibly_sent_until=0, sent={})
        if not self.protections.settled_runs:
            recovered = replace(recovered, settled=())
        if not self.protections.fingerprint:
            recovered = replace(recovered, other_fingerprint_until=0)
        return recovered

    def drop(self, desk: Simulator) -> None:
        """Drop a partition at once: tasks and uncommitted outcomes become revoked work."""
        self._log(f"lets {desk.partition} go")
        del self.desks[desk.partition]
        if desk.committing is not None:
            self.loop.do(desk.committing.cancel)
        self.loop.do(lambda: self.scheduler.release(desk.owned))
        self._own_sends[desk.partition] = desk.owned.own_sends(self.clock.now)

    def release(self, desk: Simulator, *, transactions: bool) -> None:
        """Release a partition cleanly, or without the last commit if it takes too long."""
        desk.owned.stop_new_work()
        if desk.flight is not None:
            self.land_commit(desk)
        if transactions and self.desks.get(desk.partition) is desk:
            self.begin_commit(desk, final=True)
            self.land_commit(desk)
        if self.desks.get(desk.partition) is desk:
            self.drop(desk)

    def rejoin(self, generation: int, partitions: frozenset[TopicPartition]) -> None:
        """The group assigns these partitions to it."""
        self.lease.generation = generation
        self.lease.prove()
        self.assigned = partitions
        self._producers.clear()
        self.scheduler.revoked_work.keep_only(partitions)

    # --- records -----------------------------------------------------------------------------------------------------

    def read(self, desk: Simulator) -> None:
        """Take the records in hand that have come since; what may be handled begins, what is due, too."""
        ahead = [each for each in self.broker.logs[desk.partition] if each.offset >= desk.owned.state.next_offset]
        items = self.loop.do(lambda: self.intake.open(desk.owned, ahead))
        self.loop.begin(self.intake.admit(desk.owned, items))

    def settle(self) -> None:
        """What is due by now goes on."""
        self.loop.settle()

    def hand_off_oldest(self, desk: Simulator) -> None:
        """Hand the oldest record on that no call can be on the wire for."""
        if self.loop.do(lambda: self.scheduler.hand_off_oldest(desk.owned, 1)):
            self._log(f"carries the oldest of {desk.partition} on")

    def job(self, context: RecordContext) -> Job:
        """A record in hand, as the stage sees it."""
        assert isinstance(context, WorkItem)
        return Job(context, self.clock.now, plan_travels=self.protections.plan_travels)

    async def sit(self, context: RecordContext) -> Outcome:
        """One run over a record; the world steps it until it ends. Raises LeaseLost."""
        job = self.job(context)
        self._log(f"begins {job}, possibly sent since {job.item.possibly_sent_since}")
        job.begin(self.mapping)
        self.jobs.append(job)
        try:
            return await job.ended
        finally:
            self.jobs.remove(job)

    # --- steps of a run ----------------------------------------------------------------------------------------------

    def running_jobs(self) -> Iterator[Job]:
        """Everything that is being handled, including revoked work."""
        return iter(list(self.jobs))

    def step(self, job: Job) -> None:
        """One action of a run that waits for no answer."""
        now = self.clock.now
        if job.wakes_at > now:
            return
        if job.waits_for_others is not None:
            self._query_others(job, job.waits_for_others)
            return
        accepted = None if self._last_accepted is None else moment(self._last_accepted)
        chosen = job.next_step(now, self.policy, accepted)
        if chosen is None:
            self._end(job)
            return
        match chosen.action:
            case Finish() | Defer() | Park():
                job.leave(chosen.index, chosen.action)
            case Wait(until=until):
                job.wakes_at = until
            case Send() if job.is_unverified and not job.others.all_unknown and self.protections.candidate_numbers:
                job.waits_for_others = chosen.index
            case Send() if job.is_unverified:
                job.proven()
            case Send():
                self._send(job, chosen.index)
            case action:
                self._query(job, chosen.index, action, job.state(chosen.index).part.trade_no)

    def _query_others(self, job: Job, index: int) -> None:
        match job.others.next(self.clock.now):
            case None:
                job.others_settled()
            case Postponement() as postponement:
                job.postpone(index, postponement)
            case QueryCandidate(trade_no=trade_no) as other:
                self._query(job, index, Query(), trade_no, other)
            case QueryCandidateControl() as other:
                self._query(job, index, ControlQuery(), job.state(index).part.trade_no, other)
            case Probe() as other:
                self._query(job, index, other, job.state(index).part.trade_no, other)

    def _send(self, job: Job, index: int) -> None:
        part = job.state(index).part
        try:
            job.item.authorize_send()
        except LeaseLost as lost:
            self._log(f"{job}: {lost}")
            self.loop.do(partial(job.ended.set_exception, lost))
            return
        self._log(f"sends {part.trade_no.value}, part {part.number} of {part.of}, for {job}")
        job.call = self.ecticket.issue(job.order, part, self.clock.seconds)
        job.call_index = index

    def _query(
        self, job: Job, index: int, action: Action, trade_no: TradeNo, other: CandidateQuery | None = None
    ) -> None:
        """Send a query, or assume its answer if the protection is off."""
        number, now = trade_no.value, self.clock.seconds
        first = job.state(index).evidence.first
        match action:
            case Query():
                queries, assumed = self.protections.query, UNKNOWN
                question = Question(index, action, number, now, self.ecticket.query(number, now))
            case ControlQuery():
                queries, assumed = self.protections.control_query, first.code if first is not None else UNKNOWN
                question = Question(index, action, None, now, self.ecticket.control())
            case Probe():
                queries, assumed = self.protections.liveness_proof, OK
                question = self._liveness_proof(index, action)
            case _:
                raise TypeError(f"{type(action).__name__} asks nothing")
        question.other = other
        if queries:
            job.question = question
        else:
            self._came(job, question, _read(action, assumed, now))

    def _liveness_proof(self, index: int, action: Probe) -> Question:
        """The query of a known number; without that protection any endpoint's RtnCode 1 passes for it."""
        now = self.clock.seconds
        if self.protections.same_endpoint:
            return Question(index, action, "life", now, self.ecticket.probe())
        return Question(index, action, "item", now, self.ecticket.item())

    def _came(self, job: Job, question: Question, what: QueryAnswer) -> None:
        if question.other is None:
            job.came(question.index, what, self.clock.now)
        else:
            job.came_of_others(question.index, question.other, what, self.clock.now)

    def answer(self, job: Job, *, lost: bool = False) -> None:
        """A question's answer comes, or does not."""
        question, job.question = job.question, None
        if question is None:
            return
        came: QueryAnswer = QueryUnanswered(detail="time-out")
        if not lost:
            came = _read(question.action, question.code, question.at)
            self.ecticket.answered(question.about, question.code, question.at, self.clock.seconds)
            if question.code == OK:
                self._record_accepted(question.at)
        self._log(f"asked {type(question.action).__name__} for {job}: {came}")
        self._came(job, question, came)

    def issue_ends(self, job: Job, came: IssueAnswer | None = None) -> None:
        """An Issue's own answer comes, or what came instead of it."""
        call, job.call = job.call, None
        if call is None:
            return
        what = came or call.answer or CallInDoubt(detail="time-out")
        if isinstance(what, Accepted):
            self.ecticket.answered("issue", OK, call.begun_at, self.clock.seconds)
            if not self.protections.same_endpoint:
                self._record_accepted(call.begun_at)
        self._log(f"gets {type(what).__name__} for {call.trade_no}")
        job.came(job.call_index, what, self.clock.now)

    def _record_accepted(self, at: float) -> None:
        self._last_accepted = max(at, self._last_accepted or 0.0)

    def _end(self, job: Job) -> None:
        outcome = job.outcome(self.clock.now, self.policy)
        self._log(f"has an outcome of {job}: {[(each.topic, each.value) for each in outcome.records]}")
        self.loop.do(lambda: job.ended.set_result(outcome))

    # --- commits -----------------------------------------------------------------------------------------------------

    def begin_commit(self, desk: Simulator, *, final: bool = False) -> None:
        """Send the commit that is due on its way."""
        if desk.flight is None:
            desk.committing = self.loop.begin(self.committer._commit(desk.owned, final=final))
            if desk.flight is not None:
                batch = desk.flight.batch
                self._log(f"sends {desk.partition}: commits {batch.offset}, settles {sorted(batch.outcomes)}")

    def land_commit(self, desk: Simulator) -> None:
        """The open commit reaches the broker, and the answer comes back."""
        if desk.flight is not None:
            if desk.flight.fate is Fate.UNDER_WAY:
                self.broker.land(desk.flight, self.clock.now)
            self.commit_ends(desk)

    def commit_ends(self, desk: Simulator, *, heard: bool = True) -> None:
        """The answer to a commit comes: settle, or drop the partition; the same if none comes."""
        flight, committing = desk.flight, desk.committing
        if flight is None or committing is None:
            return
        committed = heard and flight.fate is Fate.COMMITTED
        self.loop.do(lambda: desk.producer.answer(committed=committed))
        if isinstance(committing.exception(), KafkaClientError):
            self._log(f"{desk.partition}: {flight.fate.name}, {'answered' if heard else 'unanswered'}")
            self.drop(desk)
        else:
            committing.result()


def _raise(fatal_error: BaseException) -> None:
    raise fatal_error


def _read(action: Action, code: int, queried_at: float) -> QueryAnswer:
    """A question's RtnCode as an answer."""
    at = moment(queried_at)
    match action:
        case Query():
            return Known(status=IssueStatus.IN_PROGRESS) if code == OK else NotFound(code=code, queried_at=at)
        case ControlQuery():
            return ControlAnswered(code=code, queried_at=at)
        case _:
            return ProbeAnswered(ok=code == OK)
