"""Replaying a dead letter: the record that goes back to work, or the sentence that says why none does.

Contract, sections 5 and 11. A replay resets the clocks and forgets nothing that may have been sent: a replayed order
counts as possibly sent, whoever may have issued it by hand meanwhile. Orders go to the deferred topic and never to the
shop's, where others listen; a confirmation goes back to the confirmations, where its value says how far it came, so
that nothing is told twice. What a sink did not take goes to that sink and to nobody else: it is delivered by whoever
replays it, since every topic that a sink reads is read by others too.

A plan is left behind where it certainly was never used and is itself what was wrong, so that a mended mapping counts.

What is written is signed, so a letter without a valid signature goes back without what only a signature may say: the
order is mapped again, and its value is not fetched from the coordinates that the letter names.

Refuses to know where letters are kept, which of them are meant, and who has replayed them before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from adapter.errors import OrderError
from adapter.extensions.sinks import Event
from adapter.flows.messages.dead_letters import SINK
from adapter.flows.messages.event_reader import decode_event
from adapter.flows.messages.events import Origin, record_origin
from adapter.flows.messages.record_history import (
    VALUE_OMITTED,
    RecordHistory,
    encoded_headers,
    foreign_headers,
    lost_plan,
    read_history,
    timestamp_text,
    verified_history,
)
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.ports import Topics
from adapter.issuance.plan_codec import decode_plan
from adapter.stream.records import ProducerRecord, Record

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
"""Reasons that somebody mends in the settings, the mapping or the order: a plan made before that is of no use."""
_OMITTED_UNSIGNED = (
    "The letter does not hold the record's value, and its signature is not valid, so the coordinates that it names are "
    "not believed. Have the shop send the order again."
)
_PLAN_LOST = (
    "A key that is not set here signed the letter, and parts of its order were told already, or reissued: mapped anew "
    "they would be issued again. Add that key (keys.signing_key, the second line) and replay it then, or close each "
    "number (`ecticket-adapter resolve`)."
)
_TARGETS: Mapping[str, Literal["orders", "confirmations"]] = {
    "parse": "orders",
    "map": "orders",
    "submit": "orders",
    "confirm": "confirmations",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRecord:
    """The record that goes back, for the `replays`-th time; `mapped_again`: an order that brings no plan along.

    `possibly_sent_at`: an order counts as sent at this instant, so that ECTicket is queried about it at once, and an
    Issue call follows only `submit.reissue_after_seconds` later. None for a confirmation, which sends nothing.
    """

    producer_record: ProducerRecord
    replays: int
    mapped_again: bool
    possibly_sent_at: datetime | None = None

    @property
    def target(self) -> str:
        """Where it goes."""
        return self.producer_record.topic

    @property
    def records(self) -> tuple[ProducerRecord, ...]:
        """What is written when the letter is taken off the pile."""
        return (self.producer_record,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkDelivery:
    """The event that goes to a sink, for the `replays`-th time; the letter is taken off the pile once the sink has it.

    A sink that fails again leaves the letter as it is.
    """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReplayed:
    """Why a letter cannot be replayed, and what to do instead."""

    reason: str


def replay(
    dead_letter: Record,
    *,
    topics: Topics,
    now: datetime,
    origin: Record | None = None,
    signer: RecordSigner | None = None,
) -> ReplayRecord | SinkDelivery | NotReplayed:
    """What becomes of a dead letter that is replayed `now`.

    `origin` is the record it came from, where that was looked up because the letter has lost its value
    (`needs_origin`). Without a `signer` the letter is taken as it is, and what goes back is not signed.
    """
    try:
        history = _trusted_history(dead_letter, now, signer).replayed(now)
    except OrderError as error:
        return NotReplayed(reason=str(error))
    if _is_without_value(dead_letter) and not _is_trusted(dead_letter, signer):
        return NotReplayed(reason=_OMITTED_UNSIGNED)
    if signer is not None and lost_plan(dead_letter, signer.verify(dead_letter)):
        return NotReplayed(reason=_PLAN_LOST)
    stage = header_text(dead_letter, "ecticket-stage")
    if stage == "deliver":
        return _to_sink(dead_letter, history, origin)
    target = _TARGETS.get(stage or "")
    if target is None:
        return NotReplayed(reason=_no_target(stage))
    complete = _with_value(dead_letter, history, origin)
    if isinstance(complete, NotReplayed):
        return complete
    if target == "orders":
        history = _possibly_sent(dead_letter, history, now)
        return ReplayRecord(
            producer_record=_replay_record(complete, history, topics.orders_deferred, signer),
            replays=history.replays,
            mapped_again=history.plan is None,
            possibly_sent_at=history.possibly_sent_at,
        )
    return ReplayRecord(
        producer_record=_replay_record(complete, history, topics.confirmations, signer),
        replays=history.replays,
        mapped_again=False,
    )


def needs_origin(dead_letter: Record, *, signer: RecordSigner | None = None) -> Origin | None:
    """The record that the letter's value must be fetched from; None where the letter has it, or never had one."""
    if not _is_without_value(dead_letter) or not _is_trusted(dead_letter, signer):
        return None
    try:
        return read_history(dead_letter, dead_letter.timestamp).origin
    except OrderError:
        return None


def _is_without_value(dead_letter: Record) -> bool:
    return dead_letter.value is None and header_text(dead_letter, VALUE_OMITTED) is not None


def _is_trusted(dead_letter: Record, signer: RecordSigner | None) -> bool:
    return signer is None or signer.verify(dead_letter).valid


def _trusted_history(dead_letter: Record, now: datetime, signer: RecordSigner | None) -> RecordHistory:
    """What the letter's headers are believed. Raises Unreadable for a header that counts and cannot be read."""
    if signer is None:
        return read_history(dead_letter, now)
    verified = signer.verify(dead_letter)
    history, _ = verified_history(dead_letter, verified, now, longest_wait=timedelta(0))
    # An unsigned letter is a letter all the same: what is parked again is parked under another event id.
    return replace(history, dead_letter=record_origin(dead_letter))


def header_text(record: Record, name: str) -> str | None:
    """The last header of that name as text, None where there is none."""
    found = [value or b"" for each, value in record.headers if each == name]
    return found[-1].decode("utf-8", "replace") if found else None


def _replay_record(record: Record, history: RecordHistory, topic: str, signer: RecordSigner | None) -> ProducerRecord:
    history = replace(history, value_omitted=history.value_omitted and record.value is None)
    headers = (*foreign_headers(record.headers), *encoded_headers(history))
    producer_record = ProducerRecord(topic=topic, key=record.key, value=record.value, headers=headers)
    return producer_record if signer is None else signer.sign(producer_record, history.merchant_id)


def _to_sink(dead_letter: Record, history: RecordHistory, origin: Record | None) -> SinkDelivery | NotReplayed:
    sink = header_text(dead_letter, SINK)
    if not sink:
        return NotReplayed(
            reason=f"It has no header {SINK}, so nobody knows which sink it is for. Leave it where it is."
        )
    complete = _with_value(dead_letter, history, origin)
    event = None if isinstance(complete, NotReplayed) else decode_event(complete)
    if event is None:
        return NotReplayed(
            reason=f"The event is neither in the letter nor where it came from any more ({history.origin}). The sink "
            "must do without it."
        )
    return SinkDelivery(sink=sink, event=event, replays=history.replays)


def _possibly_sent(dead_letter: Record, history: RecordHistory, now: datetime) -> RecordHistory:
    """Every part counts as possibly sent, at the latest now, and is taken up at once."""
    certain = history.possibly_sent_at is None
    if certain and header_text(dead_letter, "ecticket-reason") in MAPPED_AGAIN and _is_unused(history.plan):
        history = replace(history, plan=None)
    return replace(
        history,
        possibly_sent_at=history.all_possibly_sent(now).possibly_sent_at,
        only_by_replay=history.plan is None and (certain or history.only_by_replay),
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
    """The letter with its value, if need be that of the record it came from; an order's plan stands in for it."""
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
        reason=f"The letter was too large to keep the record's value, and the record it came from ({history.origin}) "
        "is not there any more. Have the shop send the order again."
    )


def _is_origin(record: Record, history: RecordHistory) -> bool:
    """Whether this is the record that the letter is about, and not one of another topic of the same name."""
    written = timestamp_text(history.origin_timestamp, history.odd_origin_timestamp)
    return timestamp_text(record.timestamp, record.odd_timestamp) == written


def _adapter_headers(dead_letter: Record) -> tuple[tuple[str, bytes | None], ...]:
    shops = {name for name, _ in foreign_headers(dead_letter.headers)}
    return tuple(header for header in dead_letter.headers if header[0] not in shops)


def _no_target(stage: str | None) -> str:
    if stage is None:
        return "It has no header ecticket-stage, so it is no dead letter of the adapter's. Ask whoever wrote it there."
    return f"Its header ecticket-stage says {stage!r}, which is no stage of this version's. Replay it with a newer one."
