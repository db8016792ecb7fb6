"""Words that were given up do not come back as names, and each public class name stands for one thing."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("adapter", "plugins", "benchmarks", "tests", "examples")

GIVEN_UP_WORDS = frozenset(
    [
        "anew",
        "heir",
        "heirs",
        "inheritance",
        "journey",
        "journeys",
        "leftover",
        "leftovers",
        "mend",
        "mended",
        "mends",
        "nobody",
        "sitting",
        "sittings",
        "somebody",
        "tell",
        "tells",
        "telling",
        "told",
        "whoever",
        "workshop",
    ]
)
"""No identifier contains one of these, in snake case or camel case."""

GIVEN_UP_NAMES = frozenset(
    [
        "ASKED_ENOUGH",
        "AioKafkaWriter",
        "Aside",
        "BoxOffice",
        "BrokerAway",
        "Bounds",
        "CarriedPart",
        "CarriedPlan",
        "CommitNote",
        "Departure",
        "DirectTransport",
        "Door",
        "Flusher",
        "Grant",
        "Holding",
        "Holdings",
        "KafkaTrouble",
        "LogRange",
        "OtherNumber",
        "OtherPlans",
        "Patience",
        "Pile",
        "Place",
        "Provider",
        "Publication",
        "PublicationsTooLarge",
        "RefusedUnread",
        "Remedy",
        "SinkDesk",
        "SoleWriter",
        "TopicFacts",
        "TurnedAway",
        "Unobserved",
        "Unproven",
        "WaitingRoom",
        "Whose",
        "Wire",
        "begin_at_ends",
        "begins_at_end",
        "calls_clearance",
        "carry",
        "carry_oldest",
        "clear_to_send",
        "clearance",
        "close_gate",
        "commit_unjoined",
        "count_as_taken",
        "flush_due",
        "holding",
        "holdings",
        "in_touch",
        "let_all_go",
        "let_in",
        "log_ids",
        "log_range",
        "lock_away",
        "look_after",
        "mixed_until",
        "not_live_because",
        "not_ready_because",
        "odd_timestamp",
        "open_pile",
        "on_mistake",
        "on_turn",
        "proof_of_life",
        "publication",
        "publications",
        "sole_writer",
        "start_writer",
        "take_no_more",
        "wait_for_leftover",
        "wait_outside",
        "whose",
        "whose_order",
    ]
)
"""No identifier is one of these."""

_LETTER = re.compile(r"(?<!dead_)(?<!dead)(?<!ascii_)letters?(?![a-z]|_case)", re.IGNORECASE)
"""A letter that is no dead letter; those of the alphabet are meant by `ascii_letters` and `letter_case`."""

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def _modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def _identifiers(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def _is_given_up(name: str) -> bool:
    words = {part.lower() for part in _PARTS.findall(name)}
    return name.strip("_") in GIVEN_UP_NAMES or bool(words & GIVEN_UP_WORDS) or bool(_LETTER.search(name))


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_identifier_uses_a_word_that_was_given_up(path: Path) -> None:
    """The glossary has the word that stands for it now."""
    if path == Path(__file__):
        return
    found = {f"{line}: {name}" for line, name in _identifiers(path) if _is_given_up(name)}

    assert not found
    assert not _is_given_up(path.stem), "the file's own name"


def test_a_given_up_word_is_found_in_every_kind_of_name() -> None:
    """Snake case, camel case, capitals; a dead letter is one word."""
    for name in ("told", "_told_on", "ToldEvent", "TOLD", "letter", "two_letters", "Grant", "_carry"):
        assert _is_given_up(name), name
    for name in ("dead_letter", "DeadLetters", "DEAD_LETTER", "holder", "granted", "carries"):
        assert not _is_given_up(name), name


def test_each_public_class_name_stands_for_one_thing() -> None:
    """Two modules of the adapter define no public class of the same name."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "adapter").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(ROOT)))

    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
