"""The tail of the issuances topic: read when it is needed, shared, bounded, and never believed too much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime

import pytest
from log_lines import capture_logs

from adapter.errors import BrokerUnavailable
from adapter.flows import number_history
from adapter.flows.number_history import NumberHistory
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.stream.records import Record
from adapter.testing.ecticket import LOST_AFTER, REFUSED
from adapter.testing.fakes import FakeMerchants
from adapter.testing.orders import MERCHANT
from adapter.values import replace
from flows.harness import Harness, derived

N = TradeNo(kind=TradeNoKind.MERCHANT, value="CBX1")


def event(kind: str = "submitted", *, offset: int = 0, partition: int = 0, **data: object) -> Record:
    """An event of order A-1 under the number, as it is on the topic."""
    content = {"merchant_id": MERCHANT, "order_id": "A-1", "trade_no": N.value, "trade_no_kind": "merchant", **data}
    return Record(
        topic="ecticket.issuances",
        partition=partition,
        offset=offset,
        timestamp=datetime(2026, 3, 1, tzinfo=UTC),
        key=f"{MERCHANT}/{N.value}".encode(),
        value=json.dumps(content).encode(),
        headers=(("ce_type", f"ecticket.issuance.{kind}.v1".encode()),),
    )


class Topic:
    """The topic: `records`, and which offsets each read began at; while `gate` is closed a read waits."""

    def __init__(self, *records: Record) -> None:
        self.records = list(records)
        self.reads: list[dict[int, int]] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def tail(self, offsets: Mapping[int, int]) -> AsyncGenerator[Record, None]:
        self.reads.append(dict(offsets))
        self.begun.set()
        found = [record for record in self.records if record.offset >= offsets.get(record.partition, 0)]
        await self.gate.wait()
        for record in found:
            yield record
        if self.error is not None:
            raise self.error


def taken(*records: Record) -> NumberHistory:
    """A history that has read these records."""
    history = NumberHistory(merchants=FakeMerchants(MERCHANT))
    for record in records:
        history.take(record)
    return history


def owner(history: NumberHistory) -> str | None:
    """The order that has the number, for any other order."""
    return history.owners.other_order(MERCHANT, N.value, "other")


def candidates(history: NumberHistory) -> tuple[TradeNo, ...]:
    """The numbers that a liveness proof would query."""
    merchant = FakeMerchants(MERCHANT).find(MERCHANT)
    assert merchant is not None
    return history.known.to_query(merchant, N.kind)


@pytest.mark.parametrize("kind", ["submitted", "delayed", "issued"])
def test_what_was_published_owns_its_number(kind: str) -> None:
    """And is worth a query when a liveness proof is needed."""
    history = taken(event(kind, recovered=True))

    assert owner(history) == "A-1"
    assert candidates(history) == (N,)


def test_of_two_published_orders_the_first_has_the_number_unless_it_was_only_recovered() -> None:
    """RtnCode 1 of its own Issue makes the number an order's own."""
    first, second = event(recovered=True), event(recovered=True, order_id="B-1", offset=1)

    assert owner(taken(first, second)) == "A-1"
    assert owner(taken(first, replace(second, value=event(recovered=False, order_id="B-1").value))) == "B-1"


@pytest.mark.parametrize(("stage", "has"), [("submit", None), ("confirm", "A-1")])
def test_a_refused_number_is_free_and_one_with_a_failed_job_is_not(stage: str, has: str | None) -> None:
    """ECTicket does not know the one, and keeps the other."""
    assert owner(taken(event(recovered=False), event("failed", stage=stage))) == has


@pytest.mark.parametrize(
    "record",
    [
        replace(event(), value=None),
        replace(event(), value=b"\xff\x00 not JSON"),
        replace(event(), value=b"[" * 100_000),
        replace(event(), value=b"[]"),
        replace(event(), headers=()),
        replace(event(), headers=(("ce_type", None),)),
        replace(event(), headers=(("ce_type", b"com.example.created"),)),
        event(trade_no=None),
        event(trade_no=7),
        event(trade_no="with blank"),
        event(trade_no="A" * 26),
        event(trade_no="\ud800"),
        event(merchant_id="3002607"),
        event(merchant_id=["3085676"]),
        event(order_id=None),
        event(order_id="A" * 65),
        event("skipped"),
        event("parked"),
    ],
)
def test_what_is_no_event_of_ours_is_ignored(record: Record) -> None:
    """Anyone who may write to the topic can write anything."""
    history = taken(record)

    assert (len(history.owners), candidates(history)) == (0, ())


async def test_a_look_reads_on_from_where_the_last_one_ended() -> None:
    """Each event once."""
    topic = Topic(event(offset=4), event(offset=7, partition=1))
    history = NumberHistory(topic.tail)

    await history.look()
    await history.look()

    assert topic.reads == [{}, {0: 5, 1: 8}]


async def test_looks_at_once_share_a_read_that_begins_after_them() -> None:
    """A read under way may miss what was published since; all who come meanwhile get the next one together."""
    topic = Topic()
    history = NumberHistory(topic.tail)
    topic.gate.clear()
    first = asyncio.create_task(history.look())
    await topic.begun.wait()
    topic.records.append(event())
    later = [asyncio.create_task(history.look()) for _ in range(50)]
    for _ in range(5):
        await asyncio.sleep(0)

    topic.gate.set()
    await asyncio.gather(first, *later)

    assert len(topic.reads) == 2
    assert owner(history) == "A-1"
    await history.look()
    assert len(topic.reads) == 3


async def test_an_order_does_not_wait_for_a_tail_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The read goes on for those who come later."""
    monkeypatch.setattr(number_history, "TAIL_SECONDS", 0.0)
    topic = Topic(event())
    history = NumberHistory(topic.tail)
    topic.gate.clear()

    await history.look()
    assert owner(history) is None
    topic.gate.set()
    monkeypatch.setattr(number_history, "TAIL_SECONDS", 60.0)
    await history.look()

    assert owner(history) == "A-1"


@pytest.mark.parametrize("error", [BrokerUnavailable("no broker"), RuntimeError("a mistake")])
async def test_a_tail_that_cannot_be_read_is_logged_and_costs_no_order(error: Exception) -> None:
    """What was read of it counts; the warning does not come at every order."""
    topic = Topic(event())
    topic.error = error
    history = NumberHistory(topic.tail)

    with capture_logs() as logs:
        for _ in range(3):
            await history.look()

    assert owner(history) == "A-1"
    assert [line["event"] for line in logs] == ["issuances-unreadable"] * 3


async def test_closing_ends_the_reads() -> None:
    """Those under way, and those that wait for them."""
    topic = Topic()
    topic.gate.clear()
    history = NumberHistory(topic.tail)
    looking = [asyncio.create_task(history.look()) for _ in range(2)]
    await topic.begun.wait()

    await history.close()
    ends = await asyncio.gather(*looking, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


async def test_ordinary_orders_never_look() -> None:
    """Only what ECTicket knows without RtnCode 1 of its own Issue, and a doubt without a known number, do."""
    harness = Harness()
    topic = Topic()
    harness.submit._number_history = NumberHistory(topic.tail)

    await harness.work(harness.order())
    assert topic.reads == []
    harness.ecticket.faults = [LOST_AFTER]
    published = await harness.work(harness.order(order_id="A-2"))

    assert published.types == ["submitted"]
    assert len(topic.reads) == 1


async def test_after_a_restart_the_tail_names_a_number_for_the_liveness_proof() -> None:
    """A merchant without a known number in its settings."""
    harness = Harness(known_trade_no=None)
    await harness.work(harness.order(order_id="A-0"))
    harness.use()
    harness.ecticket.faults = [REFUSED]

    published = await harness.run(harness.order())

    assert published.types == ["failed"]
    assert derived("A-0") in harness.ecticket.calls_of("query")


async def test_a_forged_number_proves_nothing() -> None:
    """QueryIssueResult does not know it, so doubt waits."""
    harness = Harness(known_trade_no=None)
    harness.submit._number_history.known.add_candidate(MERCHANT, N)
    harness.ecticket.faults = [LOST_AFTER]
    harness.ecticket.visible_after = 86_400.0

    published = await harness.work(harness.order())
    for _ in range(15):
        assert published.only_deferred
        published = await harness.work(published.deferred_record)

    assert harness.ecticket.issues == {derived(): 1}
    assert N.value in harness.ecticket.calls_of("query")
