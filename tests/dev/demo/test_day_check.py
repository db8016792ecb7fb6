"""The demo's check of the day after issuing notices everything that is missing, wrong or there twice."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest

from adapter.dev.demo.day_check import DayCheck
from adapter.flows.messages.events import OrderRefunded, ReconciliationDifference, TicketCollected, TicketStatusChanged
from adapter.stream.records import Record

Fact = tuple[str, str, dict[str, object]]
"""A type, an id and data."""

REDEEMED: Fact = (TicketStatusChanged.TYPE, "a", {"trade_no": "A1"})
REFUNDED: Fact = (OrderRefunded.TYPE, "b", {"trade_no": "A1"})
COLLECTED: Fact = (TicketCollected.TYPE, "c", {"trade_no": "S1", "tickets": [{"ticket_no": "T1"}, {"ticket_no": "T2"}]})
DIFFERENT: Fact = (ReconciliationDifference.TYPE, "d", {"trade_no": "P1", "kind": "state"})
ALL = [REDEEMED, REFUNDED, COLLECTED, DIFFERENT]


def _record(fact: Fact) -> Record:
    event_type, event_id, data = fact
    headers = (("ce_id", event_id.encode()), ("ce_type", event_type.encode()))
    value = json.dumps(data).encode()
    return Record(topic="t", partition=0, offset=0, timestamp=datetime.now(UTC), key=None, value=value, headers=headers)


def _check(facts: list[Fact]) -> DayCheck:
    """A day on which A1 was refunded, S1 is to be collected and P1 differs, and what was published about it."""
    check = DayCheck(
        notifications=Counter({("A1", TicketStatusChanged.TYPE): 1, ("A1", OrderRefunded.TYPE): 1}),
        tickets={"S1": frozenset({"T1", "T2"})},
        differences={"P1": "state"},
    )
    for fact in facts:
        check.note(_record(fact))
    return check


def test_a_day_on_which_everything_was_published_has_no_disagreements() -> None:
    """A notification may come again with the same id."""
    check = _check([*ALL, REDEEMED])

    assert list(check.disagreements()) == []
    assert check.all_notified
    assert check.all_collected
    assert check.all_found
    assert check.counts() == {
        "notifications": 2,
        "collected issuances": 1,
        "collected tickets": 2,
        "differences": 1,
    }


@pytest.mark.parametrize("missing", ALL, ids=lambda fact: fact[0])
def test_each_missing_event_is_named(missing: Fact) -> None:
    """By its number; and the demo waits for it."""
    check = _check([fact for fact in ALL if fact is not missing])

    (disagreement,) = check.disagreements()
    assert str(missing[2]["trade_no"]) in disagreement
    assert not (check.all_notified and check.all_collected and check.all_found)


@pytest.mark.parametrize(
    "additional",
    [
        (TicketStatusChanged.TYPE, "x", {"trade_no": "A1"}),
        (OrderRefunded.TYPE, "x", {"trade_no": "A2"}),
        (TicketCollected.TYPE, "x", COLLECTED[2]),
        (TicketCollected.TYPE, "x", {"trade_no": "S2", "tickets": []}),
        (ReconciliationDifference.TYPE, "x", DIFFERENT[2]),
        (ReconciliationDifference.TYPE, "x", {"trade_no": "P1", "kind": "ticket-count"}),
        (ReconciliationDifference.TYPE, "x", {"trade_no": "P2", "kind": "state"}),
    ],
)
def test_each_additional_event_is_named(additional: Fact) -> None:
    """By its number."""
    (disagreement,) = _check([*ALL, additional]).disagreements()

    assert str(additional[2]["trade_no"]) in disagreement


def test_other_tickets_than_those_of_the_sandbox_are_named() -> None:
    """The same number of them is not enough."""
    other: Fact = (TicketCollected.TYPE, "c", {"trade_no": "S1", "tickets": [{"ticket_no": "T1"}, {"ticket_no": "T3"}]})

    (disagreement,) = _check([REDEEMED, REFUNDED, other, DIFFERENT]).disagreements()
    assert "S1" in disagreement


def test_a_command_with_another_exit_code_is_a_disagreement() -> None:
    """Such as one that does not exist."""
    check = _check(ALL)
    check.failed_commands.append("`ecticket-adapter explain DEMO-1` ended with exit code 2, expected 0")

    assert list(check.disagreements()) == check.failed_commands
