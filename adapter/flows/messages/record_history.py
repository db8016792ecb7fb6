"""The history of an order record that was processed before: its `ecticket-*` headers, read and written.

Deferred records and dead letters carry them. With a valid signature (`signatures`) they are honoured on every topic, so
a person may copy a dead letter back by hand; a header that cannot be read then makes the record unreadable, because
assuming "never sent" could buy tickets twice. Without a valid signature only the safe direction counts: that the order
may have been sent.

Does not decide what happens next.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from adapter.errors import Unreadable
from adapter.flows.messages.events import Origin, record_origin, rfc3339
from adapter.flows.messages.signatures import PREFIX, Trust, Verified
from adapter.issuance.plan_codec import decode_plan
from adapter.issuance.times import YEARS, later
from adapter.stream.records import Record, moment_of
from adapter.trace_context import traceparent_of
from adapter.values import replace

PLAN = "ecticket-plan"
TOPIC = "ecticket-topic"
TIMESTAMP = "ecticket-timestamp"
POSSIBLY_SENT_AT = "ecticket-possibly-sent-at"
PARTS_DONE = "ecticket-parts-done"
PLAN_LOST = "ecticket-plan-lost"
STAGE = "ecticket-stage"
DEAD_LETTER = "ecticket-dead-letter"
ORDER_ID = "ecticket-order-id"
MERCHANT_ID = "ecticket-merchant-id"
VALUE_OMITTED = "ecticket-value-omitted"
POSSIBLY_SENT_BY = "ecticket-possibly-sent-by"
HELD_AT = "ecticket-held-at"
BY_REPLAY = "replay"
ID_MAX_CHARACTERS = 200
_SPRING_PREFIX = "kafka_dlt-"
_NEXT_MOMENT_SECONDS = 0.001
_PARTITION_MAX = 2**31 - 1
_OFFSET_MAX = 2**63 - 1
_ODD_TIMESTAMP = re.compile(r"-?[0-9]{1,19}")


class RecordHistory(Struct, frozen=True, kw_only=True):
    """The history of one order. Times are aware, UTC."""

    origin: Origin
    origin_timestamp: datetime
    first_seen: datetime
    attempts: int = 0
    replays: int = 0
    possibly_sent_at: datetime | None = None
    only_by_replay: bool = False
    """It counts as possibly sent only because it was replayed."""
    parts_done: int = 0
    """How many of the order's parts were published. Even without the plan it shows that a part of this order was sent.
    """
    not_before: datetime | None = None
    held_at: datetime | None = None
    """When it was deferred because an operator held its merchant; the give-up clock stands still from then on."""
    plan: bytes | None = None
    plan_lost: bool = False
    """See `lost_plan`: the order of this record is queried, but never sent."""
    order_id: str | None = None
    merchant_id: str | None = None
    dead_letter: Origin | None = None
    """The dead letter that this record was before; the next `parked` event of the order has another id."""
    value_omitted: bool = False
    """The dead letter was too large for the record's value; the record that it came from may still have it."""
    traceparent: str | None = None
    raw_origin_timestamp_ms: int | None = None
    """See `Record.raw_timestamp_ms`; of the first origin."""

    def possibly_sent(self, at: datetime | None) -> RecordHistory:
        """The history with the fact that something may have been sent at `at` (the later moment counts)."""
        moments = [moment for moment in (self.possibly_sent_at, at) if moment is not None]
        return replace(
            self, possibly_sent_at=max(moments, default=None), only_by_replay=self.only_by_replay and at is None
        )

    def all_possibly_sent(self, at: datetime | None) -> RecordHistory:
        """The history with the fact that *every* part may have been sent at `at`, whatever its plan says about each.

        The reader recognises it by a moment later than any in the plan (`plan_codec.resume`). A clock that is behind
        the one that wrote the plan must not hide it.
        """
        known = self.possibly_sent_at
        return self.possibly_sent(at if at is None or known is None else max(at, later(known, _NEXT_MOMENT_SECONDS)))

    def before_sending(self) -> RecordHistory:
        """The history if nothing was sent since the replay: a doubt that only the replay caused is removed."""
        return replace(self, possibly_sent_at=None, only_by_replay=False) if self.only_by_replay else self

    def never_sent(self) -> RecordHistory:
        """The history if it is proven that nothing was ever sent: the plan is no longer binding."""
        return replace(self, possibly_sent_at=None, only_by_replay=False, parts_done=0, plan=None)

    def of_order(self, merchant_id: str, order_id: str) -> RecordHistory:
        """The history of an order whose ids are known: dead letters and deferred records show them."""
        return replace(self, merchant_id=shown_id(merchant_id) or self.merchant_id, order_id=shown_id(order_id))

    def replayed(self, now: datetime) -> RecordHistory:
        """The history that begins with a replay: waits and attempts start again, what may have been sent is kept."""
        return replace(self, first_seen=now, attempts=0, replays=self.replays + 1, not_before=None, held_at=None)

    def after_hold(self, now: datetime) -> RecordHistory:
        """The history of an order that is processed again: the time for which it was held does not count."""
        if self.held_at is None:
            return self
        held_seconds = max(0.0, (now - self.held_at).total_seconds())
        return replace(self, first_seen=min(later(self.first_seen, held_seconds), now), held_at=None)


def storable(moment: datetime | None) -> datetime | None:
    """A time that an order brings, in UTC; None if it is none that a record of the adapter may hold."""
    try:
        in_utc = None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        return None
    return None if in_utc is None or in_utc.year not in YEARS else in_utc


def read_history(record: Record, now: datetime) -> RecordHistory:
    """The record's history from its headers; a record without `ecticket-*` headers has none.

    Raises Unreadable, which names the header that cannot be read.
    """
    return _history_from(record, dict(_texts(record.headers)), now)


def unsigned_history(record: Record, now: datetime) -> RecordHistory:
    """The history of a record without a valid signature: none, except that it may have been sent.

    Every header that says so counts, also one that cannot be read. A number of finished parts says so too.
    """
    claims = dict(record.headers)
    history = first_history(record, now)
    if POSSIBLY_SENT_AT not in claims and PARTS_DONE not in claims:
        return history
    moments = [_claimed_moment(value, now) for name, value in record.headers if name == POSSIBLY_SENT_AT]
    return history.possibly_sent(max(moments, default=now))


def verified_history(
    record: Record, verified: Verified, now: datetime, *, longest_wait: timedelta, leniently: bool = False
) -> tuple[RecordHistory, Verified]:
    """The trusted history of a record, with the reason if it is not trusted completely.

    `leniently` leaves out headers that cannot be read, for the record's dead letter.

    Raises Unreadable, unless `leniently`, which names the signed header that cannot be read.
    """
    if verified.trust is Trust.NOTHING_TO_SIGN:
        return first_history(record, now), verified
    if not verified.valid:
        return _without_plan(record, verified, now), verified
    history = read_history_leniently(record, now) if leniently else read_history(record, now)
    if history.plan is not None:
        verified = verified.of_merchant(history.merchant_id or "")
    if not verified.valid:
        return _without_plan(record, verified, now), verified
    return within_bounds(history, record, now, longest_wait=longest_wait), verified


def _without_plan(record: Record, verified: Verified, now: datetime) -> RecordHistory:
    history = unsigned_history(record, now)
    if not lost_plan(record, verified):
        return history
    return replace(history, plan_lost=True, possibly_sent_at=history.possibly_sent_at or now)


def lost_plan(record: Record, verified: Verified) -> bool:
    """Whether an unknown key signed that parts were published, or that a number was reissued."""
    return verified.trust is Trust.UNKNOWN_KEY and claims_progress(record)


def claims_progress(record: Record) -> bool:
    """Whether the headers say that parts were published, or that a number was reissued, by any writer.

    If the order were mapped again, it would get its first numbers again. A part published as failed would be issued,
    and a reissued part would be issued a second time.
    """
    plans = [value or b"" for name, value in record.headers if name == PLAN]
    is_claimed = any(name in (PARTS_DONE, PLAN_LOST) for name, _ in record.headers)
    return is_claimed or any(_is_reissued(plan) for plan in plans)


def _is_reissued(plan: bytes) -> bool:
    try:
        return any(deferred.part.reissue for deferred in decode_plan(plan).parts)
    except Unreadable:
        return False


def within_bounds(history: RecordHistory, record: Record, now: datetime, *, longest_wait: timedelta) -> RecordHistory:
    """The history without times that no adapter with a correct clock could have written.

    The record's past lies before now, so the order was not first seen later than now, nor before its record was
    written. It waits no longer than the writer meant by the writer's own clock, and no longer than an adapter ever
    waits. Times of sending stay, because they are compared with those in the plan; `plan_codec.resume` limits them.
    """
    written_at = history.origin_timestamp
    first_seen = history.first_seen if written_at > now else max(history.first_seen, written_at)
    not_before, sent_at = history.not_before, history.possibly_sent_at
    return replace(
        history,
        first_seen=min(first_seen, now),
        not_before=None if not_before is None else due_within(not_before, record, now, longest_wait),
        possibly_sent_at=sent_at if sent_at is None or history.plan is not None else min(sent_at, now),
    )


def due_within(not_before: datetime, record: Record, now: datetime, longest_wait: timedelta) -> datetime:
    """When a record with a `not_before` time is due: after the longest wait at most, whatever clock its writer had.

    A record from the future was written by a fast clock, so it waits as long as that clock meant, from now on. The
    topic's own time does not shorten a wait otherwise: a broker's clock may be slow.
    """
    written_at = max(record.timestamp, now)
    meant = min(max(not_before - written_at, timedelta(0)), longest_wait)
    return min(not_before, now + meant)


def _claimed_moment(value: bytes | None, now: datetime) -> datetime:
    """When an unsigned record says that it was sent; now if that cannot be read or lies in the future."""
    try:
        moment = _moment({POSSIBLY_SENT_AT: (value or b"").decode("utf-8")}, POSSIBLY_SENT_AT)
    except (Unreadable, UnicodeDecodeError):
        moment = None
    return now if moment is None else min(moment, now)


def read_history_leniently(record: Record, now: datetime) -> RecordHistory:
    """The history of a record for which `read_history` raised: all that can be read, for its dead letter.

    A possibly-sent header that cannot be read counts as sent now: its writer knew that tickets may exist.
    """
    texts: dict[str, str] = {}
    for name, value in record.headers:
        try:
            read = dict(_texts(((name, value),)))
            if name in _READERS:
                _READERS[name](read, name)
        except Unreadable:
            read = {name: rfc3339(now)} if name == POSSIBLY_SENT_AT else {}
        texts.update(read)
    return _history_from(record, texts, now)


def first_history(record: Record, now: datetime) -> RecordHistory:
    """The history of a record without `ecticket-*` headers: it was not processed before."""
    return RecordHistory(
        origin=record_origin(record),
        origin_timestamp=record.timestamp,
        raw_origin_timestamp_ms=record.raw_timestamp_ms,
        first_seen=now,
        traceparent=traceparent_of(record.headers) if record.headers else None,
    )


def _history_from(record: Record, texts: Mapping[str, str], now: datetime) -> RecordHistory:
    origin_timestamp, raw_ms = _timestamp(texts, TIMESTAMP) or (record.timestamp, record.raw_timestamp_ms)
    return RecordHistory(
        origin=_origin(record, texts),
        origin_timestamp=origin_timestamp,
        raw_origin_timestamp_ms=raw_ms,
        first_seen=_moment(texts, "ecticket-first-seen") or now,
        attempts=_number(texts, "ecticket-attempts") or 0,
        replays=_number(texts, "ecticket-replays") or 0,
        possibly_sent_at=_moment(texts, POSSIBLY_SENT_AT),
        only_by_replay=texts.get(POSSIBLY_SENT_BY) == BY_REPLAY,
        parts_done=_number(texts, PARTS_DONE) or 0,
        not_before=_moment(texts, "ecticket-not-before"),
        held_at=_moment(texts, HELD_AT),
        plan=texts[PLAN].encode() if PLAN in texts else None,
        plan_lost=PLAN_LOST in texts,
        order_id=texts.get(ORDER_ID),
        merchant_id=texts.get(MERCHANT_ID),
        dead_letter=record_origin(record) if STAGE in texts else read_coordinates(texts.get(DEAD_LETTER)),
        value_omitted=VALUE_OMITTED in texts,
        traceparent=traceparent_of(record.headers),
    )


def history_headers(history: RecordHistory) -> dict[str, str]:
    """The history as headers, each only if it has a value."""
    headers = {
        TOPIC: history.origin.topic,
        "ecticket-partition": str(history.origin.partition),
        "ecticket-offset": str(history.origin.offset),
        TIMESTAMP: timestamp_text(history.origin_timestamp, history.raw_origin_timestamp_ms),
        "ecticket-first-seen": rfc3339(history.first_seen),
        "ecticket-attempts": str(history.attempts),
        "ecticket-replays": str(history.replays),
    }
    if history.possibly_sent_at is not None:
        headers[POSSIBLY_SENT_AT] = rfc3339(history.possibly_sent_at)
        if history.only_by_replay:
            headers[POSSIBLY_SENT_BY] = BY_REPLAY
    if history.parts_done:
        headers[PARTS_DONE] = str(history.parts_done)
    if history.plan_lost:
        headers[PLAN_LOST] = "true"
    if history.not_before is not None:
        headers["ecticket-not-before"] = rfc3339(history.not_before)
    if history.held_at is not None:
        headers[HELD_AT] = rfc3339(history.held_at)
    if history.order_id:
        headers[ORDER_ID] = history.order_id
    if history.merchant_id:
        headers[MERCHANT_ID] = history.merchant_id
    if history.dead_letter is not None:
        headers[DEAD_LETTER] = str(history.dead_letter)
    if history.value_omitted:
        headers[VALUE_OMITTED] = "true"
    if history.plan is not None:
        headers[PLAN] = history.plan.decode()
    return headers


def timestamp_text(timestamp: datetime, raw_timestamp_ms: int | None) -> str:
    """A record's timestamp in a header: RFC 3339, or the topic's own number if no such time exists for it."""
    return rfc3339(timestamp) if raw_timestamp_ms is None else str(raw_timestamp_ms)


def shown_id(text: str) -> str:
    """An id for a header: UTF-8, one line, without invisible characters, of limited length.

    A plugin may read any id. Ids of the schema's form (1 to 64 characters) are not changed.
    """
    text = text[:ID_MAX_CHARACTERS]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def foreign_headers(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, bytes | None], ...]:
    """The headers as the shop sent them: without ours and Spring's, which are replaced and never repeated."""
    return tuple(header for header in headers if not header[0].startswith((PREFIX, _SPRING_PREFIX)))


def _texts(headers: Iterable[tuple[str, bytes | None]]) -> tuple[tuple[str, str], ...]:
    """The `ecticket-*` headers as text."""
    texts = []
    for name, value in headers:
        if not name.startswith(PREFIX):
            continue
        try:
            texts.append((name, (value or b"").decode("utf-8")))
        except UnicodeDecodeError:
            raise Unreadable(
                f"The header {name} is not UTF-8 text. Send the record again with a readable one."
            ) from None
    return tuple(texts)


def _origin(record: Record, texts: Mapping[str, str]) -> Origin:
    topic = texts.get(TOPIC)
    partition, offset = _number(texts, "ecticket-partition"), _number(texts, "ecticket-offset")
    if topic and partition is not None and offset is not None:
        return Origin(topic=topic, partition=partition, offset=offset)
    return record_origin(record)


def read_coordinates(text: str | None) -> Origin | None:
    """`topic/partition/offset`; None if it is absent or another text."""
    topic, _, rest = (text or "").partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and all(each.isascii() and each.isdigit() and len(each) <= 19 for each in (partition, offset))):
        return None
    return Origin(topic=sys.intern(topic), partition=int(partition), offset=int(offset))


def _moment(texts: Mapping[str, str], name: str) -> datetime | None:
    if name not in texts:
        return None
    try:
        moment = datetime.fromisoformat(texts[name])
        if moment.tzinfo is not None and moment.year in YEARS:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Unreadable(f"The header {name} is no RFC 3339 time with a zone from {YEARS.start} on. Fix or remove it.")


def _timestamp(texts: Mapping[str, str], name: str) -> tuple[datetime, int | None] | None:
    """`Record.timestamp` and `Record.raw_timestamp_ms`, as written by `timestamp_text`."""
    text = texts.get(name, "")
    if _ODD_TIMESTAMP.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return moment_of(int(text))
    moment = _moment(texts, name)
    return None if moment is None else (moment, None)


def _number(texts: Mapping[str, str], name: str) -> int | None:
    text = texts.get(name)
    if text is None:
        return None
    largest = _PARTITION_MAX if name == "ecticket-partition" else _OFFSET_MAX
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= largest):
        raise Unreadable(f"The header {name} is no decimal number up to {largest}. Fix or remove it.")
    return int(text)


_READERS: Mapping[str, Callable[[Mapping[str, str], str], object]] = {
    "ecticket-partition": _number,
    "ecticket-offset": _number,
    "ecticket-attempts": _number,
    "ecticket-replays": _number,
    PARTS_DONE: _number,
    TIMESTAMP: _timestamp,
    "ecticket-first-seen": _moment,
    POSSIBLY_SENT_AT: _moment,
    "ecticket-not-before": _moment,
    HELD_AT: _moment,
}
