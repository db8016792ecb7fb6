"""What a decision can say is to be done next with one part, and how a part can end.

Exists as the vocabulary between `decide` and the flow that acts. Refuses to know how any of it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, unique

from adapter.issuance.state import WaitReason


@unique
class ParkReason(StrEnum):
    """The dead letter's reason, where sending or awaiting is what failed (contract, section 2.3)."""

    REFUSED_ENVELOPE = "refused-envelope"
    UNRESOLVED = "unresolved"
    """Tickets may exist."""
    GAVE_UP = "gave-up"
    """Certainly never sent."""


@unique
class FailedStage(StrEnum):
    """Where an issuance failed."""

    SUBMIT = "submit"
    """ECTicket refused it."""
    CONFIRM = "confirm"
    """ECTicket's job failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """ECTicket has the issuance. `recovered`: found by asking. `ticket_trade_no`: None where ECTicket did not tell."""

    ticket_trade_no: str | None
    recovered: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No tickets exist, and none will. Stage submit comes with code and message, stage confirm with a remark."""

    stage: FailedStage
    rtn_code: int | None = None
    rtn_msg: str | None = None
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Issue, with the part's own request and number."""


@dataclass(frozen=True, slots=True)
class Query:
    """QueryIssueResult of the part's own number."""


@dataclass(frozen=True, slots=True)
class ControlQuery:
    """QueryIssueResult of a random number of the part's kind."""


@dataclass(frozen=True, slots=True)
class Probe:
    """QueryIssueResult of a number that is known to exist: RtnCode 1 shows that queries are answered in earnest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Come back at `until`, which is soon enough to stay here."""

    until: datetime
    reason: WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The part is settled: tell it."""

    result: Submitted | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer:
    """Hand the part on to a later sitting; before `useful_at` nothing can be done about it but ask.

    `counted`: this sitting counts among the order's attempts (`ecticket-attempts`); waits for a breaker do not.
    """

    useful_at: datetime
    reason: WaitReason
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Put the part on the dead letters; `message` says what happened and what to do, without customer data."""

    reason: ParkReason
    message: str


Action = Send | Query | ControlQuery | Probe | Wait | Finish | Defer | Park
