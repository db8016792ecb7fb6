"""The table of phases: what may follow what, and the phase in which a run begins."""

from __future__ import annotations

import pytest

from adapter.issuance.state import (
    MAY_BE_SENT,
    OPEN,
    TRANSITIONS,
    IllegalTransition,
    IssueRefusal,
    PartHistory,
    Phase,
    check_transition,
    initial_state,
)

from .samples import T0, at, part

FOLLOWS = {
    # from: to
    "planned": "in_doubt refused submitted deferred parked",
    "in_doubt": "in_doubt refused submitted deferred parked",
    "refused": "submitted failed deferred parked",
    "submitted": "issued failed delayed parked",
    "delayed": "issued failed parked",
    "issued": "",
    "failed": "",
    "deferred": "",
    "parked": "",
}


@pytest.mark.parametrize("before", list(Phase))
@pytest.mark.parametrize("after", list(Phase))
def test_only_legal_steps_are_taken(before: Phase, after: Phase) -> None:
    """Every pair of phases, as the table says; an illegal step raises."""
    if after in FOLLOWS[before].split():
        check_transition(before, after)
    else:
        with pytest.raises(IllegalTransition, match=f"{before} cannot become {after}"):
            check_transition(before, after)


def test_the_table_knows_every_phase() -> None:
    """No phase without its row, and none that cannot be reached."""
    reached = {phase for phases in TRANSITIONS.values() for phase in phases} | {Phase.PLANNED}

    assert set(TRANSITIONS) == reached == set(Phase)


def test_nothing_is_planned_again() -> None:
    """What was possibly sent, or refused, never becomes "certainly never sent"."""
    assert all(Phase.PLANNED not in after for after in TRANSITIONS.values())


def test_a_refused_part_never_fails_without_being_refused() -> None:
    """Failing while submitting follows a refusal only, and a refused part cannot be sent again."""
    assert [phase for phase in OPEN if Phase.FAILED in TRANSITIONS[phase]] == [Phase.REFUSED]
    assert {Phase.PLANNED, Phase.IN_DOUBT} == MAY_BE_SENT


REFUSAL = IssueRefusal(code=9, message="no", at=at(5))


@pytest.mark.parametrize(
    ("history", "possibly_sent_since", "phase", "since"),
    [
        (None, None, Phase.PLANNED, None),
        (None, at(10), Phase.IN_DOUBT, at(10)),
        (PartHistory(possibly_sent_since=at(5)), None, Phase.IN_DOUBT, at(5)),
        (PartHistory(possibly_sent_since=at(5)), at(10), Phase.IN_DOUBT, at(10)),
        (PartHistory(possibly_sent_since=at(15)), at(10), Phase.IN_DOUBT, at(15)),
        (PartHistory(refusal=REFUSAL), None, Phase.REFUSED, None),
        (PartHistory(refusal=REFUSAL), at(10), Phase.REFUSED, None),
        (PartHistory(refusal=REFUSAL, possibly_sent_since=at(3)), at(10), Phase.REFUSED, at(3)),
    ],
)
def test_a_run_begins_with_the_history(
    history: PartHistory | None, possibly_sent_since: object, phase: Phase, since: object
) -> None:
    """Possibly sent until the later of the record's header and the fence; a refused part is never sent."""
    state = initial_state(part(), first_seen_at=T0, history=history, possibly_sent_since=possibly_sent_since)  # type: ignore[arg-type]

    assert state.phase is phase
    assert state.history.possibly_sent_since == since
