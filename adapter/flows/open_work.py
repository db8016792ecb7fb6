"""Counts what is open in this process by kind and merchant, with the oldest time of each. Pure.

Counted on demand from the engines' open records, so nothing is counted while neither a browser nor Prometheus asks.
What an order waits for is what its record and its plan say; a call that is on the wire at this moment is not in doubt
yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum, unique

from msgspec import Struct

from adapter.flows.confirm import PendingQuery
from adapter.flows.submit import SubmitTask
from adapter.issuance.state import Phase
from adapter.stream.snapshot import OpenRecord


@unique
class OpenKind(StrEnum):
    """What an open record waits for."""

    IN_WORK = "in_work"
    """An order that was read and is not settled."""
    IN_DOUBT = "in_doubt"
    """An order of which a part may have been sent without a known answer: it is queried before anything else."""
    DEFERRED = "deferred"
    """An order that is tried again later; nothing of it is in doubt."""
    SUBMITTED = "submitted"
    """An issuance whose result is awaited."""
    DELAYED = "delayed"
    """The same, after `delayed` was published."""


KINDS: Mapping[str, tuple[OpenKind, ...]] = {
    "submit": (OpenKind.IN_WORK, OpenKind.IN_DOUBT, OpenKind.DEFERRED),
    "confirm": (OpenKind.SUBMITTED, OpenKind.DELAYED),
}
"""What the open records of each stage can be."""


class OpenCount(Struct, frozen=True, kw_only=True):
    """How many are open, and the time of the oldest: an order's first reading, or an issuance's submission."""

    count: int
    oldest: datetime


class OpenWork(Struct, frozen=True, kw_only=True):
    """What is open, by kind and merchant; the merchant is None for one that is not configured."""

    counts: Mapping[tuple[OpenKind, str | None], OpenCount]

    def of(self, kind: OpenKind) -> OpenCount | None:
        """The count of all merchants together; None if there is nothing of this kind."""
        found = [each for (its, _), each in self.counts.items() if its is kind]
        if not found:
            return None
        return OpenCount(count=sum(each.count for each in found), oldest=min(each.oldest for each in found))


def count_open_work(records: Iterable[OpenRecord], *, merchants: Iterable[str], deferred_topic: str) -> OpenWork:
    """Count the open records of the stages submit and confirm; those of other stages are left out."""
    configured = frozenset(merchants)
    counts: dict[tuple[OpenKind, str | None], tuple[int, datetime]] = {}
    for record in records:
        found = _kind(record, deferred_topic)
        if found is None:
            continue
        kind, merchant_id, since = found
        key = (kind, merchant_id if merchant_id in configured else None)
        count, oldest = counts.get(key, (0, since))
        counts[key] = (count + 1, min(oldest, since))
    return OpenWork(counts={key: OpenCount(count=count, oldest=oldest) for key, (count, oldest) in counts.items()})


def _kind(record: OpenRecord, deferred_topic: str) -> tuple[OpenKind, str, datetime] | None:
    subject = record.subject
    if isinstance(subject, PendingQuery):
        awaited = subject.awaited
        kind = OpenKind.DELAYED if awaited.phase is Phase.DELAYED else OpenKind.SUBMITTED
        return kind, subject.merchant_id, awaited.submitted_at
    if isinstance(subject, SubmitTask):
        return _order_kind(record, subject, deferred_topic), subject.order_ref.merchant_id, subject.history.first_seen
    return None


def _order_kind(record: OpenRecord, task: SubmitTask, deferred_topic: str) -> OpenKind:
    parts = () if task.plan is None else task.plan.parts
    in_plan = any(each.history.phase is Phase.IN_DOUBT for each in parts)
    if in_plan or record.possibly_sent or (task.plan is None and task.history.possibly_sent_at is not None):
        return OpenKind.IN_DOUBT
    return OpenKind.DEFERRED if record.topic == deferred_topic else OpenKind.IN_WORK
