"""The time that a customer waits is measured from the payment and from the order's record, through every detour."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

import pytest

from adapter.extensions.hookspecs import hookimpl
from adapter.extensions.values import OrderRecord
from adapter.flows.messages.confirmation import read_confirmation
from adapter.issuance.order import Order
from adapter.protocol.query_issue_result import IssueStatus
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.ecticket import NOT_SENT
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT, Orders
from adapter.testing.outcome_reader import OrderEvents
from adapter.values import replace
from flows.harness import signed

from .harness import Harness, derived, replayed

PAID = NOON - timedelta(minutes=10)


@pytest.fixture
def harness() -> Harness:
    harness = Harness()
    harness.ecticket.results[derived()] = (IssueStatus.ISSUED, None)
    return harness


async def _waited(harness: Harness, published: OrderEvents) -> list[float | None]:
    """What was measured when the issuance of these events was issued: from the payment, from the record."""
    (confirmation,) = published.confirmations
    await harness.await_result(confirmation)
    ((merchant_id, *seconds),) = harness.observer.of("issued_after")
    assert merchant_id == MERCHANT
    return [None if each == "None" else float(each) for each in seconds]


def _without(record: Record, *names: str) -> Record:
    """A confirmation of an adapter that did not know these fields."""
    content = json.loads(record.value or b"")
    del content["paid_at"], content["origin"]["timestamp"]
    return signed(replace(record, value=json.dumps(content).encode()))


async def test_an_issued_order_is_measured_from_payment_and_record(harness: Harness) -> None:
    """The first query comes half a minute after the submission."""
    published = await harness.run(harness.order(paid_at=PAID.isoformat()))

    assert await _waited(harness, published) == [pytest.approx(630, abs=1), pytest.approx(30, abs=1)]


async def test_an_order_without_a_payment_time_is_measured_from_its_record(harness: Harness) -> None:
    """`paid_at` is optional."""
    published = await harness.run(harness.order())

    assert await _waited(harness, published) == [None, pytest.approx(30, abs=1)]


async def test_a_deferred_order_keeps_both_times(harness: Harness) -> None:
    """The customer waits since the payment, however often the order comes back."""
    harness.ecticket.faults = [NOT_SENT] * 40
    published = await harness.run(harness.order(paid_at=PAID.isoformat()))
    waited = (harness.clock() - NOON).total_seconds()

    assert waited > 60
    assert await _waited(harness, published) == [
        pytest.approx(600 + waited + 30, abs=1),
        pytest.approx(waited + 30, abs=1),
    ]


async def test_a_replayed_order_keeps_both_times(harness: Harness) -> None:
    """A week on the dead letters is a week without tickets."""
    harness.ecticket.always = NOT_SENT
    dead_letter = (await harness.run(harness.order(paid_at=PAID.isoformat()))).dead_letter
    harness.ecticket.always = None
    harness.clock.time = NOON + timedelta(days=7)
    published = await harness.run(
        replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock, signer=harness.signer)
    )
    since_paid, since_record = await _waited(harness, published)

    assert (since_paid or 0) - (since_record or 0) == pytest.approx(600)
    assert (since_record or 0) >= timedelta(days=7).total_seconds()


async def test_a_confirmation_without_times_is_issued_all_the_same(harness: Harness) -> None:
    """Another version may have written it."""
    published = await harness.run(harness.order(paid_at=PAID.isoformat()))
    published.confirmations = [_without(published.confirmations[0])]

    assert await _waited(harness, published) == [None, None]


async def test_a_payment_in_the_future_took_no_time(harness: Harness) -> None:
    """The shop's clock is ahead; a negative time would make the sum of all smaller."""
    published = await harness.run(harness.order(paid_at=(NOON + timedelta(days=1)).isoformat()))

    assert (await _waited(harness, published))[0] == 0.0


_TAIPEI = timezone(timedelta(hours=8))


@pytest.mark.parametrize("deferrals", [0, 40])
@pytest.mark.parametrize(
    "paid_at",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=8))),
        datetime.min.replace(tzinfo=_TAIPEI),
        datetime(1969, 12, 31, tzinfo=UTC),
    ],
    ids=str,
)
async def test_a_payment_time_that_is_none_does_not_disturb_the_order(paid_at: datetime, deferrals: int) -> None:
    """Whatever a plugin returns: the order is issued, and its record must be readable when it comes back."""
    order = replace(Orders().electronic(), paid_at=paid_at)

    class Shop:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Order:
            return order

    harness = Harness(plugins={"shop": Shop()})
    harness.ecticket.faults = [NOT_SENT] * deferrals
    published = await harness.run(harness.record(b"{}"))
    (confirmation,) = published.confirmations

    assert published.types == ["submitted"]
    assert read_confirmation(confirmation.value).paid_at is None


def _plan(record: Record) -> Mapping[str, object]:
    return json.loads(dict(record.headers)["ecticket-plan"] or b"")  # type: ignore[no-any-return]


async def test_the_plan_holds_the_payment_time_and_nothing_if_there_is_none(harness: Harness) -> None:
    """In UTC, as all times of the plan."""
    harness.ecticket.always = NOT_SENT
    paid = await harness.work(harness.order(paid_at=PAID.astimezone(_TAIPEI).isoformat()))
    without = await harness.work(harness.order(order_id="A-2"))

    assert _plan(paid.deferred_records[0])["paid_at"] == PAID.isoformat().replace("+00:00", "Z")
    assert "paid_at" not in _plan(without.deferred_records[0])
