"""Scenarios of the model that random search meets too rarely, written down: each needs one protection above all."""

from __future__ import annotations

from .ecticket import UNKNOWN, Landing, Outage
from .world import World

TWO_MINUTES, ELEVEN_MINUTES = 120.0, 660.0
MANY = 20
"""More steps than a run has."""


def begin_to_handle(world: World, orders: int = 1) -> None:
    """Process 0 has these orders in hand, reserved, and has done nothing about them yet."""
    for _ in range(orders):
        world.order()
    world.work(0, 0)
    world.batch(0)
    world.work(0, 0)


def settled_beyond_an_open_record(world: World) -> None:
    """The second order is settled, the first one's answer is awaited, and the process dies."""
    begin_to_handle(world, orders=2)
    world.work(0, 2)
    world.land(1, Landing.DONE)
    world.issue_answer(1, lost=False)
    world.work(0, MANY)
    world.batch(0)
    world.crash(0)
    world.rebalance(0, 0)
    world.take_over(1)
    world.work(0, MANY)
    world.batch(0)


def a_zombie_commits(world: World) -> None:
    """Cut off with an answer in hand, it publishes it after another owner has found out and published."""
    begin_to_handle(world)
    world.work(0, 1)
    world.land(0, Landing.DONE)
    world.show(0)
    world.issue_answer(0, lost=False)
    world.work(0, MANY)
    world.others_go_on(0, 0.0, MANY)
    for pick in range(2):
        world.batch(pick)


def a_zombie_sends(world: World) -> None:
    """Cut off before its send, it wakes when another owner has asked, waited and sent."""
    begin_to_handle(world)
    world.others_go_on(0, ELEVEN_MINUTES, MANY)
    world.land(0, Landing.DONE)
    world.work(0, MANY)
    world.work(1, MANY)


def the_first_owner_comes_back(world: World) -> None:
    """Cut off before its send, it is back when another owner has asked, waited, sent, and died without a word."""
    begin_to_handle(world)
    world.others_go_on(0, ELEVEN_MINUTES, MANY)
    world.land(0, Landing.DONE)
    world.crash(1)
    world.cut_off_or_reconnect(0)
    world.rebalance(0, 0)
    world.take_over(0)
    world.batch(0)
    world.work(0, MANY)
    world.land(0, Landing.DONE)


def an_old_outcome_comes_back(world: World) -> None:
    """Deferred by a process that is cut off before its commit; sent by another one, which dies; then it is back.

    The deferred record would say "last sent" eleven minutes too early, while the second Issue is still on its way.
    """
    begin_to_handle(world)
    world.work(0, 1)
    world.land(0, Landing.LOST)
    world.issue_answer(0, lost=True)
    world.work(0, MANY)
    world.batch(0, lands=False)
    world.others_go_on(0, ELEVEN_MINUTES, MANY)
    world.crash(1)
    world.cut_off_or_reconnect(0)
    world.rebalance(0, 0)
    for _ in range(2):
        world.take_over(0)
        world.work(0, MANY)
        world.batch(0)
        world.passes(65.0)


def the_mapping_changes_after_a_crash(world: World) -> None:
    """Sent as one part; then the mapping makes two parts of the order, and ECTicket knows the first one's number."""
    begin_to_handle(world)
    world.work(0, 1)
    world.land(0, Landing.DONE)
    world.show(0)
    world.crash(0, "two parts")
    world.rebalance(0, 0)


def tickets_are_being_made(world: World) -> None:
    """Ten minutes after a lost answer the number is answered for with a code that no unknown number has."""
    begin_to_handle(world)
    world.work(0, 1)
    world.land(0, Landing.DONE_SLOWLY)
    world.issue_answer(0, lost=True)
    _goes_on(world)


def a_maintenance_passes_for_not_known(world: World) -> None:
    """Ten minutes after a lost answer every number is unknown, since everything is refused."""
    begin_to_handle(world)
    world.work(0, 1)
    world.land(0, Landing.DONE)
    world.issue_answer(0, lost=True)
    world.maintenance(UNKNOWN)
    _goes_on(world)
    _goes_on(world)


def queries_alone_are_down(world: World) -> None:
    """Ten minutes after a lost answer every number is unknown, while Issue and QueryItemInfo work as ever."""
    begin_to_handle(world)
    world.work(0, 1)
    world.land(0, Landing.DONE)
    world.issue_answer(0, lost=True)
    world.maintenance(UNKNOWN, Outage.QUERIES)
    _goes_on(world)


def a_refusal_while_queries_alone_are_down(world: World) -> None:
    """Rejected, and executed all the same; ten minutes later every number is unknown."""
    begin_to_handle(world)
    world.work(0, 1)
    world.land(0, Landing.DONE_AND_REFUSED)
    world.issue_answer(0, lost=False)
    world.maintenance(UNKNOWN, Outage.QUERIES)
    _goes_on(world)


def _goes_on(world: World) -> None:
    """Process 0 goes on with its order through the deferred topic, for longer than the waiting time."""
    for _ in range(12):
        world.work(0, MANY)
        world.land(0, Landing.DONE)
        world.issue_answer(0, lost=False)
        world.work(0, MANY)
        world.batch(0)
        world.passes(65.0)


def a_plan_that_shrinks(world: World) -> None:
    """Sent in two parts, of which only the second arrives; after a crash, the mapping makes one part of the order."""
    world.crash(0, "two parts")
    world.rebalance(0, 0)
    world.take_over(0)
    begin_to_handle(world)
    world.work(0, 5)
    world.land(0, Landing.LOST)
    world.issue_answer(0, lost=True)
    world.work(0, 2)
    world.land(0, Landing.DONE)
    world.crash(0, "one part")
    world.rebalance(0, 0)
    world.passes(ELEVEN_MINUTES)
