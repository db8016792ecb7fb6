"""The commit's metadata: everything written is read again, and nothing else is ever believed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.stream.commit_metadata import (
    LIMIT,
    CommitMetadata,
    NoMetadata,
    decode,
    encode,
    new_owner,
    short_fingerprint,
)
from adapter.stream.ledger import OffsetLedger

CLUSTER = "MkU3OEVBNTcwNTJENDM2Qg"


def some_metadata(**changes: object) -> CommitMetadata:
    facts: dict[str, object] = {
        "cluster_id": CLUSTER,
        "topic_id": "a1b3744078c547deb1a2348c0a0ae96e",
        "committed": 100,
        "reserved_until": 700,
        "other_fingerprint_until": 0,
        "fingerprint": short_fingerprint("plugins 1, catalogue 2"),
        "settled": ((101, 105), (200, 201)),
    }
    return CommitMetadata(**(facts | changes))  # type: ignore[arg-type]  # a test's shorthand


@st.composite
def texts(draw: st.DrawFn) -> CommitMetadata:
    committed = draw(st.integers(0, 2**62))
    settled, reached = [], committed
    for gap, length in draw(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=40)):
        settled.append((reached + gap, reached + gap + length))
        reached += gap + length
    return CommitMetadata(
        cluster_id=draw(st.text(max_size=30)),
        topic_id=draw(st.text(max_size=32)),
        committed=committed,
        reserved_until=draw(st.integers(0, 2**63 - 1)),
        other_fingerprint_until=draw(st.integers(0, 2**63 - 1)),
        fingerprint=short_fingerprint(draw(st.text(max_size=20))),
        owner=draw(st.one_of(st.just(""), st.text(max_size=20), st.builds(new_owner))),
        settled=tuple(settled),
    )


@given(texts())
def test_what_is_written_is_read(metadata: CommitMetadata) -> None:
    """Whatever the numbers and the cluster's name."""
    text = encode(metadata)

    assert text.isascii()
    assert decode(text, cluster_id=metadata.cluster_id, committed=metadata.committed) == metadata


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_a_foreign_text_is_unreadable_and_never_an_accident(text: str) -> None:
    """Other tools write metadata too; none of it is believed, none of it raises."""
    assert isinstance(decode(text, cluster_id=CLUSTER, committed=100), NoMetadata)


@given(texts(), st.data())
def test_corrupted_metadata_is_unreadable(metadata: CommitMetadata, data: st.DataObject) -> None:
    """One changed character makes the metadata invalid."""
    text = encode(metadata)
    partition = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda character: character != text[partition]))

    damaged = text[:partition] + other + text[partition + 1 :]

    assert isinstance(decode(damaged, cluster_id=metadata.cluster_id, committed=metadata.committed), NoMetadata)


@given(texts(), st.integers(0, 200))
def test_metadata_that_is_cut_off_is_unreadable(metadata: CommitMetadata, kept: int) -> None:
    """Half of it is no metadata."""
    text = encode(metadata)

    assert isinstance(
        decode(text[: min(kept, len(text) - 1)], cluster_id=metadata.cluster_id, committed=100), NoMetadata
    )


@pytest.mark.parametrize(
    "text", [None, "", " ", "ea1", "ea1 " * 8, "ea1 c l 1 2 3 f - 00000000", "ea2 c l 1 2 3 f - x"]
)
def test_absent_or_foreign_metadata_is_unreadable(text: str | None) -> None:
    """No metadata, another format, a wrong checksum: the same answer."""
    assert isinstance(decode(text, cluster_id=CLUSTER, committed=100), NoMetadata)


def test_metadata_written_for_another_offset_is_unreadable() -> None:
    """A tool moved the group's offset; metadata of the old offset says nothing about the new one."""
    outcome = decode(encode(some_metadata()), cluster_id=CLUSTER, committed=90)

    assert isinstance(outcome, NoMetadata)
    assert "offset" in outcome.why


def test_metadata_of_another_cluster_is_unreadable() -> None:
    """Offsets that a mirror has copied mean other records there."""
    outcome = decode(encode(some_metadata()), cluster_id="another", committed=100)

    assert isinstance(outcome, NoMetadata)
    assert "cluster" in outcome.why


def left_open(offsets: int, share: float) -> CommitMetadata:
    """Metadata with `share` of that many offsets open, at random."""
    chance = random.Random(offsets)
    ledger = OffsetLedger("t/0", committed=10**9)
    for offset in range(10**9, 10**9 + offsets):
        ledger.open(offset)
    for offset in list(ledger):
        if chance.random() >= share:
            ledger.settle(offset)
    committable_offsets = ledger.committable_offsets()
    return some_metadata(
        committed=committable_offsets.committable,
        reserved_until=10**9 + offsets,
        other_fingerprint_until=10**9,
        settled=committable_offsets.settled,
    )


@pytest.mark.parametrize(("offsets", "share"), [(100_000, 0.02), (20_000, 0.5), (50_000, 1.0), (20_000, 0.9)])
def test_a_busy_partition_fits_into_a_commit(offsets: int, share: float) -> None:
    """Thousands of open records scattered at random need no more than 3.3 kB."""
    metadata = left_open(offsets, share)
    text = encode(metadata)

    assert len(text) < 3300 < LIMIT
    assert decode(text, cluster_id=CLUSTER, committed=metadata.committed) == metadata


def test_the_metadata_has_a_hash_of_the_fingerprint() -> None:
    """Fingerprints have any length; the metadata keeps twelve characters."""
    assert len(short_fingerprint("x" * 10_000)) == 12
    assert short_fingerprint("a") != short_fingerprint("b")
