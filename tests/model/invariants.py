"""The promises, held against what really happened: at ECTicket, and in what `read_committed` readers see.

They are independent of everything that is tested: nothing here uses the state, the evidence or a decision. Does not
know processes.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapter.stream.port import TopicPartition
from adapter.stream.records import ProducerRecord

REISSUE_AFTER = 600.0
"""Seconds between an Issue that may have arrived and the question whose "no" counts (docs/delivery.md, "Not known")."""
MINUTE = 60.0
OTHER_ENDPOINTS = frozenset({"issue", "item"})
"""What is no question to QueryIssueResult, and proves nothing about it."""
NO_TICKETS = frozenset({"failed", "gave-up", "refused-envelope"})
"""Endings that say that there are no tickets, and never will be."""


class Broken(AssertionError):
    """An invariant was broken; the message says which, and the history how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredQuery:
    """A question that ECTicket answered.

    `about` is the trade number; None is a control number, "life" a number that is known to exist. "issue" and "item"
    are answers of other endpoints.
    """

    about: str | None
    code: int
    at: float
    answered_at: float

    @property
    def is_proof(self) -> bool:
        """Whether RtnCode 1 here shows that QueryIssueResult works."""
        return self.about is not None and self.about not in OTHER_ENDPOINTS


@dataclass(slots=True)
class Invariants:
    """What happened so far. Every method raises Broken when a promise is broken by it.

    `watched`: what is sent again without grounds breaks a promise by itself, whether or not tickets come of it.
    """

    watched: bool = True
    queries: list[AnsweredQuery] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    broken: bool = False
    _started: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _tickets: Counter[str] = field(default_factory=Counter)
    _sizes: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _endings: dict[str, dict[int, tuple[int, str]]] = field(default_factory=dict)
    _numbers: dict[str, str] = field(default_factory=dict)
    _messages: list[str] = field(default_factory=list)
    _orders: dict[str, str] = field(default_factory=dict)
    _settled: Counter[tuple[TopicPartition, int]] = field(default_factory=Counter)

    def log(self, what: str) -> None:
        """Add a step to the history."""
        self.history.append(what)

    # --- at ECTicket -------------------------------------------------------------------------------------------------

    def issue_begins(self, trade_no: str, at: float) -> None:
        """An Issue is written. What may have arrived before is only sent again on the trustworthy "not known"."""
        earlier = self._started[trade_no]
        if self.watched and earlier and not self._is_not_known(trade_no, max(earlier), at):
            self._break(f"{trade_no} was sent again without a trustworthy not-known")
        earlier.append(at)

    def issue_was_nothing(self, trade_no: str, at: float) -> None:
        """The Issue begun at that time did not happen, and its sender got that answer."""
        self._started[trade_no].remove(at)

    def issued(self, order: str, trade_no: str, of: int) -> None:
        """Tickets exist, or will: one part of an order in so many parts."""
        self._tickets[trade_no] += 1
        self._orders[trade_no] = order
        self._sizes[order].add(of)
        if self._tickets[trade_no] > 1:
            self._break(f"{trade_no} has two sets of tickets")
        if len(self._sizes[order]) > 1:
            self._break(f"{order} has tickets under two plans")
        if self._numbers.get(trade_no) in NO_TICKETS:
            self._break(f"{trade_no} was published as {self._numbers[trade_no]}, and now has tickets")

    def _is_not_known(self, trade_no: str, since: float, now: float) -> bool:
        """Question, control with the same answer, RtnCode 1 for a known number, question after the waiting time."""
        return any(
            second.about == trade_no
            and since + REISSUE_AFTER <= second.at
            and second.answered_at <= now <= second.at + MINUTE
            and self._control(second)
            and self._proven_alive(second)
            for second in self.queries
        )

    def _control(self, question: AnsweredQuery) -> bool:
        return any(
            each.about is None and each.code == question.code and abs(each.at - question.at) <= MINUTE
            for each in self.queries
        )

    def _proven_alive(self, second: AnsweredQuery) -> bool:
        """QueryIssueResult knew a number between an earlier question and this one."""
        return any(
            first.about == second.about
            and first.code == second.code
            and second.at - first.at <= MINUTE
            and any(life.code == 1 and first.at <= life.at <= second.at for life in self.queries if life.is_proof)
            for first in self.queries
            if first is not second
        )

    # --- what is published--------------------------------------------------------------------------------------------

    def settled(self, partition: TopicPartition, offset: int, records: Sequence[ProducerRecord]) -> None:
        """A record's outcome was committed, with the records it publishes."""
        self._settled[partition, offset] += 1
        if self._settled[partition, offset] > 1:
            self._break(f"{partition} offset {offset} has two outcomes")
        for producer_record in records:
            ending = json.loads(producer_record.value or b"")
            self._messages.append(ending["message"])
            self._published(ending["order"], ending["part"], ending["of"], ending["trade_no"], ending["ending"])

    def committed(self, partition: TopicPartition, offset: int, records: Sequence[int]) -> None:
        """The committed offset of a partition with these records."""
        passed = [each for each in records if each < offset and not self._settled[partition, each]]
        if passed:
            self._break(f"{partition}: committed offset {offset} passes {passed}, which are not settled")

    def _published(self, order: str, part: int, of: int, trade_no: str, ending: str) -> None:
        parts = self._endings.setdefault(order, {})
        if part in parts:
            self._break(f"part {part} of {order} was published twice: {parts[part][1]}, {ending}")
        if any(of != its for its, _ in parts.values()):
            self._break(f"{order} was published under two plans")
        parts[part] = of, ending
        self._numbers[trade_no] = ending
        tickets = self._tickets.get(trade_no, 0)
        if (ending == "submitted" and tickets != 1) or (ending in NO_TICKETS and tickets):
            self._break(f"{trade_no} was published as {ending}, and has {tickets} sets of tickets")

    # --- in the end --------------------------------------------------------------------------------------------------

    def is_published(self, order: str) -> bool:
        """Whether every part of an order has ended."""
        parts = self._endings.get(order, {})
        return bool(parts) and len(parts) == next(iter(parts.values()))[0]

    def at_rest(self, orders: Sequence[str]) -> None:
        """Nothing happens any more: every order was published in full, with all its tickets."""
        lost = [order for order in orders if not self.is_published(order)]
        if lost:
            self._break(f"{lost} have not ended")
        unsaid = [number for number in self._tickets if not self._is_published(number)]
        if unsaid:
            self._break(f"{unsaid} have tickets that were not published")

    def _is_published(self, number: str) -> bool:
        """Whether tickets were published, or named to a person.

        No process queries another plan's numbers if all of today's are known, since nothing is left to be bought.
        """
        if number in self._numbers or any(number in message for message in self._messages):
            return True
        order = self._orders[number]
        parts = self._endings[order].values()
        return all(ending == "submitted" and of not in self._sizes[order] for of, ending in parts)

    @property
    def endings(self) -> Counter[str]:
        """How the parts ended."""
        return Counter(ending for parts in self._endings.values() for _, ending in parts.values())

    def _break(self, promise: str) -> None:
        self.broken = True
        raise Broken("\n".join([promise, *self.history[-150:]]))
