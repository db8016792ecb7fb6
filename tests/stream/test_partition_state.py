"""The state of a partition: reservation, doubts, commits; and a model of owners that die at any moment."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from quick import examples

from adapter.stream.commit_metadata import CommitMetadata, decode, new_owner
from adapter.stream.partition_state import CommitBatch, PartitionState
from adapter.stream.port import Commit, OffsetRange
from adapter.stream.records import ProducerRecord
from adapter.stream.recovery import OwnSends, RecoveredState, recover
from adapter.stream.stage import Outcome

CLUSTER = "cluster-1"
EARLIER, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
NOTHING_TO_PUBLISH = Outcome()


def open_state(
    recovered: RecoveredState | None = None, *, ahead: int = 10, fingerprint: str = "one", owner: str = ""
) -> PartitionState:
    return PartitionState(
        "t/0",
        recovered or RecoveredState(offset=0),
        cluster_id=CLUSTER,
        fingerprint=fingerprint,
        ahead=ahead,
        owner=owner,
    )


def metadata_of(batch: CommitBatch | None) -> CommitMetadata:
    assert batch is not None
    metadata = decode(batch.metadata, cluster_id=CLUSTER, committed=batch.offset)
    assert isinstance(metadata, CommitMetadata)
    return metadata


def test_nothing_is_sent_before_it_is_reserved() -> None:
    """The first record of a group waits for the first commit."""
    state = open_state()
    state.open(0)

    assert not state.request_send(0)
    batch = state.next_commit()
    assert metadata_of(batch).reserved_until == 1 + 10
    assert not state.reserved(0)

    assert batch is not None
    state.settle(batch)
    assert state.reserved(0)
    assert state.reserved(10)
    assert not state.reserved(11)


def test_a_reservation_is_part_of_a_commit_that_happens_anyway() -> None:
    """No commit is due for it as long as what is handled is reserved."""
    state = open_state(RecoveredState(offset=0, reserved_until=5))
    state.open(3)
    assert state.request_send(3)
    assert state.next_commit() is None

    state.finish(3, NOTHING_TO_PUBLISH)

    assert metadata_of(state.next_commit()).reserved_until == 4 + 10


def test_a_stage_that_sends_nothing_reserves_nothing() -> None:
    """Its records are handled at once, and its commits say that nothing was sent."""
    state = open_state(ahead=0)
    state.open(0)

    assert state.request_send(0)
    assert state.next_commit() is None
    state.finish(0, NOTHING_TO_PUBLISH)
    assert metadata_of(state.next_commit()).reserved_until == 0


def test_an_orderly_end_commits_the_truth() -> None:
    """One past the highest offset whose send began, though much more was reserved."""
    state = open_state(RecoveredState(offset=0, reserved_until=500))
    for offset in range(5):
        state.open(offset)
        state.request_send(offset)
    state.mark_possibly_sent(2)
    state.finish(0, NOTHING_TO_PUBLISH)

    metadata = metadata_of(state.next_commit(final=True))

    assert (metadata.committed, metadata.reserved_until) == (1, 3)


def test_an_orderly_end_with_nothing_done_still_shrinks_the_reservation() -> None:
    """The next owner is spared the questions."""
    state = open_state(RecoveredState(offset=7, reserved_until=500))

    batch = state.next_commit(final=True)

    assert metadata_of(batch).reserved_until == 0
    assert batch is not None
    state.settle(batch)
    assert state.next_commit(final=True) is None


def test_old_doubts_outlive_an_orderly_end() -> None:
    """What an earlier owner may have sent, and this one did not get round to, is in doubt for the next one too."""
    state = open_state(RecoveredState(offset=0, possibly_sent_until=100, reserved_until=100))
    state.open(0)
    state.finish(0, NOTHING_TO_PUBLISH)

    assert metadata_of(state.next_commit(final=True)).reserved_until == 100


def test_old_doubts_outlive_a_small_reservation() -> None:
    """With unreadable metadata the doubt reaches far beyond what is reserved."""
    state = open_state(RecoveredState(offset=0, possibly_sent_until=10_000))
    state.open(0)
    state.request_send(0)

    assert metadata_of(state.next_commit()).reserved_until == 10_000


def test_a_loss_is_committed_at_once() -> None:
    """The next owner must not find and report it again."""
    state = open_state()
    assert state.next_commit() is None

    assert state.skip_to(40) == 40

    assert metadata_of(state.next_commit()).committed == 40


def test_a_commit_catches_up_with_markers_when_it_is_let() -> None:
    """Not by itself: a transaction for each marker would be one for each record."""
    state = open_state(ahead=0)
    state.open(0)
    state.finish(0, NOTHING_TO_PUBLISH)
    batch = state.next_commit()
    assert batch is not None
    state.settle(batch)
    assert not state.commit_is_behind
    state.pass_over(3)
    assert state.commit_is_behind
    assert state.next_commit() is None

    state.catch_up()

    late = state.next_commit()
    assert late is not None
    assert (late.offset, late.outcomes) == (3, {})
    state.settle(late)
    state.catch_up()
    assert state.next_commit() is None


def test_markers_before_an_open_record_are_committed_past_and_those_behind_it_are_not() -> None:
    """The committed offset is the first open record's, and never beyond."""
    state = open_state(ahead=0)
    state.pass_over(4)
    state.open(6)
    state.pass_over(9)

    state.catch_up()

    batch = state.next_commit()
    assert batch is not None
    assert batch.offset == 6


def test_an_orderly_end_commits_past_markers() -> None:
    """An emptied log looks to the next owner as if the marker had been an unsettled record."""
    state = open_state(ahead=0)
    state.pass_over(2)

    batch = state.next_commit(final=True)
    assert batch is not None
    found = recover(
        Commit(offset=batch.offset, metadata=batch.metadata),
        OffsetRange(start=2, end=2),
        cluster_id=CLUSTER,
        fingerprint="one",
    )

    assert found.lost_count == 0
    state.settle(batch)
    assert state.next_commit(final=True) is None


def test_the_metadata_names_the_topic_id() -> None:
    """Offsets alone do not say which log they count in."""
    state = PartitionState(
        "t/0", RecoveredState(offset=0), cluster_id=CLUSTER, topic_id="one", fingerprint="one", ahead=10
    )
    state.open(0)
    state.finish(0, NOTHING_TO_PUBLISH)

    assert metadata_of(state.next_commit()).topic_id == "one"


def test_a_reservation_does_not_shrink_under_a_send() -> None:
    """A send may begin under the old value while a new one is on its way."""
    state = open_state(RecoveredState(offset=0, reserved_until=500))
    state.open(0)
    state.request_send(0)
    state.finish(0, NOTHING_TO_PUBLISH)

    assert metadata_of(state.next_commit()).reserved_until == 500


def test_a_suspected_record_counts_as_sent_from_the_next_commit_on() -> None:
    """What follows a record that was handed off, in its lane."""
    state = open_state()
    for offset in (0, 50):
        state.open(offset)
    state.mark_possibly_sent(50)
    state.finish(0, NOTHING_TO_PUBLISH)

    assert metadata_of(state.next_commit()).reserved_until == 51
    assert metadata_of(state.next_commit(final=True)).reserved_until == 51


def test_a_record_in_doubt_keeps_its_old_fingerprint() -> None:
    """A commit under the new fingerprint must not make an old sending look new."""
    state = open_state(
        RecoveredState(offset=0, possibly_sent_until=3, other_fingerprint_until=3, reserved_until=3), fingerprint="two"
    )
    for offset in range(4):
        state.open(offset)
    state.finish(0, NOTHING_TO_PUBLISH)
    assert state.sent_under_other_fingerprint(2)
    assert not state.sent_under_other_fingerprint(3)
    assert metadata_of(state.next_commit()).other_fingerprint_until == 3

    for offset in (1, 2):
        state.finish(offset, NOTHING_TO_PUBLISH)

    assert metadata_of(state.next_commit()).other_fingerprint_until == 0


def test_a_misleading_commit_is_overwritten_at_once() -> None:
    """Before anything else happens in a topic that was recreated."""
    state = open_state(RecoveredState(offset=0, commit_outdated=True))

    batch = state.next_commit()
    assert batch is not None
    assert batch.offset == 0
    state.settle(batch)

    assert state.next_commit() is None


def test_of_too_many_outcomes_the_oldest_are_committed_first() -> None:
    """When nothing can be handed off, a commit takes what fits, and the rest stays finished for a later one."""
    state = open_state(ahead=0)
    for offset in range(0, 60_000, 2):
        state.open(offset)
    for offset in range(2, 60_000, 4):
        state.finish(offset, NOTHING_TO_PUBLISH)
    draft = state.next_commit()
    assert draft is not None
    assert not draft.fits

    batch = state.next_commit_that_fits()

    assert batch is not None
    assert batch.fits
    assert 0 < len(batch.outcomes) < len(draft.outcomes)
    assert max(batch.outcomes) < min(offset for offset in state.finished() if offset not in batch.outcomes)


def an_outcome(size: int) -> Outcome:
    """That publishes so many bytes, in two records."""
    return Outcome(
        records=(
            ProducerRecord(topic="out", key=b"k" * 10, value=b"v" * (size - 110)),
            ProducerRecord(topic="out", key=None, value=None, headers=(("plan", b"p" * 96),)),
        )
    )


def test_one_transaction_takes_the_oldest_outcomes_up_to_its_bytes() -> None:
    """Keys, values and headers; the rest is for the next one."""
    state = open_state(ahead=0)
    for offset in range(6):
        state.open(offset)
    for offset in (5, 1, 2, 0, 3):
        state.finish(offset, an_outcome(1000))

    batch = state.next_commit(max_bytes=3500)
    assert batch is not None
    assert (sorted(batch.outcomes), batch.offset, state.bytes_of(batch)) == ([0, 1, 2], 3, 3000)
    state.settle(batch)
    rest = state.next_commit(max_bytes=3500)
    assert rest is not None
    assert sorted(rest.outcomes) == [3, 5]


def test_an_outcome_larger_than_a_transaction_goes_alone() -> None:
    """One at least: it would wait for ever."""
    state = open_state(ahead=0)
    for offset in range(2):
        state.open(offset)
        state.finish(offset, an_outcome(1000))

    batch = state.next_commit(max_bytes=0)

    assert batch is not None
    assert sorted(batch.outcomes) == [0]


def test_a_replaced_or_withdrawn_outcome_counts_with_its_new_size() -> None:
    """What was too large for its topic is replaced by something smaller."""
    state = open_state(ahead=0)
    for offset in range(3):
        state.open(offset)
        state.finish(offset, an_outcome(1000))
    state.finish(1, an_outcome(200))
    state.withdraw(2)

    batch = state.next_commit(max_bytes=1200)

    assert batch is not None
    assert (sorted(batch.outcomes), state.bytes_of(batch)) == ([0, 1], 1200)


def test_a_process_remembers_what_it_sent_and_nothing_else() -> None:
    """Whatever was reserved: what is settled needs no memory, and what was suspected counts as sent."""
    state = open_state(RecoveredState(offset=0, possibly_sent_until=2, sent={3: EARLIER}, reserved_until=100))
    for offset in range(9):
        state.open(offset)
        state.request_send(offset)
    state.mark_possibly_sent(5)
    state.mark_possibly_sent(6)
    state.mark_possibly_sent(7)
    state.finish(6, NOTHING_TO_PUBLISH)
    batch = state.next_commit()
    assert batch is not None
    state.settle(batch)

    known = state.own_sends(fenced_at=EARLIER, until=NOW)

    assert known == OwnSends(topic_id="", possibly_sent_until=2, fenced_at=EARLIER, sent={3: EARLIER, 5: NOW, 7: NOW})


def test_what_was_sent_before_stays_so_for_the_next_owner() -> None:
    """It holds the partition again, and sends nothing of it: an orderly end says what it sent the first time."""
    state = open_state(RecoveredState(offset=0, sent={3: EARLIER}, reserved_until=100))
    for offset in range(5):
        state.open(offset)
    state.finish(0, NOTHING_TO_PUBLISH)

    assert [offset for offset in range(5) if state.possibly_sent(offset)] == [3]
    assert state.sent_before(3) == EARLIER
    assert metadata_of(state.next_commit(final=True)).reserved_until == 4


class Owners(RuleBasedStateMachine):
    """Owners of one partition, one after the other, each with its state; processes that come back remember.

    A process that lost the partition without an orderly end is the worst that can be: it may send everything that its
    commits have reserved, whenever it likes, until it takes the partition over again.
    """

    AHEAD = 4
    state: PartitionState

    @initialize(holes=st.lists(st.integers(0, 3), min_size=1, max_size=40))
    def a_log(self, holes: list[int]) -> None:
        self.log: list[int] = []
        offset = 0
        for hole in holes:
            offset += hole
            self.log.append(offset)
            offset += 1
        self.end = offset
        self.commit: Commit | None = None
        self.committed_by = ""
        self.published: list[int] = []
        self.sent: dict[int, set[str]] = {}
        self.flying: CommitBatch | None = None
        self.process = ""
        self.known: dict[str, OwnSends] = {}
        self.frozen: dict[str, PartitionState] = {}
        self.take_over("one")

    def take_over(self, fingerprint: str, process: str | None = None, *, orderly: bool = False) -> None:
        """By a process that is back, or by a new one, which remembers nothing."""
        if self.process:
            self.known[self.process] = self.state.own_sends(fenced_at=EARLIER, until=NOW)
            if not orderly:
                self.frozen[self.process] = self.state
        self.process = process or new_owner()
        self.frozen.pop(self.process, None)
        own = self.known.get(self.process)
        found = recover(
            self.commit,
            OffsetRange(start=0, end=self.end),
            cluster_id=CLUSTER,
            fingerprint=fingerprint,
            owner=self.process,
            own=own,
        )
        assert found.proven == (own is not None and self.committed_by == self.process)
        self.own = own if found.proven else None
        self.fingerprint = fingerprint
        self.state = open_state(found, ahead=self.AHEAD, fingerprint=fingerprint, owner=self.process)
        self.open: list[int] = []
        self.wanted: list[int] = []
        self.flying = None
        self.sent_before = {offset: set(marks) for offset, marks in self.sent.items()}

    def read(self) -> None:
        """Read one record on, and look at everything that is believed of it."""
        ahead = [offset for offset in self.log if offset >= self.state.next_offset]
        if not ahead:
            return
        offset = ahead[0]
        taken = self.state.open(offset)
        assert taken == (offset not in self.published), "opened again, or lost"
        if taken:
            self.open.append(offset)
            if offset in self.sent_before:
                assert self.state.possibly_sent(offset), "sent by an earlier owner, which is unknown"
                if self.sent_before[offset] - {self.fingerprint}:
                    assert self.state.sent_under_other_fingerprint(offset), (
                        "sent under another fingerprint, which is unknown"
                    )
            elif self.own is not None and offset >= self.own.possibly_sent_until:
                assert not self.state.possibly_sent(offset), "this process knows that it was not sent"
            if any(state.reserved(offset) for state in self.frozen.values()):
                assert self.state.possibly_sent(offset), "a frozen owner can still send it, which is unknown"

    def send(self, offset: int) -> None:
        """Send a record if that is reserved."""
        if self.state.reserved(offset) and offset in self.open:
            self.state.mark_possibly_sent(offset)
            self.sent.setdefault(offset, set()).add(self.fingerprint)

    def finish(self, offset: int) -> None:
        self.open.remove(offset)
        self.state.finish(offset, NOTHING_TO_PUBLISH)

    def arrive(self, batch: CommitBatch) -> None:
        self.commit = Commit(offset=batch.offset, metadata=batch.metadata)
        self.committed_by = self.process
        assert not set(batch.outcomes) & set(self.published), "published twice"
        self.published.extend(batch.outcomes)

    @rule(hole=st.integers(0, 3))
    def a_record_comes(self, hole: int) -> None:
        self.log.append(self.end + hole)
        self.end += hole + 1

    @invariant()
    def the_commit_never_passes_what_is_not_published(self) -> None:
        if getattr(self, "commit", None) is not None:
            assert self.commit is not None
            assert all(offset in self.published for offset in self.log if offset < self.commit.offset)


class OwnersThatDie(Owners):
    """Killed or stopped at any moment, also between commit and answer."""

    @rule()
    def read_on(self) -> None:
        self.read()

    @rule()
    def read_markers(self) -> None:
        """Nothing is left to read: reading stands at the log's end, and the next commit says so."""
        if all(offset < self.state.next_offset for offset in self.log):
            self.state.pass_over(self.end)
            self.state.catch_up()

    @precondition(lambda self: self.open)
    @rule(choice=st.randoms(use_true_random=False))
    def want_one(self, choice: object) -> None:
        offset = choice.choice(self.open)  # type: ignore[attr-defined]  # hypothesis' own Random
        self.state.request_send(offset)
        self.wanted.append(offset)

    @precondition(lambda self: self.wanted)
    @rule(choice=st.randoms(use_true_random=False))
    def send_one(self, choice: object) -> None:
        self.send(choice.choice(self.wanted))  # type: ignore[attr-defined]  # hypothesis' own Random

    @precondition(lambda self: self.open)
    @rule(choice=st.randoms(use_true_random=False))
    def finish_one(self, choice: object) -> None:
        self.finish(choice.choice(self.open))  # type: ignore[attr-defined]  # hypothesis' own Random

    @precondition(lambda self: self.flying is None)
    @rule()
    def begin_commit(self) -> None:
        self.flying = self.state.next_commit_that_fits()

    @precondition(lambda self: self.flying is not None)
    @rule()
    def commit_succeeds(self) -> None:
        assert self.flying is not None
        self.arrive(self.flying)
        self.state.settle(self.flying)
        self.flying = None

    @rule(fingerprint=st.sampled_from(["one", "two"]), arrived=st.booleans())
    def killed(self, fingerprint: str, arrived: bool) -> None:
        if self.flying is not None and arrived:
            self.arrive(self.flying)
        self.take_over(fingerprint)

    @precondition(lambda self: self.commit is not None)
    @rule(fingerprint=st.sampled_from(["one", "two"]))
    def the_offset_is_set(self, fingerprint: str) -> None:
        """With a tool that knows no metadata: what was settled beyond the offset is read again."""
        assert self.commit is not None
        self.commit = Commit(offset=self.commit.offset, metadata="")
        self.committed_by = ""
        self.published = [offset for offset in self.published if offset < self.commit.offset]
        self.take_over(fingerprint)
        self.frozen.clear()  # it is unknown what was reserved beyond the log's end

    @precondition(lambda self: self.flying is None)
    @rule(fingerprint=st.sampled_from(["one", "two"]))
    def stopped_in_good_order(self, fingerprint: str) -> None:
        final = self.state.next_commit_that_fits(final=True)
        if final is not None:
            self.arrive(final)
        self.take_over(fingerprint, orderly=True)


class OwnersThatComeBack(Owners):
    """The partition goes to and fro between processes that live on: transactions fail, and rebalances come."""

    @rule(count=st.integers(1, 8), skipped=st.sets(st.integers(0, 7)))
    def items(self, count: int, skipped: set[int]) -> None:
        """Read some records and send most of them; what is not reserved waits."""
        for _ in range(count):
            self.read()
        for offset in self.open:
            self.state.request_send(offset)
        for number, offset in enumerate(self.open[:8]):
            if number not in skipped:
                self.send(offset)

    @rule(done=st.sets(st.integers(0, 7)))
    def commits(self, done: set[int]) -> None:
        for offset in [offset for number, offset in enumerate(self.open) if number in done]:
            self.finish(offset)
        if (batch := self.state.next_commit_that_fits()) is not None:
            self.arrive(batch)
            self.state.settle(batch)

    @rule(process=st.sampled_from("ABC"), end=st.sampled_from(["fails", "fails", "arrives", "orderly"]))
    def moves(self, process: str, end: str) -> None:
        """The last transaction fails, or arrives without an answer, or was the last of a clean stop."""
        batch = self.state.next_commit_that_fits(final=end == "orderly")
        if batch is not None and end != "fails":
            self.arrive(batch)
        self.take_over("one", process, orderly=end == "orderly")


OwnersThatDie.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=60, deadline=None)
OwnersThatComeBack.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=30, deadline=None)
TestOwnersThatDie = OwnersThatDie.TestCase
TestOwnersThatComeBack = OwnersThatComeBack.TestCase
