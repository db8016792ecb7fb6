"""A dead letter: the original record with headers that say what happened, what to do, and what may have been sent.

Source: docs/events.md, "Dead-letter headers". Spring's `kafka_dlt-*` headers are added in Spring's own encodings
(big-endian integers), so that existing tools show the record's origin. Customer data stays in the value and the plan;
the message has none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct

from adapter.flows.messages.events import ParkReason, Stage, rfc3339
from adapter.flows.messages.record_history import (
    HELD_AT,
    PLAN,
    VALUE_OMITTED,
    RecordHistory,
    foreign_headers,
    history_headers,
)
from adapter.flows.messages.signatures import RecordSigner
from adapter.stream.records import ProducerRecord, Record, encode_headers

RECORD_MAX_BYTES = 2 * 1024 * 1024
"""The largest record that the dead-letter topic accepts (docs/events.md, "Topics")."""
_FITS = RECORD_MAX_BYTES - 16 * 1024
"""Bytes of key, value and headers that leave room for the framing of record and batch."""
MESSAGE_MAX_CHARACTERS = 2000
SINK = "ecticket-sink"
OFFSETS = "ecticket-offsets"
"""First and last offset that the dead letter of an unread record stands for."""


class DeadLetterCause(Struct, frozen=True, kw_only=True):
    """Why a record is parked: `message` is one sentence about what happened and one about what to do.

    `sink` is the one that did not accept an event, at stage deliver.
    """

    reason: ParkReason
    stage: Stage
    message: str
    plugin: str | None = None
    sink: str | None = None


def dead_letter_record(
    record: Record,
    cause: DeadLetterCause,
    history: RecordHistory,
    *,
    topic: str,
    now: datetime,
    signer: RecordSigner | None = None,
    omit_value: bool = False,
) -> ProducerRecord:
    """The record for the dead letters, cut to what the topic accepts; `omit_value` leaves the value out anyway.

    The value is left out first, then the shop's key and headers, finally the plan: a record that cannot be parked would
    stop its partition for good. The signature covers the rest.
    """
    versions = tuple(_ever_smaller(record, tuple(_added(cause, history, now)), topic))
    if omit_value and record.value is not None:
        versions = versions[1:]
    dead_letter = next((dead_letter for dead_letter in versions if _size(dead_letter) <= _FITS), versions[-1])
    return dead_letter if signer is None else signer.sign(dead_letter, history.merchant_id)


def _ever_smaller(record: Record, added: tuple[tuple[str, bytes], ...], topic: str) -> Iterator[ProducerRecord]:
    headers = (*foreign_headers(record.headers), *added)
    omitted = () if VALUE_OMITTED in dict(added) else ((VALUE_OMITTED, b"true"),)
    if record.not_read is not None:
        range_ = f"{record.not_read.first}-{record.not_read.last}"
        headers = added = (*added, (OFFSETS, range_.encode()), *omitted)
    yield ProducerRecord(topic=topic, key=record.key, value=record.value, headers=headers)
    if record.value is not None:
        headers, added = (*headers, *omitted), (*added, *omitted)
    yield ProducerRecord(topic=topic, key=record.key, value=None, headers=headers)
    yield ProducerRecord(topic=topic, key=None, value=None, headers=added)
    least = tuple(header for header in added if header[0] != PLAN)
    yield ProducerRecord(topic=topic, key=None, value=None, headers=least)


def _added(cause: DeadLetterCause, history: RecordHistory, now: datetime) -> Iterable[tuple[str, bytes]]:
    message = cause.message[:MESSAGE_MAX_CHARACTERS]
    texts = {
        "ecticket-stage": cause.stage,
        "ecticket-reason": cause.reason,
        "ecticket-message": message,
        "ecticket-failed-at": rfc3339(now),
        **history_headers(history),
    }
    if cause.plugin is not None:
        texts["ecticket-plugin"] = cause.plugin
    if cause.sink is not None:
        texts[SINK] = cause.sink
    for waits in ("ecticket-not-before", HELD_AT):
        texts.pop(waits, None)
    yield from encode_headers(texts)
    yield "kafka_dlt-original-topic", history.origin.topic.encode()
    yield "kafka_dlt-original-partition", struct.pack(">i", history.origin.partition)
    yield "kafka_dlt-original-offset", struct.pack(">q", history.origin.offset)
    yield "kafka_dlt-original-timestamp", struct.pack(">q", _milliseconds(history))
    yield "kafka_dlt-exception-message", message.encode("utf-8", "replace")


def _milliseconds(history: RecordHistory) -> int:
    """The origin's timestamp as stored in its topic."""
    raw = history.raw_origin_timestamp_ms
    return int(history.origin_timestamp.timestamp() * 1000) if raw is None else raw


def _size(dead_letter: ProducerRecord) -> int:
    headers = sum(len(name.encode()) + len(text or b"") for name, text in dead_letter.headers)
    return len(dead_letter.key or b"") + len(dead_letter.value or b"") + headers
