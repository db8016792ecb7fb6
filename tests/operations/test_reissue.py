"""What finally failed is issued again under the next number, once; what was issued or is under way is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from flows.harness import SERIAL, Harness, derived, line, plan_of
from key_words import mentions

from adapter.flows.messages.event_reader import PublishedEvent
from adapter.flows.messages.events import OrderRef
from adapter.flows.submit import SubmitTask
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.operations.reissue import (
    FailedPart,
    NotReissued,
    difference,
    final_failures,
    next_part,
    orders_named,
    plan_contains,
    reissue,
)
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.ecticket import REFUSED
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents, OutcomeEvent, header
from adapter.values import replace

ORDER_REF = OrderRef(merchant_id=MERCHANT, order_id="A-1", reference={"cart": 7})


def _again(count: int, part: int = 1) -> str:
    return derive_trade_no(MERCHANT, "A-1", part, reissue=count)


def _event(kind: str, trade_no: str, *, minute: int, part: int = 1, parts: int = 1) -> PublishedEvent:
    return PublishedEvent(
        name=kind,
        merchant_id=MERCHANT,
        order_id="A-1",
        trade_no=trade_no,
        order_record="orders.paid/2/1",
        at=NOON + timedelta(minutes=minute),
        data={"part": part, "parts": parts},
    )


def _read(events: Sequence[OutcomeEvent]) -> list[PublishedEvent]:
    return [
        PublishedEvent(
            name=event.type,
            merchant_id=MERCHANT,
            order_id="A-1",
            trade_no=str(event.data["trade_no"]),
            order_record=event.attributes["orderref"],
            at=NOON + timedelta(minutes=minute),
            data=json.loads(json.dumps(event.data)),
        )
        for minute, event in enumerate(events)
    ]


# --- what failed ------------------------------------------------------------------------------------------------------

N0, N1, N2 = derived(), _again(1), _again(2)


@pytest.mark.parametrize(
    ("published", "which", "numbers"),
    [
        ([("failed", N0)], "A-1", (N0,)),
        ([("submitted", N0), ("delayed", N0), ("failed", N0)], N0, (N0,)),
        ([("failed", N0), ("submitted", N1), ("failed", N1)], "A-1", (N0, N1)),
        ([("failed", N0), ("submitted", N1), ("failed", N1)], N0, (N0, N1)),
        ([("failed", "PAID1"), ("failed", N1)], N1, ("PAID1", N1)),
        ([("failed", N0), ("failed", N0)], "A-1", (N0,)),
    ],
)
def test_what_failed_under_every_number_can_be_reissued(
    published: list[tuple[str, str]], which: str, numbers: tuple[str, ...]
) -> None:
    """Named by its order, or by any of its numbers."""
    found = final_failures([_event(kind, number, minute=at) for at, (kind, number) in enumerate(published)], which)

    assert isinstance(found, tuple)
    assert [failure.trade_nos for failure in found] == [numbers]


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ([], "No published event"),
        ([("submitted", N0)], "No published event"),
        ([("submitted", N0), ("issued", N0)], "No published event"),
        ([("failed", N0), ("issued", N0)], f"was issued under {N0}"),
        ([("failed", N0), ("submitted", N0)], f"under way under {N0}"),
        ([("submitted", N0), ("failed", N0), ("submitted", N0), ("delayed", N0)], f"under way under {N0}"),
        ([("failed", N0), ("submitted", N1), ("issued", N1)], f"was issued under {N1}"),
        ([("failed", N0), ("submitted", N1)], f"under way under {N1}"),
        ([("failed", N0), ("submitted", N1), ("delayed", N1)], f"under way under {N1}"),
        ([("failed", N0), ("failed", N1), ("submitted", N2)], f"under way under {N2}"),
    ],
)
def test_what_did_not_fail_for_good_is_refused(published: list[tuple[str, str]], expected: str) -> None:
    """Issued, under way, or nothing of the kind."""
    found = final_failures([_event(kind, number, minute=at) for at, (kind, number) in enumerate(published)], "A-1")

    assert isinstance(found, NotReissued)
    assert expected in found.reason


def test_the_order_of_publishing_counts_and_not_the_clocks() -> None:
    """The process that published `submitted` was five minutes ahead of the one that published `failed`."""
    published = [_event("submitted", N0, minute=5), _event("failed", N0, minute=1)]

    found = final_failures(published, "A-1")

    assert isinstance(found, tuple)
    assert [failure.trade_nos for failure in found] == [(N0,)]


async def test_a_failed_order_that_the_shop_sent_again_is_not_reissued_while_it_is_under_way(harness: Harness) -> None:
    """ECTicket takes the number of a refused call: with another number besides there would be two sets of tickets."""
    harness.ecticket.faults = [REFUSED]
    failed = await harness.run(harness.order())

    again = await harness.work(harness.order())
    found = final_failures(_read([*failed.events, *again.events]), "A-1")

    assert (failed.types, again.types) == (["failed"], ["submitted"])
    assert isinstance(found, NotReissued)
    assert f"under way under {derived()}" in found.reason


def test_only_the_failed_parts_of_an_order_are_reissued() -> None:
    """Part 1 was issued, 2 failed, 3 failed and was reissued."""
    published = [
        _event("issued", N0, minute=0, part=1, parts=3),
        _event("failed", "B0", minute=1, part=2, parts=3),
        _event("failed", "C0", minute=2, part=3, parts=3),
        _event("issued", "C1", minute=3, part=3, parts=3),
    ]

    found = final_failures(published, "A-1")

    assert isinstance(found, tuple)
    assert [(failure.part, failure.trade_nos) for failure in found] == [(2, ("B0",))]
    assert isinstance(final_failures(published, "C0"), NotReissued)


def test_an_order_is_named_by_its_id_or_a_number() -> None:
    """With its merchant, since others may have the same."""
    other = replace(_event("failed", "X", minute=0), merchant_id="2")

    assert orders_named([_event("failed", N0, minute=0), other], "A-1") == {(MERCHANT, "A-1"), ("2", "A-1")}
    assert orders_named([_event("failed", N0, minute=0), other], N0) == {(MERCHANT, "A-1")}
    assert orders_named([_event("failed", N0, minute=0)], "A-2") == set()


# --- the next number --------------------------------------------------------------------------------------------------


async def _failed(harness: Harness, *lines: dict[str, object], **content: object) -> tuple[Record, OrderEvents]:
    """An order whose first part was finally refused."""
    harness.ecticket.faults = [REFUSED]
    record = harness.order(*lines, **content)
    return record, await harness.run(record)


async def _parts(harness: Harness, record: Record, **policy: Any) -> tuple[Part, ...]:
    """The order's parts as it is mapped now."""
    settings = PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester", **policy)
    prepared = await harness.submit.prepare(record)
    assert isinstance(prepared.subject, SubmitTask)
    assert prepared.subject.order is not None
    ready = await harness.hook_runner.prepare(prepared.subject.order, lambda order, items: plan(order, items, settings))
    assert isinstance(ready, tuple)
    return ready


def _failure(*trade_nos: str) -> FailedPart:
    found = final_failures([_event("failed", number, minute=at) for at, number in enumerate(trade_nos)], "A-1")
    assert isinstance(found, tuple)
    return found[0]


@pytest.mark.parametrize(
    ("failed", "following"),
    [
        ((N0,), 1),
        ((N0, N1), 2),
        ((N1,), 2),
        (("PAID1",), 1),
        (("PAID1", N1), 2),
        (("PAID1", N1, N2), 3),
        (("X", "Y"), 2),
    ],
)
async def test_the_next_number_is_counted_on_from_the_last(
    harness: Harness, failed: tuple[str, ...], following: int
) -> None:
    """The order's own number or a derived one; where the prefix was another one, by how many there were."""
    (part,) = await _parts(harness, harness.order())

    renumbered = next_part(part, _failure(*failed), prefix="")

    assert renumbered.trade_no.value == renumbered.request.trade_no.value == _again(following)
    assert renumbered.reissue == following
    assert renumbered.items == part.items


# --- stories ----------------------------------------------------------------------------------------------------------


async def _reissued(harness: Harness, record: Record, published: OrderEvents, which: str = "A-1") -> Record:
    found = final_failures(_read(published.events), which)
    assert isinstance(found, tuple)
    again = reissue(
        record,
        await _parts(harness, record),
        found,
        ORDER_REF,
        prefix="",
        topic=TOPICS.orders_deferred,
        now=harness.clock(),
        settled=0,
        signer=harness.signer,
    )
    return harness.reader.published(again.producer_record)


async def test_a_failed_order_is_issued_under_its_new_number(harness: Harness) -> None:
    """Queried first; published for the same order record, under the new number."""
    record, published = await _failed(harness)

    again = await _reissued(harness, record, published)
    result = await harness.run(again)

    assert published.types == ["failed"]
    assert result.event("submitted").data["trade_no"] == _again(1)
    assert result.event("submitted").attributes["orderref"] == published.event("failed").attributes["orderref"]
    assert header(again, "ecticket-offset") == str(record.offset)
    assert harness.ecticket.calls.index(("query", _again(1))) < harness.ecticket.calls.index(("issue", _again(1)))
    assert harness.ecticket.tickets == {_again(1): 1}


async def test_a_reissue_that_is_run_twice_issues_once(harness: Harness) -> None:
    """The second finds the same number, queries it and publishes the same fact."""
    record, published = await _failed(harness)

    first = await harness.run(await _reissued(harness, record, published))
    second = await harness.run(await _reissued(harness, record, published))

    assert first.event("submitted").id == second.event("submitted").id
    assert second.event("submitted").data["recovered"] is True
    assert harness.ecticket.tickets == {_again(1): 1}


async def test_the_old_number_of_what_was_reissued_is_free(harness: Harness) -> None:
    """What remains: a second record of the order is sent under it, and taken in besides what was reissued."""
    harness.ecticket.refuses_repeats = True
    record, published = await _failed(harness)
    await harness.run(await _reissued(harness, record, published))

    again = await harness.work(harness.order())

    assert again.types == ["submitted"]
    assert harness.ecticket.tickets == {_again(1): 1, derived(): 1}


async def test_only_the_failed_part_is_deferred(harness: Harness) -> None:
    """The other one was issued, and its number is never asked for again."""
    record, published = await _failed(harness, line(), line("SPA", 1, **SERIAL))

    again = await _reissued(harness, record, published)

    assert [handed_off.part.trade_no.value for handed_off in plan_of(again).parts] == [_again(1)]
    assert plan_contains(again, [_again(1)])
    assert not plan_contains(again, [derived(part=2), _again(2)])


async def test_a_payments_number_is_followed_by_a_derived_one(harness: Harness) -> None:
    """ECPay takes no number twice."""
    record, published = await _failed(harness, trade_no="PAID1")

    result = await harness.run(await _reissued(harness, record, published, "PAID1"))

    assert result.event("submitted").data["trade_no"] == _again(1)


# --- another plan -----------------------------------------------------------------------------------------------------


async def _difference(
    harness: Harness, now: Record, *, order_ref: OrderRef = ORDER_REF, changed_items: bool = False
) -> str | None:
    _, published = await _failed(harness)
    found = final_failures(_read(published.events), "A-1")
    assert isinstance(found, tuple)
    return difference(await _parts(harness, now), found[0], order_ref, changed_items=changed_items)


async def test_the_same_plan_is_no_difference(harness: Harness) -> None:
    """Read back from JSON."""
    assert await _difference(harness, harness.order()) is None


async def test_other_items_are_refused_unless_they_are_meant(harness: Harness) -> None:
    """What failed because of its items can be issued with corrected ones."""
    other = harness.order(line("BR103218"))

    assert "items" in str(await _difference(harness, other))
    assert await _difference(harness, other, changed_items=True) is None


async def test_another_number_of_parts_is_refused_anyhow(harness: Harness) -> None:
    """Which part failed cannot be said any more."""
    other = harness.order(line(), line("SPA", 1, **SERIAL))

    assert "2 parts" in str(await _difference(harness, other, changed_items=True))


async def test_another_orders_record_is_refused(harness: Harness) -> None:
    """The topic was recreated, or the file is another order's."""
    other = replace(ORDER_REF, order_id="A-2")

    why = await _difference(harness, harness.order(), order_ref=other, changed_items=True)

    assert mentions(str(why), f"A-1 {MERCHANT} --order")
