"""An ECTicket as bad as may be: a repeated number issues again, effects and visibility come late, answers are lost.

It is bounded only where the promise is: an Issue has its effect, and queries see it, before the waiting time
is over; outages, in which everything or one endpoint refuses, are at least two minutes apart. A number whose tickets
are being made may be answered for with a code of its own for any length of time. Does not know who calls.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import Enum, unique

from adapter.issuance.answers import Accepted, Refused
from adapter.issuance.plan import Part

from .invariants import AnsweredQuery, Invariants

LANDS_WITHIN, SHOWS_WITHIN = 290.0, 590.0
"""Seconds from an Issue's first byte until its effect at the latest, and until queries see it."""
BETWEEN_MAINTENANCES = 120.0
OK, UNKNOWN, REFUSED, BEING_MADE, CLOSED = 1, 404, 77, 102, 900
"""RtnCodes: done, no such number, refused, the tickets are being made, maintenance."""


@unique
class Landing(Enum):
    """What comes of an Issue that arrives."""

    DONE = "done"
    DONE_SLOWLY = "done, and answered for with a code of its own until an operator repairs it"
    DONE_AND_REFUSED = "done, and refused"
    REFUSED = "refused"
    LOST = "lost on its way"


@unique
class Outage(Enum):
    """What refuses everything, with one code."""

    ALL = "every endpoint"
    QUERIES = "QueryIssueResult alone"
    ISSUE = "Issue alone"


@dataclass(slots=True, eq=False)
class IssueCall:
    """An Issue on the wire; `answer` is what ECTicket says once it has landed, None where it says nothing."""

    order: str
    part: Part
    begun_at: float
    landed: bool = False
    answer: Accepted | Refused | None = None

    @property
    def trade_no(self) -> str:
        """Its number."""
        return self.part.trade_no.value


@dataclass(slots=True, eq=False)
class Effect:
    """Tickets; queries see them once `visible`."""

    trade_no: str
    shows_at: float
    slow: bool
    visible: bool = False


class SimulatedEcticket:
    """Calls on the wire, tickets, and which endpoint is out of order, with which code it refuses."""

    def __init__(self, invariants: Invariants) -> None:
        self.on_the_wire: list[IssueCall] = []
        self.hidden: list[Effect] = []
        self.closed: int | None = None
        self.outage = Outage.ALL
        self._opened_at = -BETWEEN_MAINTENANCES
        self._effects: defaultdict[str, list[Effect]] = defaultdict(list)
        self._invariants = invariants

    # --- Issue -------------------------------------------------------------------------------------------------------

    def issue(self, order: str, part: Part, now: float) -> IssueCall:
        """An Issue is written."""
        self._invariants.issue_begins(part.trade_no.value, now)
        call = IssueCall(order, part, now)
        self.on_the_wire.append(call)
        return call

    def undo(self, call: IssueCall) -> None:
        """It did not get there, and its sender gets that answer."""
        self.on_the_wire.remove(call)
        self._invariants.issue_was_nothing(call.trade_no, call.begun_at)

    def land(self, call: IssueCall, landing: Landing) -> None:
        """It gets there."""
        self.on_the_wire.remove(call)
        call.landed = True
        if landing is Landing.LOST:
            return
        if self.closed is not None and self.outage is not Outage.QUERIES:
            call.answer = Refused(code=self.closed, message="maintenance")
            return
        if landing in (Landing.REFUSED, Landing.DONE_AND_REFUSED):
            call.answer = Refused(code=REFUSED, message="refused")
        else:
            call.answer = Accepted(ticket_trade_no="2026010112001234")
        if landing is not Landing.REFUSED:
            effect = Effect(call.trade_no, call.begun_at + SHOWS_WITHIN, slow=landing is Landing.DONE_SLOWLY)
            self._effects[call.trade_no].append(effect)
            self.hidden.append(effect)
            self._invariants.issued(call.order, call.trade_no, call.part.of)

    def show(self, effect: Effect) -> None:
        """Queries see it from now on."""
        self.hidden.remove(effect)
        effect.visible = True

    def until(self, now: float) -> None:
        """What may not be later than now happens."""
        for call in [each for each in self.on_the_wire if each.begun_at + LANDS_WITHIN <= now]:
            self.land(call, Landing.DONE)
        for effect in [each for each in self.hidden if each.shows_at <= now and not each.slow]:
            self.show(effect)

    # --- questions ---------------------------------------------------------------------------------------------------

    def query(self, trade_no: str, now: float) -> int:
        """QueryIssueResult: the RtnCode."""
        if (refused := self._queries_refused) is not None:
            return refused
        effects = self._effects[trade_no]
        if any(effect.visible for effect in effects):
            return OK
        return BEING_MADE if any(effect.slow and effect.shows_at <= now for effect in effects) else UNKNOWN

    def control(self) -> int:
        """QueryIssueResult of a random number."""
        refused = self._queries_refused
        return UNKNOWN if refused is None else refused

    def probe(self) -> int:
        """QueryIssueResult of a number that exists."""
        refused = self._queries_refused
        return OK if refused is None else refused

    def item(self) -> int:
        """QueryItemInfo of a product that exists."""
        return self.closed if self.closed is not None and self.outage is Outage.ALL else OK

    @property
    def _queries_refused(self) -> int | None:
        return None if self.outage is Outage.ISSUE else self.closed

    def answered(self, about: str | None, code: int, at: float, now: float) -> None:
        """A question's answer got back."""
        self._invariants.queries.append(AnsweredQuery(about=about, code=code, at=at, answered_at=now))

    # --- maintenance -------------------------------------------------------------------------------------------------

    def may_close(self, now: float) -> bool:
        """Whether a maintenance can begin."""
        return self.closed is None and now >= self._opened_at + BETWEEN_MAINTENANCES

    def close(self, code: int, outage: Outage = Outage.ALL) -> None:
        """Refuse everything, or everything at one endpoint, with this code."""
        self.closed, self.outage = code, outage

    def open(self, now: float) -> None:
        """The maintenance is over."""
        self.closed, self._opened_at = None, now
