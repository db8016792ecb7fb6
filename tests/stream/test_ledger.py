"""The ledger against a model so naive that it cannot be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import OffsetNotOpen
from adapter.stream.ledger import OffsetLedger, Run


class NaiveLedger:
    """Remembers every offset, one by one."""

    def __init__(self, committed: int, settled: list[Run]) -> None:
        self.next_offset = committed
        self.open: set[int] = set()
        self.settled_until = settled[-1][1] if settled else committed
        self.known_settled = {offset for first, past in settled for offset in range(first, past)}

    def read(self, offset: int) -> bool:
        self.known_settled |= set(range(self.next_offset, offset))
        self.next_offset = offset + 1
        if offset not in self.known_settled:
            self.open.add(offset)
            return True
        return False

    def settle(self, offset: int) -> None:
        self.open.remove(offset)
        self.known_settled.add(offset)
        self.settled_until = max(self.settled_until, offset + 1)

    def committable(self) -> int:
        offset = min(self.open, default=self.next_offset)
        while offset in self.known_settled:
            offset += 1
        return offset

    def settled_beyond(self) -> set[int]:
        return {offset for offset in self.known_settled if self.committable() < offset < self.settled_until}


def offsets_of(runs: tuple[Run, ...]) -> set[int]:
    return {offset for first, past in runs for offset in range(first, past)}


@pytest.fixture
def ledger() -> OffsetLedger:
    return OffsetLedger("orders.paid/3", committed=0)


def test_slow_order_holds_back_the_commit(ledger: OffsetLedger) -> None:
    """An open order's offset is never passed, however many later ones are settled."""
    for offset in (7, 8, 9):
        ledger.open(offset)
    ledger.settle(9)
    ledger.settle(8)

    assert ledger.committable() == 7
    assert ledger.committable_offsets().settled == ((8, 10),)


def test_with_nothing_open_everything_read_may_be_committed(ledger: OffsetLedger) -> None:
    """The committed offset is the next one to read, holes and all."""
    ledger.open(3)
    ledger.open(10)
    ledger.settle(10)
    ledger.settle(3)

    assert ledger.committable() == 11
    assert ledger.committable_offsets().settled == ()


def test_holes_between_settled_offsets_join_their_runs(ledger: OffsetLedger) -> None:
    """An offset that never was a record is as settled as its neighbours: one run instead of many."""
    for offset in (3, 10, 20):
        ledger.open(offset)
    ledger.settle(20)

    assert ledger.committable_offsets().committable == 3
    assert ledger.committable_offsets().settled == ((4, 10), (11, 21))


def test_holes_beyond_the_last_settled_offset_take_no_room(ledger: OffsetLedger) -> None:
    """A backlog full of transaction markers makes no commit longer."""
    for offset in range(0, 1000, 2):
        ledger.open(offset)
    ledger.settle(2)

    assert ledger.committable_offsets().settled == ((1, 3),)


def test_records_that_are_gone_are_passed_over_and_counted() -> None:
    """What was read stays open, what was settled is not lost, and reading goes on behind the gap."""
    ledger = OffsetLedger("t/0", committed=10, settled=[(12, 15), (20, 30)])
    ledger.open(10)

    assert ledger.skip_to(22) == (22 - 11) - (15 - 12) - (22 - 20)
    assert ledger.next_offset == 22
    assert ledger.committable() == 10
    assert not ledger.open(25)
    ledger.open(30)
    ledger.settle(10)
    assert ledger.committable() == 30


def test_nothing_is_passed_over_that_was_read(ledger: OffsetLedger) -> None:
    """A log that begins before the next record to read has lost nothing of ours."""
    ledger.open(5)

    assert ledger.skip_to(3) == 0
    assert ledger.next_offset == 6


def test_settling_twice_is_refused(ledger: OffsetLedger) -> None:
    """Two tasks own one record: that must not stay hidden."""
    ledger.open(5)
    ledger.settle(5)

    with pytest.raises(OffsetNotOpen, match=r"offset 5 of orders.paid/3"):
        ledger.settle(5)


def test_refusal_names_what_is_open(ledger: OffsetLedger) -> None:
    """The message shows what else was true, without a page of numbers."""
    for offset in range(20):
        ledger.open(offset)

    with pytest.raises(OffsetNotOpen, match=r"\b0, 1, .*, 9 .*\b10 more"):
        ledger.settle(99)


def test_reading_backwards_is_refused(ledger: OffsetLedger) -> None:
    """A record read again without a take-over may be in the hands of another task."""
    ledger.open(5)

    with pytest.raises(OffsetNotOpen, match="read before"):
        ledger.open(5)


def test_what_an_earlier_owner_settled_is_skipped() -> None:
    """Settled runs of the commit's metadata are not opened again, and stay settled until reading has passed them."""
    ledger = OffsetLedger("t/0", committed=10, settled=[(12, 15), (20, 30)])

    assert ledger.open(10)
    assert ledger.open(11)
    assert not ledger.open(12)
    assert ledger.committable_offsets({10, 11}).committable == 15
    assert ledger.committable_offsets({10, 11}).settled == ((20, 30),)


def test_markers_at_the_end_of_a_log_are_committed_past(ledger: OffsetLedger) -> None:
    """Reading came to 9 and handed out 7 only: nothing else below is a record."""
    ledger.open(7)
    ledger.pass_over(9)
    assert ledger.committable() == 7

    ledger.settle(7)

    assert ledger.committable() == 9
    assert ledger.next_offset == 9


def test_passing_over_never_goes_back(ledger: OffsetLedger) -> None:
    """What was opened stays opened, and an inherited run beyond stays settled."""
    ledger = OffsetLedger("t/0", committed=0, settled=[(4, 6)])
    ledger.open(2)
    ledger.pass_over(1)
    assert ledger.next_offset == 3
    assert ledger.committable_offsets().settled == ((4, 6),)

    ledger.pass_over(5)

    assert not ledger.open(5)
    assert list(ledger) == [2]


def test_previewing_a_commit_changes_nothing(ledger: OffsetLedger) -> None:
    """What is on its way to the broker is still open."""
    ledger.open(1)

    assert ledger.committable_offsets({1}).committable == 2
    assert ledger.committable() == 1
    assert 1 in ledger
    assert len(ledger) == 1


runs = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=5)


@given(
    committed=st.integers(0, 50),
    recovered_from=runs,
    holes=st.lists(st.integers(0, 4), max_size=60),
    settling=st.data(),
)
def test_agrees_with_the_naive_model(
    committed: int, recovered_from: list[tuple[int, int]], holes: list[int], settling: st.DataObject
) -> None:
    """Whatever is inherited, wherever the holes are, in whatever order records are settled."""
    settled, reached = [], committed
    for gap, length in recovered_from:
        settled.append((reached + gap, reached + gap + length))
        reached += gap + length
    ledger, naive = OffsetLedger("t/0", committed=committed, settled=settled), NaiveLedger(committed, settled)
    offset = committed
    for hole in holes:
        offset += hole
        assert ledger.open(offset) == naive.read(offset)
        offset += 1
        for done in settling.draw(
            st.sets(st.sampled_from(sorted(naive.open)), max_size=3) if naive.open else st.just(set())
        ):
            ledger.settle(done)
            naive.settle(done)
        committable_offsets = ledger.committable_offsets()
        assert committable_offsets.committable == ledger.committable() == naive.committable()
        assert offsets_of(committable_offsets.settled) == naive.settled_beyond()
        assert list(ledger) == sorted(naive.open)


@given(opened=st.sets(st.integers(0, 80)), later=st.data())
def test_a_preview_is_what_settling_brings(opened: set[int], later: st.DataObject) -> None:
    """The metadata of a commit is right at the moment the commit succeeds."""
    ledger = OffsetLedger("t/0", committed=0)
    for offset in sorted(opened):
        ledger.open(offset)
    done = later.draw(st.sets(st.sampled_from(sorted(opened)))) if opened else set()

    preview = ledger.committable_offsets(done)
    for offset in done:
        ledger.settle(offset)

    assert preview == ledger.committable_offsets()


@given(opened=st.sets(st.integers(0, 80), min_size=1), later=st.data())
def test_the_next_owner_opens_exactly_what_was_open(opened: set[int], later: st.DataObject) -> None:
    """Reading the same records again from the committed offset, with the settled runs, opens what was left."""
    first = OffsetLedger("t/0", committed=0)
    for offset in sorted(opened):
        first.open(offset)
    for offset in later.draw(st.sets(st.sampled_from(sorted(opened)))):
        first.settle(offset)
    committable_offsets = first.committable_offsets()

    second = OffsetLedger("t/0", committed=committable_offsets.committable, settled=committable_offsets.settled)
    for offset in sorted(opened):
        if offset >= committable_offsets.committable:
            second.open(offset)

    assert list(second) == list(first)
    assert second.committable_offsets() == committable_offsets
