"""The books of a partition: reservation, doubts, flushes; and a model of owners that die at any moment."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapter.stream.books import Flush, PartitionBooks
from adapter.stream.inheritance import Inheritance, OwnSends, inherit
from adapter.stream.metadata import CommitNote, new_owner, read
from adapter.stream.port import Commit, LogRange
from adapter.stream.records import Publication
from adapter.stream.stage import Outcome

CLUSTER = "cluster-1"
EARLIER, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
NOTHING_TO_TELL = Outcome()


def open_books(
    inheritance: Inheritance | None = None, *, ahead: int = 10, fingerprint: str = "one", owner: str = ""
) -> PartitionBooks:
    return PartitionBooks(
        "t/0",
        inheritance or Inheritance(offset=0),
        cluster_id=CLUSTER,
        fingerprint=fingerprint,
        ahead=ahead,
        owner=owner,
    )


def note_of(flush: Flush | None) -> CommitNote:
    assert flush is not None
    note = read(flush.metadata, cluster_id=CLUSTER, committed=flush.offset)
    assert isinstance(note, CommitNote)
    return note


def test_nothing_is_sent_before_it_is_reserved() -> None:
    """The first record of a group waits for the first commit."""
    books = open_books()
    books.take(0)

    assert not books.want(0)
    flush = books.draft()
    assert note_of(flush).reserved_until == 1 + 10
    assert not books.reserved(0)

    assert flush is not None
    books.settle(flush)
    assert books.reserved(0)
    assert books.reserved(10)
    assert not books.reserved(11)


def test_a_reservation_rides_in_a_flush_that_happens_anyway() -> None:
    """No flush is due for it as long as what is handled is reserved."""
    books = open_books(Inheritance(offset=0, reserved_until=5))
    books.take(3)
    assert books.want(3)
    assert books.draft() is None

    books.finish(3, NOTHING_TO_TELL)

    assert note_of(books.draft()).reserved_until == 4 + 10


def test_a_stage_that_sends_nothing_reserves_nothing() -> None:
    """Its records are handled at once, and its commits say that nothing was sent."""
    books = open_books(ahead=0)
    books.take(0)

    assert books.want(0)
    assert books.draft() is None
    books.finish(0, NOTHING_TO_TELL)
    assert note_of(books.draft()).reserved_until == 0


def test_an_orderly_end_commits_the_truth() -> None:
    """One past the highest offset whose send began, though much more was reserved."""
    books = open_books(Inheritance(offset=0, reserved_until=500))
    for offset in range(5):
        books.take(offset)
        books.want(offset)
    books.begin_send(2)
    books.finish(0, NOTHING_TO_TELL)

    note = note_of(books.draft(final=True))

    assert (note.committed, note.reserved_until) == (1, 3)


def test_an_orderly_end_with_nothing_done_still_shrinks_the_reservation() -> None:
    """The next owner is spared the questions."""
    books = open_books(Inheritance(offset=7, reserved_until=500))

    flush = books.draft(final=True)

    assert note_of(flush).reserved_until == 0
    assert flush is not None
    books.settle(flush)
    assert books.draft(final=True) is None


def test_old_doubts_outlive_an_orderly_end() -> None:
    """What an earlier owner may have sent, and this one did not get round to, is in doubt for the next one too."""
    books = open_books(Inheritance(offset=0, possibly_sent_until=100, reserved_until=100))
    books.take(0)
    books.finish(0, NOTHING_TO_TELL)

    assert note_of(books.draft(final=True)).reserved_until == 100


def test_old_doubts_outlive_a_small_reservation() -> None:
    """With unreadable metadata the doubt reaches far beyond what is reserved."""
    books = open_books(Inheritance(offset=0, possibly_sent_until=10_000))
    books.take(0)
    books.want(0)

    assert note_of(books.draft()).reserved_until == 10_000


def test_a_loss_is_committed_at_once() -> None:
    """The next owner shall not find it again, and tell it again."""
    books = open_books()
    assert books.draft() is None

    assert books.skip_to(40) == 40

    assert note_of(books.draft()).committed == 40


def test_a_commit_catches_up_with_markers_when_it_is_let() -> None:
    """Not by itself: a transaction for each marker would be one for each record."""
    books = open_books(ahead=0)
    books.take(0)
    books.finish(0, NOTHING_TO_TELL)
    flush = books.draft()
    assert flush is not None
    books.settle(flush)
    assert not books.trails
    books.pass_over(3)
    assert books.trails
    assert books.draft() is None

    books.catch_up()

    late = books.draft()
    assert late is not None
    assert (late.offset, late.outcomes) == (3, {})
    books.settle(late)
    books.catch_up()
    assert books.draft() is None


def test_markers_before_an_open_record_are_committed_past_and_those_behind_it_are_not() -> None:
    """The committed offset is the first open record's, and never beyond."""
    books = open_books(ahead=0)
    books.pass_over(4)
    books.take(6)
    books.pass_over(9)

    books.catch_up()

    flush = books.draft()
    assert flush is not None
    assert flush.offset == 6


def test_an_orderly_end_commits_past_markers() -> None:
    """An emptied log looks to the next owner as if the marker had been a record that nobody settled."""
    books = open_books(ahead=0)
    books.pass_over(2)

    flush = books.draft(final=True)
    assert flush is not None
    found = inherit(
        Commit(offset=flush.offset, metadata=flush.metadata),
        LogRange(start=2, end=2),
        cluster_id=CLUSTER,
        fingerprint="one",
    )

    assert found.lost == 0
    books.settle(flush)
    assert books.draft(final=True) is None


def test_the_note_names_the_log() -> None:
    """Offsets alone do not say which log they count in."""
    books = PartitionBooks("t/0", Inheritance(offset=0), cluster_id=CLUSTER, log_id="one", fingerprint="one", ahead=10)
    books.take(0)
    books.finish(0, NOTHING_TO_TELL)

    assert note_of(books.draft()).log_id == "one"


def test_a_reservation_does_not_shrink_under_a_send() -> None:
    """A send may begin under the old value while a new one is on its way."""
    books = open_books(Inheritance(offset=0, reserved_until=500))
    books.take(0)
    books.want(0)
    books.finish(0, NOTHING_TO_TELL)

    assert note_of(books.draft()).reserved_until == 500


def test_a_suspected_record_counts_as_sent_from_the_next_commit_on() -> None:
    """What follows a record that was carried on, in its lane."""
    books = open_books()
    for offset in (0, 50):
        books.take(offset)
    books.suspect(50)
    books.finish(0, NOTHING_TO_TELL)

    assert note_of(books.draft()).reserved_until == 51
    assert note_of(books.draft(final=True)).reserved_until == 51


def test_a_record_in_doubt_keeps_its_old_fingerprint() -> None:
    """A commit under the new fingerprint must not make an old sending look new."""
    books = open_books(Inheritance(offset=0, possibly_sent_until=3, mixed_until=3, reserved_until=3), fingerprint="two")
    for offset in range(4):
        books.take(offset)
    books.finish(0, NOTHING_TO_TELL)
    assert books.mixed(2)
    assert not books.mixed(3)
    assert note_of(books.draft()).mixed_until == 3

    for offset in (1, 2):
        books.finish(offset, NOTHING_TO_TELL)

    assert note_of(books.draft()).mixed_until == 0


def test_a_misleading_commit_is_overwritten_at_once() -> None:
    """Before anything else happens in a topic that was made anew."""
    books = open_books(Inheritance(offset=0, moved=True))

    flush = books.draft()
    assert flush is not None
    assert flush.offset == 0
    books.settle(flush)

    assert books.draft() is None


def test_of_too_many_outcomes_the_oldest_are_flushed_first() -> None:
    """When nothing can be carried on, a commit takes what fits, and the rest stays finished for a later one."""
    books = open_books(ahead=0)
    for offset in range(0, 60_000, 2):
        books.take(offset)
    for offset in range(2, 60_000, 4):
        books.finish(offset, NOTHING_TO_TELL)
    draft = books.draft()
    assert draft is not None
    assert not draft.fits

    flush = books.fitting()

    assert flush is not None
    assert flush.fits
    assert 0 < len(flush.outcomes) < len(draft.outcomes)
    assert max(flush.outcomes) < min(offset for offset in books.finished() if offset not in flush.outcomes)


def an_outcome(size: int) -> Outcome:
    """That publishes so many bytes, in two records."""
    return Outcome(
        records=(
            Publication(topic="out", key=b"k" * 10, value=b"v" * (size - 110)),
            Publication(topic="out", key=None, value=None, headers=(("plan", b"p" * 96),)),
        )
    )


def test_one_transaction_takes_the_oldest_outcomes_up_to_its_bytes() -> None:
    """Keys, values and headers; the rest is for the next one."""
    books = open_books(ahead=0)
    for offset in range(6):
        books.take(offset)
    for offset in (5, 1, 2, 0, 3):
        books.finish(offset, an_outcome(1000))

    flush = books.draft(most_bytes=3500)
    assert flush is not None
    assert (sorted(flush.outcomes), flush.offset, books.size(flush)) == ([0, 1, 2], 3, 3000)
    books.settle(flush)
    rest = books.draft(most_bytes=3500)
    assert rest is not None
    assert sorted(rest.outcomes) == [3, 5]


def test_an_outcome_larger_than_a_transaction_goes_alone() -> None:
    """One at least: it would wait for ever."""
    books = open_books(ahead=0)
    for offset in range(2):
        books.take(offset)
        books.finish(offset, an_outcome(1000))

    flush = books.draft(most_bytes=0)

    assert flush is not None
    assert sorted(flush.outcomes) == [0]


def test_a_replaced_or_withdrawn_outcome_counts_with_its_new_size() -> None:
    """What was too large for its topic is replaced by something smaller."""
    books = open_books(ahead=0)
    for offset in range(3):
        books.take(offset)
        books.finish(offset, an_outcome(1000))
    books.finish(1, an_outcome(200))
    books.withdraw(2)

    flush = books.draft(most_bytes=1200)

    assert flush is not None
    assert (sorted(flush.outcomes), books.size(flush)) == ([0, 1], 1200)


def test_a_process_remembers_what_it_sent_and_nothing_else() -> None:
    """Whatever was reserved: what is settled needs no memory, and what was suspected counts as sent."""
    books = open_books(Inheritance(offset=0, possibly_sent_until=2, sent={3: EARLIER}, reserved_until=100))
    for offset in range(9):
        books.take(offset)
        books.want(offset)
    books.begin_send(5)
    books.begin_send(6)
    books.suspect(7)
    books.finish(6, NOTHING_TO_TELL)
    flush = books.draft()
    assert flush is not None
    books.settle(flush)

    known = books.own_sends(fenced_at=EARLIER, until=NOW)

    assert known == OwnSends(log_id="", doubted_until=2, fenced_at=EARLIER, sent={3: EARLIER, 5: NOW, 7: NOW})


def test_what_was_sent_before_stays_so_for_the_next_owner() -> None:
    """It holds the partition again, and sends nothing of it: an orderly end says what it sent the first time."""
    books = open_books(Inheritance(offset=0, sent={3: EARLIER}, reserved_until=100))
    for offset in range(5):
        books.take(offset)
    books.finish(0, NOTHING_TO_TELL)

    assert [offset for offset in range(5) if books.possibly_sent(offset)] == [3]
    assert books.sent_before(3) == EARLIER
    assert note_of(books.draft(final=True)).reserved_until == 4


class Owners(RuleBasedStateMachine):
    """Owners of one partition, one after the other, each with its books; processes that come back remember.

    A process that lost the partition without an orderly end is the worst that can be: it may send everything that its
    commits have reserved, whenever it likes, until it takes the partition over again.
    """

    AHEAD = 4
    books: PartitionBooks

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
        self.flying: Flush | None = None
        self.process = ""
        self.known: dict[str, OwnSends] = {}
        self.frozen: dict[str, PartitionBooks] = {}
        self.take_over("one")

    def take_over(self, fingerprint: str, process: str | None = None, *, orderly: bool = False) -> None:
        """By a process that is back, or by a new one, which remembers nothing."""
        if self.process:
            self.known[self.process] = self.books.own_sends(fenced_at=EARLIER, until=NOW)
            if not orderly:
                self.frozen[self.process] = self.books
        self.process = process or new_owner()
        self.frozen.pop(self.process, None)
        own = self.known.get(self.process)
        found = inherit(
            self.commit,
            LogRange(start=0, end=self.end),
            cluster_id=CLUSTER,
            fingerprint=fingerprint,
            owner=self.process,
            own=own,
        )
        assert found.proven == (own is not None and self.committed_by == self.process)
        self.own = own if found.proven else None
        self.fingerprint = fingerprint
        self.books = open_books(found, ahead=self.AHEAD, fingerprint=fingerprint, owner=self.process)
        self.open: list[int] = []
        self.wanted: list[int] = []
        self.flying = None
        self.sent_before = {offset: set(marks) for offset, marks in self.sent.items()}

    def read(self) -> None:
        """Read one record on, and look at everything that is believed of it."""
        ahead = [offset for offset in self.log if offset >= self.books.next_offset]
        if not ahead:
            return
        offset = ahead[0]
        taken = self.books.take(offset)
        assert taken == (offset not in self.published), "opened again, or lost"
        if taken:
            self.open.append(offset)
            if offset in self.sent_before:
                assert self.books.possibly_sent(offset), "sent by an earlier owner, and nobody knows"
                if self.sent_before[offset] - {self.fingerprint}:
                    assert self.books.mixed(offset), "sent under another fingerprint, and nobody knows"
            elif self.own is not None and offset >= self.own.doubted_until:
                assert not self.books.possibly_sent(offset), "this process knows that it was not sent"
            if any(books.reserved(offset) for books in self.frozen.values()):
                assert self.books.possibly_sent(offset), "a frozen owner can still send it, and nobody knows"

    def send(self, offset: int) -> None:
        """Send a record if that is reserved."""
        if self.books.reserved(offset) and offset in self.open:
            self.books.begin_send(offset)
            self.sent.setdefault(offset, set()).add(self.fingerprint)

    def finish(self, offset: int) -> None:
        self.open.remove(offset)
        self.books.finish(offset, NOTHING_TO_TELL)

    def arrive(self, flush: Flush) -> None:
        self.commit = Commit(offset=flush.offset, metadata=flush.metadata)
        self.committed_by = self.process
        assert not set(flush.outcomes) & set(self.published), "published twice"
        self.published.extend(flush.outcomes)

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
    """Killed or stopped at any moment, also between flush and answer."""

    @rule()
    def read_on(self) -> None:
        self.read()

    @rule()
    def read_markers(self) -> None:
        """Nothing is left to read: reading stands at the log's end, and the next commit says so."""
        if all(offset < self.books.next_offset for offset in self.log):
            self.books.pass_over(self.end)
            self.books.catch_up()

    @precondition(lambda self: self.open)
    @rule(choice=st.randoms(use_true_random=False))
    def want_one(self, choice: object) -> None:
        offset = choice.choice(self.open)  # type: ignore[attr-defined]  # hypothesis' own Random
        self.books.want(offset)
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
    def begin_flush(self) -> None:
        self.flying = self.books.fitting()

    @precondition(lambda self: self.flying is not None)
    @rule()
    def flush_succeeds(self) -> None:
        assert self.flying is not None
        self.arrive(self.flying)
        self.books.settle(self.flying)
        self.flying = None

    @rule(fingerprint=st.sampled_from(["one", "two"]), arrived=st.booleans())
    def killed(self, fingerprint: str, arrived: bool) -> None:
        if self.flying is not None and arrived:
            self.arrive(self.flying)
        self.take_over(fingerprint)

    @precondition(lambda self: self.commit is not None)
    @rule(fingerprint=st.sampled_from(["one", "two"]))
    def somebody_sets_the_offset(self, fingerprint: str) -> None:
        """With a tool that knows nothing of notes: what was settled beyond the offset is wanted again."""
        assert self.commit is not None
        self.commit = Commit(offset=self.commit.offset, metadata="")
        self.committed_by = ""
        self.published = [offset for offset in self.published if offset < self.commit.offset]
        self.take_over(fingerprint)
        self.frozen.clear()  # nobody knows what was reserved beyond the log's end

    @precondition(lambda self: self.flying is None)
    @rule(fingerprint=st.sampled_from(["one", "two"]))
    def stopped_in_good_order(self, fingerprint: str) -> None:
        final = self.books.fitting(final=True)
        if final is not None:
            self.arrive(final)
        self.take_over(fingerprint, orderly=True)


class OwnersThatComeBack(Owners):
    """The partition goes to and fro between processes that live on: transactions fail, and rebalances come."""

    @rule(count=st.integers(1, 8), skipped=st.sets(st.integers(0, 7)))
    def works(self, count: int, skipped: set[int]) -> None:
        """Read some records and send most of them; what is not reserved waits."""
        for _ in range(count):
            self.read()
        for offset in self.open:
            self.books.want(offset)
        for number, offset in enumerate(self.open[:8]):
            if number not in skipped:
                self.send(offset)

    @rule(done=st.sets(st.integers(0, 7)))
    def commits(self, done: set[int]) -> None:
        for offset in [offset for number, offset in enumerate(self.open) if number in done]:
            self.finish(offset)
        if (flush := self.books.fitting()) is not None:
            self.arrive(flush)
            self.books.settle(flush)

    @rule(process=st.sampled_from("ABC"), end=st.sampled_from(["fails", "fails", "arrives", "orderly"]))
    def moves(self, process: str, end: str) -> None:
        """The last transaction fails, or arrives and nobody is told, or was the last of an orderly end."""
        flush = self.books.fitting(final=end == "orderly")
        if flush is not None and end != "fails":
            self.arrive(flush)
        self.take_over("one", process, orderly=end == "orderly")


OwnersThatDie.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
OwnersThatComeBack.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestOwnersThatDie = OwnersThatDie.TestCase
TestOwnersThatComeBack = OwnersThatComeBack.TestCase
