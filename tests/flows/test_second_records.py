"""An order has the tickets of one plan, however often it comes, and whatever its mapping makes of it meanwhile.

`ECTICKET_SECOND_RECORDS_EXAMPLES` makes the search longer; then it is no longer the same each time.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.flows.number_history import OrderNumbers
from adapter.issuance.decide import QueryFirst
from adapter.testing.ecticket import LOST_AFTER, LOST_BEFORE, NOT_ACCEPTED, NOT_SENT, REFUSED, REFUSED_AFTER
from flows.harness import KNOWN_TRADE_NO
from flows.second_records import BEFORE_COMMIT, LATE, Crash, LivedStory, Step, Story, quick_starts

LONG = int(os.environ.get("ECTICKET_SECOND_RECORDS_EXAMPLES", "0"))
SEARCH = settings(
    max_examples=LONG or examples(300),
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)

# A first plan has one part, mostly, and a later one several: so the later ones have numbers that are free.
FIRST_PLANS = st.sampled_from(["E", "S", "ES", "EG", "ESP"])
PLANS = st.sampled_from(["ES", "SE", "EG", "SEP", "ESPG", "E", "P", ""])
RELEASES = st.sampled_from([(0, 1, 2), (0, 1, 2), (0, 2, 1), (0, 1, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (0, 0, 0)])
FAULTS = st.sampled_from([None, LOST_AFTER, LOST_BEFORE, LATE, REFUSED, REFUSED_AFTER, NOT_SENT, NOT_ACCEPTED])


def _steps(releases: int) -> st.SearchStrategy[Step]:
    release = st.integers(0, releases - 1)
    crash = st.builds(
        Crash,
        at=st.integers(0, 6) | st.integers(7, 60) | st.just(BEFORE_COMMIT),
        after_effect=st.booleans(),
        release=st.none() | release,
    )
    return st.builds(
        Step,
        pause=st.sampled_from([0.0, 5.0, 65.0, 605.0]),
        release=st.none() | release,
        reserved=st.booleans(),
        pick=st.integers(0, 1),
        hands_off=st.sampled_from([False, False, False, True]),
        faults=st.lists(FAULTS, max_size=3).map(tuple),
        trouble=st.sampled_from([None, None, "queries refused", "maintenance", "silent"]),
        trouble_calls=st.just((0, BEFORE_COMMIT)) | st.tuples(st.integers(0, 8), st.integers(1, 12)),
        crash=st.none() | crash,
    )


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Stories in which the first record is issued, and then one or two others come."""
    releases = tuple(draw(st.lists(RELEASES, min_size=2, max_size=3)))
    steps = _steps(len(releases))
    return Story(
        plans=(draw(FIRST_PLANS), draw(PLANS), draw(PLANS)),
        releases=releases,
        first_steps=tuple(draw(st.just([]) | st.lists(steps, max_size=4))),
        pause=draw(st.sampled_from([0.0, 30.0, 700.0])),
        records=draw(st.sampled_from([2, 2, 3])),
        both_at_once=draw(st.booleans()),
        apart=draw(st.booleans()),
        steps=tuple(draw(st.lists(steps, min_size=1, max_size=6))),
        last_release=draw(st.integers(0, len(releases) - 1)),
        trade_no=draw(st.sampled_from([None, None, None, "PAID1"])),
        known_trade_no=draw(st.sampled_from([KNOWN_TRADE_NO, KNOWN_TRADE_NO, None])),
        query_first=draw(st.sampled_from([*QueryFirst])),
        confirms=draw(st.booleans()),
        visible_after=draw(st.sampled_from([0.0, 0.0, 60.0, 290.0])),
        effect_after=draw(st.sampled_from([20.0, 290.0])),
    )


async def _lived(story: Story) -> LivedStory:
    with quick_starts():
        lived = LivedStory(story)
        await lived.live()
    return lived


@pytest.mark.timeout(0 if LONG else 300)
@given(story=stories())
@SEARCH
async def test_an_order_has_the_tickets_of_one_plan(story: Story) -> None:
    """Each record ends, what was bought is of one plan, no number is issued twice, and events say the truth."""
    lived = await _lived(story)

    assert lived.disagreements() == [], "\n".join(lived.log)


def test_the_search_finds_tickets_of_two_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so if nothing remembers by which record an order got a number."""
    monkeypatch.setattr(OrderNumbers, "of_other_record", lambda *_: False)

    def of_two_plans(story: Story) -> bool:
        return any("of two plans" in each for each in asyncio.run(_lived(story)).disagreements())

    find(stories(), of_two_plans, settings=settings(SEARCH, max_examples=400, phases=[Phase.generate]))
