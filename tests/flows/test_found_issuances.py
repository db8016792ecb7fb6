"""What a query finds is counted by its reason: a lost answer, a lost process, or an order that came again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapter.testing.clock import NOON
from adapter.testing.ecticket import LOST_AFTER, NOT_SENT
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT

from .harness import SERIAL, Harness, derived, line, replayed


@pytest.fixture
def harness() -> Harness:
    harness = Harness()
    harness.ecticket.refuses_repeats = True
    return harness


def _counted(harness: Harness) -> list[tuple[str, str]]:
    """The kind and the reason of each count."""
    kinds = ("recovered", "duplicate_avoided")
    found = [entry for entry in harness.observer.all if entry[0] in kinds]
    assert {merchant_id for _, merchant_id, _ in found} <= {MERCHANT}
    return [(kind, reason) for kind, _, reason in found]


async def test_an_accepted_issue_is_not_counted(harness: Harness) -> None:
    """Its own answer says that it was accepted."""
    await harness.run(harness.order())

    assert _counted(harness) == []


@pytest.mark.parametrize("invisible", [0, 120])
async def test_an_issue_without_an_answer_is_recovered_from_doubt(harness: Harness, invisible: int) -> None:
    """In the same run, or after it was deferred."""
    harness.ecticket.visible_after = invisible
    harness.ecticket.faults = [LOST_AFTER]
    published = await harness.run(harness.order())

    assert published.event("submitted").data["recovered"] is True
    assert _counted(harness) == [("recovered", "doubt")]


async def test_an_order_of_a_lost_process_is_recovered_from_the_takeover(harness: Harness) -> None:
    """Its outcome was never committed, so the next owner reads the record again."""
    record = harness.order()
    await harness.run(record)
    harness.use()
    await harness.run(record, possibly_sent_since=harness.clock())

    assert _counted(harness) == [("recovered", "takeover")]


async def test_a_second_record_of_an_order_is_an_avoided_duplicate(harness: Harness) -> None:
    """All its parts."""
    parts = (line(), line("SPA", 1, **SERIAL))
    await harness.run(harness.order(*parts))
    harness.use()
    again = await harness.run(harness.order(*parts))

    assert again.types == ["submitted", "submitted"]
    assert _counted(harness) == [("duplicate_avoided", "earlier_record")] * 2


async def test_a_replay_of_what_exists_is_an_avoided_duplicate(harness: Harness) -> None:
    """An operator issued it by hand while it was a dead letter, or replayed it twice."""
    harness.ecticket.always = NOT_SENT
    dead_letter = (await harness.run(harness.order())).dead_letter
    harness.ecticket.always = None
    harness.ecticket.had(derived())
    harness.clock.time = NOON + timedelta(days=3)
    await harness.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock, signer=harness.signer))

    assert _counted(harness) == [("duplicate_avoided", "replay")]
