"""The actions that a decision can return for one part, and the results in which a part can end.

`decide` returns them, and the flow performs them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum, unique

from msgspec import Struct

from adapter.issuance.state import WaitReason


@unique
class ParkReason(StrEnum):
    """The dead letter's reason if sending or confirming failed (docs/events.md)."""

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


class Submitted(Struct, frozen=True, kw_only=True):
    """ECTicket has the issuance."""

    ticket_trade_no: str | None
    """None if ECTicket did not send it."""
    recovered: bool
    """A query found the issuance."""
    at: datetime


class Failed(Struct, frozen=True, kw_only=True):
    """No tickets exist, and none will. Stage submit has a code and a message, stage confirm a remark."""

    stage: FailedStage
    rtn_code: int | None = None
    rtn_msg: str | None = None
    remark: str | None = None


class Send(Struct, frozen=True):
    """Issue, with the part's own request and number."""


class Query(Struct, frozen=True):
    """QueryIssueResult of the part's own number."""


class ControlQuery(Struct, frozen=True):
    """QueryIssueResult of a random number of the part's kind."""


class Probe(Struct, frozen=True):
    """QueryIssueResult of a number that is known to exist: RtnCode 1 shows that queries work."""


class Wait(Struct, frozen=True, kw_only=True):
    """Wait in place until `until`, which is soon."""

    until: datetime
    reason: WaitReason


class Finish(Struct, frozen=True, kw_only=True):
    """The part is settled: publish its result."""

    result: Submitted | Failed


class Defer(Struct, frozen=True, kw_only=True):
    """Defer the part to a later run."""

    useful_at: datetime
    """Before this time nothing but a query is possible."""
    reason: WaitReason
    counted: bool
    """This run counts as one of the order's attempts (`ecticket-attempts`); waits for a breaker do not."""


class Park(Struct, frozen=True, kw_only=True):
    """Put the part on the dead letters; `message` says what happened and what to do, without customer data."""

    reason: ParkReason
    message: str


Action = Send | Query | ControlQuery | Probe | Wait | Finish | Defer | Park
