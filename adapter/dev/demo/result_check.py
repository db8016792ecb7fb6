"""The demo's result check: compares the events with the expected results and with the sandbox's orders.

The demo does not trust its own adapter. It reads the public topics as any subscriber would, and the sandbox's orders.
The run succeeds only if both agree, order by order and ticket by ticket.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from adapter.dev.demo.orders import KINDS, OrderKind, SampleOrder
from adapter.flows.messages.event_reader import cloud_event
from adapter.flows.messages.events import (
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    OrderParked,
)
from adapter.stream.records import Record


@dataclass(slots=True)
class OrderProgress:
    """What has been published about one order."""

    submitted: set[str] = field(default_factory=set)
    recovered: set[str] = field(default_factory=set)
    issued: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    parked: str | None = None

    def result(self, parts: int) -> str | None:
        """How the order ended, as an `orders.Ending`; None while it is open."""
        if self.parked is not None:
            return "parked"
        if len(self.issued) == parts:
            return "issued"
        if len(self.issued) + len(self.failed) == parts:
            return f"failed at {next(iter(self.failed.values()))}"
        return None


class ResultCheck:
    """Collects the records of the issuances topic, and of the deferred topic for the display."""

    def __init__(self, samples: Sequence[SampleOrder], *, issuances: str) -> None:
        self._issuances = issuances
        self._deferred: set[str] = set()
        self.noted = 0
        self.sent = 0
        self._samples = samples
        self._progress: dict[str, OrderProgress] = {sample.order_id: OrderProgress() for sample in samples}
        self._unreadable = [sample.order_id for sample in samples if sample.kind.name == "unreadable record"]
        self._ids: Counter[str] = Counter()
        self.unknown_subjects: list[str] = []

    def note(self, record: Record) -> None:
        """Add one record of the issuances or the deferred topic."""
        self.noted += 1
        if record.topic != self._issuances:
            self._deferred.add(json.loads(record.value or b"{}").get("order_id"))
            return
        attributes, found = cloud_event(record)
        data = found or {}
        self._ids[attributes["id"]] += 1
        order_id = data.get("order_id")
        progress = self._progress_of(order_id if isinstance(order_id, str) else None)
        if progress is None:
            self.unknown_subjects.append(attributes.get("subject", "?"))
            return
        _apply(progress, attributes["type"], data)

    def _progress_of(self, order_id: str | None) -> OrderProgress | None:
        if order_id is None and self._unreadable:  # an unreadable record has no order id
            order_id = self._unreadable.pop()
        return self._progress.get(order_id or "")

    @property
    def repeated(self) -> int:
        """Events that were published more than once; the adapter promises none."""
        return sum(count - 1 for count in self._ids.values())

    @property
    def open(self) -> tuple[SampleOrder, ...]:
        """Orders without a final event."""
        return tuple(sample for sample in self._samples if self._result(sample) is None)

    def issued(self) -> Sequence[tuple[SampleOrder, str]]:
        """Each order with each of its trade numbers that is published as issued."""
        return [
            (sample, number) for sample in self._samples for number in sorted(self._progress[sample.order_id].issued)
        ]

    @property
    def _in_doubt(self) -> int:
        """Orders that were deferred and have not ended."""
        return sum(1 for sample in self.open if sample.order_id in self._deferred)

    def counts(self) -> Mapping[str, int]:
        """The numbers of the live display: orders sent, ended and in doubt, and issuances by state."""
        all_progress = self._progress.values()
        submitted = sum(len(progress.submitted) for progress in all_progress)
        issued = sum(len(progress.issued) for progress in all_progress)
        failed = sum(len(progress.failed) for progress in all_progress)
        failed_later = sum(
            1 for progress in all_progress for environment in progress.failed.values() if environment == "confirm"
        )
        return {
            "orders": self.sent,
            "submitted": submitted,
            "waiting": submitted - issued - failed_later,
            "in doubt": self._in_doubt,
            "issued": issued,
            "failed": failed,
            "parked": sum(1 for progress in all_progress if progress.parked),
            "accounted for": len(self._samples) - len(self.open),
        }

    def by_kind(self) -> Sequence[tuple[OrderKind, Counter[str]]]:
        """The results of the orders of each kind."""
        table = [(kind, Counter[str]()) for kind in KINDS]
        for sample in self._samples:
            results = next(results for kind, results in table if kind is sample.kind)
            results[self._result(sample) or "open"] += 1
        return [(kind, results) for kind, results in table if results]

    def disagreements(self, sandbox_orders: Iterable[Mapping[str, object]]) -> list[str]:
        """One sentence for each disagreement; none means that the run is accounted for."""
        return [*self._unexpected_results(), *self._against(list(sandbox_orders))]

    def _unexpected_results(self) -> Iterable[str]:
        for sample in self._samples:
            result = self._result(sample)
            if result != sample.kind.result:
                yield f"{sample.order_id} ({sample.kind.name}) ended as {result}, expected {sample.kind.result}"
            elif sample.kind.recovered and not self._progress[sample.order_id].recovered:
                yield f"{sample.order_id} ({sample.kind.name}) was not published as recovered"
        if self.repeated:
            yield f"{self.repeated} events were published more than once"
        for subject in self.unknown_subjects:
            yield f"an event about {subject}, which is no order of this run"

    def _against(self, orders: list[Mapping[str, object]]) -> Iterable[str]:
        published = {number for progress in self._progress.values() for number in progress.issued}
        there = {str(order["trade_no"]) for order in orders if order["status"] == "issued"}
        for number in sorted(published - there):
            yield f"{number} was published as issued, but the sandbox has no tickets for it"
        for number in sorted(there - published):
            yield f"{number} has tickets at the sandbox, but no event says so"
        for order in orders:
            if order["times_issued"] != 1 and order["status"] == "issued":
                yield f"{order['trade_no']} was issued {order['times_issued']} times"

    def _result(self, sample: SampleOrder) -> str | None:
        return self._progress[sample.order_id].result(sample.kind.parts)


def _apply(progress: OrderProgress, event_type: str, data: Mapping[str, object]) -> None:
    number = str(data.get("trade_no"))
    if event_type == IssuanceSubmitted.TYPE:
        progress.submitted.add(number)
        if data["recovered"]:
            progress.recovered.add(number)
    elif event_type == IssuanceIssued.TYPE:
        progress.issued.add(number)
    elif event_type == IssuanceFailed.TYPE:
        progress.failed[number] = str(data["stage"])
    elif event_type == OrderParked.TYPE:
        progress.parked = str(data["reason"])
