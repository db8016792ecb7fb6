"""How much of one partition may be in hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from adapter.errors import LeaseLost
from adapter.stream import holding as holding_module
from adapter.stream.books import PartitionBooks
from adapter.stream.holding import Holding
from adapter.stream.inheritance import Inheritance
from adapter.stream.port import Place, Writer
from adapter.stream.records import Publication, Record
from adapter.stream.stage import Outcome
from adapter.stream.work import Work
from stream.fake_kafka import FakeLease

PLACE = Place("t", 0)


def a_holding() -> Holding[str]:
    books = PartitionBooks(str(PLACE), Inheritance(offset=0), cluster_id="c", fingerprint="f", ahead=0)
    return Holding(
        PLACE,
        books,
        cast("Writer", None),  # nothing is published here
        FakeLease(),
        log_id="",
        generation=1,
        fenced_at=datetime(2026, 1, 1, tzinfo=UTC),
        sends=False,
        room=100,
    )


def a_work(
    holding: Holding[str],
    offset: int,
    *,
    key: bytes | None = None,
    value: bytes | None = None,
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> Work[str]:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    record = Record(topic="t", partition=0, offset=offset, timestamp=when, key=key, value=value, headers=headers)
    return Work(record, holding)


@pytest.mark.parametrize(
    "part",
    [
        {"value": b"x" * 600},
        {"key": b"x" * 600},
        {"headers": (("plan", b"x" * 600),)},
        {"headers": (("x" * 600, None),)},
    ],
    ids=["value", "key", "header", "header-name"],
)
def test_whatever_a_record_is_large_by_counts(part: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A deferred order's plan travels in a header and can be far larger than its value."""
    monkeypatch.setattr(holding_module, "MOST_BYTES", 1000)
    holding = a_holding()
    works = [a_work(holding, offset, **part) for offset in range(2)]

    holding.hold(works[0])
    assert not holding.full
    holding.hold(works[1])
    assert holding.full
    holding.drop(works[0])
    assert not holding.full


def a_sending_holding() -> tuple[Holding[str], FakeLease, Work[str]]:
    """A partition of which offset 0 is open and reserved, and that may send."""
    lease = FakeLease()
    lease.generation = 1
    books = PartitionBooks(str(PLACE), Inheritance(offset=0), cluster_id="c", fingerprint="f", ahead=4)
    holding: Holding[str] = Holding(
        PLACE,
        books,
        cast("Writer", None),  # nothing is published here
        lease,
        log_id="",
        generation=1,
        fenced_at=datetime(2026, 1, 1, tzinfo=UTC),
        sends=True,
        room=100,
    )
    books.take(0)
    return holding, lease, a_work(holding, 0)


def reserve(holding: Holding[str]) -> None:
    assert not holding.books.want(0)
    flush = holding.books.fitting()
    assert flush is not None
    holding.books.settle(flush)


def test_a_send_that_no_commit_reserves_is_refused() -> None:
    """A successor would take it for one that was never sent; the engine asks before, and this is the last gate."""
    holding, _, work = a_sending_holding()

    with pytest.raises(LeaseLost, match="offset 0"):
        work.clear_to_send()
    assert not work.send_began

    reserve(holding)
    work.clear_to_send()
    assert work.send_began


def test_outcomes_that_wait_for_their_commit_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One order can become twenty parts, and a broker can be away: what is kept to be published does not grow on."""
    monkeypatch.setattr(holding_module, "MOST_BYTES", 1000)
    holding = a_holding()
    for offset in range(2):
        holding.hold(a_work(holding, offset))
        holding.books.take(offset)
    holding.books.finish(0, Outcome(records=(Publication(topic="out", key=None, value=b"x" * 1000),)))

    assert holding.full
    flush = holding.books.draft()
    assert flush is not None
    holding.books.settle(flush)
    assert not holding.full


@pytest.mark.parametrize("what", ["silence", "another generation", "the partition is given up"])
def test_a_send_is_refused_once_the_partition_may_have_another_owner(what: str) -> None:
    """Reserved or not: who owns it now may be sending the same order."""
    holding, lease, work = a_sending_holding()
    reserve(holding)
    if what == "silence":
        lease.answers = False
    elif what == "another generation":
        lease.generation = 2
    else:
        holding.close_gate()

    with pytest.raises(LeaseLost):
        work.clear_to_send()
    assert not work.send_began
    assert not holding.may_send
