"""Every kept input holds what `targets` promises; and the fuzzer finds what does not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.corpus import FOLDER, keep, kept
from fuzz.fuzzer import fuzz, lines_of
from fuzz.mutation import MAX_BYTES, mutated
from fuzz.targets import TARGETS


@pytest.fixture
def chance() -> random.Random:
    return random.Random(7)


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_is_read_or_refused(target: str) -> None:
    """With the documented errors only; those that once broke something are among them."""
    for path, data in kept(target).items():
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"{path.relative_to(FOLDER)} breaks a promise") from error


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    """Small enough to run with every test."""
    assert {path.name for path in FOLDER.iterdir()} == set(TARGETS)
    for target in TARGETS:
        assert 3 <= len(kept(target)) <= 400
        assert all(len(data) <= MAX_BYTES for data in kept(target).values())


@pytest.mark.parametrize("target", TARGETS)
def test_a_corpus_reaches_what_it_is_about(target: str) -> None:
    """It goes beyond the first check: no single input reaches nearly as many lines as all of them."""
    reached = [lines_of(TARGETS[target], data) for data in kept(target).values()]

    assert len(set[tuple[str, int]]().union(*reached)) > 1.2 * min(map(len, reached))


def test_a_broken_promise_is_found(chance: random.Random) -> None:
    """By mutation, from an input that keeps it."""

    def reader(data: bytes) -> None:
        if b"\\ud800" in data:
            raise UnicodeError("a reader that trusts every text")

    result = fuzz(reader, [b'{"id": "A"}'], seconds=60, seed=1)

    assert result.finding is not None
    assert isinstance(result.finding.error, UnicodeError)
    assert b"\\ud800" in result.finding.data


def test_mutations_are_bounded_and_repeatable(chance: random.Random) -> None:
    """The same seed gives the same inputs, none larger than may be."""
    corpus = [b"x" * MAX_BYTES, b'{"a": 1}', b""]

    def some(of: random.Random) -> Iterator[bytes]:
        for _ in range(500):
            yield mutated(of.choice(corpus), corpus, of)

    inputs = list(some(chance))
    assert inputs == list(some(random.Random(7)))
    assert max(map(len, inputs)) <= MAX_BYTES
    assert len(set(inputs)) > 400


def test_an_input_is_kept_under_its_digest(tmp_path: Path) -> None:
    """So the same one is kept once."""
    first, second = keep("order", b"a", folder=tmp_path), keep("order", b"a", folder=tmp_path)

    assert first == second
    assert first.read_bytes() == b"a"
