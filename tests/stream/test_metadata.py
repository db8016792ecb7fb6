"""The commit's note: everything written is read again, and nothing else is ever believed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.stream.ledger import OffsetLedger
from adapter.stream.metadata import LIMIT, CommitNote, Unreadable, new_owner, read, short_fingerprint, write

CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"


def a_note(**changes: object) -> CommitNote:
    facts: dict[str, object] = {
        "cluster_id": CLUSTER,
        "log_id": "a1b3744078c547deb1a2348c0a0ae96e",
        "committed": 100,
        "reserved_until": 700,
        "mixed_until": 0,
        "fingerprint": short_fingerprint("plugins 1, catalogue 2"),
        "settled": ((101, 105), (200, 201)),
    }
    return CommitNote(**(facts | changes))  # type: ignore[arg-type]  # a test's shorthand


@st.composite
def notes(draw: st.DrawFn) -> CommitNote:
    committed = draw(st.integers(0, 2**62))
    settled, reached = [], committed
    for gap, length in draw(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=40)):
        settled.append((reached + gap, reached + gap + length))
        reached += gap + length
    return CommitNote(
        cluster_id=draw(st.text(max_size=30)),
        log_id=draw(st.text(max_size=32)),
        committed=committed,
        reserved_until=draw(st.integers(0, 2**63 - 1)),
        mixed_until=draw(st.integers(0, 2**63 - 1)),
        fingerprint=short_fingerprint(draw(st.text(max_size=20))),
        owner=draw(st.one_of(st.just(""), st.text(max_size=20), st.builds(new_owner))),
        settled=tuple(settled),
    )


@given(notes())
def test_what_is_written_is_read(note: CommitNote) -> None:
    """Whatever the numbers and the cluster's name."""
    text = write(note)

    assert text.isascii()
    assert read(text, cluster_id=note.cluster_id, committed=note.committed) == note


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_a_foreign_text_is_unreadable_and_never_an_accident(text: str) -> None:
    """Other tools write metadata too; none of it is believed, none of it raises."""
    assert isinstance(read(text, cluster_id=CLUSTER, committed=100), Unreadable)


@given(notes(), st.data())
def test_a_damaged_note_is_unreadable(note: CommitNote, data: st.DataObject) -> None:
    """One changed character, and the note says nothing any more."""
    text = write(note)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda character: character != text[place]))

    damaged = text[:place] + other + text[place + 1 :]

    assert isinstance(read(damaged, cluster_id=note.cluster_id, committed=note.committed), Unreadable)


@given(notes(), st.integers(0, 200))
def test_a_note_cut_off_is_unreadable(note: CommitNote, kept: int) -> None:
    """Half a note is no note."""
    text = write(note)

    assert isinstance(read(text[: min(kept, len(text) - 1)], cluster_id=note.cluster_id, committed=100), Unreadable)


@pytest.mark.parametrize(
    "text", [None, "", " ", "ea1", "ea1 " * 8, "ea1 c l 1 2 3 f - 00000000", "ea2 c l 1 2 3 f - x"]
)
def test_an_absent_or_foreign_note_is_unreadable(text: str | None) -> None:
    """No metadata, another format, a wrong checksum: the same answer."""
    assert isinstance(read(text, cluster_id=CLUSTER, committed=100), Unreadable)


def test_a_note_written_for_another_offset_is_unreadable() -> None:
    """Somebody moved the group's offset; a note that came along by accident says nothing about the new one."""
    outcome = read(write(a_note()), cluster_id=CLUSTER, committed=90)

    assert outcome == Unreadable(why="the offset was moved after the note was written")


def test_a_note_of_another_cluster_is_unreadable() -> None:
    """Offsets that a mirror carried over mean other records there."""
    outcome = read(write(a_note()), cluster_id="another", committed=100)

    assert outcome == Unreadable(why="the note was written for another cluster")


def left_open(offsets: int, share: float) -> CommitNote:
    """A note with `share` of that many offsets open, at random."""
    chance = random.Random(offsets)
    ledger = OffsetLedger("t/0", committed=10**9)
    for offset in range(10**9, 10**9 + offsets):
        ledger.open(offset)
    for offset in list(ledger):
        if chance.random() >= share:
            ledger.settle(offset)
    standing = ledger.standing()
    return a_note(
        committed=standing.committable, reserved_until=10**9 + offsets, mixed_until=10**9, settled=standing.settled
    )


@pytest.mark.parametrize(("offsets", "share"), [(100_000, 0.02), (20_000, 0.5), (50_000, 1.0), (20_000, 0.9)])
def test_a_busy_partition_fits_into_a_commit(offsets: int, share: float) -> None:
    """Thousands of open records scattered at random need no more than 3.3 kB."""
    note = left_open(offsets, share)
    text = write(note)

    assert len(text) < 3300 < LIMIT
    assert read(text, cluster_id=CLUSTER, committed=note.committed) == note


def test_the_note_names_a_fingerprint_without_telling_it() -> None:
    """Fingerprints have any length; the note keeps twelve characters."""
    assert len(short_fingerprint("x" * 10_000)) == 12
    assert short_fingerprint("a") != short_fingerprint("b")
