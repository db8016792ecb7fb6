"""The weather: what goes wrong in a run of the chaos suite, and the plan of blows that a seed makes of it.

Pure: the same scenario, seed and number of orders give the same plan, so that a failed run can be repeated.
What a fault hits depends on the machine as well; its time and victim do not. `fault_schedule` injects the faults.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique

from integration.order_source import PICKUP

from adapter.dev.sandbox.fault_types import (
    AcceptRepeats,
    AnswerLostAfter,
    AnswerLostBefore,
    CorruptedChecksum,
    Garbage,
    IssueOutage,
    LateEffect,
    QueryOutage,
    ServerError,
    Slow,
)
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.protocol.endpoints import Endpoint
from adapter.values import replace


@unique
class FaultKind(StrEnum):
    """What can happen to a process, to the broker, and to the sky."""

    KILL = "kill"
    """kill -9 with calls on the wire, and a new start."""
    TERM = "term"
    """SIGTERM, exit code 0, and a new start."""
    FREEZE = "freeze"
    """SIGSTOP for longer than the session, and SIGCONT: a zombie that wakes up among its successor's."""
    FENCE = "fence"
    """Another program starts the producers of the victim's partitions: its next transactions are refused."""
    BROKER = "broker"
    """kill -9 of the broker, and a new start on the same data."""
    JOIN = "join"
    """One process more: partitions move."""
    CLEAR = "clear"
    """Not a fault: from now on ECTicket has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledFault:
    """`pause` seconds after the previous fault, this happens to process number `victim` of the running ones."""

    kind: FaultKind
    pause: float
    victim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a run goes through. `faults` hit ECTicket's answers all the time, `scheduled_faults` fall once each, in some
    order.

    `settings` change those of `integration.cluster.QUICK`. `mappings` are the texts of a plugin: the first is there at
    the start, and every new start of a process finds the next one. `twice` is the share of the orders that arrive in a
    second record. `may_be_parked`: reasons for which an order may end on the dead letters instead of as tickets.
    """

    name: str
    sandbox: SandboxSettings
    faults: tuple[FaultRule, ...]
    scheduled_faults: tuple[FaultKind, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    processes: int = 3
    per_second: float = 20.0
    twice: float = 0.0
    mappings: tuple[str, ...] = ()
    may_be_parked: frozenset[str] = frozenset()
    gap: tuple[float, float] = (1.5, 3.5)
    """The shortest and the longest pause before a fault."""
    after_faults: int = 0
    """The first fault waits until ECTicket has had so many faults."""
    wakes_when_published: bool = False
    """Whether a frozen process stays frozen until its successor has published an event of every order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: everything that is not left to the machine."""

    scenario: Scenario
    seed: int
    orders: int
    scheduled_faults: tuple[ScheduledFault, ...]

    def __str__(self) -> str:
        text = " ".join(
            f"+{scheduled.pause:.1f}s:{scheduled.kind}@{scheduled.victim}" for scheduled in self.scheduled_faults
        )
        return f"{self.scenario.name}, seed {self.seed}, {self.orders} orders: {text or 'no fault'}"


def plan(scenario: Scenario, seed: int, *, orders: int, rounds: int = 1) -> Plan:
    """The plan of this seed: every fault of the scenario `rounds` times."""
    chance = random.Random(f"{scenario.name}/{seed}")
    types: list[FaultKind] = []
    for _ in range(rounds):
        types += chance.sample(scenario.scheduled_faults, len(scenario.scheduled_faults))
    scheduled_faults = tuple(
        ScheduledFault(kind=kind, pause=chance.uniform(*scenario.gap), victim=chance.randrange(100)) for kind in types
    )
    return Plan(scenario=scenario, seed=seed, orders=orders, scheduled_faults=scheduled_faults)


LAGGING = SandboxSettings(port=0, job_seconds=0.5, visible_after_seconds=0.8)
"""Orders show up in queries late."""

UNRELIABLE = (
    FaultRule(behaviour=QueryOutage(seconds=1.5, every_seconds=8.0)),
    FaultRule(behaviour=AnswerLostAfter(), rate=0.05),
    FaultRule(behaviour=AnswerLostBefore(), rate=0.05),
    FaultRule(behaviour=LateEffect(seconds=1.5), rate=0.03),
    FaultRule(behaviour=ServerError(after_effect=True), rate=0.01),
    FaultRule(behaviour=ServerError(), rate=0.01),
    FaultRule(behaviour=Garbage(), rate=0.01),
    FaultRule(behaviour=CorruptedChecksum(), rate=0.01),
    FaultRule(behaviour=Slow(seconds=0.8), rate=0.5, endpoint=Endpoint.ISSUE),
)
"""A very unreliable ECTicket: 16 of 100 answers are lost, late or unusable, and for a fifth of the time queries know
no number.

The latest effect, 1.5 s, and its visibility, 0.8 s later, are still before the 4 s and 6 s of the waiting times.
"""

_WAITING = {"submit.reissue_after_seconds": "6", "submit.refusal_final_after_seconds": "4"}

WORST = Scenario(
    name="worst",
    sandbox=LAGGING,
    faults=(
        FaultRule(behaviour=AcceptRepeats()),
        FaultRule(behaviour=IssueOutage(seconds=0.7, every_seconds=11.0)),
        *UNRELIABLE,
    ),
    scheduled_faults=(
        FaultKind.KILL,
        FaultKind.FREEZE,
        FaultKind.TERM,
        FaultKind.BROKER,
        FaultKind.KILL,
        FaultKind.FENCE,
        FaultKind.JOIN,
    ),
    settings=_WAITING,
)
"""Everything at once, at a server that issues a repeated number again without a word.

Issue alone is out of order now and then: what it refuses then is published as failed, and has no tickets.
"""

_MAPPING = """
from adapter import IssueType, TicketItem, hookimpl

@hookimpl
def map_item(order, line):
    if line.sku != "FAMILY-DAY":
        return None
    return [{items}]
"""
_ONE = 'TicketItem(item_no="{item_no}", quantity={quantity} * line.quantity, issue_type=IssueType.ELECTRONIC)'
_SERIAL = 'TicketItem(name="SPA課程體驗券", price=3200, quantity=line.quantity, issue_type=IssueType.SERIAL_NUMBER)'
MAPPINGS = (
    _MAPPING.format(items=_ONE.format(item_no=PICKUP[0], quantity=2)),
    _MAPPING.format(items=_ONE.format(item_no=PICKUP[3], quantity=3) + ", " + _SERIAL),
    _MAPPING.format(items=_ONE.format(item_no=PICKUP[1], quantity=1)),
)
"""One thing that the shop sells, as the merchant's plugin maps it from release to release: other tickets and parts."""

CHANGING = Scenario(
    name="changing",
    sandbox=replace(LAGGING, job_seconds=0.7),
    faults=UNRELIABLE,
    scheduled_faults=(
        FaultKind.KILL,
        FaultKind.TERM,
        FaultKind.KILL,
        FaultKind.TERM,
        FaultKind.FREEZE,
        FaultKind.BROKER,
    ),
    # What was reserved when a process was killed is asked about under all numbers: few in flight keep that short.
    settings={**_WAITING, "submit.concurrency": "16"},
    twice=0.1,
    mappings=MAPPINGS,
    may_be_parked=frozenset({"unresolved"}),
)
"""ECPay's own rule holds (a number is never accepted twice); orders arrive twice, and plugins change between starts.

What a process may have sent under one mapping and left behind is `unresolved` under another one when part of it is
known: a person decides, and nothing is bought on a guess.
"""

PROFILES = {scenario.name: scenario for scenario in (WORST, CHANGING)}
