"""Counts the open dead letters by stage and reason while the topic is read, in bounded memory. Pure.

A dead letter is kept as its offset, the position of its reason and its time, about 200 bytes, until it is acknowledged.
Beyond `KEPT_MAX` the tally is incomplete and shows that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct

from adapter.operations.dead_letter_view import DeadLetter
from adapter.stream.acknowledged_topic import PendingOffsets

KEPT_MAX: Final = 50_000
GROUPS_MAX: Final = 200
"""Reasons and stages are few; a header that is no reason of this version counts as one."""
MESSAGE_MAX_CHARACTERS: Final = 400
_UNKNOWN: Final = ("", "")


class DeadLetterExample(Struct, frozen=True, kw_only=True):
    """The newest dead letter of a group."""

    name: str
    """Its coordinates: topic/partition/offset."""
    order_id: str | None
    message: str | None
    possibly_sent: bool
    """Whether tickets may exist, whatever the reason is."""


class DeadLetterGroup(Struct, frozen=True, kw_only=True):
    """The open dead letters of one stage and reason; both are empty for a header that cannot be read."""

    stage: str
    reason: str
    count: int
    oldest: datetime
    newest: DeadLetterExample


class DeadLetterTally:
    """The open dead letters of one topic, as far as it is read."""

    def __init__(self, kept_max: int = KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._kept: dict[tuple[int, int], tuple[tuple[str, str], datetime]] = {}
        self._newest: dict[tuple[str, str], tuple[tuple[int, int], datetime, DeadLetterExample]] = {}
        self.read = 0
        """Records read so far."""
        self.left_out = 0
        """Records read that are not kept, because `kept_max` are."""

    def add(self, dead_letter: DeadLetter) -> None:
        """Count one more dead letter as open."""
        self.read += 1
        if len(self._kept) >= self._kept_max:
            self.left_out += 1
            return
        group = (dead_letter.stage or "", dead_letter.reason or "")
        if group not in self._newest and len(self._newest) >= GROUPS_MAX:
            group = _UNKNOWN
        key = (dead_letter.partition, dead_letter.offset)
        self._kept[key] = (group, dead_letter.timestamp)
        newest = self._newest.get(group)
        if newest is None or newest[1] <= dead_letter.timestamp:
            self._newest[group] = (key, dead_letter.timestamp, _example(dead_letter))

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Partition and offset of each dead letter that counts as open."""
        return tuple(self._kept)

    def acknowledge(self, asked: Iterable[tuple[int, int]], pending: Mapping[int, PendingOffsets]) -> None:
        """Remove those of `asked` that the group's commits show to be handled."""
        for key in asked:
            partition, offset = key
            if partition in pending and offset not in pending[partition].open:
                self._kept.pop(key, None)

    def oldest(self, partitions: Collection[int]) -> datetime | None:
        """The time of the oldest one that counts as open in these partitions."""
        return min((at for (partition, _), (_, at) in self._kept.items() if partition in partitions), default=None)

    def groups(self) -> tuple[DeadLetterGroup, ...]:
        """The groups, the largest first."""
        found: dict[tuple[str, str], tuple[int, datetime]] = {}
        for group, at in self._kept.values():
            count, oldest = found.get(group, (0, at))
            found[group] = (count + 1, min(oldest, at))
        groups = [
            DeadLetterGroup(stage=group[0], reason=group[1], count=count, oldest=oldest, newest=self._newest[group][2])
            for group, (count, oldest) in found.items()
        ]
        return tuple(sorted(groups, key=lambda each: (-each.count, each.stage, each.reason)))


def _example(dead_letter: DeadLetter) -> DeadLetterExample:
    message = dead_letter.message
    return DeadLetterExample(
        name=dead_letter.name,
        order_id=dead_letter.order_id,
        message=None if message is None else message[:MESSAGE_MAX_CHARACTERS],
        possibly_sent=dead_letter.possibly_sent_at is not None,
    )
