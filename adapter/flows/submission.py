"""One run over the parts of an order: choose the next step, do it, record its result, until every part has a decision.

`issuance` decides; this module does what it says and reports the result to it. What `authorize_send` raises passes
through, because the partition, and with it the order, may have another owner by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from msgspec import Struct

from adapter.errors import CallError, InvalidOrder, MerchantHeld
from adapter.extensions.values import Skip
from adapter.flows.holds import Holds
from adapter.flows.number_history import KnownNumbers, OrderNumbers
from adapter.flows.order_log import order_fields
from adapter.flows.ports import Clock, Ecticket
from adapter.issuance.actions import Action, ControlQuery, Defer, Finish, Park, ParkReason, Probe, Query, Send, Wait
from adapter.issuance.answers import (
    SUCCESS,
    CallResult,
    IssuingHeld,
    Known,
    LastAccepted,
    ProbeAnswered,
    QueryAnswer,
    TicketDifference,
    control_answer,
    issue_answer,
    issue_error,
    query_answer,
    query_error,
    ticket_differences,
)
from adapter.issuance.decide import QueryFirst, SubmitPolicy, conclude, decide, observe
from adapter.issuance.next_step import Step, Unverified, issued_before, mark_possibly_sent, next_step
from adapter.issuance.park_messages import number_name, other_order_message
from adapter.issuance.plan import Part
from adapter.issuance.previous_mappings import (
    NO_OTHER_PLANS,
    CandidateNumber,
    CandidateQuery,
    PreviousMappingCheck,
    QueryCandidate,
    QueryCandidateControl,
)
from adapter.issuance.state import PartState, Phase, Postponement
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.taipei import TAIPEI
from adapter.provider.client import Purpose
from adapter.values import replace

Sleep = Callable[[float], Awaitable[None]]
Rules = Callable[[Sequence[Part]], None]
"""Checks parts against every field rule as of today. Raises InvalidOrder."""
ItemCheck = Callable[[Sequence[Part]], Awaitable[None]]
"""Checks the products of parts that were never sent. Raises InvalidOrder."""
OnDifference = Callable[[TradeNo, Sequence[TicketDifference]], None]
PROBED_NUMBERS = 4
"""How many numbers a probe queries at most: the first may be too new to be visible, or gone."""

_CALLS = {Send: "issue", Query: "query", ControlQuery: "control-query", Probe: "probe"}
"""The names of the calls in log lines."""

_log = logging.getLogger(__name__)


class PartResult(Struct, frozen=True, kw_only=True):
    """The state of a part at the end of a run, and the decision that ended it."""

    state: PartState
    action: Finish | Defer | Park


class RunResult(Struct, frozen=True, kw_only=True):
    """The result of a run: the results of all parts, in order, or why the whole order is skipped or invalid.

    `skip` and `invalid` are only set when nothing of the order is at ECTicket.
    """

    parts: tuple[PartResult, ...] = ()
    unverified: Unverified | None = None
    """What the next run must know of an order that is still unverified."""
    skip: Skip | None = None
    invalid: InvalidOrder | None = None
    lacks_known_number: bool = False
    """A part in doubt had to wait because no number of the merchant is known to exist."""


class SubmissionRun:
    """One run over the parts of one order.

    `subject` names the order to the breaker. `candidates` are the numbers under which another mapping may have sent the
    order; they are queried before an `unverified` order counts as verified. Then skipping applies, and the `rules`.
    `resumed`: the parts come from an earlier run's plan, so each one is checked against the rules before it is sent.
    `parts_done` parts of the order were published before. `numbers` says which order a number belongs to, and which of
    its records: a number of another order is neither sent nor published as this order's, and beside a number of another
    record nothing is bought. `on_difference` is called when Issue was accepted
    with other tickets than were requested. `check_items` is awaited once, before the first part is sent, and only if
    nothing of the order is at ECTicket. If a product cannot be issued, ECTicket is queried, because an earlier record
    may have been issued; if ECTicket does not know the order, the order is invalid. While `holds` has one for the
    merchant, parts are queried and not sent; a part that was never sent is not queried either.
    """

    def __init__(
        self,
        states: Sequence[PartState],
        *,
        unverified: Unverified | None,
        candidates: Sequence[CandidateNumber] = (),
        merchant: Merchant,
        subject: str,
        traceparent: str | None = None,
        authorize_send: Callable[[], None],
        ecticket: Ecticket,
        policy: SubmitPolicy,
        rules: Rules,
        known: KnownNumbers,
        now: Clock,
        sleep: Sleep = asyncio.sleep,
        resumed: bool = False,
        parts_done: int = 0,
        numbers: OrderNumbers,
        on_difference: OnDifference | None = None,
        check_items: ItemCheck | None = None,
        holds: Holds | None = None,
    ) -> None:
        self._unverified = unverified
        self._lacks_known_number = False
        self._rules = rules
        self._resumed = resumed
        self._parts_done = parts_done
        self._states = list(states)
        self._previous_mappings = PreviousMappingCheck.of(candidates) if candidates else NO_OTHER_PLANS
        self._final_actions: dict[int, Finish | Defer | Park] = {}
        self._merchant = merchant
        self._subject = subject
        self._traceparent = traceparent
        self._authorize_send = authorize_send
        self._ecticket = ecticket
        self._policy = policy
        self._known = known
        self._now = now
        self._sleep = sleep
        self._numbers = numbers
        self._on_difference = on_difference
        self._check_items = check_items
        self._holds = holds or Holds(now)
        possibly_sent = [state for state in states if state.possibly_sent]
        for state in possibly_sent:
            self._numbers.may_have_sent(state.part.trade_no)
        never_sent = unverified is None and not parts_done and not possibly_sent
        self._item_check_due = check_items is not None and never_sent
        self._unissuable: InvalidOrder | None = None
        self._announced: set[int] = set()
        self._looked_for_earlier_record = False
        if unverified is None and len(states) > 1 and any(map(self._is_of_other_record, states)):
            self._note_earlier_record()

    async def run(self) -> RunResult:
        """Work until every part has a result, or the whole order is skipped or invalid.

        Raises LeaseLost: nothing was written, and the record stays open for the owner of the partition.
        """
        self._hold_unsent()
        while (step := self._next_step()) is not None:
            if not (isinstance(step.action, Send) and self._must_check):
                await self._perform(step)
            elif (result := await self._check_before_sending(step.index)) is not None:
                return result
        parts = [
            PartResult(state=state, action=self._final_action(index, state)) for index, state in enumerate(self._states)
        ]
        return RunResult(parts=tuple(parts), unverified=self._unverified, lacks_known_number=self._lacks_known_number)

    def _held_until(self) -> datetime | None:
        """Before when no Issue call may be sent because an operator holds the merchant; None if one may be sent."""
        merchant_id = self._merchant.merchant_id
        return self._holds.until(merchant_id) if merchant_id in self._holds.by_merchant else None

    def _hold_unsent(self) -> None:
        """Postpone the parts that were certainly never sent, if the merchant is held: no query about them is needed."""
        until = self._held_until()
        if until is not None:
            held, now = IssuingHeld(until=until), self._now()
            self._states = [observe(each, held, now) if each.phase is Phase.PLANNED else each for each in self._states]

    @property
    def _must_check(self) -> bool:
        """Whether a check of the whole order is open, so that no part is sent yet."""
        return self._unverified is not None or self._item_check_due or self._unissuable is not None

    async def _check_before_sending(self, index: int) -> RunResult | None:
        """Do the next check of the whole order; return its result if the order is skipped or invalid."""
        if self._unverified is not None:
            if self._previous_mappings.all_unknown:
                return self._apply_deferred_checks(self._unverified)
            await self._query_candidates(index)
        elif self._unissuable is not None:
            return RunResult(invalid=self._unissuable)
        elif self._check_items is not None:
            await self._find_unissuable(self._check_items)
        return None

    def _apply_deferred_checks(self, unverified: Unverified) -> RunResult | None:
        """Apply what had to wait until the order was verified: first skipping, then the field rules.

        If nothing of the order is at ECTicket, return the result of the whole order. Otherwise park its open parts, and
        the run continues.
        """
        self._unverified = None
        partly_done = self._parts_done > 0 or any(state.phase is Phase.SUBMITTED for state in self._states)
        if unverified.skip is not None:
            if not partly_done:
                return RunResult(skip=Skip(unverified.skip, plugin=unverified.plugin))
            reason = unverified.skip
            self._park_open(lambda state: _park_beside_known_part(state, _skip_message(state, reason)))
            return None
        try:
            self._rules([state.part for state in self._open])
        except InvalidOrder as error:
            if not partly_done:
                return RunResult(invalid=error)
            broken_rules = str(error)
            self._park_open(lambda state: _park_beside_known_part(state, broken_rules))
            return None
        self._item_check_due = self._check_items is not None and not partly_done
        return None

    async def _find_unissuable(self, check_items: ItemCheck) -> None:
        """Check the products of the order, and query before anything else if one cannot be issued."""
        self._item_check_due = False
        try:
            await check_items([state.part for state in self._open])
        except InvalidOrder as error:
            self._unissuable = error
            self._policy = replace(self._policy, query_first=QueryFirst.ALWAYS)

    @property
    def _open(self) -> tuple[PartState, ...]:
        """The parts without a result."""
        return tuple(state for index, state in enumerate(self._states) if not self._is_concluded(index))

    def _park_open(self, park: Callable[[PartState], Park]) -> None:
        for index, state in enumerate(self._states):
            if not self._is_concluded(index):
                self._conclude(index, park(state))

    def _is_concluded(self, index: int) -> bool:
        return index in self._final_actions or self._states[index].phase is Phase.SUBMITTED

    def _final_action(self, index: int, state: PartState) -> Finish | Defer | Park:
        if index in self._final_actions:
            return self._final_actions[index]
        action = decide(state, self._now(), self._policy)
        if not isinstance(action, Finish):
            raise TypeError(f"a submitted part must be finished, but was decided as {type(action).__name__}")
        return action

    def _next_step(self) -> Step | None:
        self._observe_last_accepted()
        return next_step(self._states, self._now(), self._policy, unverified=self._unverified)

    def _observe_last_accepted(self) -> None:
        """Report to parts in doubt when QueryIssueResult last knew a number of this merchant, which saves a probe."""
        possibly_sent = [index for index, state in enumerate(self._states) if state.possibly_sent]
        if not possibly_sent:
            return
        accepted = self._ecticket.last_accepted(self._merchant.merchant_id)
        if accepted is None:
            return
        fact = LastAccepted(at=accepted)
        self._previous_mappings = self._previous_mappings.observe(None, fact, self._now())
        for index in possibly_sent:
            self._states[index] = observe(self._states[index], fact, self._now())

    async def _perform(self, step: Step) -> None:
        index, action, state = step.index, step.action, self._states[step.index]
        result: CallResult
        match action:
            case Send():
                if index > 0 and self._must_look_for_earlier_record:
                    await self._look_for_earlier_record()
                    return
                park = self._park_if_invalid(index)
                if park is None and (other := await self._numbers.other_sender(state.part.trade_no)) is not None:
                    park = self._park_number_of_other_order(index, other)
                if park is not None:
                    self._conclude(index, park)
                    return
                result = await self._send(index)
            case Query():
                result = await self._query(state.part.trade_no)
            case ControlQuery():
                result = await self._control(state.part.trade_no.kind)
            case Probe():
                result = await self._probe(state)
            case Wait(until=until):
                await self._sleep(max(0.0, (until - self._now()).total_seconds()))
                return
            case Finish() | Defer() | Park():
                self._conclude(index, action)
                return
        other = await self._numbers.other_order(state.part.trade_no) if isinstance(result, Known) else None
        if other is not None:
            self._conclude(index, self._park_number_of_other_order(index, other))
        else:
            self._observe(index, action, result)

    def _observe(self, index: int, action: Action, result: CallResult) -> None:
        """Record what a call means for its part, and for the order."""
        state = self._states[index] = observe(self._states[index], result, self._now())
        if state.phase is Phase.IN_DOUBT or _log.isEnabledFor(logging.DEBUG):
            self._log_answer(action, state)
        self._note_known(state)
        if state.submission is not None and state.submission.recovered and self._is_of_earlier_record(state):
            self._note_earlier_record()

    @property
    def _must_look_for_earlier_record(self) -> bool:
        """Whether events must be read before a later part is sent: once, unless the first part is submitted.

        ECTicket may refuse the first number, or the answer may be lost, before queries show that it has the number.
        """
        first = self._states[0]
        not_submitted = first.part.number == 1 and first.phase is not Phase.SUBMITTED
        return not_submitted and not self._looked_for_earlier_record

    async def _look_for_earlier_record(self) -> None:
        """Read the events; then the next step is chosen again, because evidence may have expired."""
        self._looked_for_earlier_record = True
        await self._numbers.look()
        if any(map(self._is_of_other_record, self._states)):
            self._note_earlier_record()

    def _note_earlier_record(self) -> None:
        """From now on query all parts and send none: an earlier record of the order was issued."""
        self._unverified = replace(self._unverified or Unverified(), issued_before=True)
        self._states = mark_possibly_sent(self._states, self._now())

    def _is_of_earlier_record(self, state: PartState) -> bool:
        """Whether the part that a query found was sent by another record of the order.

        If today's parts may differ from those that were sent, the open ones are parked for that reason.
        """
        if self._unverified is None:
            return issued_before(state) or self._is_of_other_record(state)
        may_differ = self._unverified.plan_may_differ or self._unverified.plan_lost
        return not may_differ and self._is_of_other_record(state)

    def _is_of_other_record(self, state: PartState) -> bool:
        return self._numbers.of_other_record(state.part.trade_no)

    def _log_answer(self, action: Action, state: PartState) -> None:
        """Log what a call has changed."""
        number = state.part.trade_no.value
        order = order_fields(self._merchant.merchant_id, self._numbers.order_id, self._traceparent, trade_no=number)
        if isinstance(action, Send) and state.phase is Phase.IN_DOUBT:
            _log.warning("issuance-in-doubt", extra={**order, "detail": state.history.doubt})
        _log.debug("call-answered", extra={**order, "call": _CALLS[type(action)], "phase": state.phase.value})

    def _park_if_invalid(self, index: int) -> Park | None:
        """Park a part of a resumed plan that breaks a field rule by now, for example because a date has passed."""
        if not self._resumed:
            return None
        part = self._states[index].part
        try:
            self._rules([part])
        except InvalidOrder as error:
            message = f"{number_name(part.trade_no)} is not at ECTicket and stays unsent: {error}"
            return Park(reason=ParkReason.UNRESOLVED, message=message)
        return None

    async def _query_candidates(self, index: int) -> None:
        """Query candidate numbers until none is open or the part must wait; park the order if ECTicket has one."""
        while (query := self._previous_mappings.next(self._now())) is not None:
            if isinstance(query, Postponement):
                self._states[index] = replace(self._states[index], postponement=query)
                return
            result = await self._query_candidate(query, self._states[index])
            self._previous_mappings = self._previous_mappings.observe(query, result, self._now())
            if self._previous_mappings.is_failed_call(result):
                self._states[index] = observe(self._states[index], result, self._now())
                return
            # There are dozens of queries; if one in ten fails, their failures together must not end the run.
            self._states[index] = replace(self._states[index], failed_calls=0)
            self._observe_last_accepted()
        if self._previous_mappings.found:
            park = self._previous_mappings.park(self._open)
            self._park_open(lambda _: park)

    def _trade_no(self, index: int) -> TradeNo:
        return self._states[index].part.trade_no

    def _park_number_of_other_order(self, index: int, other: str) -> Park:
        message = other_order_message(self._trade_no(index), order_id=self._numbers.order_id, other=other)
        return Park(reason=ParkReason.UNRESOLVED, message=message)

    def _conclude(self, index: int, action: Finish | Defer | Park) -> None:
        state, number = self._states[index], self._trade_no(index)
        if isinstance(action, Finish):
            self._numbers.failed(number)
        elif index in self._announced and not state.possibly_sent:
            self._numbers.never_sent(number)
        self._states[index] = conclude(state, action)
        self._final_actions[index] = action

    def _note_known(self, state: PartState) -> None:
        """Remember a number that exists: after an accepted Issue, queries should know it; after a query, they do."""
        if state.submission is None:
            return
        recovered = state.submission.recovered
        remember = self._known.record_known if recovered else self._known.add_candidate
        remember(self._merchant.merchant_id, state.part.trade_no)
        self._numbers.submitted(state.part.trade_no, recovered=recovered)

    async def _query_candidate(self, query: CandidateQuery, state: PartState) -> QueryAnswer:
        match query:
            case QueryCandidate(trade_no=trade_no):
                return await self._query(trade_no)
            case QueryCandidateControl(kind=kind):
                return await self._control(kind)
            case Probe():
                return await self._probe(state)

    def _authorize_issue(self) -> None:
        """Allow the write that follows in the same step: only then a hold that came meanwhile stops no call halfway."""
        until = self._held_until()
        if until is not None:
            raise MerchantHeld(f"Merchant {self._merchant.merchant_id} is held; nothing was sent.", until=until)
        self._authorize_send()

    async def _send(self, index: int) -> CallResult:
        state = self._states[index]
        if (until := self._held_until()) is not None:
            return IssuingHeld(until=until)
        if self._numbers.may_have_sent(state.part.trade_no):
            self._announced.add(index)
        try:
            reply = await self._ecticket.issue(
                self._merchant,
                state.part.request_on(self._now().astimezone(TAIPEI).date()),
                subject=self._subject,
                authorize_send=self._authorize_issue,
            )
        except CallError as error:
            return issue_error(error)
        differences = ticket_differences(state.part.request, reply.items) if reply.rtn_code == SUCCESS else ()
        if differences and self._on_difference is not None:
            self._on_difference(state.part.trade_no, differences)
        return issue_answer(reply, retry_rtn_codes=self._policy.retry_rtn_codes)

    async def _query(self, trade_no: TradeNo) -> QueryAnswer:
        queried_at = self._now()
        try:
            reply = await self._ecticket.query(self._merchant, trade_no, purpose=Purpose.DOUBT)
        except CallError as error:
            return query_error(error)
        return query_answer(reply, queried_at=queried_at)

    async def _control(self, kind: TradeNoKind) -> QueryAnswer:
        queried_at = self._now()
        try:
            reply = await self._ecticket.control(self._merchant, kind, purpose=Purpose.DOUBT)
        except CallError as error:
            return query_error(error)
        return control_answer(reply, queried_at=queried_at)

    async def _probe(self, state: PartState) -> QueryAnswer:
        """Query known numbers until QueryIssueResult answers RtnCode 1 for one of them."""
        merchant, kind = self._merchant, state.part.trade_no.kind
        if not self._known.to_query(merchant, kind):
            await self._numbers.look()
        numbers = self._known.to_query(merchant, kind)[:PROBED_NUMBERS]
        if not numbers:
            self._lacks_known_number |= state.phase is not Phase.PLANNED
            return ProbeAnswered(ok=False, none_known=True)
        not_known: list[TradeNo] = []
        try:
            for number in numbers:
                reply = await self._ecticket.query(merchant, number, purpose=Purpose.DOUBT)
                if reply.rtn_code == SUCCESS:
                    self._known.record_known(merchant.merchant_id, number, not_known=not_known)
                    return ProbeAnswered(ok=True)
                not_known.append(number)
        except CallError as error:
            return query_error(error)
        self._known.record_not_known(merchant.merchant_id, not_known)
        return ProbeAnswered(ok=False)


def _park_beside_known_part(state: PartState, why_not: str) -> Park:
    """Park an unsent part of a partly issued order: it is neither "skipped" nor "invalid", so a person decides."""
    number = number_name(state.part.trade_no)
    return Park(
        reason=ParkReason.UNRESOLVED,
        message=f"{number} is not at ECTicket and stays unsent, but another part of its order is there: {why_not}",
    )


def _skip_message(state: PartState, reason: str) -> str:
    return (
        f"a plugin would skip the order by now ({reason}). If that is right, close this part "
        f"(`ecticket-adapter resolve {state.part.trade_no.value} --as failed --why ...`)."
    )
