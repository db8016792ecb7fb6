"""What is left of partitions that were let go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from adapter.stream.holding import Holding
from adapter.stream.leftovers import Leftovers
from adapter.stream.port import Place
from adapter.stream.records import Record
from adapter.stream.stage import Outcome
from adapter.stream.work import Work

PLACE = Place("t", 0)
RECORD = Record(
    topic="t", partition=0, offset=7, timestamp=datetime(2026, 1, 1, tzinfo=UTC), key=b"k", value=b"the old one"
)
OUTCOME = Outcome()


def a_work(record: Record = RECORD, *, generation: int = 3) -> Work[str]:
    holding = SimpleNamespace(place=PLACE, generation=generation, possibly_sent_since=lambda offset: None)
    return Work(record, cast(Holding[str], holding))


def test_an_outcome_is_handed_out_once() -> None:
    """It belongs to one record read again."""
    leftovers: Leftovers[str] = Leftovers()
    leftovers.keep(a_work(), OUTCOME)

    assert leftovers.outcome(a_work()) is OUTCOME
    assert leftovers.outcome(a_work()) is None
    assert len(leftovers) == 0


def test_another_record_at_the_same_offset_gets_nothing() -> None:
    """The topic was made anew: an offset is no name."""
    leftovers: Leftovers[str] = Leftovers()
    work = a_work()
    leftovers.keep(work, OUTCOME)
    leftovers.still_running(work)
    other = replace(RECORD, value=b"another")

    assert leftovers.running(PLACE, other) is None
    assert leftovers.outcome(a_work(other)) is None


@pytest.mark.parametrize(("generation", "proven", "counts"), [(9, True, True), (9, False, False), (4, False, True)])
def test_a_take_over_decides_which_outcomes_still_count(generation: int, proven: bool, counts: bool) -> None:
    """Proven that no other process has sent anything, they count whatever the group's generation is by now."""
    leftovers: Leftovers[str] = Leftovers()
    leftovers.keep(a_work(generation=3), OUTCOME)

    leftovers.taken_over(PLACE, generation, proven=proven)

    assert (leftovers.outcome(a_work(generation=generation + 1)) is OUTCOME) == counts


def test_an_outcome_that_was_worth_nothing_is_not_believed_later() -> None:
    """Another process came in between once; that none has since does not heal it."""
    leftovers: Leftovers[str] = Leftovers()
    leftovers.keep(a_work(generation=3), OUTCOME)

    leftovers.taken_over(PLACE, 9, proven=False)
    leftovers.taken_over(PLACE, 9, proven=True)

    assert leftovers.outcome(a_work(generation=9)) is None


@pytest.mark.parametrize(("generation", "counts"), [(3, True), (4, True), (5, False), (1, False)])
def test_an_outcome_counts_only_while_nobody_else_can_have_owned_its_partition(generation: int, counts: bool) -> None:
    """Others may have sent the record since: its "deferred, last sent then" or "failed" would be told too early."""
    leftovers: Leftovers[str] = Leftovers()
    leftovers.keep(a_work(generation=3), OUTCOME)

    assert (leftovers.outcome(a_work(generation=generation)) is OUTCOME) == counts


def test_outcomes_of_partitions_that_others_own_are_forgotten() -> None:
    """Theirs count."""
    leftovers: Leftovers[str] = Leftovers()
    leftovers.keep(a_work(), OUTCOME)
    leftovers.keep_only([Place("t", 1)])

    assert leftovers.outcome(a_work()) is None


def test_outcomes_of_committed_records_are_forgotten() -> None:
    """They will not be read again."""
    leftovers: Leftovers[str] = Leftovers()
    leftovers.keep(a_work(), OUTCOME)
    leftovers.forget_below(PLACE, 8)

    assert len(leftovers) == 0


def test_a_task_is_known_until_it_ends() -> None:
    """A record read again meanwhile waits for it."""
    leftovers: Leftovers[str] = Leftovers()
    work = a_work()
    leftovers.still_running(work)
    assert leftovers.running(PLACE, RECORD) is work

    leftovers.ended(work)

    assert leftovers.running(PLACE, RECORD) is None
