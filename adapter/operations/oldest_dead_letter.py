"""Reads about once a minute how old the oldest dead letter is that is not handled.

The commits of the dead letters' group say where the open ones begin (decision 10). So one record of each partition is
read, and none while its commit and its end stay the same (decision 37). Does not look at later events: dead letters
whose commits the brokers have forgotten count as open, and `forgotten` says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from msgspec import Struct

from adapter.errors import AdapterError, BrokerUnavailable
from adapter.stream.acknowledged_topic import first_pending
from adapter.stream.port import Kafka, Member
from adapter.stream.records import Record

READ_SECONDS: Final = 60.0
"""The pause between two reads."""
READ_AGAIN_SECONDS: Final = 600.0
"""The pause after a refusal: a user without Read on the dead letters would fill the brokers' log."""

_log = logging.getLogger(__name__)

ReadFirst = Callable[[Mapping[int, int], Callable[[int, int], bool]], Awaitable[Mapping[int, Record]]]
"""Returns for each partition the first committed record from its offset on whose partition and offset are accepted.

Raises TopicsMissing, BrokerUnavailable and StreamError.
"""


class OldestDeadLetter(Struct, frozen=True, kw_only=True):
    """The result of a read."""

    since: datetime | None
    """When the oldest open dead letter was written; None if none is open."""
    forgotten: bool
    """Whether no commit says which dead letters of a partition are handled, so that all of them count as open."""


@dataclass(slots=True)
class _Known:
    """What was found in a partition when its commit and its end were `seen`."""

    seen: object
    since: datetime | None


@dataclass(slots=True)
class DeadLetterAge:
    """Keeps `found` up to date while `run` runs. Joins no group and commits nothing."""

    kafka: Kafka
    read_first: ReadFirst
    topic: str
    group: str
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    found: OldestDeadLetter | None = None
    """The last result; None before the first one and after a failure."""
    _known: dict[int, _Known] = field(default_factory=dict)

    async def run(self) -> None:
        """Read again and again until cancelled; no failure ends this."""
        while True:
            pause = READ_SECONDS
            try:
                self.found = await self._read()
            except BrokerUnavailable as error:
                self._failed(str(error))
            except AdapterError as error:
                pause = READ_AGAIN_SECONDS
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001  # a reader that ends would show its last result for ever
                self._failed(f"{type(error).__name__}: {error}")
            await self.sleep(pause)

    def _failed(self, detail: str) -> None:
        self.found = None
        _log.warning("dead-letters-unread", extra={"detail": detail})

    async def _read(self) -> OldestDeadLetter:
        member = await self.kafka.connect(self.group)
        try:
            return await self._read_as(member)
        finally:
            await member.leave()

    async def _read_as(self, member: Member) -> OldestDeadLetter:
        pending = {
            partition.partition: await first_pending(member, partition)
            for partition in sorted(await member.partitions_of([self.topic]))
        }
        unread = {
            number: each.offset
            for number, each in pending.items()
            if number not in self._known or self._known[number].seen != each
        }
        first = await self.read_first(unread, lambda number, offset: pending[number].is_open(offset)) if unread else {}
        for number in unread:
            since = first[number].timestamp if number in first else None
            self._known[number] = _Known(seen=pending[number], since=since)
        times = [known.since for known in self._known.values() if known.since is not None]
        forgotten = any(each.forgotten for number, each in pending.items() if self._known[number].since is not None)
        return OldestDeadLetter(since=min(times, default=None), forgotten=forgotten)
