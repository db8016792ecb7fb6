"""Every header that is described is one that is written; that every written one is described, `harness` looks at."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from opentelemetry.trace import SpanContext, TraceState

from adapter.flows.messages import dead_letters, record_history, signatures
from adapter.flows.messages.dead_letters import DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import OrderParked, Origin, order_event
from adapter.flows.messages.header_schemas import DEAD_LETTER_HEADERS, EVENT_HEADERS
from adapter.flows.messages.record_history import RecordHistory
from adapter.stream.records import NotRead, ProducerRecord, Record
from adapter.tracing.spans import headers_with
from flows.harness import SIGNER, described

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORIGIN = Origin(topic="orders.paid", partition=3, offset=41)


def _names(producer_record: ProducerRecord) -> set[str]:
    return {name for name, _ in producer_record.headers}


def test_an_event_with_all_there_is_has_every_described_header() -> None:
    """Nothing is promised that never comes."""
    data = OrderParked(order_id="A-1", reason="gave-up", stage="submit", plugin=None, message="", parts_done=0)
    event = order_event(data, topic="t", origin=ORIGIN, now=NOW, merchant_id="3085676")
    context = SpanContext(1, 2, is_remote=False, trace_state=TraceState([("vendor", "1")]))

    assert {name for name, _ in headers_with(event, context)} == described(EVENT_HEADERS)


def test_a_dead_letter_with_all_there_is_has_every_described_header() -> None:
    """A replayed order that was not read, parked because of a plugin, with a plan."""
    way = RecordHistory(
        origin=ORIGIN,
        origin_timestamp=NOW,
        first_seen=NOW,
        replays=1,
        possibly_sent_at=NOW,
        only_by_replay=True,
        parts_done=1,
        not_before=NOW,
        held_at=NOW,
        plan=b"{}",
        plan_lost=True,
        order_id="A-1",
        merchant_id="3085676",
        dead_letter=ORIGIN,
    )
    not_read = NotRead(first=7, last=7, why="it is too large")
    record = Record(topic="t", partition=0, offset=7, timestamp=NOW, key=None, value=None, not_read=not_read)
    cause = DeadLetterCause(
        reason="plugin-error", stage="map", message="It raised. Fix it.", plugin="shop", sink="chat"
    )

    dead_letter = dead_letter_record(record, cause, way, topic="t", now=NOW, signer=SIGNER)

    assert _names(dead_letter) == described(DEAD_LETTER_HEADERS)


def test_every_header_that_the_flows_name_is_described() -> None:
    """Also one that only another stage's dead letters have; until when and since when an order waits is in none."""
    named = {
        name
        for module in (dead_letters, record_history, signatures)
        for name in re.findall(r'"(ecticket-[a-z-]+[a-z])"', Path(module.__file__ or "").read_text(encoding="utf-8"))
    }

    assert named - {"ecticket-not-before", "ecticket-held-at"} == {
        name for name in described(DEAD_LETTER_HEADERS) if name.startswith("ecticket-")
    }
