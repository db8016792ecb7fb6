"""What comes out of Kafka and what goes into it, as plain values.

It exists so that stages speak of records without ever importing a Kafka client. It refuses to know what keys, values
and headers mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as it was read; `(topic, partition, offset)` is its name.

    `timestamp` is aware (UTC), as the topic keeps it. A tombstone has the value None.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of key, value and headers: what keeping the record costs."""
        return _size(self.key, self.value, self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One record to be written: visible to `read_committed` readers once, together with its input's offset."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return _size(self.key, self.value, self.headers)


def _size(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int:
    return len(key or b"") + len(value or b"") + sum(len(name) + len(text or b"") for name, text in headers)
