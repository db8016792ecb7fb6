"""The plan of a run is all that chance decides beforehand."""

from __future__ import annotations

from collections import Counter
from datetime import date

import pytest

from adapter import Customer, Line, Order
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy, check
from adapter.issuance.plan import plan as make_plan
from adapter.protocol.endpoints import Family
from chaos.protections import PROTECTIONS
from chaos.run import FAMILY_DAY, arriving, mapped
from chaos.scenario import CHANGING, MAPPINGS, PROFILES, WORST, Scenario, plan

CUSTOMER = Customer(name="Wq Test", phone="0912345678", email="a@example.com")
SCENARIOS = [*PROFILES.values(), *(protection.scenario for protection in PROTECTIONS.values())]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_seed_reproduces_the_plan_and_its_orders(scenario: Scenario) -> None:
    """The same seed: the same faults at the same moments, and the same orders; another seed: others."""
    first, second, other = (plan(scenario, seed, orders=40) for seed in (1, 1, 2))

    assert first == second
    assert arriving(first) == arriving(second)
    assert arriving(first) != arriving(other)


def test_each_fault_of_the_scenario_is_scheduled_in_every_round() -> None:
    """However the seed shuffles them."""
    found = Counter(scheduled.kind for scheduled in plan(WORST, 5, orders=10, rounds=3).scheduled_faults)

    assert found == {kind: 3 * times for kind, times in Counter(WORST.scheduled_faults).items()}


def test_some_orders_arrive_twice_later_and_unchanged() -> None:
    """A tenth of the early ones: plain ones a hundred orders later, the plugin's when their first record has ended."""
    arrivals = arriving(plan(CHANGING, 1, orders=200))
    values = [order.value for order in arrivals.paced]
    again = [value for value, times in Counter(values).items() if times == 2]

    assert len(values) == 205
    assert len(again) == len(arrivals.again) == 5
    assert all(value not in values[values.index(value) + 1 :][:5] for value in again)
    assert {order.parts for order in arrivals.again} == {None}
    assert {order.value for order in arrivals.again} <= set(values)


def test_what_waits_outlasts_what_it_waits_for() -> None:
    """Lag and late effects together end before the waiting times do: those are the terms of the promise."""
    for scenario in PROFILES.values():
        latest = 1.5 + scenario.sandbox.visible_after_seconds
        assert latest < float(scenario.settings["submit.refusal_final_after_seconds"])
        assert latest < float(scenario.settings["submit.reissue_after_seconds"])


@pytest.mark.parametrize("text", MAPPINGS, ids=["one item", "two parts", "fewer tickets"])
def test_every_mapping_makes_orders_that_can_be_issued(text: str) -> None:
    """With a mapping that ECPay's rules refuse, the scenario would not test what it is for."""
    order = Order(order_id="A-1", merchant_id="3085676", lines=(Line(sku=FAMILY_DAY, quantity=2),), customer=CUSTOMER)
    policy = PlanPolicy(
        family=Family.TICKET, derive=DeriveTradeNo.ALWAYS, prefix="", operator="till", store_id=None,
        refund_notify_url=None, use_status_notify_url=None, payment_provider=None,
    )  # fmt: skip

    parts = make_plan(order, mapped(text), policy)

    check(parts, date(2026, 1, 1))
