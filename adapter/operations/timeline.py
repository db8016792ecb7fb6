"""The timeline of one order: facts from topics, in order of time, the state of each part, and who must act next.

Pure: `order_facts` reads the facts from records, `explain_order` finds the records. Holds coordinates, times, trade
numbers, codes and messages. Does not hold customer data, ticket numbers or redemption codes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from shlex import quote
from typing import Final

from adapter.issuance.park_messages import query_command
from adapter.protocol.issue import TradeNo

PROGRAM: Final = "ecticket-adapter"


class FactKind(StrEnum):
    """What a fact is about; those of events have the event's name."""

    RECEIVED = "received"
    """The shop's record of the order."""
    REPLAYED = "replayed"
    """A dead letter was written to its stage's topic again."""
    DEFERRED = "deferred"
    REISSUED = "reissued"
    """A failed part got a new number."""
    SUBMITTED = "submitted"
    AWAITED = "awaited"
    """A record on the confirmations topic: the result is awaited."""
    DELAYED = "delayed"
    ISSUED = "issued"
    FAILED = "failed"
    COLLECTING = "collecting"
    """A record on the confirmations topic: the ticket numbers are awaited."""
    COLLECTED = "collected"
    SKIPPED = "skipped"
    PARKED = "parked"
    """The event about a dead letter."""
    DEAD_LETTER = "dead-letter"
    STATUS_CHANGED = "status-changed"
    REFUNDED = "refunded"
    DIFFERENCE = "difference"
    ANSWER = "answer"
    """What ECTicket answers now about a number (`--ask`)."""


_CAUSES: Final[Mapping[FactKind, int]] = {kind: position for position, kind in enumerate(FactKind)}
"""Facts of one moment are shown in this order: causes before effects."""


class ProgressState(StrEnum):
    """How far a part is, as far as the topics show."""

    NOT_FOUND = "not-found"
    """The order has this part, or others name its number, and no record of the adapter's work on it was found."""
    WAITING = "waiting"
    """Received, and not settled yet."""
    DEFERRED = "deferred"
    SUBMITTED = "submitted"
    DELAYED = "delayed"
    ISSUED = "issued"
    COLLECTING = "collecting"
    COLLECTED = "collected"
    FAILED = "failed"
    REPLACED = "replaced"
    """Failed, and reissued under another number."""
    PARKED = "parked"
    SKIPPED = "skipped"


class Actor(StrEnum):
    """Who must act next."""

    ADAPTER = "adapter"
    """It acts without a person."""
    OPERATOR = "operator"
    NONE = "none"
    """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineFact:
    """One thing that happened to the order, from one record or one answer."""

    at: datetime
    kind: FactKind
    record: str | None
    """topic/partition/offset; None for an answer of ECTicket."""
    text: str
    """What happened, without customer data."""
    order_id: str | None = None
    trade_no: TradeNo | None = None
    """None for a fact about the whole order."""
    part: int | None = None
    parts: int | None = None
    not_before: datetime | None = None
    """When the adapter acts again, for what waits."""
    reason: str | None = None
    stage: str | None = None
    sink: str | None = None
    dead_letter: str | None = None
    """The coordinates of the dead letter that this is."""
    replay_of: str | None = None
    """The coordinates of the dead letter that was replayed to this record, or to one before it."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Further fields, as JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartProgress:
    """One part of the order under one trade number."""

    trade_no: TradeNo | None
    """None for a part that was not found, and for the order as a whole while no part is known."""
    part: int | None
    state: ProgressState
    since: datetime | None
    """Time of the fact that shows the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextAction:
    """Who must act next, why, and with which commands (in this order)."""

    actor: Actor
    why: str
    commands: tuple[str, ...] = ()
    trade_no: str | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTimeline:
    """Everything that the topics show about one order of one merchant."""

    merchant_id: str | None
    order_id: str | None
    facts: tuple[TimelineFact, ...]
    """The oldest first."""
    parts: tuple[PartProgress, ...]
    next: tuple[NextAction, ...]
    """Those of the operator first; never empty."""
    truncated: bool
    """Whether facts are left out because there are too many of a kind: the oldest ones."""
    unreadable: tuple[str, ...] = ()
    """The coordinates of batches that cannot be read: they may hold further facts."""


def build_timeline(
    facts: Iterable[TimelineFact],
    *,
    merchant_id: str | None,
    order_id: str | None,
    handled: Collection[str] = (),
    truncated: bool = False,
    unreadable: tuple[str, ...] = (),
) -> OrderTimeline:
    """Order the facts and derive the states and the next actions.

    `handled` are the coordinates of dead letters that are known to be handled; those that a fact shows to be replayed
    are handled too, and get a fact of kind `replayed`.
    """
    ordered = _sorted(facts)
    replays = _first_of_each_replay(ordered)
    ordered = _sorted((*ordered, *(_replay(fact) for fact in replays)))
    judged = _Judged(ordered, frozenset(handled) | {fact.replay_of for fact in replays})
    actions = tuple(judged.actions())
    return OrderTimeline(
        merchant_id=merchant_id,
        order_id=order_id,
        facts=ordered,
        parts=tuple(judged.parts),
        next=tuple(sorted(actions, key=lambda action: action.actor is not Actor.OPERATOR)) or (_NOTHING,),
        truncated=truncated,
        unreadable=unreadable,
    )


def _sorted(facts: Iterable[TimelineFact]) -> tuple[TimelineFact, ...]:
    return tuple(sorted(facts, key=lambda fact: (fact.at, _CAUSES[fact.kind], fact.part or 0, fact.record or "")))


def _first_of_each_replay(ordered: Iterable[TimelineFact]) -> list[TimelineFact]:
    """The first fact of each replayed dead letter and number: later records keep the header that names it."""
    first: dict[tuple[str, TradeNo | None], TimelineFact] = {}
    for fact in ordered:
        if fact.replay_of is not None:
            first.setdefault((fact.replay_of, fact.trade_no), fact)
    return list(first.values())


def _replay(fact: TimelineFact) -> TimelineFact:
    text = f"The dead letter {fact.replay_of} was replayed."
    return TimelineFact(
        at=fact.at,
        kind=FactKind.REPLAYED,
        record=fact.record,
        text=text,
        order_id=fact.order_id,
        trade_no=fact.trade_no,
        part=fact.part,
        parts=fact.parts,
        replay_of=fact.replay_of,
    )


_NOTHING: Final = NextAction(actor=Actor.NONE, why="Nothing is open.")
_NOT_WAITING: Final = frozenset(
    {
        ProgressState.ISSUED,
        ProgressState.COLLECTED,
        ProgressState.REPLACED,
        ProgressState.SKIPPED,
        ProgressState.PARKED,
    }
)
"""Parked parts wait for a person, and their dead letters name the step."""


class _Judged:
    """The state of each part, from the ordered facts."""

    def __init__(self, facts: Sequence[TimelineFact], closed: Collection[str | None]) -> None:
        self._facts = facts
        self._closed = closed
        self._by_number: dict[TradeNo, list[TimelineFact]] = {}
        self._whole = [fact for fact in facts if fact.trade_no is None]
        for fact in facts:
            if fact.trade_no is not None:
                self._by_number.setdefault(fact.trade_no, []).append(fact)
        self.parts = self._progress()

    def _progress(self) -> list[PartProgress]:
        parts = [self._of_number(number, facts) for number, facts in self._by_number.items()]
        known = {each.part for each in parts if each.part is not None}
        total = max((fact.parts or 0 for fact in self._facts), default=0)
        missing = [] if not known else [each for each in range(1, total + 1) if each not in known]
        parts += [PartProgress(trade_no=None, part=each, state=ProgressState.NOT_FOUND, since=None) for each in missing]
        if not parts and self._whole:
            parts = [self._of_whole()]
        return sorted(parts, key=lambda each: (each.part or 0, 0.0 if each.since is None else each.since.timestamp()))

    def _of_number(self, number: TradeNo, facts: Sequence[TimelineFact]) -> PartProgress:
        state, fact = self._state(facts)
        part = next((each.part for each in facts if each.part is not None), None)
        if state is ProgressState.FAILED and self._replaced(number, part):
            state = ProgressState.REPLACED
        return PartProgress(trade_no=number, part=part, state=state, since=None if fact is None else fact.at)

    def _replaced(self, number: TradeNo, part: int | None) -> bool:
        """Whether another number of the same part came after this one's failure."""
        failed_at = max(fact.at for fact in self._by_number[number] if fact.kind is FactKind.FAILED)
        return part is not None and any(
            other != number and any(fact.part == part and fact.at > failed_at for fact in facts)
            for other, facts in self._by_number.items()
        )

    def _state(self, facts: Sequence[TimelineFact]) -> tuple[ProgressState, TimelineFact | None]:
        """The state that a part's facts show, and the fact that shows it. The strongest fact counts, not the last."""
        last = {fact.kind: fact for fact in facts}
        if (opened := self._open(facts)) is not None:
            return ProgressState.PARKED, opened
        for kind, state in _STRONGEST:
            if kind in last:
                return state, last[kind]
        return ProgressState.NOT_FOUND, None

    def _open(self, facts: Iterable[TimelineFact]) -> TimelineFact | None:
        """The last dead letter among them that is not handled; a sink's dead letter does not stop the order."""
        found = [
            fact
            for fact in facts
            if fact.kind is FactKind.DEAD_LETTER and fact.stage != "deliver" and fact.dead_letter not in self._closed
        ]
        return found[-1] if found else None

    def _of_whole(self) -> PartProgress:
        opened = self._open(self._whole)
        last = {fact.kind: fact for fact in self._whole}
        state, fact = ProgressState.WAITING, self._whole[0]
        if opened is not None:
            state, fact = ProgressState.PARKED, opened
        elif FactKind.SKIPPED in last:
            state, fact = ProgressState.SKIPPED, last[FactKind.SKIPPED]
        elif FactKind.DEFERRED in last:
            state, fact = ProgressState.DEFERRED, last[FactKind.DEFERRED]
        return PartProgress(trade_no=None, part=None, state=state, since=fact.at)

    def actions(self) -> Iterable[NextAction]:
        """The next action for each open part, each open dead letter and each difference."""
        differences = {number: found for number, facts in self._by_number.items() if (found := _difference(facts))}
        for part in self.parts:
            if part.state not in _NOT_WAITING and part.trade_no not in differences:
                yield self._waiting(part)
        for fact in self._facts:
            if fact.kind is FactKind.DEAD_LETTER and fact.dead_letter not in self._closed:
                yield self._parked(fact)
        for number, found in differences.items():
            yield NextAction(actor=Actor.OPERATOR, why=found.text, commands=(_query(number),), trade_no=number.value)

    def _waiting(self, part: PartProgress) -> NextAction:
        facts = self._whole if part.trade_no is None else self._by_number[part.trade_no]
        value = None if part.trade_no is None else part.trade_no.value
        due = next((each.not_before for each in reversed(facts) if each.not_before is not None), None)
        if part.state is ProgressState.FAILED:
            return NextAction(
                actor=Actor.OPERATOR,
                why="No tickets exist for this part. Issue it under a new number, or give the customer the money back.",
                commands=(f"{PROGRAM} reissue {value}",),
                trade_no=value,
            )
        if part.state is ProgressState.NOT_FOUND:
            return NextAction(
                actor=Actor.OPERATOR,
                why=f"No record of the adapter's work on {value or f'part {part.part}'} was found. It may be older "
                "than --since, or than a topic keeps.",
                commands=() if part.trade_no is None else (_query(part.trade_no),),
                trade_no=value,
            )
        why, commands = _ADAPTER_WAITS[part.state]
        return NextAction(actor=Actor.ADAPTER, why=why, commands=commands, trade_no=value, not_before=due)

    def _is_known(self, number: TradeNo) -> bool:
        """Whether ECTicket's current answer knows the number."""
        answers = [fact for fact in self._by_number[number] if fact.kind is FactKind.ANSWER]
        return bool(answers) and answers[-1].details["known"] is True and answers[-1].details["other_order"] is None

    def _parked(self, fact: TimelineFact) -> NextAction:
        number = fact.trade_no
        value = None if number is None else number.value
        which = quote(fact.dead_letter or "")
        replay = f"{PROGRAM} dead-letters replay {which}"
        if fact.stage == "deliver":
            why = "A sink has not accepted an event. The topics do not show whether it was delivered since."
            sink = f" --sink {quote(fact.sink)}" if fact.sink else ""
            commands: tuple[str, ...] = (
                f"{PROGRAM} dead-letters list --stage deliver",
                f"{PROGRAM} dead-letters replay --stage deliver{sink}",
            )
        elif number is not None and fact.stage == "submit" and self._is_known(number):
            why = "ECTicket knows the number. Replay: the adapter queries it, and publishes it as recovered."
            commands = (replay,)
        elif fact.reason in _MAY_EXIST and number is not None and fact.stage != "collect":
            why = (
                "Tickets may exist. If ECTicket knows the number, replay. If a person has found out what became of it, "
                "resolve."
            )
            commands = (_query(number), replay, f"{PROGRAM} resolve {value} --as issued|failed --why TEXT")
        else:
            why = _PARKED_WHY.get(fact.reason or "", "Fix what the message names, then replay.")
            commands = (f"{PROGRAM} dead-letters show {which}", replay)
        return NextAction(actor=Actor.OPERATOR, why=f"{why} Message: {fact.text}", commands=commands, trade_no=value)


_STRONGEST: Final = (
    (FactKind.COLLECTED, ProgressState.COLLECTED),
    (FactKind.COLLECTING, ProgressState.COLLECTING),
    (FactKind.ISSUED, ProgressState.ISSUED),
    (FactKind.FAILED, ProgressState.FAILED),
    (FactKind.DELAYED, ProgressState.DELAYED),
    (FactKind.SUBMITTED, ProgressState.SUBMITTED),
    (FactKind.AWAITED, ProgressState.SUBMITTED),
    (FactKind.REISSUED, ProgressState.DEFERRED),
    (FactKind.DEFERRED, ProgressState.DEFERRED),
)
"""What a part's facts show, the strongest first. Events on different topics have no order (docs/contract.md)."""

_ADAPTER_WAITS: Final[Mapping[ProgressState, tuple[str, tuple[str, ...]]]] = {
    ProgressState.WAITING: (
        "The order was received, and its record is not settled. If this lasts, see whether the stage submit runs.",
        (f"{PROGRAM} check",),
    ),
    ProgressState.DEFERRED: ("The adapter tries again; what may have been sent is queried first.", ()),
    ProgressState.SUBMITTED: ("ECTicket's job creates the tickets; the adapter queries the result.", ()),
    ProgressState.DELAYED: ("ECTicket's job takes long; the adapter continues to query the result.", ()),
    ProgressState.COLLECTING: ("The tickets exist; the adapter reads their numbers from ECTicket's report.", ()),
}
_MAY_EXIST: Final = frozenset({"unresolved", "internal-error"})
_PARKED_WHY: Final[Mapping[str, str]] = {
    "gave-up": "It was never sent. See that the customer was not refunded, then replay.",
    "unmapped-item": "Add the sku to the catalogue or to a plugin, then replay.",
    "unknown-merchant": "Add the merchant's keys, then replay.",
    "unreadable": "Correct the producer or write a parse_order hook, then replay.",
    "trade-no-missing": "Let the shop publish the order with a trade_no, or allow derived numbers, then replay.",
    "plugin-error": "Correct the plugin, then replay.",
}


def _difference(facts: Sequence[TimelineFact]) -> TimelineFact | None:
    """The last difference of a number, unless a result was published after it."""
    found = next((each for each in reversed(facts) if each.kind is FactKind.DIFFERENCE), None)
    results = (FactKind.ISSUED, FactKind.FAILED)
    later = found is not None and any(each.at > found.at and each.kind in results for each in facts)
    return None if later else found


def _query(number: TradeNo) -> str:
    return f"{PROGRAM} {query_command(number)}"
