"""The whole promise, against every interleaving of owners that die, hang and wake, their broker, and ECTicket.

The state machine looks for a way to break it; then each protection is switched off, and a way is found. What random
search would take minutes to meet is written down as a scenario: it breaks the invariant without its
protection, and ends well with it.

`ECTICKET_MODEL_EXAMPLES` makes the search longer (`make test` tries 120); then it is no longer the same each time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from quick import QUICK, examples

from adapter.values import replace

from . import scenarios
from .invariants import Broken
from .machine import OwnersAndEcticket
from .protections import ALL_ON
from .world import World

EXAMPLES = examples(120)
LONG = int(os.environ.get("ECTICKET_MODEL_EXAMPLES", "0"))
SEARCH = settings(
    stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not LONG, database=None
)
FIND_ONE = settings(SEARCH, max_examples=400, phases=[Phase.generate], derandomize=True)
"""Measured: none of what is looked for below takes more than 80."""

Scenario = Callable[[World], None]

PUBLISHED_TWICE = "has two outcomes"
NO_GROUNDS = "sent again without a trustworthy not-known"
TWO_SETS = "has two sets of tickets"
TWO_PLANS = "has tickets under two plans"
FAILED_WITH_TICKETS = "was published as failed, and has 1 sets of tickets"


@pytest.mark.timeout(0 if LONG else 300)
def test_no_interleaving_breaks_an_invariant() -> None:
    """All promises of docs/delivery.md that concern money, after every step and at rest.

    And it is no idyll: orders are submitted, fail, and stay unresolved.
    """
    ends: Counter[str] = Counter()

    class Counted(OwnersAndEcticket):
        def teardown(self) -> None:
            super().teardown()
            if hasattr(self, "world"):
                ends.update(self.world.invariants.endings)

    run_state_machine_as_test(Counted, settings=settings(SEARCH, max_examples=LONG or EXAMPLES))

    assert QUICK or set(ends) >= {"submitted", "failed", "unresolved"}, ends


@pytest.mark.parametrize(
    ("without", "broken"),
    [
        ("reservation", NO_GROUNDS),
        ("possibly_sent", NO_GROUNDS),
        ("plan_travels", NO_GROUNDS),
        ("query", NO_GROUNDS),
        ("control_query", NO_GROUNDS),
        ("liveness_proof", NO_GROUNDS),
        ("same_endpoint", NO_GROUNDS),
        ("waiting", NO_GROUNDS),
    ],
)
def test_without_a_protection_the_machine_finds_a_broken_invariant(without: str, broken: str) -> None:
    """It can fail, for each of them: nothing here is kept by luck, or twice over."""
    with pytest.raises(Broken, match=broken):
        run_state_machine_as_test(_machine(without), settings=FIND_ONE)


@pytest.mark.parametrize("without", ["reservation", "possibly_sent", "plan_travels", "query", "waiting"])
def test_without_a_protection_tickets_are_issued_twice(without: str) -> None:
    """The result: the same, or under two plans, if a send without grounds is not a failure by itself."""
    with pytest.raises(Broken, match=f"{TWO_SETS}|{TWO_PLANS}"):
        run_state_machine_as_test(_machine(without, watched=False), settings=FIND_ONE)


SCENARIOS = [
    (scenarios.a_zombie_commits, "fencing", PUBLISHED_TWICE),
    (scenarios.settled_beyond_an_open_record, "settled_runs", PUBLISHED_TWICE),
    (scenarios.a_zombie_sends, "lease", TWO_SETS),
    (scenarios.the_first_owner_comes_back, "own_commit", TWO_SETS),
    (scenarios.an_old_outcome_comes_back, "fresh_revoked_work", TWO_SETS),
    (scenarios.the_mapping_changes_after_a_crash, "fingerprint", TWO_PLANS),
    (scenarios.tickets_are_being_made, "control_query", TWO_SETS),
    (scenarios.a_maintenance_passes_for_not_known, "liveness_proof", FAILED_WITH_TICKETS),
    (scenarios.queries_alone_are_down, "same_endpoint", TWO_SETS),
    (scenarios.a_refusal_while_queries_alone_are_down, "same_endpoint", FAILED_WITH_TICKETS),
    (scenarios.a_plan_that_shrinks, "candidate_numbers", TWO_PLANS),
]


@pytest.mark.parametrize(
    ("scenario", "without", "broken"), SCENARIOS, ids=[scenario.__name__ for scenario, _, _ in SCENARIOS]
)
def test_a_scenario_breaks_the_invariant_without_its_protection(scenario: Scenario, without: str, broken: str) -> None:
    """Rare, and written down; it goes on until everything is at rest."""
    world = World(replace(ALL_ON, **{without: False}), watched=False)

    with pytest.raises(Broken, match=broken):
        _to_the_end(world, scenario)


@pytest.mark.parametrize("scenario", [scenario for scenario, _, _ in SCENARIOS])
def test_the_same_scenarios_end_well_with_all_protections(scenario: Scenario) -> None:
    """And there is an end: each order is published once."""
    world = World()

    _to_the_end(world, scenario)

    assert all(map(world.invariants.is_published, world.orders))


def _machine(without: str, *, watched: bool = True) -> type[RuleBasedStateMachine]:
    attributes = {"protections": replace(ALL_ON, **{without: False}), "watched": watched}
    return type(f"Without_{without}", (OwnersAndEcticket,), attributes)


def _to_the_end(world: World, scenario: Scenario) -> None:
    try:
        scenario(world)
        world.rest()
    finally:
        world.close()
