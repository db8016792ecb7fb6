"""Open records are counted by what they wait for, with the oldest of each."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adapter.flows.open_work import OpenCount, OpenKind, OpenWork, count_open_work
from adapter.stream.owned_partition import WorkPhase
from adapter.stream.records import Record
from adapter.stream.snapshot import OpenRecord
from adapter.testing.ecticket import LOST_BEFORE, NOT_SENT
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT

from .fakes import OTHER_MERCHANT
from .harness import Harness


@pytest.fixture
def harness() -> Harness:
    return Harness()


async def _opened(harness: Harness, record: Record, *, possibly_sent: bool = False) -> OpenRecord:
    """The record as the engine holds it once it is prepared."""
    stage = harness.confirm if record.topic == TOPICS.confirmations else harness.submit
    prepared = await stage.prepare(record)
    return OpenRecord(
        topic=record.topic,
        phase=WorkPhase.WAITING,
        timestamp=record.timestamp,
        subject=prepared.subject,
        possibly_sent=possibly_sent,
    )


def _count(*records: OpenRecord, merchants: tuple[str, ...] = (MERCHANT,)) -> OpenWork:
    return count_open_work(records, merchants=merchants, deferred_topic=TOPICS.orders_deferred)


def _kinds(work: OpenWork) -> dict[OpenKind, int]:
    return {kind: found.count for kind in OpenKind if (found := work.of(kind)) is not None}


async def test_a_new_order_is_in_work(harness: Harness) -> None:
    """Since its record was written."""
    record = harness.order()

    work = _count(await _opened(harness, record))

    assert _kinds(work) == {OpenKind.IN_WORK: 1}
    assert work.of(OpenKind.IN_WORK) == OpenCount(count=1, oldest=record.timestamp)


async def test_a_taken_over_order_is_in_doubt(harness: Harness) -> None:
    """The earlier owner of its partition may have sent it."""
    assert _kinds(_count(await _opened(harness, harness.order(), possibly_sent=True))) == {OpenKind.IN_DOUBT: 1}


async def test_an_order_without_a_known_answer_is_in_doubt(harness: Harness) -> None:
    """Its deferred record says so, and since when the order is open."""
    order = harness.order()
    harness.ecticket.faults = [LOST_BEFORE]
    harness.ecticket.silent = True
    deferred = (await harness.work(order)).deferred_records[0]

    work = _count(await _opened(harness, deferred))

    assert _kinds(work) == {OpenKind.IN_DOUBT: 1}
    assert work.of(OpenKind.IN_DOUBT) == OpenCount(count=1, oldest=order.timestamp)


async def test_an_order_that_was_not_sent_is_deferred(harness: Harness) -> None:
    """Nothing of it can be at ECTicket."""
    harness.ecticket.always = NOT_SENT
    deferred = (await harness.work(harness.order())).deferred_records[0]

    assert _kinds(_count(await _opened(harness, deferred))) == {OpenKind.DEFERRED: 1}


async def test_an_awaited_result_is_submitted_and_then_delayed(harness: Harness) -> None:
    """Both since it was submitted; the oldest of several counts."""
    first = (await harness.work(harness.order(order_id="A-1"))).confirmations[0]
    submitted_at = harness.clock()
    delayed = (await harness.await_result(first))[0].confirmations[0]
    second = (await harness.work(harness.order(order_id="A-2"))).confirmations[0]

    work = _count(*[await _opened(harness, each) for each in (first, second, delayed)])

    assert _kinds(work) == {OpenKind.SUBMITTED: 2, OpenKind.DELAYED: 1}
    assert work.of(OpenKind.SUBMITTED) == OpenCount(count=2, oldest=submitted_at)


async def test_merchants_are_counted_apart_and_unknown_ones_together(harness: Harness) -> None:
    """An order can name any merchant, so only configured ones get a count of their own."""
    records = [
        await _opened(harness, harness.order(merchant_id=merchant_id))
        for merchant_id in (MERCHANT, OTHER_MERCHANT, "1", "2")
    ]

    counts = _count(*records, merchants=(MERCHANT, OTHER_MERCHANT)).counts

    assert {merchant_id: found.count for (_, merchant_id), found in counts.items()} == {
        MERCHANT: 1,
        OTHER_MERCHANT: 1,
        None: 2,
    }


def test_records_of_other_stages_and_unread_ones_are_left_out() -> None:
    """A record that is being parsed has no subject yet."""
    record = OpenRecord(
        topic="t", phase=WorkPhase.RECEIVED, timestamp=datetime.now(UTC), subject=None, possibly_sent=False
    )

    assert _count(record).counts == {}
