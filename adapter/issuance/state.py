"""The state of one part of an order: its phase, its history, and the evidence of this run.

    planned ──► in doubt ──► refused            every open phase ──► deferred, parked
       │            │           │
       ├────────────┴───────────┼──► submitted ──► issued
       │                        │        ├──► delayed ──► issued, failed, parked
       └────────────────────────┴──► failed ◄─┘

A *run* processes the order from its first action until every part is settled, deferred or parked. What a run learned
from queries (`Evidence`, `Postponement`) ends with it; the `PartHistory` stays with the order (`plan_codec`).

The phases decide whether money is spent twice. Does not decide what to do next (see `decide`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, unique
from typing import Self

from msgspec import Struct

from adapter.issuance.evidence import Evidence
from adapter.issuance.plan import Part
from adapter.issuance.times import latest
from adapter.values import replace


@unique
class Phase(StrEnum):
    """The phase of one part."""

    PLANNED = "planned"
    """Certainly never sent."""
    IN_DOUBT = "in_doubt"
    """Possibly sent, so it is queried and never blindly sent again."""
    REFUSED = "refused"
    """ECTicket answered Issue with RtnCode ≠ 1; never sent again, final once it is reliably not known."""
    SUBMITTED = "submitted"
    """ECTicket has it; its job will issue the tickets, or fail."""
    DELAYED = "delayed"
    """Submitted, and published as delayed."""
    ISSUED = "issued"
    """The tickets exist."""
    FAILED = "failed"
    """No tickets exist, and none will."""
    DEFERRED = "deferred"
    """Open, and deferred to a later run."""
    PARKED = "parked"
    """On the dead letters, for a person."""


TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.PLANNED: frozenset({Phase.IN_DOUBT, Phase.REFUSED, Phase.SUBMITTED, Phase.DEFERRED, Phase.PARKED}),
    Phase.IN_DOUBT: frozenset({Phase.IN_DOUBT, Phase.REFUSED, Phase.SUBMITTED, Phase.DEFERRED, Phase.PARKED}),
    Phase.REFUSED: frozenset({Phase.SUBMITTED, Phase.FAILED, Phase.DEFERRED, Phase.PARKED}),
    Phase.SUBMITTED: frozenset({Phase.ISSUED, Phase.FAILED, Phase.DELAYED, Phase.PARKED}),
    Phase.DELAYED: frozenset({Phase.ISSUED, Phase.FAILED, Phase.PARKED}),
    Phase.ISSUED: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.DEFERRED: frozenset(),
    Phase.PARKED: frozenset(),
}
"""The legal steps within one run. A deferred or replayed part begins its next run from its `PartHistory`."""

MAY_BE_SENT = frozenset({Phase.PLANNED, Phase.IN_DOUBT})
"""The phases in which an Issue call can be under way; a refused part is never sent again."""

OPEN = frozenset({Phase.PLANNED, Phase.IN_DOUBT, Phase.REFUSED})
"""The phases in which submitting is not finished."""


class IllegalTransition(RuntimeError):
    """A part was moved to a phase that does not follow its own: a defect of the adapter, never of an order."""


def check_transition(before: Phase, after: Phase) -> None:
    """Raise IllegalTransition if `after` does not follow `before`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(
            f"A part that is {before} cannot become {after}; it can become {sorted(TRANSITIONS[before])}."
        )


class IssueRefusal(Struct, frozen=True, kw_only=True):
    """What ECTicket answered to Issue instead of RtnCode 1, and when."""

    code: int
    message: str
    at: datetime


class PartHistory(Struct, frozen=True, kw_only=True):
    """The facts about a part that every later run keeps, however often its order is deferred."""

    first_attempt_at: datetime | None = None
    """When the first Issue call that was written to the wire ended."""
    last_attempt_at: datetime | None = None
    """When the last Issue call that was written to the wire ended."""
    possibly_sent_since: datetime | None = None
    """The last moment at which an Issue without a known answer may have been sent; None if there is none."""
    doubt: str | None = None
    """What came instead of an answer."""
    refusal: IssueRefusal | None = None
    control_known: bool = False
    """ECTicket claimed to know a random number, so its "not known" about this part is never believed again."""
    unaccepted: int = 0
    """How often the envelope was not accepted."""
    retry_at: datetime | None = None
    """ECTicket asked for no call about it before this time."""

    def with_attempt(self, at: datetime) -> Self:
        """Return this history with one more Issue call that was written."""
        return replace(self, first_attempt_at=self.first_attempt_at or at, last_attempt_at=at)

    def with_doubt(self, since: datetime, detail: str) -> Self:
        """Return this history with one more Issue that may have been sent, until `since`."""
        return replace(self, possibly_sent_since=latest(self.possibly_sent_since, since), doubt=detail)

    @property
    def phase(self) -> Phase:
        """The phase in which a run begins after this history."""
        if self.refusal is not None:
            return Phase.REFUSED
        return Phase.PLANNED if self.possibly_sent_since is None else Phase.IN_DOUBT


@unique
class WaitReason(StrEnum):
    """Why a part waits or is deferred; for logs and metrics."""

    NOT_SENT = "not_sent"
    BREAKER_OPEN = "breaker_open"
    HELD = "held"
    """An operator holds the merchant."""
    THROTTLED = "throttled"
    NOT_ACCEPTED = "not_accepted"
    RETRY_LATER_CODE = "retry_later_code"
    UNANSWERED = "unanswered"
    DOUBT = "doubt"
    REFUSAL_NOT_FINAL = "refusal_not_final"
    CONTROL_KNOWN = "control_known"
    CONTROL_DIFFERS = "control_differs"
    PROBE_FAILED = "probe_failed"
    NO_KNOWN_NUMBER = "no_known_number"
    """No number of the merchant is known to exist, so no query can show that QueryIssueResult works."""
    QUERY_LIMIT_REACHED = "query_limit_reached"
    ANOTHER_PART_IN_DOUBT = "another_part_in_doubt"


class Postponement(Struct, frozen=True, kw_only=True):
    """A reason not to act on a part for now."""

    until: datetime | None
    """Nothing is done before this time; None: not in this run."""
    reason: WaitReason
    counted: bool = True
    """It counts as one of the order's attempts."""


class Submission(Struct, frozen=True, kw_only=True):
    """How the adapter learned that ECTicket has the part."""

    ticket_trade_no: str | None
    recovered: bool
    """A query found it, after an answer or a process was lost."""
    at: datetime


class PartState(Struct, frozen=True, kw_only=True):
    """One part in one run."""

    part: Part
    phase: Phase
    history: PartHistory
    first_seen_at: datetime
    """The start of the order's give-up clock."""
    evidence: Evidence = Evidence()
    postponement: Postponement | None = None
    failed_calls: int = 0
    """Calls of this run that brought no answer to act on."""
    queries: int = 0
    """Queries of the part's own number that were answered in this run."""
    submission: Submission | None = None
    """Set from phase submitted on."""

    @property
    def possibly_sent(self) -> bool:
        """Whether tickets may exist for this part although ECTicket did not confirm it."""
        history = self.history
        return (history.possibly_sent_since is not None or history.refusal is not None) and self.phase in OPEN

    def moved(self, phase: Phase) -> Self:
        """Return the part in its next phase.

        Raises IllegalTransition.
        """
        check_transition(self.phase, phase)
        return replace(self, phase=phase)


def initial_state(
    part: Part,
    *,
    first_seen_at: datetime,
    history: PartHistory | None = None,
    possibly_sent_since: datetime | None = None,
) -> PartState:
    """Return the state in which a run begins.

    `possibly_sent_since`: an earlier owner of the partition could have sent the part, at the latest then (the fence),
    or the record's headers say that it may be sent. No owner sends a refused part, so for that it changes nothing.
    """
    history = history or PartHistory()
    if possibly_sent_since is not None and history.refusal is None:
        history = history.with_doubt(
            possibly_sent_since, history.doubt or "an earlier owner of the order may have sent it"
        )
    postponement = (
        Postponement(until=history.retry_at, reason=WaitReason.THROTTLED, counted=False) if history.retry_at else None
    )
    return PartState(
        part=part, phase=history.phase, history=history, first_seen_at=first_seen_at, postponement=postponement
    )
