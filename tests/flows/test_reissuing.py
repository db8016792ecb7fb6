"""What finally failed is bought anew under the next number, once; what was issued or is under way is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapter.flows.events import Origin
from adapter.flows.reissuing import (
    Failure,
    NotReissued,
    carries,
    difference,
    failures,
    next_part,
    orders_named,
    origin_of,
    reissue,
)
from adapter.flows.submit import Work
from adapter.flows.telling import Whose
from adapter.flows.words import Word
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.ecticket import REFUSED
from adapter.testing.orders import MERCHANT
from adapter.testing.surroundings import TOPICS
from adapter.testing.told import Told, ToldEvent, header
from flows.house import SERIAL, House, derived, line, plan_of

WHOSE = Whose(merchant_id=MERCHANT, order_id="A-1", reference={"cart": 7})


def _again(count: int, part: int = 1) -> str:
    return derive_trade_no(MERCHANT, "A-1", part, reissue=count)


def _word(kind: str, trade_no: str, *, minute: int, part: int = 1, parts: int = 1) -> Word:
    return Word(
        kind=kind,
        merchant_id=MERCHANT,
        order_id="A-1",
        trade_no=trade_no,
        order_record="orders.paid/2/1",
        at=NOON + timedelta(minutes=minute),
        data={"part": part, "parts": parts},
    )


def _read(events: Sequence[ToldEvent]) -> list[Word]:
    return [
        Word(
            kind=event.kind,
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
    ("told", "which", "numbers"),
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
    told: list[tuple[str, str]], which: str, numbers: tuple[str, ...]
) -> None:
    """Named by its order, or by any of its numbers."""
    found = failures([_word(kind, number, minute=at) for at, (kind, number) in enumerate(told)], which)

    assert isinstance(found, tuple)
    assert [failure.trade_nos for failure in found] == [numbers]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([], "Nothing that was told says"),
        ([("submitted", N0)], "Nothing that was told says"),
        ([("submitted", N0), ("issued", N0)], "Nothing that was told says"),
        ([("failed", N0), ("issued", N0)], f"was issued under {N0}"),
        ([("failed", N0), ("submitted", N0)], f"under way under {N0}"),
        ([("submitted", N0), ("failed", N0), ("submitted", N0), ("delayed", N0)], f"under way under {N0}"),
        ([("failed", N0), ("submitted", N1), ("issued", N1)], f"was issued under {N1}"),
        ([("failed", N0), ("submitted", N1)], f"under way under {N1}"),
        ([("failed", N0), ("submitted", N1), ("delayed", N1)], f"under way under {N1}"),
        ([("failed", N0), ("failed", N1), ("submitted", N2)], f"under way under {N2}"),
    ],
)
def test_what_did_not_fail_for_good_is_refused(told: list[tuple[str, str]], says: str) -> None:
    """Issued, under way, or nothing of the kind."""
    found = failures([_word(kind, number, minute=at) for at, (kind, number) in enumerate(told)], "A-1")

    assert isinstance(found, NotReissued)
    assert says in found.why


def test_the_order_in_which_it_was_told_counts_and_not_the_clocks() -> None:
    """The process that told `submitted` was five minutes ahead of the one that told `failed`."""
    told = [_word("submitted", N0, minute=5), _word("failed", N0, minute=1)]

    found = failures(told, "A-1")

    assert isinstance(found, tuple)
    assert [failure.trade_nos for failure in found] == [(N0,)]


async def test_a_failed_order_that_the_shop_sent_again_is_not_reissued_while_it_is_under_way(house: House) -> None:
    """ECTicket takes the number of a refused call: with another number besides there would be two sets of tickets."""
    house.ecticket.faults = [REFUSED]
    failed = await house.finish(house.order())

    again = await house.work(house.order())
    found = failures(_read([*failed.events, *again.events]), "A-1")

    assert (failed.kinds, again.kinds) == (["failed"], ["submitted"])
    assert isinstance(found, NotReissued)
    assert f"under way under {derived()}" in found.why


def test_only_the_failed_parts_of_an_order_are_reissued() -> None:
    """Part 1 was issued, 2 failed, 3 failed and was reissued."""
    told = [
        _word("issued", N0, minute=0, part=1, parts=3),
        _word("failed", "B0", minute=1, part=2, parts=3),
        _word("failed", "C0", minute=2, part=3, parts=3),
        _word("issued", "C1", minute=3, part=3, parts=3),
    ]

    found = failures(told, "A-1")

    assert isinstance(found, tuple)
    assert [(failure.part, failure.trade_nos) for failure in found] == [(2, ("B0",))]
    assert isinstance(failures(told, "C0"), NotReissued)


def test_an_order_is_named_by_its_id_or_a_number() -> None:
    """With its merchant, since others may have the same."""
    other = replace(_word("failed", "X", minute=0), merchant_id="2")

    assert orders_named([_word("failed", N0, minute=0), other], "A-1") == {(MERCHANT, "A-1"), ("2", "A-1")}
    assert orders_named([_word("failed", N0, minute=0), other], N0) == {(MERCHANT, "A-1")}
    assert orders_named([_word("failed", N0, minute=0)], "A-2") == set()


# --- the next number --------------------------------------------------------------------------------------------------


async def _failed(house: House, *lines: dict[str, object], **content: object) -> tuple[Record, Told]:
    """An order whose first part was finally refused."""
    house.ecticket.faults = [REFUSED]
    record = house.order(*lines, **content)
    return record, await house.finish(record)


async def _parts(house: House, record: Record, **policy: Any) -> tuple[Part, ...]:
    """The order's parts as it is mapped now."""
    settings = PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester", **policy)
    prepared = await house.submit.prepare(record)
    assert isinstance(prepared.subject, Work)
    assert prepared.subject.order is not None
    ready = await house.extensions.prepare(prepared.subject.order, lambda order, items: plan(order, items, settings))
    assert isinstance(ready, tuple)
    return ready


def _failure(*trade_nos: str) -> Failure:
    found = failures([_word("failed", number, minute=at) for at, number in enumerate(trade_nos)], "A-1")
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
    house: House, failed: tuple[str, ...], following: int
) -> None:
    """The order's own number or a derived one; where the prefix was another one, by how many there were."""
    (part,) = await _parts(house, house.order())

    anew = next_part(part, _failure(*failed), prefix="")

    assert anew.trade_no.value == anew.request.trade_no.value == _again(following)
    assert anew.reissue == following
    assert anew.items == part.items


# --- stories ----------------------------------------------------------------------------------------------------------


async def _reissued(house: House, record: Record, told: Told, which: str = "A-1") -> Record:
    found = failures(_read(told.events), which)
    assert isinstance(found, tuple)
    again = reissue(
        record,
        await _parts(house, record),
        found,
        WHOSE,
        prefix="",
        topic=TOPICS.orders_deferred,
        now=house.clock(),
        settled=0,
        signer=house.signer,
    )
    return house.reader.published(again.producer_record)


async def test_a_failed_order_is_issued_under_its_new_number(house: House) -> None:
    """Asked about first; told of the same order record, under the new number."""
    record, told = await _failed(house)

    again = await _reissued(house, record, told)
    result = await house.finish(again)

    assert told.kinds == ["failed"]
    assert result.event("submitted").data["trade_no"] == _again(1)
    assert result.event("submitted").attributes["orderref"] == told.event("failed").attributes["orderref"]
    assert header(again, "ecticket-offset") == str(record.offset)
    assert house.ecticket.calls.index(("query", _again(1))) < house.ecticket.calls.index(("issue", _again(1)))
    assert house.ecticket.tickets == {_again(1): 1}


async def test_a_reissue_that_is_run_twice_issues_once(house: House) -> None:
    """The second finds the same number, asks about it and tells the same fact."""
    record, told = await _failed(house)

    first = await house.finish(await _reissued(house, record, told))
    second = await house.finish(await _reissued(house, record, told))

    assert first.event("submitted").id == second.event("submitted").id
    assert second.event("submitted").data["recovered"] is True
    assert house.ecticket.tickets == {_again(1): 1}


async def test_the_old_number_of_what_was_reissued_is_free(house: House) -> None:
    """What remains: a second record of the order is sent under it, and taken in besides what was reissued."""
    house.ecticket.refuses_repeats = True
    record, told = await _failed(house)
    await house.finish(await _reissued(house, record, told))

    again = await house.work(house.order())

    assert again.kinds == ["submitted"]
    assert house.ecticket.tickets == {_again(1): 1, derived(): 1}


async def test_only_the_failed_part_is_carried(house: House) -> None:
    """The other one was issued, and its number is never asked for again."""
    record, told = await _failed(house, line(), line("SPA", 1, **SERIAL))

    again = await _reissued(house, record, told)

    assert [carried.part.trade_no.value for carried in plan_of(again).parts] == [_again(1)]
    assert carries(again, [_again(1)])
    assert not carries(again, [derived(part=2), _again(2)])


async def test_a_payments_number_is_followed_by_a_derived_one(house: House) -> None:
    """ECPay takes no number twice."""
    record, told = await _failed(house, trade_no="PAID1")

    result = await house.finish(await _reissued(house, record, told, "PAID1"))

    assert result.event("submitted").data["trade_no"] == _again(1)


# --- another plan -----------------------------------------------------------------------------------------------------


async def _difference(house: House, now: Record, *, whose: Whose = WHOSE, changed_items: bool = False) -> str | None:
    _, told = await _failed(house)
    found = failures(_read(told.events), "A-1")
    assert isinstance(found, tuple)
    return difference(await _parts(house, now), found[0], whose, changed_items=changed_items)


async def test_the_same_plan_is_no_difference(house: House) -> None:
    """Read back from JSON."""
    assert await _difference(house, house.order()) is None


async def test_other_items_are_refused_unless_they_are_meant(house: House) -> None:
    """What failed because of its items can be issued with mended ones."""
    other = house.order(line("BR103218"))

    assert "items" in str(await _difference(house, other))
    assert await _difference(house, other, changed_items=True) is None


async def test_another_number_of_parts_is_refused_anyhow(house: House) -> None:
    """Which part failed cannot be said any more."""
    other = house.order(line(), line("SPA", 1, **SERIAL))

    assert "2 parts" in str(await _difference(house, other, changed_items=True))


async def test_another_orders_record_is_refused(house: House) -> None:
    """The topic was made anew, or the file is another order's."""
    other = replace(WHOSE, order_id="A-2")

    assert "not that of order A-1" in str(await _difference(house, house.order(), whose=other, changed_items=True))


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("orders.paid/2/17", Origin(topic="orders.paid", partition=2, offset=17)),
        ("orders.paid", None),
        ("orders.paid/x/1", None),
        ("", None),
        (None, None),
    ],
)
def test_coordinates_are_read(text: str | None, origin: Origin | None) -> None:
    """As events write them."""
    assert origin_of(text) == origin
