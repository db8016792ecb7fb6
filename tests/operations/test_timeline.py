"""A timeline from facts: their order, the state of each part, and who must act next with which command."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adapter.operations.next_actions import OVERDUE
from adapter.operations.timeline import Actor, FactKind, NextAction, OrderTimeline, ProgressState, TimelineFact
from adapter.operations.timeline_builder import FoundFacts, build_timeline
from adapter.protocol.issue import TradeNo, TradeNoKind

BEGIN = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)
NUMBER = TradeNo(kind=TradeNoKind.MERCHANT, value="CBX20260302153064851")
OTHER = TradeNo(kind=TradeNoKind.FREE, value="0K3VJ6Q2B9ZC8TNYD1RW")
MOMENT = timedelta(seconds=1)
PARKED_AT = "ecticket.dead-letters/2/7"

RECEIVED, DEFERRED, SUBMITTED, DELAYED = FactKind.RECEIVED, FactKind.DEFERRED, FactKind.SUBMITTED, FactKind.DELAYED
ISSUED, FAILED, DEAD_LETTER, REPLAYED = FactKind.ISSUED, FactKind.FAILED, FactKind.DEAD_LETTER, FactKind.REPLAYED


def fact(kind: FactKind, minute: float = 0, **more: object) -> TimelineFact:
    """A fact of the first part, some minutes after the beginning."""
    values: dict[str, object] = {"trade_no": NUMBER, "part": 1, "parts": 1, "record": None, "text": kind.value, **more}
    return TimelineFact(at=BEGIN + timedelta(minutes=minute), kind=kind, **values)  # type: ignore[arg-type]  # by name


def received(minute: float = 0) -> TimelineFact:
    """The order's record, which has no number."""
    return fact(RECEIVED, minute, trade_no=None, part=None, parts=None)


def parked(minute: float, reason: str = "unresolved", stage: str = "submit", **more: object) -> TimelineFact:
    """A dead letter."""
    return fact(DEAD_LETTER, minute, reason=reason, stage=stage, **{"dead_letter": PARKED_AT, **more})


def answer(known: bool | None) -> TimelineFact:
    """What ECTicket answers now."""
    return fact(FactKind.ANSWER, 9, details={"known": known, "status": None, "other_order": None})


def timeline(
    *facts: TimelineFact,
    handled: tuple[str, ...] = (),
    now: datetime = BEGIN,
    merchant_option: str = "",
    other_orders: tuple[str, ...] = (),
) -> OrderTimeline:
    """The timeline of order A-1."""
    found = FoundFacts(merchant_id="3085676", order_id="A-1", facts=facts, handled=handled, other_orders=other_orders)
    return build_timeline(found, now=now, merchant_option=merchant_option)


def only_action(*facts: TimelineFact, handled: tuple[str, ...] = ()) -> NextAction:
    """The only next action."""
    (action,) = timeline(*facts, handled=handled).next
    return action


def test_facts_come_in_the_order_of_time() -> None:
    """Topics have no order among each other; of one moment, causes come before effects."""
    found = timeline(fact(ISSUED, 2), fact(SUBMITTED, 1), fact(FactKind.AWAITED, 1), received())

    assert [each.kind for each in found.facts] == [RECEIVED, SUBMITTED, FactKind.AWAITED, ISSUED]


@pytest.mark.parametrize(
    ("facts", "state", "actor"),
    [
        ([received()], ProgressState.WAITING, Actor.ADAPTER),
        ([received(), fact(DEFERRED, 1)], ProgressState.DEFERRED, Actor.ADAPTER),
        ([received(), fact(DEFERRED, 1), fact(SUBMITTED, 2)], ProgressState.SUBMITTED, Actor.ADAPTER),
        ([fact(FactKind.AWAITED, 1)], ProgressState.SUBMITTED, Actor.ADAPTER),
        ([fact(SUBMITTED), fact(DELAYED, 9)], ProgressState.DELAYED, Actor.ADAPTER),
        ([fact(SUBMITTED), fact(DELAYED, 9), fact(ISSUED, 10)], ProgressState.ISSUED, Actor.NONE),
        ([fact(ISSUED), fact(SUBMITTED, 1)], ProgressState.ISSUED, Actor.NONE),
        ([fact(ISSUED), fact(FactKind.COLLECTING, 1)], ProgressState.COLLECTING, Actor.ADAPTER),
        (
            [fact(ISSUED), fact(FactKind.COLLECTING, 1), fact(FactKind.COLLECTED, 2)],
            ProgressState.COLLECTED,
            Actor.NONE,
        ),
        ([fact(SUBMITTED), fact(FAILED, 1)], ProgressState.FAILED, Actor.OPERATOR),
        ([received(), fact(DEFERRED, 1), parked(2)], ProgressState.PARKED, Actor.OPERATOR),
        ([fact(SUBMITTED), parked(2, stage="confirm")], ProgressState.PARKED, Actor.OPERATOR),
        ([parked(2), fact(DEFERRED, 3, replay_of=PARKED_AT)], ProgressState.DEFERRED, Actor.ADAPTER),
        (
            [fact(SUBMITTED), parked(2, stage="confirm"), fact(FactKind.AWAITED, 3, replay_of=PARKED_AT)],
            ProgressState.SUBMITTED,
            Actor.ADAPTER,
        ),
        ([fact(FactKind.STATUS_CHANGED)], ProgressState.NOT_FOUND, Actor.OPERATOR),
        ([received(), fact(FactKind.SKIPPED, 1, trade_no=None, part=None)], ProgressState.SKIPPED, Actor.NONE),
        ([received(), parked(1, "unmapped-item", trade_no=None, part=None)], ProgressState.PARKED, Actor.OPERATOR),
    ],
)
def test_the_strongest_fact_shows_the_state_and_who_acts(
    facts: list[TimelineFact], state: ProgressState, actor: Actor
) -> None:
    """One part, or an order whose parts are not known yet."""
    found = timeline(*facts)

    assert [part.state for part in found.parts] == [state]
    assert [action.actor for action in found.next] == [actor]


@pytest.mark.parametrize(
    ("facts", "commands"),
    [
        ([fact(FAILED)], [f"reissue {NUMBER.value} --dry-run", f"reissue {NUMBER.value}"]),
        (
            [parked(1)],
            [
                f"query {NUMBER.value}",
                f"dead-letters replay {PARKED_AT}",
                f"resolve {NUMBER.value} --as issued --why",
                f"resolve {NUMBER.value} --as failed --why",
            ],
        ),
        (
            [parked(1, "plugin-error", details={"possibly_sent_at": "2026-03-02T07:30:00Z"})],
            [f"query {NUMBER.value}", f"dead-letters replay {PARKED_AT}", "resolve", "resolve"],
        ),
        ([parked(1, trade_no=OTHER)], [f"query {OTHER.value} --free", "dead-letters replay", "resolve", "resolve"]),
        ([parked(1), answer(True)], [f"dead-letters replay {PARKED_AT}"]),
        (
            [parked(1), answer(False)],
            [f"dead-letters replay {PARKED_AT}", f"resolve {NUMBER.value} --as failed --why"],
        ),
        (
            [parked(1), answer(None)],
            [f"query {NUMBER.value}", f"dead-letters replay {PARKED_AT}", "resolve", "resolve"],
        ),
        ([parked(1, "gave-up")], ["dead-letters show", f"dead-letters replay {PARKED_AT}"]),
        ([parked(1, "unresolved", "collect")], ["dead-letters show", f"dead-letters replay {PARKED_AT}"]),
        ([parked(1, "unreadable", trade_no=None)], [f"dead-letters show {PARKED_AT}", "dead-letters replay"]),
        ([fact(FactKind.DIFFERENCE)], [f"query {NUMBER.value}"]),
    ],
)
def test_the_next_action_names_its_commands(facts: list[TimelineFact], commands: list[str]) -> None:
    """In the order in which a person runs them."""
    action = only_action(*facts)

    assert len(action.commands) == len(commands)
    for command, expected in zip(action.commands, commands, strict=True):
        assert command.startswith(f"ecticket-adapter {expected}")


def test_a_dead_letter_with_several_numbers_is_one_action() -> None:
    """One replay; each number is queried and resolved by itself."""
    action = only_action(parked(1, parts=2), parked(1, part=2, parts=2, trade_no=OTHER))

    assert [command.split()[1] for command in action.commands] == ["query"] * 2 + ["dead-letters"] + ["resolve"] * 4
    assert action.trade_no is None


def test_commands_name_the_merchant_if_several_are_configured() -> None:
    """Each command that takes a trade number."""
    facts = (parked(1), fact(FAILED, 2, part=2, parts=2, trade_no=OTHER))
    commands = [
        each for action in timeline(*facts, merchant_option=" --merchant 3085676").next for each in action.commands
    ]

    assert {each.split()[1] for each in commands if "--merchant 3085676" in each} == {"query", "resolve", "reissue"}
    assert [each.split()[1] for each in commands if "--merchant" not in each] == ["dead-letters"]


def test_an_order_whose_number_belongs_to_another_order_is_not_replayed() -> None:
    """ECTicket's answer is about the other order, and a replay would park it again."""
    (action,) = timeline(parked(1), answer(True), other_orders=("B-2",)).next

    assert [command.split()[1:5] for command in action.commands] == [["resolve", NUMBER.value, "--as", "failed"]]


@pytest.mark.parametrize(
    "facts",
    [
        [received()],
        [received(), fact(DEFERRED, 1, not_before=BEGIN)],
        [fact(SUBMITTED), fact(FactKind.AWAITED, not_before=BEGIN)],
        [fact(ISSUED), fact(FactKind.COLLECTING, not_before=BEGIN)],
    ],
)
def test_an_adapter_that_does_not_act_is_an_operators_matter(facts: list[TimelineFact]) -> None:
    """Not at once: it may be starting again."""
    in_time, too_late = timeline(*facts, now=BEGIN + OVERDUE), timeline(*facts, now=BEGIN + OVERDUE + MOMENT)

    assert [(each.actor, each.commands) for each in in_time.next] == [(Actor.ADAPTER, ())]
    assert [(each.actor, each.commands) for each in too_late.next] == [(Actor.OPERATOR, ("ecticket-adapter check",))]


def test_a_replay_is_a_fact_of_its_own_once() -> None:
    """Later deferrals of the order keep the header that names the dead letter."""
    found = timeline(parked(2), *(fact(DEFERRED, minute, replay_of=PARKED_AT) for minute in (3, 4)))

    assert [each.kind for each in found.facts] == [DEAD_LETTER, REPLAYED, DEFERRED, DEFERRED]
    assert found.facts[1].replay_of == PARKED_AT


def test_a_replay_of_several_parts_is_one_fact() -> None:
    """Its record has them all."""
    parts = (fact(DEFERRED, 3, replay_of=PARKED_AT, record="a/0/1", part=part, parts=2) for part in (1, 2))
    found = timeline(parked(2), *parts)

    assert [(each.kind, each.part) for each in found.facts] == [
        (DEAD_LETTER, 1),
        (REPLAYED, None),
        (DEFERRED, 1),
        (DEFERRED, 2),
    ]


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (parked(2, "invalid-order", "map", trade_no=None, part=None), ProgressState.PARKED),
        (fact(FactKind.SKIPPED, 2, trade_no=None, part=None), ProgressState.SKIPPED),
    ],
)
def test_an_order_that_ended_as_a_whole_ends_its_deferred_parts(end: TimelineFact, state: ProgressState) -> None:
    """It was mapped again, so the record of its end names no part."""
    assert [part.state for part in timeline(received(), fact(DEFERRED, 1), end).parts] == [state]
    assert [part.state for part in timeline(received(), end, fact(DEFERRED, 3)).parts] == [ProgressState.DEFERRED]


def test_a_handled_dead_letter_leaves_nothing_to_do() -> None:
    """Also if its commits or later events show it, and no replay."""
    assert (
        only_action(fact(SUBMITTED), parked(1, stage="confirm"), fact(ISSUED, 2), handled=(PARKED_AT,)).actor
        is Actor.NONE
    )


def test_a_dead_letter_of_a_sink_does_not_stop_the_order() -> None:
    """The part stays issued; the operator is shown the sink."""
    found = timeline(fact(ISSUED), parked(1, "sink-failed", "deliver", sink="chat"))

    assert [part.state for part in found.parts] == [ProgressState.ISSUED]
    assert [(each.actor, each.commands[-1]) for each in found.next] == [
        (Actor.OPERATOR, f"ecticket-adapter dead-letters replay {PARKED_AT} --sink chat")
    ]


def test_a_reissued_part_replaces_the_failed_one() -> None:
    """The old number needs nothing more; the new one is what waits."""
    found = timeline(fact(FAILED), fact(FactKind.REISSUED, 1, trade_no=OTHER), fact(SUBMITTED, 2, trade_no=OTHER))

    assert {part.trade_no: part.state for part in found.parts} == {
        NUMBER: ProgressState.REPLACED,
        OTHER: ProgressState.SUBMITTED,
    }
    assert [(action.actor, action.trade_no) for action in found.next] == [(Actor.ADAPTER, OTHER)]


def test_a_part_without_any_record_is_named() -> None:
    """One of two parts is issued; about the other nothing was found."""
    found = timeline(fact(ISSUED, part=2, parts=2))

    assert [(part.part, part.state) for part in found.parts] == [
        (1, ProgressState.NOT_FOUND),
        (2, ProgressState.ISSUED),
    ]
    assert [action.actor for action in found.next] == [Actor.OPERATOR]


def test_the_operator_comes_first() -> None:
    """Before what the adapter does by itself."""
    found = timeline(
        fact(DEFERRED, 1, parts=2, not_before=BEGIN + timedelta(minutes=5)),
        fact(FAILED, 2, part=2, trade_no=OTHER, parts=2),
    )

    assert [action.actor for action in found.next] == [Actor.OPERATOR, Actor.ADAPTER]
    assert found.next[1].not_before == BEGIN + timedelta(minutes=5)


def test_a_difference_ends_with_a_later_result() -> None:
    """After `resolve`, the published result is newer than the difference."""
    facts = [fact(SUBMITTED), fact(FactKind.DIFFERENCE, 5, text="resolve it")]

    assert only_action(*facts).actor is Actor.OPERATOR
    assert only_action(*facts).why == "resolve it"
    assert only_action(*facts, fact(ISSUED, 6)).actor is Actor.NONE


def test_an_order_without_facts_has_nothing_open() -> None:
    """The caller reports that it is unknown."""
    assert timeline().facts == ()
    assert [action.actor for action in timeline().next] == [Actor.NONE]
