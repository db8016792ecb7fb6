"""A dead letter as people see it: its headers as text, its order and its trade numbers.

Reads leniently, so that every dead letter can be shown. Decisions use the strict readers instead (`record_history`,
`plan_codec`, `confirmation`). Holds no customer data: value and plan are not part of it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from adapter.flows.messages.dead_letters import SINK
from adapter.flows.messages.record_history import MERCHANT_ID, ORDER_ID, PLAN, shown_id
from adapter.stream.records import Record
from adapter.strict_json import parse_json

_TRADE_NO = re.compile(r"[A-Za-z0-9]{1,25}")
"""Anything else is no number of ECTicket's, and does not belong into a command that a person copies."""
_COUNT = re.compile(r"[0-9]{1,9}")
_NUMBERS: Mapping[str, str] = {
    "kafka_dlt-original-partition": ">i",
    "kafka_dlt-original-offset": ">q",
    "kafka_dlt-original-timestamp": ">q",
}
"""Spring writes these as big-endian integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """The contents of a dead letter without its value and its plan; None for what it does not contain."""

    topic: str
    partition: int
    offset: int
    timestamp: datetime
    """When it was parked."""
    key: str | None
    reason: str | None
    stage: str | None
    message: str | None
    plugin: str | None
    sink: str | None
    """The sink that did not accept the event."""
    merchant_id: str | None
    order_id: str | None
    trade_nos: tuple[str, ...]
    """The open trade numbers in it."""
    failed_at: str | None
    origin: str | None
    """The record that was parked."""
    order_record: str | None
    """The record of its order; another one than `origin` for a confirmation."""
    attempts: str | None
    replays: str | None
    possibly_sent_at: str | None
    value_bytes: int | None

    @property
    def name(self) -> str:
        """Its coordinates: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def label(self) -> str | None:
        """What the list shows it by: its order id, else its record's key; None if it has neither."""
        return self.order_id or self.key or None

    @property
    def replay_count(self) -> int:
        """How often it was replayed before; 0 if that cannot be read."""
        text = self.replays or ""
        return int(text) if _COUNT.fullmatch(text) else 0


def read_dead_letter(record: Record) -> DeadLetter:
    """Read a record of the dead letters; never raises."""
    texts = dict(header_texts(record.headers))
    content, plan = _json(record.value), _json(texts.get(PLAN))
    sources = (plan, content, _inside(content, "data"), _inside(content, "issuance"))
    origin = _coordinates(texts, "ecticket-{}")
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=None if record.key is None else text_of(record.key),
        reason=texts.get("ecticket-reason"),
        stage=texts.get("ecticket-stage"),
        message=texts.get("ecticket-message"),
        plugin=texts.get("ecticket-plugin"),
        sink=texts.get(SINK),
        merchant_id=_id(texts.get(MERCHANT_ID), _first_text(sources, "merchant_id")),
        order_id=_id(texts.get(ORDER_ID), _first_text(sources, "order_id")),
        trade_nos=_trade_nos(plan, content),
        failed_at=texts.get("ecticket-failed-at"),
        origin=origin,
        order_record=_coordinates(_inside(content, "origin"), "{}") or origin,
        attempts=texts.get("ecticket-attempts"),
        replays=texts.get("ecticket-replays"),
        possibly_sent_at=texts.get("ecticket-possibly-sent-at"),
        value_bytes=None if record.value is None else len(record.value),
    )


def header_texts(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, str], ...]:
    """Headers as text; Spring's binary numbers as numbers, bytes that are not UTF-8 in hexadecimal."""
    return tuple((name, _header_text(name, value or b"")) for name, value in headers)


def text_of(value: bytes) -> str:
    """Bytes as UTF-8 text, or in hexadecimal if they are not UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def _header_text(name: str, value: bytes) -> str:
    form = _NUMBERS.get(name)
    if form is not None and len(value) == struct.calcsize(form):
        return str(struct.unpack(form, value)[0])
    return text_of(value)


def _json(text: bytes | str | None) -> Mapping[str, object]:
    """The object that a text is in JSON; an empty one for anything else."""
    try:
        content = parse_json(text or b"")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _inside(content: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _first_text(sources: Iterable[Mapping[str, object]], name: str) -> str | None:
    """What an order, its plan or a confirmation says, in either form of a CloudEvent."""
    found = (source.get(name) for source in sources)
    return next((each for each in found if isinstance(each, str)), None)


def _id(parsed: str | None, written: str | None) -> str | None:
    """The id as the adapter parsed it, which counts for shops with a format of their own; else what the record says.

    The header may show less than the whole id, so an id in the record that it stands for is taken as it is.
    """
    if parsed is None or (written is not None and shown_id(written) == parsed):
        return written
    return parsed


def _trade_nos(plan: Mapping[str, object], content: Mapping[str, object]) -> tuple[str, ...]:
    parts = plan.get("parts")
    holders = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    found = (holder.get("trade_no") for holder in (*holders, _inside(content, "issuance")))
    return tuple(each for each in found if isinstance(each, str) and _TRADE_NO.fullmatch(each))


def _coordinates(values: Mapping[str, object], form: str) -> str | None:
    found = [values.get(form.format(part)) for part in ("topic", "partition", "offset")]
    return None if None in found or "" in found else "/".join(map(str, found))
