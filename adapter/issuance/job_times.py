"""Learns how long ECTicket's jobs take, so that an issuance is queried when its answer is likely.

ECTicket does not say when a job was done: a query only shows whether it is done by now. So each merchant and issue type
has an estimate, the age at which three of four jobs are done, of a window of results:

* done at the first query: the job took at most that long, and counts as a little shorter; so the estimate falls slowly.
* not done at the first query: it took some time between that query and the one that found it done, and counts as at
  most twice the age of the first; so a few slow jobs, the last ones of a sale, do not spoil the estimate.
* every twentieth issuance is queried at half of the estimate. If three of these in a row are done, jobs have become
  faster, and the estimate falls at once; after an outage it would take hours otherwise.

The estimate starts at `confirm.first_query_seconds`, never falls below it, and never exceeds
`ConfirmPolicy.longest_first_query_seconds`. A slow job moves it little, because three of four decide. It is forgotten
at a restart. Pure; memory is bounded by the number of merchants.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from adapter.issuance.confirm import Awaited, ConfirmPolicy
from adapter.protocol.issue import IssueType

WINDOW: Final = 32
"""So many of the latest results decide."""
LEAST: Final = 4
"""With fewer results the estimate stays as it is."""
DONE_SHARE: Final = 0.75
"""The share of jobs that are done at the estimated age."""
SHORTER: Final = 0.985
"""A job that was done at its first query counts as so much of that age."""
PROBE_EVERY: Final = 20
PROBE_SHARE: Final = 0.5
PROBES_DONE: Final = 3
_IS_EARLY: Final = 0.6
"""A first query below this share of the estimate shows only whether jobs have become faster."""
_ON_TIME: Final = 1.25
"""A first query that was later than this shows nothing: its time was not chosen."""


@dataclass(slots=True)
class _Estimate:
    seconds: float
    results: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    begun: int = 0
    done_early: int = 0


class JobTimes:
    """The estimates of one process."""

    def __init__(self, policy: ConfirmPolicy) -> None:
        self._policy = policy
        self._estimates: dict[tuple[str, IssueType], _Estimate] = {}

    def likely_seconds(self, merchant_id: str, issue_type: IssueType) -> float:
        """Return the age of an issuance at which its job is probably done."""
        estimate = self._estimates.get((merchant_id, issue_type))
        return self._policy.first_query_seconds_of(issue_type) if estimate is None else estimate.seconds

    def first_query_seconds(self, merchant_id: str, issue_type: IssueType) -> float:
        """Return the age at which to query the next issuance for the first time."""
        estimate = self._estimates.get((merchant_id, issue_type))
        if estimate is None:
            return self._policy.first_query_seconds_of(issue_type)
        estimate.begun += 1
        if estimate.begun % PROBE_EVERY:
            return estimate.seconds
        return max(self._policy.first_query_seconds_of(issue_type), PROBE_SHARE * estimate.seconds)

    def record(self, merchant_id: str, awaited: Awaited, done_at: datetime) -> None:
        """Learn from an issuance that a query found done at `done_at`; nothing if its first query was not planned."""
        first, age = awaited.first_query_seconds, (done_at - awaited.submitted_at).total_seconds()
        if first is None or awaited.issue_type is IssueType.PAPER:
            return
        at_once = awaited.queries == 1
        if at_once and age > max(_ON_TIME * first, first + 1.0):
            return
        estimate = self._estimates.setdefault(
            (merchant_id, awaited.issue_type), _Estimate(self._policy.first_query_seconds_of(awaited.issue_type))
        )
        if first < _IS_EARLY * estimate.seconds:
            self._record_early(estimate, first, done=at_once)
        else:
            # What was planned for an older, higher estimate does not raise the present one.
            longest = max(2 * first, first + self._policy.query_interval_seconds)
            done_after = min(SHORTER * first, estimate.seconds) if at_once else min((first + age) / 2, longest)
            self._record_result(estimate, done_after)

    def _record_early(self, estimate: _Estimate, first: float, *, done: bool) -> None:
        estimate.done_early = estimate.done_early + 1 if done else 0
        if estimate.done_early == PROBES_DONE:
            estimate.done_early = 0
            estimate.results.clear()
            estimate.seconds = self._bounded(first)

    def _record_result(self, estimate: _Estimate, done_after: float) -> None:
        estimate.results.append(done_after)
        if len(estimate.results) >= LEAST:
            estimate.seconds = self._bounded(sorted(estimate.results)[int(DONE_SHARE * len(estimate.results))])

    def _bounded(self, seconds: float) -> float:
        return min(max(self._policy.first_query_seconds, seconds), self._policy.longest_first_query_seconds)
