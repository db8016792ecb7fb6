"""The whole model: three processes, one group, a broker, an ECTicket, a clock; and everything that can happen to them.

Each method is one thing that happens; what is picked (`pick`) is counted round, so that any number means something. The
promises are held against it as it happens. `rest` lets everything come to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TypeVar

from adapter.issuance.answers import CallInDoubt, IssueAnswer

from .broker import DEFERRED, PAID, PARTITIONS, Broker
from .clock import Clock
from .ecticket import Effect, IssueCall, Landing, Outage, SimulatedEcticket
from .invariants import Invariants
from .job import Job
from .orders import MAPPINGS, paid
from .process import SESSION, Process
from .protections import ALL_ON, Protections

TIME_OUT = 15.0
"""The provider's time-out, seconds."""
SHORT = 3.0
ROUNDS = 600

T = TypeVar("T")


def _picked(choices: Sequence[T], pick: int) -> T | None:
    return choices[pick % len(choices)] if choices else None


class World:
    """Process 0 holds everything to begin with; `mapping` is what all of them know."""

    def __init__(self, protections: Protections = ALL_ON, mapping: str = MAPPINGS[0], *, watched: bool = True) -> None:
        self.clock = Clock()
        self.invariants = Invariants(watched=watched)
        self.broker = Broker(protections, self.invariants)
        self.ecticket = SimulatedEcticket(self.invariants)
        self.orders: list[str] = []
        self.dead: list[Process] = []
        self._protections = protections
        self._mapping = mapping
        self._generation = 0
        self._numbers = count()
        self.processes = [self._process() for _ in range(3)]
        self.rebalance(0, 0)
        self.take_over(0)

    def _process(self) -> Process:
        return Process(
            f"process {next(self._numbers)}",
            self._mapping,
            self.clock,
            self.broker,
            self.ecticket,
            self.invariants,
            self._protections,
        )

    def _log(self, what: str) -> None:
        self.invariants.log(f"{self.clock.seconds:9.1f}  {what}")

    # --- the shop, and time ------------------------------------------------------------------------------------------

    def order(self, *, hole: int = 0) -> None:
        """The shop has one more paid order."""
        self.orders.append(f"order-{len(self.orders) + 1}")
        self.broker.append(paid(self.orders[-1]), self.clock.now, hole=hole)

    def passes(self, seconds: float) -> None:
        """Time passes: what was due happens, calls time out, and members in touch with the group stay so."""
        self.clock.seconds += seconds
        self.ecticket.until(self.clock.seconds)
        for process in self.processes:
            if process.cut_off:
                continue
            if process.lease.generation == self._generation:
                process.lease.prove()
            for job in list(process.running_jobs()):
                if job.call is not None and job.call.begun_at + TIME_OUT <= self.clock.seconds:
                    process.issue_ends(job, CallInDoubt(detail="time-out"))

    # --- the group ---------------------------------------------------------------------------------------------------

    def rebalance(self, owner_of_paid: int, owner_of_deferred: int, *, transactions: bool = True) -> None:
        """The group goes on with those who answer, once the others' sessions have timed out."""
        present = [process for process in self.processes if not process.cut_off]
        if not present:
            return
        absent = [each for each in (*self.dead, *self.processes) if each not in present]
        until = max((each.lease.sent for each in absent), default=float("-inf")) + SESSION
        if until > self.clock.seconds:
            self.passes(until - self.clock.seconds)
        for process in present:
            for desk in list(process.desks.values()):
                process.release(desk, transactions=transactions)
        self._generation += 1
        owners = {PAID: _picked(present, owner_of_paid), DEFERRED: _picked(present, owner_of_deferred)}
        self._log(
            f"generation {self._generation}: {[(str(partition), who.name) for partition, who in owners.items() if who]}"
        )
        for process in present:
            partitions = frozenset(partition for partition in PARTITIONS if owners[partition] is process)
            process.rejoin(self._generation, partitions)

    def take_over(self, pick: int, *, half: bool = False) -> None:
        """A process takes over what it was assigned; by half, it has only fenced the earlier owner."""
        process = self._any(pick)
        for partition in process.untaken:
            process.start_producer(partition)
            if not half:
                process.open_state(partition)

    def open_state(self, pick: int) -> None:
        """The other half."""
        process = self._any(pick)
        for partition in process.untaken:
            process.open_state(partition)

    def cut_off_or_reconnect(self, pick: int) -> None:
        """A process does not reach the group any more, or stands still, and believes what it believed; or it is back.

        If it was given up meanwhile, it belongs to nothing until the next generation.
        """
        process = self._any(pick)
        process.cut_off = not process.cut_off
        self._log(f"{process.name} is {'cut off' if process.cut_off else 'back'}")

    def others_go_on(self, pick: int, pause: float, steps: int) -> None:
        """A process is cut off, and the others take over, and come to work after a while; it knows nothing of it."""
        if not self._any(pick).cut_off:
            self.cut_off_or_reconnect(pick)
        self.rebalance(pick, pick)
        present = [process for process in self.processes if not process.cut_off]
        for process in present:
            self.take_over(self.processes.index(process))
        for process in present:
            self._work(process, 0, answered=True, oldest=True)
            self.batch(self.processes.index(process))  # a new owner sends nothing before a commit names it
        self.passes(pause)
        for process in present:
            self._work(process, steps, answered=True, oldest=True)

    @property
    def any_untaken(self) -> bool:
        """Whether a process has something to take over."""
        return any(process.untaken for process in self.processes)

    @property
    def another_mapping(self) -> str:
        """The mapping that a new process would not know."""
        return next(mapping for mapping in MAPPINGS if mapping != self._mapping)

    def crash(self, pick: int, mapping: str | None = None) -> None:
        """kill -9: nothing is left of a process but what is on its way. Another one starts, and is not in the group.

        From here on what starts knows this mapping, where one is given.
        """
        self._mapping = mapping or self._mapping
        index = pick % len(self.processes)
        process = self.processes[index]
        self.dead.append(process)
        process.end()
        self._log(f"{process.name} dies; the next one knows {self._mapping}")
        self.processes[index] = self._process()

    # --- work --------------------------------------------------------------------------------------------------------

    def work(self, pick: int, steps: int, *, answered: bool = True, oldest: bool = True) -> None:
        """A process reads, begins what it can, and does so many steps of its sittings."""
        self._work(self._busy(pick), steps, answered=answered, oldest=oldest)

    def _work(self, process: Process, steps: int, *, answered: bool, oldest: bool) -> None:
        process.settle()
        for desk in list(process.desks.values()):
            process.read(desk)
        for _ in range(steps):
            ready = [job for job in process.running_jobs() if not job.waits_for_an_answer]
            if not ready:
                return
            job = ready[0 if oldest else -1]
            self._wait_for(job)
            process.step(job)
            if answered:
                process.answer(job)

    def _wait_for(self, job: Job) -> None:
        """Waits in place are short."""
        waits = (job.wakes_at - self.clock.now).total_seconds()
        if 0 < waits <= SHORT:
            self.passes(waits)

    def answer(self, pick: int, *, lost: bool) -> None:
        """A question that is on the wire is answered."""
        chosen = _picked(self.questions, pick)
        if chosen is not None:
            chosen[0].answer(chosen[1], lost=lost)

    @property
    def questions(self) -> list[tuple[Process, Job]]:
        """The queries on the wire that a process waits for."""
        return [(each, job) for each in self.processes for job in each.running_jobs() if job.question is not None]

    def land(self, pick: int, landing: Landing) -> None:
        """An Issue gets to ECTicket."""
        call = _picked(self.ecticket.on_the_wire, pick)
        if call is not None:
            self._log(f"{call.trade_no} lands: {landing.name}")
            self.ecticket.land(call, landing)

    def issue_answer(self, pick: int, *, lost: bool) -> None:
        """An Issue's answer comes, or the connection is lost, which can be long before it lands."""
        chosen = _picked(self.issuing, pick)
        if chosen is not None:
            process, job, call = chosen
            if lost or call.landed:
                process.issue_ends(job, CallInDoubt(detail="reset") if lost else None)

    def issue_was_nothing(self, pick: int, came: IssueAnswer) -> None:
        """An Issue is reported not to have happened, and has not."""
        chosen = _picked([each for each in self.issuing if not each[2].landed], pick)
        if chosen is not None:
            process, job, call = chosen
            self.ecticket.undo(call)
            process.issue_ends(job, came)

    @property
    def issuing(self) -> list[tuple[Process, Job, IssueCall]]:
        """The Issue calls whose answers a process waits for."""
        return [(each, job, job.call) for each in self.processes for job in each.running_jobs() if job.call is not None]

    def show(self, pick: int) -> None:
        """Tickets become visible to queries."""
        effect: Effect | None = _picked(self.ecticket.hidden, pick)
        if effect is not None:
            self.ecticket.show(effect)

    def hand_off(self, pick: int) -> None:
        """A process hands its oldest waiting record off, because its metadata has grown too long."""
        process = self._busy(pick)
        for desk in process.desks.values():
            process.hand_off_oldest(desk)

    def maintenance(self, code: int, outage: Outage = Outage.ALL) -> None:
        """ECTicket, or one of its endpoints, closes, if it can."""
        if self.ecticket.may_close(self.clock.seconds):
            self._log(f"outage of {outage.value}, code {code}")
            self.ecticket.close(code, outage)

    def maintenance_ends(self) -> None:
        """It opens again."""
        if self.ecticket.closed is not None:
            self._log("maintenance is over")
            self.ecticket.open(self.clock.seconds)

    # --- commits -----------------------------------------------------------------------------------------------------

    def batch(self, pick: int, *, lands: bool = True, heard: bool = True) -> None:
        """A process commits what is due; its transactions stay open, or land, with or without an answer."""
        process = self._busy(pick)
        for desk in list(process.desks.values()):
            process.begin_commit(desk)
            if desk.flight is not None and lands:
                self.broker.land(desk.flight, self.clock.now)
            if desk.flight is not None and (lands or not heard):
                process.commit_ends(desk, heard=heard)

    def transaction_lands(self, pick: int) -> None:
        """A transaction under way reaches the broker, whether or not its sender still lives."""
        transaction = _picked(self.broker.under_way, pick)
        if transaction is None:
            return
        self._log(f"a transaction on {transaction.partition} lands")
        self.broker.land(transaction, self.clock.now)
        for process in self.processes:
            for desk in list(process.desks.values()):
                if desk.flight is transaction:
                    process.commit_ends(desk)

    def _any(self, pick: int) -> Process:
        return self.processes[pick % len(self.processes)]

    def _busy(self, pick: int) -> Process:
        """One of those that have something in hand, if there are any."""
        busy = [each for each in self.processes if each.desks or each.jobs]
        return _picked(busy, pick) or self._any(pick)

    def close(self) -> None:
        """End what the processes have begun; nothing happens any more."""
        for process in self.processes:
            process.end()

    # --- the end -----------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """No more trouble: everything comes to its end, and nothing is missing."""
        self._log("-- no more trouble --")
        self.maintenance_ends()
        for process in self.processes:
            process.cut_off = False
        self.rebalance(0, 0)
        for _ in range(ROUNDS):
            if self._at_rest():
                break
            self._round()
        self.invariants.at_rest(self.orders)
        for partition in PARTITIONS:
            records = self.broker.logs[partition]
            commit = self.broker.commits.get(partition)
            assert not records or (commit is not None and commit.offset > records[-1].offset), "not all is committed"

    def _round(self) -> None:
        for effect in [each for each in self.ecticket.hidden if each.slow]:
            self.ecticket.show(effect)
        for process, job in self.questions:
            process.answer(job)
        while self.ecticket.on_the_wire:
            self.land(0, Landing.DONE)
        for process, job, _ in self.issuing:
            process.issue_ends(job)
        for index in range(len(self.processes)):
            self.take_over(index)
            self.work(index, 40)
            self.batch(index)
        if not (self.issuing or self.ecticket.on_the_wire):
            self.passes(30)

    def _at_rest(self) -> bool:
        commits = self.broker.commits
        ended = all(
            not records or (partition in commits and commits[partition].offset > records[-1].offset)
            for partition, records in self.broker.logs.items()
        )
        return ended and all(map(self.invariants.is_published, self.orders))
