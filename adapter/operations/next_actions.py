"""Derives who must act next on an order, why, and with which commands. Pure.

Every command can be copied into a shell as it is. What publishes a person's decision is a dry run first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from shlex import quote
from typing import Final

from adapter.flows.messages.events import rfc3339
from adapter.issuance.park_messages import query_command
from adapter.operations.part_progress import ProgressOfParts
from adapter.operations.timeline import Actor, FactKind, NextAction, PartProgress, ProgressState, TimelineFact
from adapter.protocol.issue import TradeNo

PROGRAM: Final = "ecticket-adapter"
OVERDUE: Final = timedelta(minutes=30)
"""How long after its time the adapter may act: it may be busy, or be starting again."""
WHY: Final = "how you know it"
"""The reason in a dry run of `resolve`; the person gives another one without --dry-run."""

_NOTHING: Final = NextAction(actor=Actor.NONE, why="Nothing is open.")
_ADAPTER_WAITS: Final[Mapping[ProgressState, tuple[str, str]]] = {
    ProgressState.WAITING: ("submit", "The order was received, and is processed next."),
    ProgressState.DEFERRED: ("submit", "The adapter tries again; what may have been sent is queried first."),
    ProgressState.SUBMITTED: ("confirm", "ECTicket's job creates the tickets; the adapter queries the result."),
    ProgressState.DELAYED: ("confirm", "ECTicket's job takes long; the adapter continues to query the result."),
    ProgressState.COLLECTING: ("collect", "The tickets exist; the adapter reads their numbers from ECTicket's report."),
}
"""The stage that acts, and what it does."""
_MAY_EXIST: Final = frozenset({"unresolved", "internal-error"})
_CURES: Final[Mapping[str, str]] = {
    "gave-up": "It was never sent. Check that the customer was not refunded meanwhile, then replay.",
    "refused-envelope": "ECTicket rejects only this order's envelope: something in its content breaks it. Correct the "
    "mapping or the shop, then replay.",
    "invalid-order": "The message names the field and the rule. Correct the mapping or the shop, then replay.",
    "does-not-fit": "Let the shop split the order, or allow derived numbers (submit.derive_trade_no), then replay.",
    "too-large": "Raise max.message.bytes of the topic, then replay; or let the shop send less.",
    "unmapped-item": "Add the sku to the catalogue or to a plugin, then replay.",
    "unknown-merchant": "Add the merchant's keys, then replay.",
    "unreadable": "Correct the shop's program, or write a parse_order hook, then replay.",
    "trade-no-missing": "Let the shop publish the order with its trade_no, or allow derived numbers "
    "(submit.derive_trade_no), then replay.",
    "plugin-error": "Correct the plugin, then replay.",
}
"""By reason; docs/operations/dead-letters.md has more."""


def next_actions(progress: ProgressOfParts, *, now: datetime, merchant_option: str, shared: bool) -> list[NextAction]:
    """The next action for each open part, each open dead letter and each difference: those of an operator first.

    `merchant_option` follows a trade number in commands, if several merchants are configured. `shared`: another order
    has one of the numbers.
    """
    actions = list(_Actions(progress, now, merchant_option, shared).all())
    return sorted(actions, key=lambda action: action.actor is not Actor.OPERATOR) or [_NOTHING]


class _Actions:
    def __init__(self, progress: ProgressOfParts, now: datetime, merchant_option: str, shared: bool) -> None:
        self._progress = progress
        self._now = now
        self._merchant_option = merchant_option
        self._shared = shared

    def all(self) -> Iterator[NextAction]:
        differences = {number: _difference(facts) for number, facts in self._progress.by_number.items()}
        for part in self._progress.parts:
            if part.trade_no is None or differences[part.trade_no] is None:
                yield from self._of_part(part)
        for name, facts in self._progress.dead_letters.items():
            yield self._of_dead_letter(name, facts)
        for number, found in differences.items():
            if found is not None:
                yield self._operator(found.text, self._query(number), number=number)

    def _of_part(self, part: PartProgress) -> Iterator[NextAction]:
        """Parts that are parked wait for a person, and their dead letters name the step."""
        number = part.trade_no
        if part.state in _ADAPTER_WAITS:
            yield self._waiting(part)
        elif part.state is ProgressState.FAILED and number is not None:
            reissue = f"{PROGRAM} reissue {number.value}{self._merchant_option}"
            why = (
                "No tickets exist. Remove the cause of the failure, then issue the part under a new number; or give "
                "the customer the money back."
            )
            yield self._operator(why, f"{reissue} --dry-run", reissue, number=number)
        elif part.state is ProgressState.NOT_FOUND:
            why = (
                f"No record of the adapter's work on {number.value if number else f'part {part.part}'} was found. It "
                "may be older than --since, or than the topics keep."
            )
            yield self._operator(why, *([] if number is None else [self._query(number)]), number=number)

    def _waiting(self, part: PartProgress) -> NextAction:
        """The adapter acts; if it is overdue, a person finds out why it does not."""
        stage, why = _ADAPTER_WAITS[part.state]
        facts = self._progress.facts_of(part)
        due = next((each.not_before for each in reversed(facts) if each.not_before is not None), None)
        expected_at = due or part.since
        if expected_at is None or self._now <= expected_at + OVERDUE:
            return NextAction(actor=Actor.ADAPTER, why=why, trade_no=part.trade_no, not_before=due)
        ignored = " A plugin may have ignored the record too: the log says so." if due is None else ""
        why = (
            f"The adapter was to act at {rfc3339(expected_at)}, and no record shows that it did. Check that stage "
            f"{stage} runs, and how far it lags (ecticket_consumer_lag).{ignored}"
        )
        return self._operator(why, f"{PROGRAM} check", number=part.trade_no)

    def _of_dead_letter(self, name: str, facts: Sequence[TimelineFact]) -> NextAction:
        fact = facts[0]
        numbers = list(dict.fromkeys(each.trade_no for each in facts if each.trade_no is not None))
        number = numbers[0] if len(numbers) == 1 else None
        replay = f"{PROGRAM} dead-letters replay {quote(name)}"
        may_exist = fact.reason in _MAY_EXIST or fact.details.get("possibly_sent_at") is not None
        if fact.stage == "deliver":
            why = (
                "A sink did not accept an event; the order is not affected. Correct the receiver, then replay. The "
                "topics do not show whether the event was delivered since: the list does."
            )
            sink = f" --sink {quote(fact.sink)}" if fact.sink else ""
            return self._operator(why, f"{PROGRAM} dead-letters list --stage deliver", f"{replay}{sink}", number=number)
        if fact.stage == "collect":
            why = "The tickets exist, and their numbers could not be collected. The message names the cause."
            return self._operator(why, f"{PROGRAM} dead-letters show {quote(name)}", replay, number=number)
        if may_exist and numbers:
            return self._doubt(numbers, replay)
        cure = _CURES.get(fact.reason or "", "Remove the cause that the message names, then replay.")
        tickets = " Tickets may exist: find out before anything is issued by hand." if may_exist else ""
        show = f"{PROGRAM} dead-letters show {quote(name)}"
        return self._operator(f"{cure}{tickets}", show, replay, number=number)

    def _doubt(self, numbers: Sequence[TradeNo], replay: str) -> NextAction:
        """Tickets may exist. What ECTicket answers now decides, if it was queried."""
        number = numbers[0] if len(numbers) == 1 else None
        as_issued = [self._resolve(each, "issued") for each in numbers]
        as_failed = [self._resolve(each, "failed") for each in numbers]
        if self._shared:
            why = (
                "Another order has the same number, so a replay changes nothing. Find out in the shop which order the "
                "payment is for. If it is the other one, resolve this one as failed (your reason as --why, without "
                "--dry-run), and let the shop send it under a number of its own."
            )
            return self._operator(why, *as_failed, number=number)
        known = {self._known(each) for each in numbers}
        if known == {True}:
            why = "ECTicket knows the number. Replay: the adapter queries it, and publishes its result."
            return self._operator(why, replay, number=number)
        if known == {False}:
            why = (
                "ECTicket does not know the number. To issue the order, replay: the adapter queries again, and sends "
                "it if that is safe. If it is not wanted any more, resolve it as failed: your reason as --why, without "
                "--dry-run."
            )
            return self._operator(why, replay, *as_failed, number=number)
        why = (
            "Tickets may exist. 1. Query the number. 2. If ECTicket knows it, replay: the adapter publishes its "
            "result. 3. If not, look at the vendor console or ask ECPay, then resolve it as issued or as failed: your "
            "reason as --why, without --dry-run."
        )
        return self._operator(why, *map(self._query, numbers), replay, *as_issued, *as_failed, number=number)

    def _known(self, number: TradeNo) -> bool | None:
        """Whether ECTicket knows the number, by its current answer; None if it was not queried or proves nothing."""
        answers = [fact for fact in self._progress.by_number[number] if fact.kind is FactKind.ANSWER]
        known = answers[-1].details.get("known") if answers else None
        return known if isinstance(known, bool) else None

    def _operator(self, why: str, *commands: str, number: TradeNo | None) -> NextAction:
        return NextAction(actor=Actor.OPERATOR, why=why, commands=commands, trade_no=number)

    def _query(self, number: TradeNo) -> str:
        return f"{PROGRAM} {query_command(number)}{self._merchant_option}"

    def _resolve(self, number: TradeNo, outcome: str) -> str:
        return f"{PROGRAM} resolve {number.value}{self._merchant_option} --as {outcome} --why {quote(WHY)} --dry-run"


def _difference(facts: Sequence[TimelineFact]) -> TimelineFact | None:
    """The last difference of a number, unless a result was published after it."""
    found = next((each for each in reversed(facts) if each.kind is FactKind.DIFFERENCE), None)
    results = (FactKind.ISSUED, FactKind.FAILED)
    later = found is not None and any(each.at > found.at and each.kind in results for each in facts)
    return None if later else found
