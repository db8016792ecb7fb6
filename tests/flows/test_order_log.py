"""What an operator reads in the log about one order: each step with its ids, and nothing about a customer."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import pytest
from log_lines import LogLine, capture_logs

from adapter.errors import OrderError
from adapter.issuance.decide import SubmitPolicy
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER, NOT_SENT, REFUSED, Fault
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.orders import MERCHANT
from flows.fakes import CUSTOMER
from flows.harness import Harness, derived, with_headers

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode())
IDS: dict[str, object] = {"merchant_id": MERCHANT, "order_id": "A-1", "trace_id": TRACE_ID}


def _traced(harness: Harness) -> Record:
    return with_headers(harness.order(), TRACEPARENT)


def _of(lines: Sequence[LogLine], event: str) -> LogLine:
    """The first line of the event; no line has customer data."""
    assert not [value for value in CUSTOMER.values() if value in repr(lines)]
    return next(line for line in lines if line["event"] == event)


async def test_each_step_of_an_order_has_its_line(harness: Harness) -> None:
    """From the record to the tickets, under the same ids; the trace is the one of the record."""
    with capture_logs() as lines:
        published = await harness.work(_traced(harness))
        harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
        await harness.await_result(published.confirmations[0])

    steps: list[tuple[str, dict[str, object]]] = [
        ("order-received", {"topic": "orders.paid"}),
        ("order-planned", {"trade_nos": [derived()]}),
        ("call-answered", {"trade_no": derived(), "call": "issue", "phase": "submitted"}),
        ("issuance-submitted", {"trade_no": derived(), "recovered": False}),
        ("issuance-issued", {"trade_no": derived(), "recovered": False}),
    ]
    for event, fields in steps:
        line = _of(lines, event)
        assert {name: line[name] for name in (*IDS, *fields)} == IDS | fields
    assert {line["log_level"] for line in lines} == {"debug"}


async def test_an_order_that_goes_well_logs_nothing_at_info(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """At thousands a second such lines would cost more than the orders, and hide what deviates."""
    caplog.set_level(logging.INFO)
    published = await harness.work(_traced(harness))
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    await harness.await_result(published.confirmations[0])

    assert caplog.records == []


@pytest.mark.parametrize(
    ("faults", "event", "level", "fields"),
    [
        ([LOST_AFTER], "issuance-in-doubt", "warning", {"trade_no": derived()}),
        ([NOT_SENT] * 9, "order-deferred", "info", {"reason": "not_sent", "attempts": 1}),
        (
            [REFUSED],
            "issuance-failed",
            "warning",
            {"trade_no": derived(), "stage": "submit", "code": "RtnCode 10200001"},
        ),
    ],
    ids=["in doubt", "not sent", "refused"],
)
async def test_what_deviates_is_seen_without_debugging(
    faults: list[Fault], event: str, level: str, fields: dict[str, object], harness: Harness
) -> None:
    """An operator sees within a minute for which order something is wrong, and what."""
    harness.ecticket.faults = [*faults]
    with capture_logs() as lines:
        await harness.run(_traced(harness))

    line = _of(lines, event)
    assert line["log_level"] == level
    assert {name: line[name] for name in (*IDS, *fields)} == IDS | fields


async def test_a_dead_letter_names_its_order_and_its_record() -> None:
    """By its reason, so that the operator finds what to do."""
    harness = Harness(policy=SubmitPolicy(give_up_after_seconds=3_600))
    harness.ecticket.faults = [NOT_SENT] * 1000
    record = _traced(harness)
    with capture_logs() as lines:
        await harness.run(record)

    line = _of(lines, "order-parked")
    expected = IDS | {"stage": "submit", "reason": "gave-up", "log_level": "warning"}
    assert {name: line[name] for name in expected} == expected


async def test_a_job_that_failed_is_seen(harness: Harness) -> None:
    """The customer has paid and gets no tickets, so the shop must act."""
    published = await harness.work(_traced(harness))
    harness.ecticket.results[derived()] = (IssueStatus.FAILED, "Inventory shortage")
    with capture_logs() as lines:
        await harness.await_result(published.confirmations[0])

    line = _of(lines, "issuance-failed")
    expected = IDS | {"trade_no": derived(), "stage": "confirm", "log_level": "warning"}
    assert {name: line[name] for name in expected} == expected


UNREADABLE = [
    b"",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"order_id": "A-1"',
    b'{"order_id": "A-1", "lines": [{"sku": 7, "quantity": 1e400}]}',
    json.dumps({"order_id": "\ud83d", "lines": []}).encode(),
]


@pytest.mark.parametrize("value", UNREADABLE, ids=range(len(UNREADABLE)))
async def test_an_unreadable_order_is_a_warning(value: bytes, harness: Harness) -> None:
    """A stranger who writes to the topic causes neither an error nor a traceback, and chooses no text of the log."""
    with capture_logs() as lines:
        published = await harness.work(harness.record(value))

    assert published.dead_letters
    assert [line["log_level"] for line in lines if line["log_level"] != "debug"] == ["warning"]
    assert _of(lines, "order-parked")["reason"] in {"unreadable", "invalid-order"}
    assert not [line for line in lines if "exc_info" in line]


@pytest.mark.parametrize("value", UNREADABLE, ids=range(len(UNREADABLE)))
async def test_an_unreadable_confirmation_is_a_warning(value: bytes, harness: Harness) -> None:
    """The same on the adapter's own topic."""
    record = harness.record(value, topic=TOPICS.confirmations)
    with capture_logs() as lines:
        with pytest.raises(OrderError) as raised:
            await harness.confirm.prepare(record)
        harness.confirm.on_error(record, raised.value, FakeRecordContext(record))

    assert [(line["event"], line["log_level"]) for line in lines] == [("order-parked", "warning")]
    assert (lines[0]["stage"], lines[0]["reason"]) == ("confirm", "unreadable")
