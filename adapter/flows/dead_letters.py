"""A dead letter: the record as it came, with headers that say what happened, what to do, and what may have been sent.

Contract, section 2.3. Spring's `kafka_dlt-*` headers come along in Spring's own encodings (big-endian integers), so
that existing tools show where a record came from. Customer data stays in the value and the plan, where it came from;
the message has none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from adapter.flows.events import ParkReason, Stage, rfc3339
from adapter.flows.journey import PLAN, VALUE_OMITTED, Journey, journey_headers, own_headers
from adapter.flows.signatures import RecordSigner
from adapter.stream.records import ProducerRecord, Record

RECORD_MAX_BYTES = 2 * 1024 * 1024
"""What the dead-letter topic takes (contract, section 2)."""
_FITS = RECORD_MAX_BYTES - 16 * 1024
"""Bytes of key, value and headers that leave room for the framing of record and batch."""
MESSAGE_MAX_CHARACTERS = 2000
SINK = "ecticket-sink"
OFFSETS = "ecticket-offsets"
"""First and last offset that the dead letter of a record without content stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a record is parked: `message` is one sentence on what happened and one on what to do.

    `sink` is the one that did not take an event, at stage deliver.
    """

    reason: ParkReason
    stage: Stage
    message: str
    plugin: str | None = None
    sink: str | None = None


def dead_letter(
    record: Record,
    verdict: Verdict,
    journey: Journey,
    *,
    topic: str,
    now: datetime,
    signer: RecordSigner | None = None,
) -> ProducerRecord:
    """The record for the dead letters, without what the topic would not take.

    First the value stays behind, then the shop's key and headers, at last the plan: a record that cannot be parked
    would stop its partition for good. The signature covers what is left.
    """
    letters = tuple(_ever_smaller(record, tuple(_added(verdict, journey, now)), topic))
    letter = next((letter for letter in letters if _size(letter) <= _FITS), letters[-1])
    return letter if signer is None else signer.sign(letter, journey.merchant_id)


def _ever_smaller(record: Record, added: tuple[tuple[str, bytes], ...], topic: str) -> Iterator[ProducerRecord]:
    headers = (*own_headers(record.headers), *added)
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


def _added(verdict: Verdict, journey: Journey, now: datetime) -> Iterable[tuple[str, bytes]]:
    message = verdict.message[:MESSAGE_MAX_CHARACTERS]
    texts = {
        "ecticket-stage": verdict.stage,
        "ecticket-reason": verdict.reason,
        "ecticket-message": message,
        "ecticket-failed-at": rfc3339(now),
        **journey_headers(journey),
    }
    if verdict.plugin is not None:
        texts["ecticket-plugin"] = verdict.plugin
    if verdict.sink is not None:
        texts[SINK] = verdict.sink
    texts.pop("ecticket-not-before", None)
    for name, text in texts.items():
        yield name, text.encode("utf-8", "replace")
    yield "kafka_dlt-original-topic", journey.origin.topic.encode()
    yield "kafka_dlt-original-partition", struct.pack(">i", journey.origin.partition)
    yield "kafka_dlt-original-offset", struct.pack(">q", journey.origin.offset)
    yield "kafka_dlt-original-timestamp", struct.pack(">q", _milliseconds(journey))
    yield "kafka_dlt-exception-message", message.encode("utf-8", "replace")


def _milliseconds(journey: Journey) -> int:
    """The origin's timestamp as its topic keeps it."""
    odd = journey.odd_origin_timestamp
    return int(journey.origin_timestamp.timestamp() * 1000) if odd is None else odd


def _size(letter: ProducerRecord) -> int:
    headers = sum(len(name.encode()) + len(text or b"") for name, text in letter.headers)
    return len(letter.key or b"") + len(letter.value or b"") + headers
