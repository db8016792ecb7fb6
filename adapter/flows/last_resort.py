"""Builds the dead letter of a record whose dead letter cannot be built or published: only its coordinates.

A record without any outcome would stay open for ever: it would be handled again every minute, and the committed offset
would not pass it. So this code uses no content of the record, and no content can make it fail.
"""

from __future__ import annotations

import logging
from datetime import datetime

from adapter.errors import OutcomeTooLarge
from adapter.flows.messages.dead_letters import DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import (
    OrderParked,
    ParkReason,
    Stage,
    order_event,
    parking_distinctions,
    record_origin,
)
from adapter.flows.messages.record_history import RecordHistory
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.ports import Topics
from adapter.stream.records import NotRead, ProducerRecord, Record
from adapter.stream.stage import Outcome
from adapter.values import replace

_NOT_BUILT = (
    "The adapter could not build this record's dead letter, so only the coordinates are known; tickets may exist. "
    "Report it with the adapter's version. Read the record at its coordinates, and look its order up at ECPay before "
    "it is sent again."
)
_NOT_ACCEPTED = (
    "Not even this record's dead letter fits into its topic, so only the coordinates are known; tickets may exist. "
    "Raise max.message.bytes of the dead letters (`ecticket-adapter topics` says to how much), then replay it."
)

_log = logging.getLogger(__name__)


def is_rejected_again(error: Exception) -> bool:
    """Whether a topic has rejected even the dead letter that replaced an outcome."""
    return isinstance(error, OutcomeTooLarge) and error.again


def park_by_coordinates(
    record: Record,
    error: Exception,
    stage: Stage,
    topics: Topics,
    now: datetime,
    signer: RecordSigner | None = None,
) -> Outcome:
    """The outcome of an order record or confirmation: its bare dead letter, and its event."""
    cause = _cause(error, stage)
    origin = record_origin(record)
    data = OrderParked(
        order_id=None, reason=cause.reason, stage=stage, plugin=None, message=cause.message, parts_done=0
    )
    event = order_event(
        data,
        topic=topics.topic_for(OrderParked),
        origin=origin,
        now=now,
        merchant_id=None,
        traceparent=None,
        distinctions=parking_distinctions(cause.reason, dead_letter=None),
    )
    dead_letter = bare_dead_letter(record, error, stage, topics.dead_letters, now, signer=signer)
    return Outcome(records=(*dead_letter.records, event))


def bare_dead_letter(
    record: Record,
    error: Exception,
    stage: Stage,
    topic: str,
    now: datetime,
    sink: str | None = None,
    signer: RecordSigner | None = None,
) -> Outcome:
    """The outcome of any record: its bare dead letter, which counts as possibly sent, the safe direction."""
    cause = replace(_cause(error, stage), sink=sink)
    _log.error(
        "record-parked-bare",
        extra={
            "reason": cause.reason,
            "stage": stage,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
        },
    )
    history = RecordHistory(
        origin=record_origin(record),
        origin_timestamp=record.timestamp,
        raw_origin_timestamp_ms=record.raw_timestamp_ms,
        first_seen=now,
        possibly_sent_at=now,
    )
    not_read = record.not_read or NotRead(first=record.offset, last=record.offset, why="")
    bare = replace(record, key=None, value=None, headers=(), not_read=not_read)
    unsigned = dead_letter_record(bare, cause, history, topic=topic, now=now)
    return Outcome(records=(_signed(unsigned, signer),))


def _signed(dead_letter: ProducerRecord, signer: RecordSigner | None) -> ProducerRecord:
    """The dead letter with a signature if signing works; without one it still counts as possibly sent."""
    try:
        return dead_letter if signer is None else signer.sign(dead_letter)
    except Exception as error:  # noqa: BLE001  # the record must not stay open for ever
        _log.error("dead-letter-unsigned", extra={"error": type(error).__name__})  # no content in logs
        return dead_letter


def _cause(error: Exception, stage: Stage) -> DeadLetterCause:
    too_large = isinstance(error, OutcomeTooLarge)
    reason: ParkReason = "too-large" if too_large else "internal-error"
    return DeadLetterCause(reason=reason, stage=stage, message=_NOT_ACCEPTED if too_large else _NOT_BUILT)
