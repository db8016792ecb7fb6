"""How long jobs take is learned from queries alone: an answer is queried for when it is likely.

`Shop` plays a shop and an ECTicket whose jobs take the times of a test: it plans, queries and learns as the confirm
stage does, with the same functions.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.issuance.answers import Known
from adapter.issuance.confirm import Awaited, ConfirmPolicy, Issued, QueryAgain, next_confirm_step, with_answer
from adapter.issuance.job_times import LEAST, PROBE_EVERY, PROBES_DONE, WINDOW, JobTimes
from adapter.protocol.issue import IssueType, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus
from adapter.values import replace

from .samples import ELECTRONIC, PAPER, SERIAL, T0, at

POLICY = ConfirmPolicy()
MERCHANT = "3085676"
DONE, IN_PROGRESS = Known(status=IssueStatus.ISSUED), Known(status=IssueStatus.IN_PROGRESS)


def issued(first: float | None, *, queries: int = 1, kind: IssueType = ELECTRONIC) -> Awaited:
    """An issuance whose result is known after so many queries, the first of which was planned for that age."""
    trade_no = TradeNo(kind=TradeNoKind.FREE, value="GIFT1")
    return Awaited(trade_no=trade_no, issue_type=kind, submitted_at=T0, queries=queries, first_query_seconds=first)


class Shop:
    """Issues orders at a pace; keeps the queries of each, and the seconds from its job's end to its result."""

    def __init__(self, job_times: JobTimes, per_second: float, seed: int = 1) -> None:
        self.queries: list[int] = []
        self.late: list[float] = []
        self._job_times = job_times
        self._per_second = per_second
        self._chance = random.Random(seed)
        self._at = 0.0

    def issue(self, orders: int, job: Callable[[random.Random], float]) -> None:
        """Issue so many orders and await the result of each."""
        order = count()
        waiting: list[tuple[float, int, Awaited | None]] = [
            (self._at + number / self._per_second, next(order), None) for number in range(orders)
        ]
        jobs: dict[TradeNo, float] = {}
        while waiting:
            now, _, awaited = heapq.heappop(waiting)
            if awaited is None:
                first = self._job_times.first_query_seconds(MERCHANT, ELECTRONIC)
                awaited = replace(issued(first, queries=0), submitted_at=at(now), trade_no=_number(len(jobs)))
                jobs[awaited.trade_no] = now + job(self._chance)
                heapq.heappush(waiting, (now + first, next(order), awaited))
                continue
            done = now >= jobs[awaited.trade_no]
            awaited = with_answer(awaited, DONE if done else IN_PROGRESS)
            if done:
                self._job_times.record(MERCHANT, awaited, at(now))
            likely = self._job_times.likely_seconds(MERCHANT, ELECTRONIC)
            step = next_confirm_step(awaited, at(now), POLICY, jitter=self._chance.random(), likely_seconds=likely)
            if isinstance(step, QueryAgain):
                heapq.heappush(waiting, ((step.at - T0).total_seconds(), next(order), awaited))
            else:
                assert isinstance(step, Issued)
                self.queries.append(step.queries)
                self.late.append(now - jobs[awaited.trade_no])
            self._at = max(self._at, now)


def _number(number: int) -> TradeNo:
    return TradeNo(kind=TradeNoKind.FREE, value=f"GIFT{number}")


@pytest.mark.parametrize(("seconds", "per_second"), [(45, 0.1), (150, 0.1), (100, 1), (240, 1), (100, 5)])
def test_an_issuance_takes_about_one_query_if_jobs_take_the_same_time(seconds: float, per_second: float) -> None:
    """Without learning it takes two to four, and the result is late by up to the age of the issuance."""
    job_times = JobTimes(POLICY)
    shop = Shop(job_times, per_second)
    shop.issue(400 + round(15 * seconds * per_second), lambda _: seconds)

    settled = round(len(shop.queries) * 0.6)
    assert mean(shop.queries[settled:]) <= 1.3
    assert mean(shop.late[settled:]) <= 0.2 * seconds
    assert job_times.likely_seconds(MERCHANT, ELECTRONIC) == pytest.approx(seconds, rel=0.35)


def test_jobs_of_mixed_times_take_few_queries() -> None:
    """Three of four are done at the first query."""
    shop = Shop(JobTimes(POLICY), 1)
    shop.issue(2000, lambda chance: 120 * chance.lognormvariate(0, 0.2))

    assert mean(shop.queries[1000:]) <= 1.4


def test_slow_jobs_among_others_move_the_estimate_little() -> None:
    """One in thirty takes eight minutes; the last ones of a sale follow one another when all others are done."""
    job_times = JobTimes(POLICY)
    Shop(job_times, 1).issue(2000, lambda chance: 480 if chance.random() < 1 / 30 else 60)

    assert 50 <= job_times.likely_seconds(MERCHANT, ELECTRONIC) <= 160


def test_after_an_outage_the_estimate_falls_within_minutes() -> None:
    """Jobs took four minutes, and take twenty seconds again: results are late for minutes, not for hours."""
    job_times = JobTimes(POLICY)
    shop = Shop(job_times, 1)
    shop.issue(1000, lambda _: 240)
    assert job_times.likely_seconds(MERCHANT, ELECTRONIC) > 200

    shop.issue(1000, lambda _: 20)
    assert job_times.likely_seconds(MERCHANT, ELECTRONIC) == 30
    assert mean(shop.late[-200:]) <= 15


def test_the_first_query_is_as_configured_until_results_are_known() -> None:
    """One result, or a few, are not enough."""
    job_times = JobTimes(POLICY)
    for number in range(LEAST - 1):
        job_times.record(MERCHANT, issued(30, queries=2), at(100 + number))
    assert job_times.first_query_seconds(MERCHANT, ELECTRONIC) == 30

    job_times.record(MERCHANT, issued(30, queries=2), at(100))
    assert job_times.first_query_seconds(MERCHANT, ELECTRONIC) == 60  # at most twice the age of the first query


def test_merchants_and_issue_types_are_learned_apart() -> None:
    """The job of a serial number says nothing about that of another type, nor about another merchant's."""
    job_times = JobTimes(POLICY)
    for _ in range(WINDOW):
        job_times.record(MERCHANT, issued(30, queries=2), at(80))

    assert job_times.likely_seconds(MERCHANT, ELECTRONIC) == 55
    assert job_times.likely_seconds(MERCHANT, SERIAL) == 30
    assert job_times.likely_seconds("another", ELECTRONIC) == 30


def test_paper_is_queried_at_once() -> None:
    """It is issued during the call."""
    job_times = JobTimes(POLICY)
    for _ in range(WINDOW):
        job_times.record(MERCHANT, issued(0, queries=2, kind=PAPER), at(150))

    assert job_times.first_query_seconds(MERCHANT, PAPER) == 0
    assert job_times.likely_seconds(MERCHANT, PAPER) == 0


@pytest.mark.parametrize(
    ("awaited", "done"),
    [
        (issued(None), 900),  # waited in a process that has ended
        (issued(30), 900),  # the queries stood still
    ],
)
def test_a_first_query_whose_time_was_not_chosen_shows_nothing(awaited: Awaited, done: float) -> None:
    """After an outage all results are found late, and no job took that long."""
    job_times = JobTimes(POLICY)
    for _ in range(WINDOW):
        job_times.record(MERCHANT, awaited, at(done))

    assert job_times.likely_seconds(MERCHANT, ELECTRONIC) == 30


def test_every_twentieth_issuance_shows_whether_jobs_have_become_faster() -> None:
    """Three in a row that are done early count; a late one ends the row."""
    job_times = JobTimes(POLICY)
    for _ in range(WINDOW):
        job_times.record(MERCHANT, issued(80, queries=2), at(120))
    planned = [job_times.first_query_seconds(MERCHANT, ELECTRONIC) for _ in range(2 * PROBE_EVERY)]
    assert planned == ([100.0] * (PROBE_EVERY - 1) + [50.0]) * 2

    early, late = (issued(50), 50), (issued(50, queries=2), 101)
    for awaited, done in (*[early] * (PROBES_DONE - 1), late, *[early] * (PROBES_DONE - 1)):
        job_times.record(MERCHANT, awaited, at(done))
    assert job_times.likely_seconds(MERCHANT, ELECTRONIC) == 100
    job_times.record(MERCHANT, early[0], at(50))
    assert job_times.likely_seconds(MERCHANT, ELECTRONIC) == 50


results = st.tuples(st.floats(0, 1e6), st.integers(1, 9), st.floats(0, 1e9))


@settings(max_examples=examples(60))
@given(st.lists(results, max_size=40), st.floats(0, 1000), st.floats(0.1, 1000), st.floats(0.1, 5000))
def test_the_estimate_stays_within_the_settings(
    seen: list[tuple[float, int, float]], first: float, interval: float, delayed_after: float
) -> None:
    """Whatever was seen, an issuance is not queried before the configured age, nor first after it may be delayed."""
    policy = ConfirmPolicy(
        first_query_seconds=first, query_interval_seconds=interval, delayed_after_seconds=delayed_after
    )
    job_times = JobTimes(policy)
    for planned, queries, age in seen:
        job_times.record(MERCHANT, issued(planned, queries=queries), at(age))
        now = job_times.first_query_seconds(MERCHANT, ELECTRONIC)
        assert first <= now <= max(first, min(delayed_after, first + 8 * interval))


@settings(max_examples=examples(200))
@given(st.floats(30, 600), st.floats(0, 600), st.floats(0, 0.99))
def test_no_query_comes_before_its_answer_is_likely_nor_after_the_issuance_is_delayed(
    age: float, likely: float, jitter: float
) -> None:
    """`delayed` is published on time."""
    state = with_answer(issued(30, queries=0), IN_PROGRESS)
    step = next_confirm_step(state, at(age), POLICY, jitter=jitter, likely_seconds=likely)

    if isinstance(step, QueryAgain):
        assert at(min(likely, 600)) <= step.at <= at(600)
