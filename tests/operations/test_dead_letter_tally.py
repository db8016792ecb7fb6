"""Open dead letters are counted by stage and reason, in bounded memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

from adapter.flows.messages.events import ParkReason
from adapter.operations.dead_letter_reasons import NEXT_STEPS
from adapter.operations.dead_letter_tally import GROUPS_MAX, MESSAGE_MAX_CHARACTERS, DeadLetterTally
from adapter.operations.dead_letter_view import DeadLetter, read_dead_letter
from adapter.stream.acknowledged_topic import PendingOffsets
from adapter.stream.records import Record
from adapter.values import replace

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MANUAL = Path(__file__).parent.parent.parent / "docs" / "operations" / "dead-letters.md"


def _dead_letter(offset: int, **changes: object) -> DeadLetter:
    record = Record(
        topic="dead",
        partition=0,
        offset=offset,
        timestamp=NOON + timedelta(minutes=offset),
        key=None,
        value=None,
        headers=(
            ("ecticket-reason", b"unmapped-item"),
            ("ecticket-stage", b"map"),
            ("ecticket-message", b"what"),
            ("ecticket-order-id", f"A-{offset}".encode()),
        ),
    )
    return replace(read_dead_letter(record), **changes)  # type: ignore[arg-type]


def test_groups_have_their_oldest_and_their_newest() -> None:
    """The largest group comes first."""
    tally = DeadLetterTally()
    for dead_letter in (_dead_letter(3, reason="gave-up"), _dead_letter(2), _dead_letter(1)):
        tally.add(dead_letter)

    first, second = tally.groups()

    assert (first.reason, first.count, first.oldest, first.newest.order_id) == (
        "unmapped-item",
        2,
        NOON + timedelta(minutes=1),
        "A-2",
    )
    assert (second.reason, second.count) == ("gave-up", 1)


def test_acknowledged_dead_letters_are_no_longer_counted() -> None:
    """Those that were read after the commits were asked for are still open."""
    tally = DeadLetterTally()
    for offset in range(4):
        tally.add(_dead_letter(offset))
    asked = tally.offsets[:3]

    tally.acknowledge(asked, {0: PendingOffsets(open=frozenset({1}), forgotten=False)})

    assert tally.offsets == ((0, 1), (0, 3))
    assert tally.read == 4


def test_memory_is_bounded_and_what_is_left_out_is_counted() -> None:
    """A flood of dead letters must not cost the adapter its memory."""
    tally = DeadLetterTally(kept_max=3)
    for offset in range(5):
        tally.add(_dead_letter(offset, message="x" * 2000))

    (group,) = tally.groups()

    assert (group.count, tally.left_out) == (3, 2)
    assert len(group.newest.message or "") == MESSAGE_MAX_CHARACTERS


def test_foreign_reasons_cannot_become_groups_without_end() -> None:
    """The topic may hold anything; beyond a number of groups the rest is one."""
    tally = DeadLetterTally()
    for offset in range(GROUPS_MAX + 50):
        tally.add(_dead_letter(offset, reason=f"reason-{offset}"))

    groups = tally.groups()

    assert len(groups) == GROUPS_MAX + 1
    assert (groups[0].reason, groups[0].count) == ("", 50)


def test_every_reason_has_a_next_step_and_a_section_of_the_manual() -> None:
    """A new reason is not forgotten in one of the three places."""
    sections = {line.removeprefix("## ").strip() for line in MANUAL.read_text().splitlines() if line.startswith("## ")}

    assert NEXT_STEPS.keys() == set(get_args(ParkReason)) == sections
