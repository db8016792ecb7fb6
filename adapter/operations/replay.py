"""Decides how a dead letter is replayed: as a record, as a delivery to a sink, or not at all, with the reason.

Source: docs/delivery.md, "Deferring"; docs/operating.md, "Dead letters". After a replay, waiting times and attempts
start again, but an order always counts as possibly sent, because a person may have issued it by hand. Orders go to the
deferred topic, never to the shop's topic, which other consumers read. What waited for its result
or its tickets goes back to the confirmations; its value says what was already published, so no event is published
twice. An event for a sink is delivered to that sink only, because other consumers read every topic that a sink reads.

A plan that was certainly never used and that caused the dead letter is dropped, so that the order is mapped again.

Records are signed, so a dead letter without a valid signature is not replayed: the replay would sign what another
program wrote (decision 38). An operator who has compared it with the order can demand it. Even then it is replayed
without what only a signature proves: the order is mapped again, and its value is not read from the coordinates in the
dead letter.

Does not read topics and does not select dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from adapter.errors import OrderError
from adapter.extensions.sinks import Event
from adapter.flows.messages.dead_letters import SINK
from adapter.flows.messages.event_reader import decode_event
from adapter.flows.messages.events import Origin, record_origin
from adapter.flows.messages.record_history import (
    VALUE_OMITTED,
    RecordHistory,
    claims_progress,
    foreign_headers,
    history_headers,
    read_history,
    timestamp_text,
    verified_history,
)
from adapter.flows.messages.signatures import RecordSigner, Trust
from adapter.flows.ports import Topics
from adapter.issuance.plan_codec import decode_plan
from adapter.stream.records import ProducerRecord, Record, encode_headers
from adapter.strict_json import parse_json
from adapter.values import replace

MAPPED_AGAIN = frozenset(
    {
        "unreadable",
        "unknown-merchant",
        "unmapped-item",
        "invalid-order",
        "does-not-fit",
        "trade-no-missing",
        "plugin-error",
    }
)
"""Reasons that are fixed in the settings, the mapping or the order, so that an earlier plan is useless."""
_UNSIGNED = (
    "Its signature is not valid ({trust}): another program may have written it, or these keys are not the adapter's "
    "(merchants, keys.signing_key, secrets_dir). Compare it with the order and its events (`ecticket-adapter "
    "dead-letters show`, `explain`), then replay it with --unsigned."
)
_ORIGIN_UNSIGNED = (
    "The dead letter does not hold the record's value, and the record it came from ({origin}) has no valid signature. "
    "Compare it with the events of the order, then `ecticket-adapter resolve` its number."
)
_OMITTED_UNSIGNED = (
    "The dead letter does not hold the record's value, and its signature is not valid, so its coordinates cannot be "
    "trusted. Have the shop send the order again."
)
_PLAN_LOST = (
    "Its signature is not valid ({trust}), and by its headers parts of its order are published or reissued already: "
    "mapped again they would be issued again. If a key is missing here, add it (keys.signing_key, the second line) and "
    "replay it then. Otherwise resolve each number (`ecticket-adapter resolve`)."
)
_TARGETS: Mapping[str, Literal["orders", "confirmations"]] = {
    "parse": "orders",
    "map": "orders",
    "submit": "orders",
    "confirm": "confirmations",
    "collect": "confirmations",
}


class ReplayRecord(Struct, frozen=True, kw_only=True):
    """The record that is published instead of the dead letter."""

    producer_record: ProducerRecord
    replays: int
    """How often it was replayed, this time included."""
    mapped_again: bool
    """It is an order without a plan."""
    possibly_sent_at: datetime | None = None
    """When the order counts as sent; None for a confirmation or collection, which sends nothing.

    ECTicket is queried at once. An Issue call follows at the earliest `submit.reissue_after_seconds` later.
    """

    @property
    def target(self) -> str:
        """Where it goes."""
        return self.producer_record.topic

    @property
    def records(self) -> tuple[ProducerRecord, ...]:
        """What is written when the dead letter is acknowledged."""
        return (self.producer_record,)


class SinkDelivery(Struct, frozen=True, kw_only=True):
    """The event that is delivered to a sink; the dead letter is acknowledged after the sink has accepted it."""

    sink: str
    event: Event
    replays: int
    mapped_again: bool = False
    records: tuple[ProducerRecord, ...] = ()
    possibly_sent_at: None = None

    @property
    def target(self) -> str:
        """Where it goes."""
        return f"sink {self.sink}"


class NotReplayed(Struct, frozen=True, kw_only=True):
    """Why a dead letter cannot be replayed, and what to do instead."""

    reason: str


def replay(
    dead_letter: Record,
    *,
    topics: Topics,
    now: datetime,
    origin: Record | None = None,
    signer: RecordSigner | None = None,
    unsigned: bool = False,
) -> ReplayRecord | SinkDelivery | NotReplayed:
    """Decide how a dead letter is replayed `now`; without a valid signature only if `unsigned` demands it.

    `origin` is the record it came from, if that was read because the dead letter does not hold its value
    (`needs_origin`). Without a `signer` nothing is verified or signed.
    """
    try:
        history, trust = _trusted_history(dead_letter, now, signer)
        history = history.replayed(now)
    except OrderError as error:
        return NotReplayed(reason=str(error))
    if signer is not None and not unsigned and not (verified := signer.verify(dead_letter)).valid:
        return NotReplayed(reason=_UNSIGNED.format(trust=verified.trust))
    if _is_without_value(dead_letter) and not _is_trusted(dead_letter, signer):
        return NotReplayed(reason=_OMITTED_UNSIGNED)
    stage = header_text(dead_letter, "ecticket-stage")
    if stage == "deliver":
        return _to_sink(dead_letter, history, origin)
    target = _TARGETS.get(stage or "")
    if target is None:
        return NotReplayed(reason=_no_target(stage))
    complete = _with_value(dead_letter, history, origin)
    if isinstance(complete, NotReplayed):
        return complete
    if target == "confirmations" and _is_unsigned_origin(complete, dead_letter, origin, topics, signer):
        return NotReplayed(reason=_ORIGIN_UNSIGNED.format(origin=history.origin))
    if target == "orders":
        if trust is not Trust.VALID and claims_progress(dead_letter):
            return NotReplayed(reason=_PLAN_LOST.format(trust=trust))
        history = _possibly_sent(dead_letter, history, now)
        return ReplayRecord(
            producer_record=_replay_record(complete, history, topics.orders_deferred, signer),
            replays=history.replays,
            mapped_again=history.plan is None,
            possibly_sent_at=history.possibly_sent_at,
        )
    return _to_confirmations(dead_letter, complete, history, topics, signer, unsigned=unsigned)


def needs_origin(dead_letter: Record, *, signer: RecordSigner | None = None) -> Origin | None:
    """The record from which the value must be read; None if the dead letter has it, or if the record had none."""
    if not _is_without_value(dead_letter) or not _is_trusted(dead_letter, signer):
        return None
    try:
        return read_history(dead_letter, dead_letter.timestamp).origin
    except OrderError:
        return None


def _is_unsigned_origin(
    complete: Record, dead_letter: Record, origin: Record | None, topics: Topics, signer: RecordSigner | None
) -> bool:
    """Whether the value was read from a record that no adapter signed; nothing signs the events on their topic."""
    if complete is dead_letter or origin is None or signer is None or origin.topic == topics.issuances:
        return False
    return not signer.verify(origin).of_merchant(_merchant_of(origin) or "").valid


def _is_without_value(dead_letter: Record) -> bool:
    return dead_letter.value is None and header_text(dead_letter, VALUE_OMITTED) is not None


def _is_trusted(dead_letter: Record, signer: RecordSigner | None) -> bool:
    return signer is None or signer.verify(dead_letter).valid


def _trusted_history(dead_letter: Record, now: datetime, signer: RecordSigner | None) -> tuple[RecordHistory, Trust]:
    """The history that the headers prove. Raises Unreadable for a required header that cannot be read."""
    if signer is None:
        return read_history(dead_letter, now), Trust.VALID
    history, verified = verified_history(dead_letter, signer.verify(dead_letter), now, longest_wait=timedelta(0))
    # An unsigned dead letter still has its coordinates: if it is parked again, the event gets another id.
    return replace(history, dead_letter=record_origin(dead_letter)), verified.trust


def header_text(record: Record, name: str) -> str | None:
    """The last header of that name as text, or None."""
    found = [value or b"" for each, value in record.headers if each == name]
    return found[-1].decode("utf-8", "replace") if found else None


def _replay_record(record: Record, history: RecordHistory, topic: str, signer: RecordSigner | None) -> ProducerRecord:
    history = replace(history, value_omitted=history.value_omitted and record.value is None)
    headers = (*foreign_headers(record.headers), *encode_headers(history_headers(history)))
    producer_record = ProducerRecord(topic=topic, key=record.key, value=record.value, headers=headers)
    return producer_record if signer is None else signer.sign(producer_record, history.merchant_id)


def _to_confirmations(
    dead_letter: Record,
    complete: Record,
    history: RecordHistory,
    topics: Topics,
    signer: RecordSigner | None,
    *,
    unsigned: bool,
) -> ReplayRecord | NotReplayed:
    """What waited, with the value that an adapter signed for that merchant: its result is published as it says."""
    merchant_id = _merchant_of(complete)
    if signer is not None and not unsigned:
        trust = signer.verify(dead_letter).of_merchant(merchant_id or "").trust
        if merchant_id is not None and trust is not Trust.VALID:
            return NotReplayed(reason=_UNSIGNED.format(trust=trust))
    return ReplayRecord(
        producer_record=_replay_record(
            complete, replace(history, merchant_id=merchant_id), topics.confirmations, signer
        ),
        replays=history.replays,
        mapped_again=False,
    )


def _merchant_of(record: Record) -> str | None:
    """The merchant in the value of a confirmation, a collection or an event; None for another value."""
    try:
        content = parse_json(record.value or b"")
    except ValueError:
        return None
    content = content.get("issuance", content) if isinstance(content, dict) else None
    merchant_id = content.get("merchant_id") if isinstance(content, dict) else None
    return merchant_id if isinstance(merchant_id, str) else None


def _to_sink(dead_letter: Record, history: RecordHistory, origin: Record | None) -> SinkDelivery | NotReplayed:
    sink = header_text(dead_letter, SINK)
    if not sink:
        return NotReplayed(reason=f"It has no header {SINK}, so the sink is unknown. Leave it where it is.")
    complete = _with_value(dead_letter, history, origin)
    event = None if isinstance(complete, NotReplayed) else decode_event(complete)
    if event is None:
        return NotReplayed(
            reason=f"The event is neither in the dead letter nor at its origin ({history.origin}). It cannot be "
            "delivered."
        )
    return SinkDelivery(sink=sink, event=event, replays=history.replays)


def _possibly_sent(dead_letter: Record, history: RecordHistory, now: datetime) -> RecordHistory:
    """Count every part as possibly sent now, and make the order due at once."""
    never_sent = history.possibly_sent_at is None
    if never_sent and header_text(dead_letter, "ecticket-reason") in MAPPED_AGAIN and _is_unused(history.plan):
        history = replace(history, plan=None)
    return replace(
        history,
        possibly_sent_at=history.all_possibly_sent(now).possibly_sent_at,
        only_by_replay=history.plan is None and (never_sent or history.only_by_replay),
        not_before=now,
    )


def _is_unused(plan: bytes | None) -> bool:
    """Whether nothing of a plan was ever sent, nor of the order's other parts."""
    if plan is None:
        return True
    try:
        decoded = decode_plan(plan)
    except OrderError:
        return False
    return decoded.parts_done == 0 and all(
        part.history.last_attempt_at is None
        and part.history.possibly_sent_since is None
        and part.history.refusal is None
        for part in decoded.parts
    )


def _with_value(dead_letter: Record, history: RecordHistory, origin: Record | None) -> Record | NotReplayed:
    """The dead letter with its value, read from its origin if necessary; an order with a plan needs none."""
    if not _is_without_value(dead_letter):
        return dead_letter
    if origin is not None and origin.not_read is None and _is_origin(origin, history):
        return replace(
            dead_letter,
            key=origin.key,
            value=origin.value,
            headers=(*foreign_headers(origin.headers), *_adapter_headers(dead_letter)),
        )
    if history.plan is not None:
        return dead_letter
    return NotReplayed(
        reason=f"The dead letter does not hold the record's value, and the record it came from ({history.origin}) "
        "does not exist any more. Have the shop send the order again."
    )


def _is_origin(record: Record, history: RecordHistory) -> bool:
    """Whether this is the dead letter's record, and not one of a recreated topic of the same name."""
    written = timestamp_text(history.origin_timestamp, history.raw_origin_timestamp_ms)
    return timestamp_text(record.timestamp, record.raw_timestamp_ms) == written


def _adapter_headers(dead_letter: Record) -> tuple[tuple[str, bytes | None], ...]:
    shops = {name for name, _ in foreign_headers(dead_letter.headers)}
    return tuple(header for header in dead_letter.headers if header[0] not in shops)


def _no_target(stage: str | None) -> str:
    if stage is None:
        return "It has no header ecticket-stage, so the adapter did not write it. Ask its author."
    return f"Its header ecticket-stage says {stage!r}, which this version does not know. Replay it with a newer one."
