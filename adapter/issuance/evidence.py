"""Collect the evidence that ECTicket does not know a trade number.

"Not known" is the only ground for sending again or for calling a part failed (docs/delivery.md, "Not known"). One
answer does not prove it: RtnCode ≠ 1 may mean an unknown number, a job that has not run yet, or a maintenance in which
every query is refused. Only a chain proves it, each step within a minute of the last query:

    query ──► control ──► RtnCode 1 for a known number ──► query, both queries after the waiting time is over

Both queries of the part's own number and the control (a random number of the same kind) are refused with the same
code. Between the two queries, QueryIssueResult itself answered RtnCode 1 for a number of this merchant that is known to
exist. RtnCode 1 from Issue or QueryItemInfo is no proof: queries alone may be down, and then an issued order would be
called failed or be sent again. With an older RtnCode 1, an outage that began after it would pass for "not known". A
single query on either side of it could fall into an outage that just begins or just ends. Two queries with a liveness
query between them cannot both do so.

Does not know phases and waiting times.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Self

from msgspec import Struct

from adapter.values import replace

WINDOW = timedelta(seconds=60)
"""The minute in which the steps of the chain must lie."""


class NegativeAnswer(Struct, frozen=True, kw_only=True):
    """A query that was answered with RtnCode ≠ 1."""

    queried_at: datetime
    answered_at: datetime
    code: int


class EvidenceStep(Enum):
    """The next step of the chain, or its result."""

    QUERY = auto()
    CONTROL = auto()
    LIVENESS = auto()
    CONTRADICTED = auto()
    """The control was refused with another code, so the answers prove nothing."""
    COMPLETE = auto()


class Evidence(Struct, frozen=True, kw_only=True):
    """The chain so far."""

    first: NegativeAnswer | None = None
    control: NegativeAnswer | None = None
    accepted_at: datetime | None = None
    second: NegativeAnswer | None = None

    def with_query(self, answer: NegativeAnswer) -> Self:
        """Add an answer about the part's own number; after a second query the chain begins again."""
        first = self.first
        follows = (
            first is not None
            and self.second is None
            and self.accepted_at is not None
            and answer.code == first.code
            and self.accepted_at <= answer.queried_at <= first.queried_at + WINDOW
        )
        if follows:
            return replace(self, second=answer)
        return replace(self, first=answer, accepted_at=None, second=None)

    def with_control(self, answer: NegativeAnswer) -> Self:
        """Add an answer about a random number."""
        return replace(self, control=answer)

    def with_accepted(self, at: datetime) -> Self:
        """Add an RtnCode 1 of QueryIssueResult for a number of the merchant; it counts only after the first query."""
        if self.first is None or self.accepted_at is not None or at < self.first.answered_at:
            return self
        return replace(self, accepted_at=at)

    def missing_step(self, *, ready_at: datetime, now: datetime) -> EvidenceStep:
        """Return the missing step; both queries count only if they were sent at or after `ready_at`.

        Otherwise an outage at the beginning of the waiting time and another one at its end would pass for "not known".
        """
        latest = self.second or self.first
        if latest is None or now - latest.queried_at > WINDOW:
            return EvidenceStep.QUERY
        if self.control is None or abs(latest.queried_at - self.control.queried_at) > WINDOW:
            return EvidenceStep.CONTROL
        if self.control.code != latest.code:
            return EvidenceStep.CONTRADICTED if self.control.queried_at >= latest.queried_at else EvidenceStep.CONTROL
        if self.accepted_at is None:
            return EvidenceStep.LIVENESS
        if self.second is None or self.first is None or self.first.queried_at < ready_at:
            return EvidenceStep.QUERY
        return EvidenceStep.COMPLETE
