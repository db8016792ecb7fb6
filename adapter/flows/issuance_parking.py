"""Parks an issuance that waited: for its result (stage confirm) or for its tickets (stage collect).

The dead letter's origin is the record that waited, because that is what is replayed; its event names the order's own
record.
"""

from __future__ import annotations

from datetime import datetime

from adapter.flows.messages.dead_letter_causes import log_parked
from adapter.flows.messages.dead_letters import DeadLetterCause, dead_letter_record
from adapter.flows.messages.events import IssuanceData, OrderParked, Origin, order_event, parking_distinctions
from adapter.flows.messages.record_history import RecordHistory
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.ports import Topics
from adapter.stream.records import ProducerRecord, Record
from adapter.values import replace


def parking_history(
    history: RecordHistory, issuance: IssuanceData, *, since: datetime, submitted_at: datetime
) -> RecordHistory:
    """The history in the dead letter: a replayed record's history continues, any other begins at `since`."""
    return (
        replace(history, first_seen=history.first_seen if history.replays else since)
        .of_order(issuance.merchant_id, issuance.order_id)
        .possibly_sent(submitted_at)
    )


def parked_records(
    record: Record,
    cause: DeadLetterCause,
    history: RecordHistory,
    *,
    issuance: IssuanceData | None,
    order_record: Origin | None,
    topics: Topics,
    now: datetime,
    signer: RecordSigner | None,
) -> tuple[ProducerRecord, ProducerRecord]:
    """The dead letter of the record, and its event; `issuance` and `order_record` as far as they can be read.

    Without a `signer` the dead letter has no signature.
    """
    log_parked(record, cause, history, trade_no=issuance.trade_no if issuance else None)
    data = OrderParked(
        order_id=issuance.order_id if issuance else history.order_id,
        reason=cause.reason,
        stage=cause.stage,
        plugin=None,
        message=cause.message,
        parts_done=0,
    )
    event = order_event(
        data,
        topic=topics.topic_for(OrderParked),
        origin=history.origin,
        now=now,
        merchant_id=issuance.merchant_id if issuance else None,
        order_record=order_record,
        traceparent=history.traceparent,
        distinctions=parking_distinctions(cause.reason, dead_letter=history.dead_letter),
    )
    dead_letter = dead_letter_record(record, cause, history, topic=topics.dead_letters, now=now, signer=signer)
    return dead_letter, event
