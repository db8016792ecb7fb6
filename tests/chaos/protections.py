"""Every protection that keeps an order from being issued twice, lost or published twice; and how to switch it off.

Each has a scenario in which it is needed. The suite must notice when it is missing, in the column of the result check
that is named here, and must find nothing wrong in the same scenario when it is there. Switching off happens in the
adapter's process only (`weakened.py`), by replacing the one function that is the protection; the adapter itself has no
such switch.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from aiokafka import AIOKafkaProducer

from adapter.dev.sandbox.fault_types import AcceptRepeats, AnswerLostAfter, Maintenance, QueryOutage, ServerError, Slow
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.flows import submit
from adapter.flows.messages.record_history import RecordHistory, verified_history
from adapter.flows.messages.signatures import Verified
from adapter.flows.submission import SubmissionRun
from adapter.issuance import decide
from adapter.issuance.actions import Action, Send
from adapter.issuance.answers import ProbeAnswered
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.evidence import Evidence, NegativeAnswer
from adapter.issuance.state import PartState, Postponement, WaitReason
from adapter.kafka import client
from adapter.kafka.client import AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.lease import HeartbeatLease
from adapter.protocol.endpoints import Endpoint
from adapter.stream.partition_state import PartitionState
from adapter.stream.port import TopicPartition
from adapter.stream.records import Record
from adapter.values import replace
from chaos.run import ChaosRun, run_plan
from chaos.scenario import LAGGING, FaultKind, Plan, Scenario, plan

_PROMPT = SandboxSettings(port=0, job_seconds=0.3)
_REPEATS = FaultRule(behaviour=AcceptRepeats())


def _slow(seconds: float) -> FaultRule:
    return FaultRule(behaviour=Slow(seconds=seconds), endpoint=Endpoint.ISSUE)


def _lost(rate: float) -> FaultRule:
    return FaultRule(behaviour=AnswerLostAfter(), rate=rate, endpoint=Endpoint.ISSUE)


def _not_now(rate: float, *, retry_after_seconds: int, count: int | None = None) -> FaultRule:
    busy = ServerError(status=503, retry_after_seconds=retry_after_seconds)
    return FaultRule(behaviour=busy, rate=rate, endpoint=Endpoint.ISSUE, count=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """`off` removes it from this process; in `scenario` the result check shows its absence as `noticed`."""

    what: str
    """What it is, in a sentence."""
    off: Callable[[], None]
    scenario: Scenario
    noticed: Literal["lost", "double", "repeated"]


def _replace(owner: object, name: str, *, by: object) -> None:
    """Replace a protection with something weaker. Raises AttributeError if there is nothing of that name."""
    getattr(owner, name)
    setattr(owner, name, by)


# --- the engine's ----------------------------------------------------------------------------------------------------


def _no_fencing() -> None:
    """Every writer has a transactional id of its own, so that starting one fences no other."""

    def unfenced(*, transactional_id: str, **options: object) -> object:
        return AIOKafkaProducer(transactional_id=f"{transactional_id}.{uuid.uuid4().hex}", **options)

    _replace(client, "AIOKafkaProducer", by=unfenced)


def _no_seek_back() -> None:
    """Reading continues at the client's position, not at the partition state's next offset."""

    def stay(self: AioKafkaMember, index: TopicPartition, offset: int) -> None:
        return None

    _replace(AioKafkaMember, "seek", by=stay)


def _no_reservation() -> None:
    """Commits do not reserve offsets, and no order waits for a reservation."""

    def reserves_nothing(self: PartitionState, committable: int, *, final: bool) -> int:
        return 0

    def always(self: PartitionState, offset: int) -> bool:
        return True

    _replace(PartitionState, "_reservation", by=reserves_nothing)
    _replace(PartitionState, "reserved", by=always)


def _no_lease() -> None:
    """A process assumes that it owns its partitions until a rebalance revokes them."""

    def always(self: HeartbeatLease, generation: int) -> bool:
        return True

    _replace(HeartbeatLease, "holds", by=always)


# --- the decisions' --------------------------------------------------------------------------------------------------


def _no_query() -> None:
    """What may have been sent is sent again after the waiting time, without a query."""
    decide_possibly_known = decide._decide_possibly_known

    def send(state: PartState, now: datetime, policy: SubmitPolicy) -> Action:
        if state.history.refusal is not None:
            return decide_possibly_known(state, now, policy)
        ready = decide.ready_at(state, policy)
        return (
            Send()
            if now >= ready
            else decide._postpone(state, Postponement(until=ready, reason=WaitReason.DOUBT), now, policy)
        )

    _replace(decide, "_decide_possibly_known", by=send)


def _no_waiting() -> None:
    """What ECTicket does not know is sent again at once: there is no waiting time."""

    def at_once(state: PartState, policy: SubmitPolicy) -> datetime:
        return state.first_seen_at

    _replace(decide, "ready_at", by=at_once)


def _no_control() -> None:
    """The answer to a query also counts as the answer to the control query."""
    with_query = Evidence.with_query

    def controlled(self: Evidence, answer: NegativeAnswer) -> Evidence:
        return replace(with_query(self, answer), control=answer)

    _replace(Evidence, "with_query", by=controlled)


def _any_liveness_proof() -> None:
    """If any endpoint of ECTicket works, queries count as working, too."""

    async def alive(self: SubmissionRun, state: PartState) -> ProbeAnswered:
        return ProbeAnswered(ok=True)

    _replace(SubmissionRun, "_probe", by=alive)


def _no_plan() -> None:
    """A deferred order loses its plan, and is mapped and planned again."""

    def forgetful(
        record: Record, verified: Verified, now: datetime, *, longest_wait: timedelta, leniently: bool = False
    ) -> tuple[RecordHistory, Verified]:
        found, verified = verified_history(record, verified, now, longest_wait=longest_wait, leniently=leniently)
        return replace(found, plan=None), verified

    _replace(submit, "verified_history", by=forgetful)


# --- all of them -----------------------------------------------------------------------------------------------------

PROTECTIONS = {
    "fencing": Protection(
        what="starting a partition's writer ends what its earlier owner could still commit",
        off=_no_fencing,
        scenario=Scenario(
            name="fencing",
            sandbox=_PROMPT,
            faults=(_slow(1.5),),
            scheduled_faults=(FaultKind.FREEZE, FaultKind.FREEZE, FaultKind.FREEZE),
            processes=2,
        ),
        noticed="repeated",
    ),
    "seek-back": Protection(
        what="reading always continues at the partition state's next offset",
        off=_no_seek_back,
        scenario=Scenario(
            name="seek-back",
            sandbox=_PROMPT,
            faults=(_slow(0.5),),
            scheduled_faults=(FaultKind.FENCE, FaultKind.FENCE, FaultKind.FENCE),
            processes=1,
        ),
        noticed="lost",
    ),
    "reservation": Protection(
        what="nothing is sent before a commit has reserved its offset",
        off=_no_reservation,
        scenario=Scenario(
            name="reservation",
            sandbox=_PROMPT,
            faults=(_REPEATS, _slow(0.8)),
            scheduled_faults=(FaultKind.KILL, FaultKind.KILL),
            processes=2,
        ),
        noticed="double",
    ),
    "lease": Protection(
        what="a process whose heartbeats are not answered sends nothing",
        off=_no_lease,
        scenario=Scenario(
            name="lease",
            sandbox=_PROMPT,
            # The first orders sleep for two seconds before they are sent again: those of the zombie wake up with it.
            faults=(_REPEATS, _not_now(1.0, retry_after_seconds=2, count=100)),
            scheduled_faults=(FaultKind.FREEZE,),
            settings={"submit.reissue_after_seconds": "1", "provider.keep_alive_seconds": "60"},
            processes=2,
            per_second=100,
            gap=(0.1, 0.1),
            after_faults=80,
            wakes_when_published=True,
        ),
        noticed="double",
    ),
    "query before resend": Protection(
        what="what may have been sent is queried before it is sent again",
        off=_no_query,
        scenario=Scenario(
            name="query before resend",
            sandbox=_PROMPT,
            faults=(_REPEATS, _lost(0.2)),
            scheduled_faults=(),
            processes=1,
        ),
        noticed="double",
    ),
    "waiting before resend": Protection(
        what="what ECTicket does not know is sent again only when it has had the time to learn of it",
        off=_no_waiting,
        scenario=Scenario(
            name="waiting before resend",
            sandbox=replace(LAGGING, visible_after_seconds=2.0),
            faults=(_REPEATS, _lost(0.2)),
            scheduled_faults=(),
            processes=1,
        ),
        noticed="double",
    ),
    "control query": Protection(
        what="an answer counts as 'not known' only when an unknown number gets the same one",
        off=_no_control,
        scenario=Scenario(
            name="control query",
            sandbox=_PROMPT,
            faults=(
                _REPEATS,
                _lost(0.2),
                FaultRule(
                    behaviour=Maintenance(rtn_code=5000, message="Being processed."),
                    endpoint=Endpoint.QUERY_ISSUE_RESULT,
                    trade_no_prefix="OURS",
                    rate=0.9,
                ),
            ),
            scheduled_faults=(FaultKind.CLEAR,),
            settings={"submit.trade_no_prefix": "OURS", "submit.reissue_after_seconds": "1"},
            processes=1,
            gap=(20.0, 20.0),
        ),
        noticed="double",
    ),
    "liveness proof": Protection(
        what="an answer counts as 'not known' only when QueryIssueResult knows a number that exists",
        off=_any_liveness_proof,
        scenario=Scenario(
            name="liveness proof",
            sandbox=_PROMPT,
            faults=(_REPEATS, _lost(0.2), FaultRule(behaviour=QueryOutage(seconds=3.0, every_seconds=5.0))),
            scheduled_faults=(),
            settings={"submit.reissue_after_seconds": "1"},
            processes=1,
        ),
        noticed="double",
    ),
    "plan travelling": Protection(
        what="a deferred order keeps its plan",
        off=_no_plan,
        scenario=Scenario(
            name="plan travelling",
            sandbox=_PROMPT,
            faults=(
                _REPEATS,
                _not_now(0.3, retry_after_seconds=4),
            ),
            scheduled_faults=(),
            processes=1,
        ),
        noticed="double",
    ),
}


SEEDS = (1, 2, 3)
"""The effect of a missing protection depends on timing, so one run may not show it; one of all runs must."""


async def run_without(name: str, kafka: KafkaConnection, folder: Path, *, orders: int) -> ChaosRun:
    """Run the protection's scenario without it, seed by seed, until its absence is noticed."""
    command = (sys.executable, "-m", "chaos.weakened", name, "run")
    for seed in SEEDS:
        folder_of_run = folder / str(seed)
        folder_of_run.mkdir()
        run = await run_plan(_plan(name, seed, orders), kafka, folder_of_run, command=command, patience=3.0)
        if noticed(name, run):
            break
    return run


async def run_with(name: str, kafka: KafkaConnection, folder: Path, *, orders: int) -> ChaosRun:
    """Run the first of these seeds with it: the unchanged adapter."""
    return await run_plan(_plan(name, SEEDS[0], orders), kafka, folder)


def noticed(name: str, run: ChaosRun) -> tuple[str, ...]:
    """The disagreements that show the protection's absence."""
    sentences: tuple[str, ...] = getattr(run.disagreements, PROTECTIONS[name].noticed)
    return sentences


def _plan(name: str, seed: int, orders: int) -> Plan:
    return plan(PROTECTIONS[name].scenario, seed, orders=orders)
