"""Where one part of an order stands: its phase, what must never be forgotten about it, and what this sitting learned.

    planned ──► in doubt ──► refused            every open phase ──► deferred, parked
       │            │           │
       ├────────────┴───────────┼──► submitted ──► issued
       │                        │        ├──► delayed ──► issued, failed, parked
       └────────────────────────┴──► failed ◄─┘

A *sitting* is one go at the order: from taking it up until every part is settled, deferred or parked. What a sitting
learned by asking (`Evidence`, `Hold`) ends with it; the `PartHistory` travels with the order (`plan_codec`).

Exists because the phases decide whether money is spent twice. Refuses to know what to do next (`decide`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum, unique
from typing import Self

from adapter.issuance.evidence import Evidence
from adapter.issuance.plan import Part
from adapter.issuance.times import latest


@unique
class Phase(StrEnum):
    """How far one part has come."""

    PLANNED = "planned"
    """Certainly never sent."""
    IN_DOUBT = "in_doubt"
    """Possibly sent, so it is looked up and never blindly sent again."""
    REFUSED = "refused"
    """ECTicket answered Issue with RtnCode ≠ 1; never sent again, final once it is trustworthily not known."""
    SUBMITTED = "submitted"
    """ECTicket has it; its job will issue the tickets, or fail."""
    DELAYED = "delayed"
    """Submitted, and told to be late."""
    ISSUED = "issued"
    """The tickets exist."""
    FAILED = "failed"
    """No tickets exist, and none will."""
    DEFERRED = "deferred"
    """Open, and handed on to a later sitting."""
    PARKED = "parked"
    """On the dead letters: a person must look at it."""


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
"""The phases in which submitting has something left to do."""


class IllegalTransition(RuntimeError):
    """A part was led from one phase to another that does not follow it: a mistake in the adapter, never in an order."""


def check_transition(before: Phase, after: Phase) -> None:
    """Raises IllegalStep when `after` does not follow `before`."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(
            f"A part that is {before} cannot become {after}; it can become {sorted(TRANSITIONS[before])}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueRefusal:
    """What ECTicket answered to Issue instead of RtnCode 1, and when."""

    code: int
    message: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PartHistory:
    """What must never be forgotten about a part, however often its order is carried on.

    `first_attempt_at`, `last_attempt_at`: Issue calls that were written to the wire, by their end.
    `possibly_sent_since`: the last moment until which an Issue may have gone out whose answer nobody has; None means
    that there is none. `doubt` says what came instead of an answer. `control_known`: ECTicket claimed to know a random
    number, so that it is never believed again when it does not know this one. `unaccepted`: how often the envelope was
    not accepted. `retry_at`: ECTicket asked not to be called about it before.
    """

    first_attempt_at: datetime | None = None
    last_attempt_at: datetime | None = None
    possibly_sent_since: datetime | None = None
    doubt: str | None = None
    refusal: IssueRefusal | None = None
    control_known: bool = False
    unaccepted: int = 0
    retry_at: datetime | None = None

    def with_attempt(self, at: datetime) -> Self:
        """The same past with one more Issue call that was written."""
        return replace(self, first_attempt_at=self.first_attempt_at or at, last_attempt_at=at)

    def with_doubt(self, since: datetime, detail: str) -> Self:
        """The same past with one more Issue that may have gone out, until `since`."""
        return replace(self, possibly_sent_since=latest(self.possibly_sent_since, since), doubt=detail)

    @property
    def phase(self) -> Phase:
        """The phase in which a sitting begins after this past."""
        if self.refusal is not None:
            return Phase.REFUSED
        return Phase.PLANNED if self.possibly_sent_since is None else Phase.IN_DOUBT


@unique
class WaitReason(StrEnum):
    """Why a part waits or is deferred; for logs and metrics."""

    NOT_SENT = "not_sent"
    BREAKER_OPEN = "breaker_open"
    THROTTLED = "throttled"
    NOT_ACCEPTED = "not_accepted"
    RETRY_LATER_CODE = "not_now"
    UNANSWERED = "unanswered"
    DOUBT = "doubt"
    REFUSAL_NOT_FINAL = "refusal_not_final"
    CONTROL_KNOWN = "control_known"
    CONTROL_DIFFERS = "control_differs"
    PROBE_FAILED = "probe_failed"
    NO_KNOWN_NUMBER = "no_known_number"
    """No number of the merchant is known to exist, so nothing can show that QueryIssueResult answers in earnest."""
    ASKED_ENOUGH = "asked_enough"
    ANOTHER_PART_IN_DOUBT = "another_part_in_doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Nothing is done before `until`; None: not in this sitting. `counted`: it counts among the order's attempts."""

    until: datetime | None
    reason: WaitReason
    counted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """How ECTicket's having the part was learned; `recovered`: by asking, after an answer or a process was lost."""

    ticket_trade_no: str | None
    recovered: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """One part in one sitting.

    `first_seen_at` starts the order's give-up clock. `failed_calls` and `queries` count fruitless calls and answered
    queries of this sitting. `submission` is there from phase submitted on.
    """

    part: Part
    phase: Phase
    history: PartHistory
    first_seen_at: datetime
    evidence: Evidence = field(default_factory=Evidence)
    hold: Hold | None = None
    failed_calls: int = 0
    queries: int = 0
    submission: Submission | None = None

    @property
    def possibly_sent(self) -> bool:
        """Whether tickets may exist for this part although nobody said so."""
        return self.phase in OPEN and (self.history.possibly_sent_since is not None or self.history.refusal is not None)

    def moved(self, phase: Phase) -> Self:
        """The same part in its next phase.

        Raises IllegalStep.
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
    """Begin a sitting.

    `possibly_sent_since`: an earlier owner of the partition could have sent the part, at the latest then (the fence),
    or the record says that somebody did. No owner sends a refused part, so there it changes nothing.
    """
    history = history or PartHistory()
    if possibly_sent_since is not None and history.refusal is None:
        history = history.with_doubt(
            possibly_sent_since, history.doubt or "an earlier owner of the order may have sent it"
        )
    hold = Hold(until=history.retry_at, reason=WaitReason.THROTTLED, counted=False) if history.retry_at else None
    return PartState(part=part, phase=history.phase, history=history, first_seen_at=first_seen_at, hold=hold)
