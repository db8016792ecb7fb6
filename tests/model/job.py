"""One order record in a process's hands: its run, from the record to its outcome.

The decisions are `issuance`'s own; this is the loop around them that `flows` has with real calls, cut into steps. What
travels does so in the real headers.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapter.flows.messages.record_history import RecordHistory, history_headers, read_history
from adapter.issuance.actions import Action, Defer, Failed, Finish, Park
from adapter.issuance.answers import CallResult, LastAccepted, QueryAnswer
from adapter.issuance.decide import SubmitPolicy, conclude, decide, observe
from adapter.issuance.next_step import Step, Unverified, next_step
from adapter.issuance.plan_codec import DeferredPlan, decode_plan, deferred_part, encode_plan, resume
from adapter.issuance.previous_mappings import CandidateQuery, PreviousMappingCheck
from adapter.issuance.state import OPEN, PartState, Postponement, initial_state
from adapter.issuance.times import latest
from adapter.stream.owned_partition import WorkItem
from adapter.stream.records import ProducerRecord
from adapter.stream.stage import Outcome
from adapter.values import replace

from .broker import DEFERRED, PUBLISHED
from .ecticket import IssueCall
from .orders import others_of, parts_of

DEFER_SECONDS = 60.0


@dataclass(slots=True, eq=False)
class Question:
    """A question on the wire about the part at `index`; ECTicket's `code` is on its way back.

    `other` is what is asked about other plans, where that is why the part waits.
    """

    index: int
    action: Action
    about: str | None
    at: float
    code: int
    other: CandidateQuery | None = None


class Job:
    """A record being processed, and its run; `ended` gets its outcome, or that the lease was lost."""

    def __init__(self, item: WorkItem[None], now: datetime, *, plan_travels: bool) -> None:
        self.item = item
        self.history: RecordHistory = read_history(item.record, now)
        self.order = (item.record.key or b"").decode()
        self.wakes_at = now
        self.call: IssueCall | None = None
        self.call_index = 0
        self.question: Question | None = None
        self.ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._plan_travels = plan_travels
        self._states: list[PartState] = []
        self._ends: dict[int, Finish | Defer | Park] = {}
        self._unverified: Unverified | None = None
        self._parts_done = 0
        self.others = PreviousMappingCheck.of(())
        self.waits_for_others: int | None = None

    def __str__(self) -> str:
        return f"{self.order} at {self.item}"

    @property
    def waits_for_an_answer(self) -> bool:
        """Whether a call of its is on the wire."""
        return self.call is not None or self.question is not None

    # --- the run -----------------------------------------------------------------------------------------------------

    def begin(self, mapping: str) -> None:
        """Begin a run: resume what the record has, or plan it, again if it may have been sent."""
        self.waits_for_others = None
        self._ends = {}
        self._resume(mapping)
        mapping_changed = self._unverified is not None and self._unverified.mapping_changed
        self.others = PreviousMappingCheck.of(
            others_of(self.order, [state.part for state in self._states]) if mapping_changed else ()
        )

    def _resume(self, mapping: str) -> None:
        fenced_at, sent_at = self.item.possibly_sent_since, self.history.possibly_sent_at
        first_seen = self.history.first_seen
        if self.history.plan is not None:
            deferred_plan = decode_plan(self.history.plan)
            states = resume(deferred_plan, first_seen_at=first_seen, possibly_sent_at=sent_at, fenced_at=fenced_at)
            self._states, self._unverified, self._parts_done = (
                list(states),
                deferred_plan.unverified,
                deferred_plan.parts_done,
            )
            return
        since = latest(sent_at, fenced_at)
        parts = parts_of(self.order, mapping)
        self._states = [initial_state(part, first_seen_at=first_seen, possibly_sent_since=since) for part in parts]
        mapping_changed = self.item.fingerprint_changed or sent_at is not None
        self._unverified = None if since is None else Unverified(mapping_changed=mapping_changed)

    def next_step(self, now: datetime, policy: SubmitPolicy, last_accepted: datetime | None) -> Step | None:
        """The next part; None when every part has left the run."""
        if last_accepted is not None:
            fact = LastAccepted(at=last_accepted)
            self._states = [observe(each, fact, now) if each.possibly_sent else each for each in self._states]
            self.others = self.others.observe(None, fact, now)
        return next_step(self._states, now, policy, unverified=self._unverified)

    @property
    def is_unverified(self) -> bool:
        """Whether nothing may be sent before every part was asked about."""
        return self._unverified is not None

    def proven(self) -> None:
        """Nothing of it is at ECTicket but what is submitted by now."""
        self._unverified = None

    def state(self, index: int) -> PartState:
        """The part at that index."""
        return self._states[index]

    def came(self, index: int, what: CallResult, now: datetime) -> None:
        """Something came back for a part."""
        self._states[index] = observe(self._states[index], what, now)

    def came_of_others(self, index: int, queries: CandidateQuery, what: QueryAnswer, now: datetime) -> None:
        """Something came back of other plans, for which the part at that index waits."""
        self.others = self.others.observe(queries, what, now)
        if self.others.is_failed_call(what):
            self.postpone(index, observe(self._states[index], what, now).postponement)

    def postpone(self, index: int, postponement: Postponement | None) -> None:
        """The part waits no longer for other plans, but for what holds it."""
        self.waits_for_others = None
        self._states[index] = replace(self._states[index], postponement=postponement)

    def others_settled(self) -> None:
        """Other plans are nowhere, or what is open is parked."""
        self.waits_for_others = None
        if self.others.found:
            left = [index for index, state in enumerate(self._states) if state.phase in OPEN]
            park = self.others.park([self._states[index] for index in left])
            for index in left:
                self.leave(index, park)

    def leave(self, index: int, action: Finish | Defer | Park) -> None:
        """A part leaves the run."""
        self._states[index] = conclude(self._states[index], action)
        self._ends[index] = action

    # --- its outcome -------------------------------------------------------------------------------------------------

    def outcome(self, now: datetime, policy: SubmitPolicy) -> Outcome:
        """What a run that is over publishes, and what it defers."""
        ends = {index: self._ends.get(index) or decide(state, now, policy) for index, state in enumerate(self._states)}
        produced = tuple(
            self._published(index, action) for index, action in ends.items() if not isinstance(action, Defer)
        )
        deferred = [self._states[index] for index, action in ends.items() if isinstance(action, Defer)]
        if not deferred:
            return Outcome(records=produced)
        plan = DeferredPlan(
            order_id=self.order,
            merchant_id=deferred[0].part.request.merchant_id,
            reference=None,
            parts_done=self._parts_done + len(ends) - len(deferred),
            parts=tuple(map(deferred_part, deferred)),
            unverified=self._unverified,
        )
        history = replace(self.history, plan=encode_plan(plan), possibly_sent_at=plan.possibly_sent_at)
        return Outcome(records=(*produced, self._deferred(history, now)))

    def hand_off(self, now: datetime) -> Outcome:
        """The record handed on untouched."""
        return Outcome(records=(self._deferred(self.history.possibly_sent(self.item.possibly_sent_since), now),))

    def _deferred(self, history: RecordHistory, now: datetime) -> ProducerRecord:
        due = replace(history, not_before=now + timedelta(seconds=DEFER_SECONDS))
        if not self._plan_travels:
            due = replace(due, plan=None, possibly_sent_at=None)
        headers = tuple((name, text.encode()) for name, text in history_headers(due).items())
        return ProducerRecord(
            topic=DEFERRED.topic, key=self.item.record.key, value=self.item.record.value, headers=headers
        )

    def _published(self, index: int, action: Action) -> ProducerRecord:
        part = self._states[index].part
        fields = {
            "order": self.order,
            "part": part.number,
            "of": part.of,
            "trade_no": part.trade_no.value,
            "ending": _ending(action),
            "message": action.message if isinstance(action, Park) else "",
        }
        return ProducerRecord(topic=PUBLISHED, key=part.trade_no.value.encode(), value=json.dumps(fields).encode())


def _ending(action: Action) -> str:
    match action:
        case Finish(result=Failed()):
            return "failed"
        case Finish():
            return "submitted"
        case Park(reason=reason):
            return reason.value
    raise TypeError(f"{type(action).__name__} ends nothing")
