"""Whose turn it is among the parts of one order.

    while (turn := next_turn(states, now, policy, unproven=...)) is not None:
        do turn.action for states[turn.index]; put the part's new state in its place

Parts are sent in order, and none waits for another: a refusal or a doubt does not stop the next part. When nobody has
a turn left, every part has left its sitting: submitted, failed, deferred or parked.

An *unproven* order is one whose plan was made again after a crash, only to learn its numbers (contract, section 4).
None of its parts is sent before every one of them was asked about and is trustworthily not known. Once ECTicket knows
one of them while the mapping has changed meanwhile, or a plugin would now skip the order, the others' numbers and
contents may be different ones by now, so they are not sent. Being unverified travels with the plan (`plan_codec`),
since ECTicket may be late in knowing.

An order *came before* when ECTicket has a number of it that certainly nobody sent for this record: an earlier record of
the order was issued, under a mapping that nobody remembers. So an order of several parts is asked about by its first
number before anything of it is sent: every mapping uses that one, and once it is sent and its answer lost, nobody could
tell an earlier record's tickets from our own. In an outage of QueryIssueResult every number is unknown, so the number
is asked about twice, with RtnCode 1 for a known number in between. ECTicket may show it only later, and refuse it
meanwhile; so after a refusal, too, the next part is sent only when the refused one was asked about. When the order came
before, its other numbers are asked about for as long as that record may be under way, and never sent: parts that only
today's mapping makes of it were never paid for.

Refuses to know how turns are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapter.issuance.actions import Action, Defer, Park, ParkReason, Probe, Query, Send, Wait
from adapter.issuance.decide import QUERIES_PER_RUN, SubmitPolicy, decide, was_verified
from adapter.issuance.park_messages import parked, unresolved
from adapter.issuance.state import OPEN, PartState, Phase, WaitReason

_LEFT_OPEN = frozenset({Phase.DEFERRED, Phase.PARKED})
_MAY_EXIST = frozenset({Phase.SUBMITTED, Phase.PARKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """What must be known of an unproven order besides its parts.

    `skip` is why a plugin would now skip it, and `plugin` which one; `mapping_changed`: another mapping may have
    made the plan under which it was sent; `issued_before`: an earlier record of the order was issued.
    """

    skip: str | None = None
    plugin: str | None = None
    mapping_changed: bool = False
    issued_before: bool = False
    plan_lost: bool = False
    """The record brings a plan that is not believed, under which other numbers were used, or parts were told."""

    @property
    def plan_may_differ(self) -> bool:
        """Whether what was sent may differ from what would be sent now."""
        return self.mapping_changed or self.skip is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The part at `index` is next, with `action`.

    Send, for an unproven order, says that it is proven: of today's plan nothing is at ECTicket but what is submitted by
    now. Where the mapping is the same, or no other plan is known (`previous_mappings`), skipping and field rules may be
    applied.
    """

    index: int
    action: Action


def next_step(
    states: Sequence[PartState], now: datetime, policy: SubmitPolicy, *, unverified: Unverified | None = None
) -> Step | None:
    """The next turn, in the order of the parts; waiting only when nobody has anything better to do. None: all are done.

    Parts are deferred and parked last, when no answer can come any more that would change it.
    """
    steps = [
        Step(index=index, action=decide(state, now, policy))
        for index, state in enumerate(states)
        if state.phase in OPEN
    ]
    if unverified is None:
        steps = _query_before_others(states, [_query_before_sending(step, states, now) for step in steps], now)
    else:
        steps = _withheld(states, steps, unverified, now, policy)
    return min(steps, key=_urgency, default=None)


def issued_before(state: PartState) -> bool:
    """Whether ECTicket had this part although certainly nobody sent it for this record: known when asked about.

    A part that may have been sent is in doubt, and stays possibly sent; one that was refused was not taken in by us.
    """
    recovered = state.submission is not None and state.submission.recovered
    return recovered and state.history.possibly_sent_since is None


def mark_possibly_sent(states: Sequence[PartState], now: datetime) -> list[PartState]:
    """The parts of an order that came before: those that were never sent count as sent by its earlier record."""
    return [_in_doubt(state, now) if state.phase is Phase.PLANNED else state for state in states]


def _in_doubt(state: PartState, now: datetime) -> PartState:
    history = state.history.with_doubt(now, "an earlier record of the order may have sent it")
    return replace(state.moved(Phase.IN_DOUBT), history=history)


def _urgency(step: Step) -> tuple[int, float]:
    """What is done first: anything, then waiting (the shortest first), then handing on."""
    match step.action:
        case Wait(until=until):
            return 1, until.timestamp()
        case Defer() | Park():
            return 2, step.index
        case _:
            return 0, step.index


def _query_before_sending(step: Step, states: Sequence[PartState], now: datetime) -> Step:
    """The turn, or a query in its place where the order is queried before anything of it is sent."""
    if isinstance(step.action, Send) and _opens_the_order(states[step.index]):
        return Step(index=step.index, action=_opening_query(states[step.index], now))
    return step


def _opening_query(state: PartState, now: datetime) -> Action:
    """What shows next whether the order came before: its number, a known number, and its number again."""
    if state.queries >= QUERIES_PER_RUN:
        return Defer(useful_at=now, reason=WaitReason.ASKED_ENOUGH, counted=False)
    evidence = state.evidence
    return Probe() if evidence.first is not None and evidence.accepted_at is None else Query()


def _opens_the_order(state: PartState) -> bool:
    """Whether this is the first of several parts, and it may be that an earlier record of the order sent it."""
    first = state.part.number == 1 and state.part.of > 1 and state.history.phase is Phase.PLANNED
    unsent = state.history.first_attempt_at is None and state.phase in {Phase.PLANNED, *_LEFT_OPEN}
    return first and unsent and state.evidence.second is None


def _query_before_others(states: Sequence[PartState], steps: list[Step], now: datetime) -> list[Step]:
    """What was never sent waits until a part was asked about that may show that the order came before.

    That is the first of several, or one that was refused. Once that is given up, nobody will ask any more, and so what
    waits for it is given up too.
    """
    unqueried = {index for index, state in enumerate(states) if _opens_the_order(state) or _is_unqueried(state)}
    if not unqueried:
        return steps
    sends = {
        step.index for step in steps if isinstance(step.action, Send) and states[step.index].phase is Phase.PLANNED
    }
    if any(step.index in unqueried and not isinstance(step.action, Defer | Park) for step in steps):
        return [step for step in steps if step.index not in sends]
    given_up = any(states[index].phase is Phase.PARKED for index in unqueried)
    return [
        step if step.index not in sends else _give_up(step, states) if given_up else _hold_back(step, now)
        for step in steps
    ]


def _give_up(step: Step, states: Sequence[PartState]) -> Step:
    return Step(index=step.index, action=parked(ParkReason.GAVE_UP, states[step.index]))


def _is_unqueried(state: PartState) -> bool:
    """Whether a part that was refused is open or handed on, and no query about it was answered since."""
    refused = state.phase in {Phase.REFUSED, *_LEFT_OPEN} and state.history.phase is Phase.REFUSED
    return refused and state.evidence.first is None


def _withheld(
    states: Sequence[PartState], steps: list[Step], unverified: Unverified, now: datetime, policy: SubmitPolicy
) -> list[Step]:
    """Nobody is sent before all have been asked about, nor at all once tickets may exist under another plan.

    From the first part that is handed on, all are: what came after that could no longer be held against it.
    """
    if unverified.issued_before or unverified.plan_lost:
        reason = _EARLIER_RECORD if unverified.issued_before else _PLAN_LOST
        return [_left_unsent(step, states, reason) if isinstance(step.action, Send) else step for step in steps]
    if not unverified.plan_may_differ:
        steps = [_kept(step, states[step.index], policy) for step in steps]
    any_left_open = any(state.phase in _LEFT_OPEN for state in states)
    if not any_left_open and (querying := [step for step in steps if not isinstance(step.action, Send | Defer | Park)]):
        return querying
    may_exist = any(state.phase in _MAY_EXIST for state in states) or any(_is_parked(step) for step in steps)
    if unverified.plan_may_differ and may_exist:
        return [step if _is_parked(step) else _park(step, states, unverified) for step in steps]
    if any_left_open or any(isinstance(step.action, Defer | Park) for step in steps):
        return [step if isinstance(step.action, Defer | Park) else _hold_back(step, now) for step in steps]
    return steps


def _kept(step: Step, state: PartState, policy: SubmitPolicy) -> Step:
    """The turn of a part that was proven in this sitting, though its minute has passed while the others were asked.

    Twenty parts are not all asked within one minute where an answer takes a second, and would never be. Under the same
    plan that is not needed: each part is asked again when it is sent, and none hangs on what became of another.
    """
    verified = isinstance(step.action, Query) and was_verified(state, policy)
    return Step(index=step.index, action=Send()) if verified else step


def _is_parked(step: Step) -> bool:
    return isinstance(step.action, Park)


def _hold_back(step: Step, now: datetime) -> Step:
    """Not counted as an attempt by itself: whether this sitting is one, the part says that holds it back."""
    return Step(index=step.index, action=Defer(useful_at=now, reason=WaitReason.ANOTHER_PART_IN_DOUBT, counted=False))


_EARLIER_RECORD = (
    "an earlier record of its order was issued, of which ECTicket has another part and not this one; how that "
    "record was mapped is not known any more, so this part may not belong to it"
)
_PLAN_LOST = (
    "the plan that came with its record has no valid signature (were the keys replaced?), so this part may have been "
    "told as failed already, or may have been sent under another number"
)


def _left_unsent(step: Step, states: Sequence[PartState], clause: str) -> Step:
    message = unresolved(states[step.index].part.trade_no, clause)
    return Step(index=step.index, action=Park(reason=ParkReason.UNRESOLVED, message=message))


def _park(step: Step, states: Sequence[PartState], unverified: Unverified) -> Step:
    since = "the mapping has changed since" if unverified.mapping_changed else "a plugin would skip the order by now"
    clause = (
        f"another part of its order is at ECTicket, or may be, and {since}, so that this part may have been sent under "
        "another number or with other items"
    )
    message = unresolved(states[step.index].part.trade_no, clause)
    return Step(index=step.index, action=Park(reason=ParkReason.UNRESOLVED, message=message))
