"""The check of the day after issuing: notifications, collected tickets and differences, against the sandbox's facts.

Pure: `note` gets records of the public topics, and the caller adds what the sandbox says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from adapter.flows.messages.event_reader import cloud_event
from adapter.flows.messages.events import OrderRefunded, ReconciliationDifference, TicketCollected, TicketStatusChanged
from adapter.stream.records import Record

NotificationCount = Counter[tuple[str, str]]
"""Numbers of notifications by trade number and event type."""


@dataclass(slots=True)
class DayCheck:
    """What the sandbox did, as the caller enters it, and what the events say about it."""

    notifications: NotificationCount = field(default_factory=Counter)
    """The notifications that ECTicket owes for redemptions and refunds."""
    tickets: dict[str, frozenset[str]] = field(default_factory=dict)
    """The ticket numbers of each issuance that is to be collected."""
    differences: dict[str, str] = field(default_factory=dict)
    """The planted differences: trade number and kind."""
    failed_commands: list[str] = field(default_factory=list)
    """One sentence for each command that ended otherwise than expected."""
    noted: int = 0
    _notified: dict[str, tuple[str, str]] = field(default_factory=dict)
    _collected: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    _found: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, record: Record) -> None:
        """Add one record of the topics of tickets, collected tickets or reconciliations."""
        self.noted += 1
        attributes, found = cloud_event(record)
        data = found or {}
        number = str(data.get("trade_no"))
        match attributes["type"]:
            case TicketStatusChanged.TYPE | OrderRefunded.TYPE as event_type:
                self._notified[attributes["id"]] = (number, event_type)  # at least once, with the same id
            case TicketCollected.TYPE:
                self._collected.append((number, _ticket_nos(data["tickets"])))
            case ReconciliationDifference.TYPE:
                self._found[(number, str(data["kind"]))] += 1

    @property
    def notified(self) -> NotificationCount:
        """The published notifications."""
        return Counter(self._notified.values())

    @property
    def all_notified(self) -> bool:
        """Whether each notification that ECTicket owes is published."""
        return self.notified >= self.notifications

    @property
    def all_collected(self) -> bool:
        """Whether the tickets of each issuance are published."""
        return {number for number, _ in self._collected} >= set(self.tickets)

    @property
    def all_found(self) -> bool:
        """Whether each planted difference is published."""
        return set(self._found) >= set(self.differences.items())

    def counts(self) -> Mapping[str, int]:
        """Numbers of published facts, for the display."""
        return {
            "notifications": self.notified.total(),
            "collected issuances": len(self._collected),
            "collected tickets": sum(len(tickets) for _, tickets in self._collected),
            "differences": self._found.total(),
        }

    def disagreements(self) -> Iterator[str]:
        """One sentence for each disagreement; none means that everything is published once and nothing else is."""
        yield from self.failed_commands
        notified = self.notified
        for number, event_type in sorted((self.notifications - notified) + (notified - self.notifications)):
            expected, found = self.notifications[number, event_type], notified[number, event_type]
            yield f"{number}: {found} events {event_type}, but ECTicket has {expected} to send"
        published = Counter(number for number, _ in self._collected)
        for number in sorted({*published, *self.tickets}):
            if published[number] != (number in self.tickets):
                yield f"{number}: its tickets were collected {published[number]} times"
        for number, tickets in self._collected:
            if tickets != self.tickets.get(number, tickets):
                yield f"{number}: the collected tickets are not those of the sandbox"
        for number, kind in sorted({*self._found, *self.differences.items()}):
            expected_times, times = self.differences.get(number) == kind, self._found[number, kind]
            if times != expected_times:
                yield f"{number}: the difference {kind} was published {times} times"


def _ticket_nos(tickets: object) -> frozenset[str]:
    return frozenset(each["ticket_no"] for each in cast("list[dict[str, str]]", tickets))
