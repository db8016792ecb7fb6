"""One process: what it holds, what it has in hand, and what is left of what it held.

The books, the gate (`Holding.clear_to_send`), what is inherited and what is left over are the real ones; this is the
shell around them that the engine has with real tasks, cut into steps. Which step comes next is the world's choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

from adapter.errors import LeaseLost
from adapter.issuance.actions import Action, ControlQuery, Defer, Finish, Park, Probe, Query, Send, Wait
from adapter.issuance.answers import (
    Accepted,
    ControlAnswered,
    IssueAnswer,
    Known,
    NotFound,
    ProbeAnswered,
    QueryAnswer,
    QueryUnanswered,
    WasInDoubt,
)
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.other_plans import AskAbout, AskControl, OtherQuestion
from adapter.issuance.state import Hold
from adapter.protocol.issue import TradeNo
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.books import PartitionBooks
from adapter.stream.holding import Holding
from adapter.stream.inheritance import Inheritance, inherit
from adapter.stream.leftovers import Leftovers
from adapter.stream.metadata import short_fingerprint
from adapter.stream.port import Place, Writer
from adapter.stream.stage import Outcome
from adapter.stream.work import Work

from .broker import Broker, Fate, Transaction
from .clock import Clock, moment
from .ecticket import OK, UNKNOWN, SimulatedEcticket
from .job import Job, Question, oldest_first
from .promises import REISSUE_AFTER, Promises
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


class Hoard(Leftovers[None]):
    """Leftovers that count whatever others may have done since: what comes of it when nothing is forgotten."""

    def outcome(self, work: Work[None]) -> Outcome | None:
        kept = self._outcomes.get(work.holding.place, {}).pop(work.offset, None)
        return kept.outcome if kept is not None and kept.record == work.record else None


@dataclass(slots=True, eq=False)
class Desk:
    """A partition held: the real holding, the records in hand, and the flush under way."""

    place: Place
    epoch: int
    holding: Holding[None]
    jobs: dict[int, Job] = field(default_factory=dict)
    flight: Transaction | None = None


@dataclass(slots=True, eq=False)
class Process:
    """A process under a mapping; `cut_off` from the group it goes on working and does not know it."""

    name: str
    mapping: str
    clock: Clock
    broker: Broker
    ecticket: SimulatedEcticket
    promises: Promises
    protections: Protections
    cut_off: bool = False
    assigned: frozenset[Place] = frozenset()
    desks: dict[Place, Desk] = field(default_factory=dict)
    leftover_jobs: list[Job] = field(default_factory=list)
    leftovers: Leftovers[None] = field(init=False)
    lease: ModelLease = field(init=False)
    policy: SubmitPolicy = field(init=False)
    _last_accepted: float | None = None
    _writers: dict[Place, tuple[int, int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        waiting = REISSUE_AFTER if self.protections.waiting else 0.0
        self.lease = ModelLease(self.clock, checked=self.protections.lease)
        self.leftovers = Leftovers() if self.protections.fresh_leftovers else Hoard()
        self.policy = SubmitPolicy(
            reissue_after_seconds=waiting,
            refusal_final_after_seconds=waiting,
            retry_rtn_codes=frozenset({BUSY}),
            give_up_after_seconds=7_200.0,
        )

    def _note(self, what: str) -> None:
        self.promises.note(f"{self.clock.seconds:9.1f}  {self.name} {what}")

    # --- taking over and letting go ----------------------------------------------------------------------------------

    @property
    def untaken(self) -> list[Place]:
        """What is assigned to it and not taken over yet."""
        return [place for place in sorted(self.assigned) if place not in self.desks]

    def start_writer(self, place: Place) -> None:
        """The first half of taking over: fence whoever had it."""
        if self.lease.holds(self.lease.generation) and not self.lease.lapsed:
            self._writers[place] = (self.broker.start_writer(place), self.lease.generation, self.clock.seconds)
            self._note(f"starts a writer for {place}")

    def open_books(self, place: Place) -> None:
        """The second half: read the commit, believe what must be believed, and begin to work."""
        epoch, generation, fenced_at = self._writers.pop(place, (0, -2, 0.0))
        if not self.lease.holds(generation) or place in self.desks:
            return
        fingerprint = short_fingerprint(self.mapping)
        inheritance = self._believed(
            inherit(
                self.broker.commits.get(place),
                self.broker.log_range(place),
                cluster_id=CLUSTER,
                fingerprint=fingerprint,
                written_before=epoch > 1,
            )
        )
        self._note(f"takes over {place}: {inheritance}")
        self.leftovers.forget_below(place, inheritance.offset)
        books = PartitionBooks(
            str(place),
            inheritance,
            cluster_id=CLUSTER,
            fingerprint=fingerprint,
            ahead=AHEAD if self.protections.reservation else 0,
        )
        holding: Holding[None] = Holding(
            place,
            books,
            cast("Writer", None),  # the desk flushes by itself
            self.lease,
            log_id="",
            generation=generation,
            fenced_at=moment(fenced_at),
            sends=True,
            room=100,
        )
        self.desks[place] = Desk(place, epoch, holding)

    def _believed(self, inheritance: Inheritance) -> Inheritance:
        if not self.protections.possibly_sent:
            inheritance = replace(inheritance, possibly_sent_until=0)
        if not self.protections.settled_runs:
            inheritance = replace(inheritance, settled=())
        if not self.protections.fingerprint:
            inheritance = replace(inheritance, mixed_until=0)
        return inheritance

    def drop(self, desk: Desk) -> None:
        """Let a partition go at once: tasks and outcomes that are not committed stay as leftovers."""
        self._note(f"lets {desk.place} go")
        desk.holding.let_go()
        del self.desks[desk.place]
        finished = desk.holding.books.finished()
        for offset, job in desk.jobs.items():
            if offset in finished:
                self.leftovers.keep(job.work, finished[offset])
            elif job.sitting:
                self.leftovers.still_running(job.work)
                self.leftover_jobs.append(job)

    def release(self, desk: Desk, *, flushes: bool) -> None:
        """Let a partition go in good order; without the last flush where it takes too long."""
        desk.holding.close_gate()
        if desk.flight is not None:
            self.land_flush(desk)
        if flushes and self.desks.get(desk.place) is desk:
            self.begin_flush(desk, final=True)
            self.land_flush(desk)
        if self.desks.get(desk.place) is desk:
            self.drop(desk)

    def rejoin(self, generation: int, places: frozenset[Place]) -> None:
        """The group assigns these partitions to it."""
        self.lease.generation = generation
        self.lease.prove()
        self.assigned = places
        self._writers.clear()
        self.leftovers.keep_only(places)

    # --- records -----------------------------------------------------------------------------------------------------

    def read(self, desk: Desk) -> None:
        """Take the records in hand that have come since."""
        books = desk.holding.books
        for record in self.broker.logs[desk.place]:
            if record.offset < books.next_offset or not books.take(record.offset):
                continue
            job = Job(Work(record, desk.holding), self.clock.now, plan_travels=self.protections.plan_travels)
            desk.jobs[record.offset] = job
            if not self._finish_known(job):
                earlier = self.leftovers.running(desk.place, record)
                if earlier is not None:
                    earlier.heir = job.work
                    job.work.blocked = True

    def begin_some(self, desk: Desk) -> None:
        """Begin the sittings that can begin: their time has come, the lease holds, and the send is reserved."""
        for job in oldest_first(list(desk.jobs.values())):
            due = not (job.sitting or job.done or job.work.blocked) and job.wakes_at <= self.clock.now
            if due and desk.holding.may_send and desk.holding.books.want(job.work.offset):
                self._note(f"begins {job}, possibly sent since {job.work.possibly_sent_since}")
                job.begin(self.mapping)

    def carry_oldest(self, desk: Desk) -> None:
        """Hand the oldest record on that no call can be on the wire for."""
        for job in oldest_first(list(desk.jobs.values())):
            if not (job.sitting or job.done or job.work.blocked):
                self._note(f"carries {job} on")
                self._finish(job, job.carried(self.clock.now))
                return

    def _finish(self, job: Job, outcome: Outcome) -> None:
        job.done, job.sitting = True, False
        job.work.holding.books.finish(job.work.offset, outcome)

    def _finish_known(self, job: Job) -> bool:
        outcome = self.leftovers.outcome(job.work)
        if outcome is None:
            return False
        self._note(f"knows what came of {job}")
        self._finish(job, outcome)
        return True

    # --- steps of a sitting ------------------------------------------------------------------------------------------

    def sitting_jobs(self) -> Iterator[Job]:
        """Everything that is being handled, leftovers included."""
        for desk in self.desks.values():
            yield from (job for job in desk.jobs.values() if job.sitting)
        yield from self.leftover_jobs

    def step(self, job: Job) -> None:
        """One action of a sitting that waits for no answer."""
        now = self.clock.now
        if job.wakes_at > now:
            return
        if job.waits_for_others is not None:
            self._ask_about_others(job, job.waits_for_others)
            return
        accepted = None if self._last_accepted is None else moment(self._last_accepted)
        turn = job.next_turn(now, self.policy, accepted)
        if turn is None:
            self._end(job)
            return
        match turn.action:
            case Finish() | Defer() | Park():
                job.leave(turn.index, turn.action)
            case Wait(until=until):
                job.wakes_at = until
            case Send() if job.is_unproven and not job.others.nowhere and self.protections.other_numbers:
                job.waits_for_others = turn.index
            case Send() if job.is_unproven:
                job.proven()
            case Send():
                self._send(job, turn.index)
            case action:
                self._ask(job, turn.index, action, job.state(turn.index).part.trade_no)

    def _ask_about_others(self, job: Job, index: int) -> None:
        match job.others.next(self.clock.now):
            case None:
                job.others_settled()
            case Hold() as hold:
                job.hold(index, hold)
            case AskAbout(trade_no=trade_no) as other:
                self._ask(job, index, Query(), trade_no, other)
            case AskControl() as other:
                self._ask(job, index, ControlQuery(), job.state(index).part.trade_no, other)
            case Probe() as other:
                self._ask(job, index, other, job.state(index).part.trade_no, other)

    def _send(self, job: Job, index: int) -> None:
        part = job.state(index).part
        try:
            job.work.clear_to_send()
        except LeaseLost as lost:
            self._note(f"{job}: {lost}")
            job.lease_lost(self.clock.now)
            if not job.work.holding.live:
                self._end_leftover(job, None)
            return
        self._note(f"sends {part.trade_no.value}, part {part.number} of {part.of}, for {job}")
        job.call = self.ecticket.issue(job.order, part, self.clock.seconds)
        job.call_index = index

    def _ask(self, job: Job, index: int, action: Action, trade_no: TradeNo, other: OtherQuestion | None = None) -> None:
        """Put a question, or assume its answer where nobody asks."""
        number, now = trade_no.value, self.clock.seconds
        first = job.state(index).evidence.first
        match action:
            case Query():
                asked, assumed = self.protections.query, UNKNOWN
                question = Question(index, action, number, now, self.ecticket.query(number, now))
            case ControlQuery():
                asked, assumed = self.protections.control_query, first.code if first is not None else UNKNOWN
                question = Question(index, action, None, now, self.ecticket.control())
            case Probe():
                asked, assumed = self.protections.proof_of_life, OK
                question = self._proof_of_life(index, action)
            case _:
                raise TypeError(f"{type(action).__name__} asks nothing")
        question.other = other
        if asked:
            job.question = question
        else:
            self._came(job, question, _read(action, assumed, now))

    def _proof_of_life(self, index: int, action: Probe) -> Question:
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
                self._note_accepted(question.at)
        self._note(f"asked {type(question.action).__name__} for {job}: {came}")
        self._came(job, question, came)

    def issue_ends(self, job: Job, came: IssueAnswer | None = None) -> None:
        """An Issue's own answer comes, or what came instead of it."""
        call, job.call = job.call, None
        if call is None:
            return
        what = came or call.answer or WasInDoubt(detail="time-out")
        if isinstance(what, Accepted):
            self.ecticket.answered("issue", OK, call.begun_at, self.clock.seconds)
            if not self.protections.same_endpoint:
                self._note_accepted(call.begun_at)
        self._note(f"gets {type(what).__name__} for {call.trade_no}")
        job.came(job.call_index, what, self.clock.now)

    def _note_accepted(self, at: float) -> None:
        self._last_accepted = max(at, self._last_accepted or 0.0)

    def _end(self, job: Job) -> None:
        outcome = job.outcome(self.clock.now, self.policy)
        self._note(f"has an outcome of {job}: {[(each.topic, each.value) for each in outcome.records]}")
        if job.work.holding.live:
            self._finish(job, outcome)
        else:
            self._end_leftover(job, outcome)

    def _end_leftover(self, job: Job, outcome: Outcome | None) -> None:
        """A task ended whose partition was let go."""
        self.leftover_jobs.remove(job)
        self.leftovers.ended(job.work)
        if outcome is not None:
            self.leftovers.keep(job.work, outcome)
        heir = job.work.heir
        if heir is not None and heir.holding.live:
            heir.blocked = False
            if job.work.send_began:
                heir.possibly_sent_since = self.clock.now
            self._finish_known(self.desks[heir.holding.place].jobs[heir.offset])

    # --- flushing ----------------------------------------------------------------------------------------------------

    def begin_flush(self, desk: Desk, *, final: bool = False) -> None:
        """Send the flush that is due on its way."""
        if desk.flight is None and (flush := desk.holding.books.fitting(final=final)) is not None:
            self._note(f"flushes {desk.place}: commits {flush.offset}, settles {sorted(flush.outcomes)}")
            desk.flight = self.broker.begin(desk.place, desk.epoch, flush)

    def land_flush(self, desk: Desk) -> None:
        """The flush under way gets to the broker, and the answer back."""
        if desk.flight is not None:
            if desk.flight.fate is Fate.UNDER_WAY:
                self.broker.land(desk.flight, self.clock.now)
            self.flush_ends(desk)

    def flush_ends(self, desk: Desk, *, heard: bool = True) -> None:
        """The answer to a flush comes: settle, or drop the partition; the same where none comes."""
        flight, desk.flight = desk.flight, None
        if flight is None:
            return
        if not heard or flight.fate is not Fate.COMMITTED:
            self._note(f"{desk.place}: {flight.fate.name}, {'told' if heard else 'not told'}")
            self.drop(desk)
            return
        desk.holding.books.settle(flight.flush)
        for offset in flight.flush.outcomes:
            del desk.jobs[offset]


def _read(action: Action, code: int, asked_at: float) -> QueryAnswer:
    """A question's RtnCode as an answer."""
    at = moment(asked_at)
    match action:
        case Query():
            return Known(status=IssueStatus.IN_PROGRESS) if code == OK else NotFound(code=code, asked_at=at)
        case ControlQuery():
            return ControlAnswered(code=code, asked_at=at)
        case _:
            return ProbeAnswered(ok=code == OK)
