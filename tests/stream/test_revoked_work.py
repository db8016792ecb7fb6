"""What is left of released partitions."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from adapter.stream.owned_partition import OwnedPartition, WorkItem
from adapter.stream.port import TopicPartition
from adapter.stream.records import Record
from adapter.stream.revoked_work import RevokedWork
from adapter.stream.stage import Outcome
from adapter.values import replace

PARTITION = TopicPartition("t", 0)
RECORD = Record(
    topic="t", partition=0, offset=7, timestamp=datetime(2026, 1, 1, tzinfo=UTC), key=b"k", value=b"the old one"
)
OUTCOME = Outcome()


def a_work(record: Record = RECORD, *, generation: int = 3) -> WorkItem[str]:
    owned = SimpleNamespace(partition=PARTITION, generation=generation, possibly_sent_since=lambda offset: None)
    return WorkItem(record, cast(OwnedPartition[str], owned))


def test_an_outcome_is_handed_out_once() -> None:
    """It belongs to one record read again."""
    revoked_work: RevokedWork[str] = RevokedWork()
    revoked_work.keep(a_work(), OUTCOME)

    assert revoked_work.outcome(a_work()) is OUTCOME
    assert revoked_work.outcome(a_work()) is None
    assert len(revoked_work) == 0


def test_another_record_at_the_same_offset_gets_nothing() -> None:
    """The topic was recreated: an offset alone identifies no record."""
    revoked_work: RevokedWork[str] = RevokedWork()
    item = a_work()
    revoked_work.keep(item, OUTCOME)
    revoked_work.still_running(item)
    other = replace(RECORD, value=b"another")

    assert revoked_work.running(PARTITION, other) is None
    assert revoked_work.outcome(a_work(other)) is None


@pytest.mark.parametrize(("generation", "proven", "counts"), [(9, True, True), (9, False, False), (4, False, True)])
def test_a_take_over_decides_which_outcomes_still_count(generation: int, proven: bool, counts: bool) -> None:
    """Proven that no other process has sent anything, they count whatever the group's generation is by now."""
    revoked_work: RevokedWork[str] = RevokedWork()
    revoked_work.keep(a_work(generation=3), OUTCOME)

    revoked_work.taken_over(PARTITION, generation, proven=proven)

    assert (revoked_work.outcome(a_work(generation=generation + 1)) is OUTCOME) == counts


def test_an_outcome_that_was_worth_nothing_is_not_believed_later() -> None:
    """Another process came in between once; that none has since does not heal it."""
    revoked_work: RevokedWork[str] = RevokedWork()
    revoked_work.keep(a_work(generation=3), OUTCOME)

    revoked_work.taken_over(PARTITION, 9, proven=False)
    revoked_work.taken_over(PARTITION, 9, proven=True)

    assert revoked_work.outcome(a_work(generation=9)) is None


@pytest.mark.parametrize(("generation", "counts"), [(3, True), (4, True), (5, False), (1, False)])
def test_an_outcome_counts_only_while_no_other_process_can_have_owned_its_partition(
    generation: int, counts: bool
) -> None:
    """Others may have sent the record since, so its "deferred, last sent then" or "failed" may be wrong."""
    revoked_work: RevokedWork[str] = RevokedWork()
    revoked_work.keep(a_work(generation=3), OUTCOME)

    assert (revoked_work.outcome(a_work(generation=generation)) is OUTCOME) == counts


def test_outcomes_of_partitions_that_others_own_are_forgotten() -> None:
    """Theirs count."""
    revoked_work: RevokedWork[str] = RevokedWork()
    revoked_work.keep(a_work(), OUTCOME)
    revoked_work.keep_only([TopicPartition("t", 1)])

    assert revoked_work.outcome(a_work()) is None


def test_outcomes_of_committed_records_are_forgotten() -> None:
    """They will not be read again."""
    revoked_work: RevokedWork[str] = RevokedWork()
    revoked_work.keep(a_work(), OUTCOME)
    revoked_work.forget_below(PARTITION, 8)

    assert len(revoked_work) == 0


def test_a_task_is_known_until_it_ends() -> None:
    """A record read again meanwhile waits for it."""
    revoked_work: RevokedWork[str] = RevokedWork()
    item = a_work()
    revoked_work.still_running(item)
    assert revoked_work.running(PARTITION, RECORD) is item

    revoked_work.ended(item)

    assert revoked_work.running(PARTITION, RECORD) is None
