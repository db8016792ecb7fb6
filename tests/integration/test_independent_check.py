"""The independent check finds what it is for: an event that is missing, twice, or another one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from integration import independent_check
from integration.independent_check import COLLECTED, COMPLETED, DIFFERENCE, Document, Event

Change = Callable[[list[Event]], object]


def _order(trade_no: str, count: int = 2, *, status: str = "issued") -> Document:
    tickets = [{"ticket_no": f"N{trade_no}{each}", "write_off_no": f"C{trade_no}{each}"} for each in range(count)]
    return {
        "trade_no": trade_no,
        "issue_type": "serial_number",
        "status": status,
        "ticket_count": count,
        "tickets": tickets if status == "issued" else [],
    }


def _collected(order: Document) -> Event:
    tickets = [{"ticket_no": each["ticket_no"], "redemption_code": each["write_off_no"]} for each in order["tickets"]]
    data = {"trade_no": order["trade_no"], "ticket_count": len(tickets), "tickets": tickets}
    return COLLECTED, f"id of {order['trade_no']}", data


ORDERS = [_order("A"), _order("B", 1), _order("FAILED", status="failed")]


def _again(event_id: str | None = None) -> Change:
    return lambda events: events.append((events[0][0], event_id or events[0][1], events[0][2]))


def _without_a_ticket(events: list[Event]) -> None:
    kind, event_id, data = events[0]
    events[0] = kind, event_id, {**data, "tickets": data["tickets"][:1]}


def _with_the_other_code(events: list[Event]) -> None:
    kind, event_id, data = events[0]
    first, second = data["tickets"]
    swapped = [{**first, "redemption_code": second["redemption_code"]}, second]
    events[0] = kind, event_id, {**data, "tickets": swapped}


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda events: None, 0),
        (lambda events: events.pop(), 1),
        (_again(), 2),
        (_again("another id"), 1),
        (_without_a_ticket, 1),
        (_with_the_other_code, 1),
        (lambda events: events.append(_collected(_order("UNKNOWN"))), 1),
    ],
    ids=[
        "nothing",
        "one is missing",
        "twice",
        "twice under two ids",
        "a ticket less",
        "another code",
        "an unknown number",
    ],
)
def test_a_wrong_event_of_tickets_is_found(change: Change, count: int) -> None:
    """One sentence for each disagreement, none without."""
    events = [_collected(order) for order in ORDERS[:2]]
    change(events)

    assert len(list(independent_check.ticket_disagreements(ORDERS, events, "serial_number"))) == count


ISSUANCES: list[Event] = [
    (f"ecticket.issuance.{state}.v1", f"{trade_no} {state}", {"trade_no": trade_no, "ticket_count": count})
    for trade_no, count, states in (
        ("AGREES", 2, ("submitted", "issued")),
        ("GONE", 2, ("submitted", "issued")),
        ("STATE", 2, ("submitted", "issued")),
        ("COUNT", 1, ("submitted", "issued")),
        ("REFUSED", 1, ("failed",)),
    )
    for state in states
]
REPORTED = [_order("AGREES"), _order("OUTSIDE"), _order("STATE", status="failed"), _order("COUNT")]
EXPECTED = [("OUTSIDE", "not-published"), ("GONE", "not-reported"), ("STATE", "state"), ("COUNT", "ticket-count")]


def _reconciled() -> list[Event]:
    period = {"merchant_id": "1", "from": "2026-03-01", "to": "2026-03-04"}
    differences: list[Event] = [
        (DIFFERENCE, f"id of {trade_no}", {"trade_no": trade_no, "kind": kind}) for trade_no, kind in EXPECTED
    ]
    return [*differences, (COMPLETED, "id of the period", period)]


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (lambda events: None, 0),
        (lambda events: events.pop(0), 1),
        (lambda events: events.pop(), 1),
        (_again(), 2),
        (_again("another id"), 1),
        (lambda events: events.append((COMPLETED, "another id", events[-1][2])), 1),
        (lambda events: events.append((DIFFERENCE, "x", {"trade_no": "AGREES", "kind": "state"})), 1),
    ],
    ids=[
        "nothing",
        "one is missing",
        "not completed",
        "twice",
        "twice under two ids",
        "completed twice",
        "no difference",
    ],
)
def test_a_wrong_event_of_a_reconciliation_is_found(change: Change, count: int) -> None:
    """Of each kind of difference, and of the period."""
    events = _reconciled()
    change(events)

    assert len(list(independent_check.difference_disagreements(REPORTED, ISSUANCES, events))) == count


def test_it_does_not_use_the_adapter() -> None:
    """A mistake of the adapter's reader or writer would be on both sides."""
    tree = ast.parse(Path(independent_check.__file__).read_text(encoding="utf-8"))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }

    assert modules.isdisjoint({"adapter", "integration", ""})
