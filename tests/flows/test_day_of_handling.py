"""The day that hooks count from is the record's: the same at every mapping, whatever day it is by then."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from adapter import TicketItem, hookimpl
from adapter.errors import UnmappedItem
from adapter.protocol.issue import IssueType
from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_AFTER
from adapter.testing.fakes import TOPICS
from flows.harness import Harness, derived, replayed

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugin below is what merchants write.

DAY = date(2026, 3, 1)


class CountsDays:
    """Writes down each day that it is given, and has a new item number for each."""

    def __init__(self) -> None:
        self.days: list[date | None] = []
        self.on_error = False

    @hookimpl
    def accept_order(self, order):
        self.days.append(order.received_on)

    @hookimpl
    def map_item(self, order, line):
        self.days.append(order.received_on)
        if self.on_error:
            raise UnmappedItem("Not in the season's list. Add it.")
        return [TicketItem(item_no=f"I{order.received_on:%m%d}", quantity=1, issue_type=IssueType.ELECTRONIC)]

    @hookimpl
    def shape_issue(self, order, request):
        self.days.append(order.received_on)
        return request


@pytest.fixture
def plugin() -> CountsDays:
    return CountsDays()


@pytest.fixture
def harness(plugin: CountsDays) -> Harness:
    """The records of its orders are written at noon of 1 March, Taipei's evening of the same day."""
    assert NOON.date() == DAY
    return Harness(plugins={"days": plugin})


async def test_every_hook_learns_the_day(harness: Harness, plugin: CountsDays) -> None:
    """Of its order's record, in Taipei."""
    published = await harness.work(harness.order())

    assert published.types == ["submitted"]
    assert set(plugin.days) == {DAY}
    assert len(plugin.days) == 3


async def test_after_a_crash_past_midnight_the_day_is_the_same(harness: Harness, plugin: CountsDays) -> None:
    """So the order becomes the same tickets under the same number, and is found at ECTicket."""
    harness.ecticket.faults = [LOST_AFTER]
    record = harness.order()
    await harness.work(record)
    since = harness.clock()
    harness.use(days=plugin)
    harness.clock.time += timedelta(days=2)

    published = await harness.run(record, possibly_sent_since=since)

    assert published.types == ["submitted"]
    assert published.event("submitted").data["items"] == [{"item_no": "I0301", "name": None, "quantity": 1}]
    assert harness.ecticket.tickets == {derived(): 1}
    assert set(plugin.days) == {DAY}


async def test_a_replay_a_week_later_counts_from_the_same_day(harness: Harness, plugin: CountsDays) -> None:
    """It may have been sent before, so that its numbers must not move."""
    plugin.on_error = True
    dead_letter = (await harness.work(harness.order())).dead_letter
    plugin.on_error = False
    harness.clock.time += timedelta(days=7)

    published = await harness.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert published.types == ["submitted"]
    assert set(plugin.days) == {DAY}
