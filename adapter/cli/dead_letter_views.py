"""A dead letter as people see it: its headers in words, its place, and which one is meant by a name or a number.

Headers are read leniently, since a letter that cannot be shown helps nobody. Refuses to show customer data: value and
plan are kept apart for whoever asks for them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from adapter.stream.records import Record

PLAN = "ecticket-plan"
_NUMBERS: Mapping[str, str] = {
    "kafka_dlt-original-partition": ">i",
    "kafka_dlt-original-offset": ">q",
    "kafka_dlt-original-timestamp": ">q",
}
"""Spring writes these as big-endian integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What a dead letter says of itself, without its value and its plan."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: str | None
    reason: str | None
    stage: str | None
    message: str | None
    plugin: str | None
    merchant_id: str | None
    failed_at: str | None
    origin: str | None
    attempts: str | None
    replays: str | None
    possibly_sent_at: str | None
    value_bytes: int | None

    @property
    def name(self) -> str:
        """Where the letter is: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"


def read_letter(record: Record) -> Letter:
    """What a record on the dead letters says; whatever is missing is None."""
    texts = dict(header_texts(record.headers))
    origin = [texts.get(f"ecticket-{part}") for part in ("topic", "partition", "offset")]
    return Letter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=None if record.key is None else text_of(record.key),
        reason=texts.get("ecticket-reason"),
        stage=texts.get("ecticket-stage"),
        message=texts.get("ecticket-message"),
        plugin=texts.get("ecticket-plugin"),
        merchant_id=_merchant_id(record.value),
        failed_at=texts.get("ecticket-failed-at"),
        origin="/".join(part for part in origin if part) if all(origin) else None,
        attempts=texts.get("ecticket-attempts"),
        replays=texts.get("ecticket-replays"),
        possibly_sent_at=texts.get("ecticket-possibly-sent-at"),
        value_bytes=None if record.value is None else len(record.value),
    )


def header_texts(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, str], ...]:
    """Headers as text; Spring's binary numbers as numbers, and what is no text in hexadecimal."""
    return tuple((name, _header_text(name, value or b"")) for name, value in headers)


def text_of(value: bytes) -> str:
    """Bytes as UTF-8 text, or in hexadecimal where they are none."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def is_meant(which: str, letter: Letter, place: int) -> bool:
    """Whether `which` names this letter: its place in the list (from 1), its own coordinates, or its origin's."""
    return which in (str(place), letter.name, letter.origin, f"{letter.partition}/{letter.offset}")


def _header_text(name: str, value: bytes) -> str:
    form = _NUMBERS.get(name)
    if form is not None and len(value) == struct.calcsize(form):
        return str(struct.unpack(form, value)[0])
    return text_of(value)


def _merchant_id(value: bytes | None) -> str | None:
    """The merchant that an order or a confirmation names, in either form of a CloudEvent."""
    try:
        content = json.loads(value or b"")
    except (ValueError, RecursionError):
        return None
    for place in ((), ("data",), ("issuance",)):
        found = content
        for step in place:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, dict) and isinstance(found.get("merchant_id"), str):
            return str(found["merchant_id"])
    return None
