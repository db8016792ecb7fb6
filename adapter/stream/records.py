"""Defines what is read from Kafka and written to it, as plain values.

The `repr` of a record has no value: it may hold customer data or redemption codes.

Kafka accepts any 64-bit timestamp and any bytes as the name of a header. A record can hold all of them, so unusual
ones are handled like any other record and none stops the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from msgspec import Struct

from adapter.values import PartlyShown

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(8999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
_LATEST_MS = (_LATEST - _EPOCH) // timedelta(milliseconds=1)


class NotRead(Struct, frozen=True, kw_only=True):
    """Why a record has no content: it exists in the log, but only its coordinates are known.

    `first` and `last` are the offsets that this one record stands for.
    """

    first: int
    last: int
    why: str
    cure: str = "have its producer send what is missing again"
    """What to do about the lost content, as the end of a sentence."""
    skipped: str | None = None
    """Why an operator gave up these offsets; None if no operator had to decide."""


class Record(PartlyShown, frozen=True, kw_only=True):
    """One record as it was read, identified by `(topic, partition, offset)`.

    `timestamp` is aware (UTC). A tombstone has the value None.
    """

    PRIVATE: ClassVar[tuple[str, ...]] = ("value",)

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    raw_timestamp_ms: int | None = None
    """The timestamp in the topic (ms), if it lies outside the years 1970 to 8999; `timestamp` is then the nearest
    moment in them.
    """
    not_read: NotRead | None = None
    """If set, key, value and headers are unknown."""

    @property
    def size(self) -> int:
        """Bytes of key, value and headers: the memory that the record needs."""
        return _size(self.key, self.value, self.headers)


def offsets_text(record: Record, not_read: NotRead) -> str:
    """Name the offsets that were not read, as the subject of a sentence."""
    partition = f"{record.topic}/{record.partition}"
    if not_read.first == not_read.last:
        return f"Offset {not_read.first} of {partition} was"
    return f"Offsets {not_read.first} to {not_read.last} of {partition} were"


class ProducerRecord(PartlyShown, frozen=True, kw_only=True):
    """One record to be produced: visible to `read_committed` readers once, together with its input's offset."""

    PRIVATE: ClassVar[tuple[str, ...]] = ("value",)

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return _size(self.key, self.value, self.headers)


def _size(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]) -> int:
    size = len(key or b"") + len(value or b"")
    for name, text in headers:
        size += len(name) + len(text or b"")
    return size


def moment_of(timestamp_ms: int) -> tuple[datetime, int | None]:
    """Return a record's `timestamp` and `raw_timestamp_ms` for what the topic keeps, any 64-bit number."""
    if 0 <= timestamp_ms <= _LATEST_MS:
        return _EPOCH + timedelta(milliseconds=timestamp_ms), None
    return (_EPOCH if timestamp_ms < 0 else _LATEST), timestamp_ms


def encode_headers(texts: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    """Return texts as headers in UTF-8; half a surrogate pair, as a plugin may read one, becomes `?`."""
    return tuple([(name, text.encode("utf-8", "replace")) for name, text in texts.items()])


def header_name(name: bytes) -> str:
    r"""Return the name of a header as text; bytes that are not UTF-8 become escapes such as `\xff`.

    Such a name survives every copy of the record as this text. Kafka clients cannot write the bytes themselves.
    """
    return name.decode("utf-8", "backslashreplace")
