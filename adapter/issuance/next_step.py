"""Choose the next action among the parts of one order.

    while (step := next_step(states, now, policy, unverified=...)) is not None:
        do step.action for states[step.index]; replace that state with the part's new state

Parts are sent in order, and none waits for another: a refusal or a doubt does not stop the next part. When no step is
left, every part has ended its run: it is submitted, failed, deferred or parked.

An *unverified* order is one that was planned again after a crash, only to learn its numbers (docs/delivery.md, "Plan").
None of its parts is sent before every part was queried and is reliably not known. ECTicket may know one of them while
the mapping has changed since, or while a plugin would now skip the order. The other parts may then have other numbers
and contents than before, so they are not sent. The plan keeps this mark when it is deferred (`plan_codec`), because
ECTicket may learn of a number late.

An order was *issued before* when ECTicket has a number of it that this record certainly did not send: an earlier record
of the order was issued, under a mapping that is no longer known. These rules follow:

* An order of several parts is queried by its first number before any part is sent. Every mapping uses that number, and
  once it is sent and its answer lost, the tickets of an earlier record look like our own.
* In an outage of QueryIssueResult every number is unknown. So the number is queried twice, with RtnCode 1 for a known
  number in between.
* ECTicket may show the number only later and refuse it until then. So after a refusal, too, the next part is sent only
  when the refused one was queried.
* If the order was issued before, its other numbers are queried for as long as the earlier record may be in progress,
  and never sent: parts that only today's mapping makes of it were not paid for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from adapter.issuance.actions import Action, Defer, Park, ParkReason, Probe, Query, Send, Wait
from adapter.issuance.decide import QUERIES_PER_RUN, SubmitPolicy, decide, was_verified
from adapter.issuance.park_messages import parked, unresolved
from adapter.issuance.state import OPEN, PartState, Phase, WaitReason
from adapter.values import replace

_LEFT_OPEN = frozenset({Phase.DEFERRED, Phase.PARKED})
_NEVER_SENT_OR_LEFT = _LEFT_OPEN | {Phase.PLANNED}
_REFUSED_OR_LEFT = _LEFT_OPEN | {Phase.REFUSED}
_MAY_EXIST = frozenset({Phase.SUBMITTED, Phase.PARKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """What is known of an unverified order besides its parts."""

    skip: str | None = None
    """Why a plugin would now skip it."""
    plugin: str | None = None
    """The plugin that would skip it."""
    mapping_changed: bool = False
    """Another mapping may have made the plan under which it was sent."""
    issued_before: bool = False
    """An earlier record of the order was issued."""
    plan_lost: bool = False
    """The record has a plan without a valid signature. It may have used other numbers, or parts may be published."""

    @property
    def plan_may_differ(self) -> bool:
        """Whether what was sent may differ from what would be sent now."""
        return self.mapping_changed or self.skip is not None


class Step(Struct, frozen=True, kw_only=True):
    """The part at `index` is next, with `action`.

    For an unverified order, Send means that it is verified: of today's plan ECTicket has only the parts that are
    submitted by now. If the mapping is the same, or if no other plan is known (`previous_mappings`), skipping and field
    rules may be applied.
    """

    index: int
    action: Action


def next_step(
    states: Sequence[PartState], now: datetime, policy: SubmitPolicy, *, unverified: Unverified | None = None
) -> Step | None:
    """Return the next step, in the order of the parts, or None when all are done.

    Waiting comes only when no part has anything else to do. Parts are deferred and parked last, when no further answer
    can change that.
    """
    steps = [
        Step(index=index, action=decide(state, now, policy))
        for index, state in enumerate(states)
        if state.phase in OPEN
    ]
    if unverified is None:
        for position, step in enumerate(steps):
            if isinstance(step.action, Send) and _opens_the_order(states[step.index]):
                steps[position] = Step(index=step.index, action=_opening_query(states[step.index], now))
        steps = _query_before_others(states, steps, now)
    else:
        steps = _withheld(states, steps, unverified, now, policy)
    return min(steps, key=_urgency, default=None)


def issued_before(state: PartState) -> bool:
    """Whether ECTicket had this part although this record certainly did not send it: a query found it.

    A part that may have been sent is in doubt and stays possibly sent. A part that was refused was not submitted by us.
    """
    recovered = state.submission is not None and state.submission.recovered
    return recovered and state.history.possibly_sent_since is None


def mark_possibly_sent(states: Sequence[PartState], now: datetime) -> list[PartState]:
    """Return the parts of an order that was issued before; those never sent count as sent by its earlier record."""
    return [_in_doubt(state, now) if state.phase is Phase.PLANNED else state for state in states]


def _in_doubt(state: PartState, now: datetime) -> PartState:
    history = state.history.with_doubt(now, "an earlier record of the order may have sent it")
    return replace(state.moved(Phase.IN_DOUBT), history=history)


def _urgency(step: Step) -> tuple[int, float]:
    """Return the sort key: any call or result first, then waiting (shortest first), then deferring or parking."""
    match step.action:
        case Wait(until=until):
            return 1, until.timestamp()
        case Defer() | Park():
            return 2, step.index
        case _:
            return 0, step.index


def _opening_query(state: PartState, now: datetime) -> Action:
    """The next query that shows whether the order was issued before: its number, a known number, its number again."""
    if state.queries >= QUERIES_PER_RUN:
        return Defer(useful_at=now, reason=WaitReason.QUERY_LIMIT_REACHED, counted=False)
    evidence = state.evidence
    return Probe() if evidence.first is not None and evidence.accepted_at is None else Query()


def _opens_the_order(state: PartState) -> bool:
    """Whether this is the first of several parts, and an earlier record of the order may have sent it."""
    if state.part.number > 1 or state.part.of == 1:
        return False
    unsent = state.history.first_attempt_at is None and state.phase in _NEVER_SENT_OR_LEFT
    return unsent and state.history.phase is Phase.PLANNED and state.evidence.second is None


def _query_before_others(states: Sequence[PartState], steps: list[Step], now: datetime) -> list[Step]:
    """Hold back parts never sent until the part is queried that may show that the order was issued before.

    That is the first of several parts, or one that was refused. Once it is given up, no query follows, so the parts
    that wait for it are given up too.
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
    """Whether a part was refused, is open, deferred or parked, and no query about it was answered since."""
    refused = state.history.refusal is not None and state.phase in _REFUSED_OR_LEFT
    return refused and state.evidence.first is None


def _withheld(
    states: Sequence[PartState], steps: list[Step], unverified: Unverified, now: datetime, policy: SubmitPolicy
) -> list[Step]:
    """Send no part until every part was queried, and send none if another plan may have produced tickets.

    As soon as one part is deferred or parked, so are the others, because a later answer could no longer stop it.
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
    """Let a part be sent that was verified in this run, even if its evidence expired while others were queried.

    Evidence is valid for a minute, in which twenty parts cannot all be queried if an answer takes seconds. Under the
    same plan that is not needed: each part is queried again when it is sent, and none depends on the result of another.
    """
    verified = isinstance(step.action, Query) and was_verified(state, policy)
    return Step(index=step.index, action=Send()) if verified else step


def _is_parked(step: Step) -> bool:
    return isinstance(step.action, Park)


def _hold_back(step: Step, now: datetime) -> Step:
    """Defer a part because of another one; the other part decides whether this run counts as an attempt."""
    return Step(index=step.index, action=Defer(useful_at=now, reason=WaitReason.ANOTHER_PART_IN_DOUBT, counted=False))


_EARLIER_RECORD = (
    "an earlier record of its order was issued, of which ECTicket has another part and not this one; the mapping of "
    "that record is no longer known, so this part may not belong to it"
)
_PLAN_LOST = (
    "the plan that came with its record has no valid signature (were the keys replaced?), so this part may have been "
    "published as failed already, or may have been sent under another number"
)


def _left_unsent(step: Step, states: Sequence[PartState], clause: str) -> Step:
    message = unresolved(states[step.index].part.trade_no, clause)
    return Step(index=step.index, action=Park(reason=ParkReason.UNRESOLVED, message=message))


def _park(step: Step, states: Sequence[PartState], unverified: Unverified) -> Step:
    since = "the mapping has changed since" if unverified.mapping_changed else "a plugin would now skip the order"
    clause = (
        f"another part of its order is at ECTicket, or may be, and {since}, so this part may have been sent under "
        "another number or with other items"
    )
    message = unresolved(states[step.index].part.trade_no, clause)
    return Step(index=step.index, action=Park(reason=ParkReason.UNRESOLVED, message=message))
