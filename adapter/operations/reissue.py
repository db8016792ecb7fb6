"""Plans the reissue of finally failed parts under their next derived numbers (docs/operating.md, "Dead letters").

A part is reissued only if the last event of each of its numbers is `failed`, and none is `issued`. Events are not
signed, so they only select what is queried: ECTicket's answer about each of `numbers_to_query` decides
(`reissue_order`). The next number is derived as always, so that a second run of the command finds the same one. The
adapter queries it before it sends.

Does not read topics and does not call plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from adapter.flows.messages.event_reader import PublishedEvent
from adapter.flows.messages.events import OrderRef, issuance_fields, record_origin
from adapter.flows.messages.record_history import (
    PLAN,
    RecordHistory,
    foreign_headers,
    history_headers,
    read_coordinates,
)
from adapter.flows.messages.signatures import RecordSigner
from adapter.issuance.plan import Part, renumbered
from adapter.issuance.plan_codec import DeferredPart, DeferredPlan, encode_plan
from adapter.issuance.state import PartHistory
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.stream.records import ProducerRecord, Record, encode_headers
from adapter.values import replace

_MAX_REISSUES = 100
_COMPARED = ("issue_type", "trade_no_kind", "items", "ticket_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPart:
    """A part all of whose trade numbers failed."""

    merchant_id: str
    order_id: str
    order_record: str | None
    part: int
    parts: int
    trade_nos: tuple[str, ...]
    """All numbers that it ever had."""
    event: PublishedEvent
    """The last event about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReissued:
    """Why nothing is reissued, and what to do instead."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reissue:
    """The parts under their new numbers, and the deferred record that contains them."""

    parts: tuple[Part, ...]
    producer_record: ProducerRecord

    @property
    def numbers(self) -> tuple[TradeNo, ...]:
        """The new numbers."""
        return tuple(part.trade_no for part in self.parts)


def final_failures(events: Sequence[PublishedEvent], which: str) -> tuple[FailedPart, ...] | NotReissued:
    """The finally failed parts of one order; only one part if `which` is a trade number.

    `events` are all events about the order; those about one number are in the order of publishing.
    """
    about = sorted((event for event in events if event.trade_no is not None), key=lambda event: event.at)
    parts = {event.data.get("part") for event in about if which in (event.trade_no, event.order_id)}
    found, refused = [], []
    for number in sorted(part for part in parts if isinstance(part, int)):
        of_part = [event for event in about if event.data.get("part") == number]
        if not any(event.name == "failed" for event in of_part):
            continue
        last = _last_event_names(of_part, events)
        not_failed = {trade_no: kind for trade_no, kind in last.items() if kind != "failed"}
        issued = sorted({event.trade_no or "" for event in of_part if event.name == "issued"} - not_failed.keys())
        refused += [_CONTRADICTED.format(part=number, trade_no=trade_no) for trade_no in issued]
        if not_failed:
            refused += [
                _NOT_FAILED[kind].format(part=number, trade_no=trade_no) for trade_no, kind in not_failed.items()
            ]
        elif not issued:
            found.append(_failed_part(of_part, tuple(last)))
    if found:
        return tuple(found)
    return NotReissued(reason=" ".join(refused) or _NOTHING_FAILED.format(which=which))


def orders_named(events: Iterable[PublishedEvent], which: str) -> frozenset[tuple[str | None, str | None]]:
    """Merchant and order id of each order that `which` names, as its id or by a trade number.

    An event without a merchant is about an order that was parked before its merchant was known. It names no order of
    its own if another event has a merchant for that order id.
    """
    named = {(event.merchant_id, event.order_id) for event in events if which in (event.trade_no, event.order_id)}
    of_merchants = {order_id for merchant_id, order_id in named if merchant_id is not None}
    return frozenset(
        (merchant_id, order_id)
        for merchant_id, order_id in named
        if merchant_id is not None or order_id not in of_merchants
    )


def next_part(part: Part, failed: FailedPart, *, prefix: str) -> Part:
    """The part under its next number, counted on from the last reissue."""
    derived = _derived(failed, prefix)
    counted = max((count for count in range(_MAX_REISSUES) if derived(count) in failed.trade_nos), default=0)
    count = max(counted, len(failed.trade_nos) - 1)
    return renumbered(replace(part, reissue=count), order_id=failed.order_id, prefix=prefix)


def numbers_to_query(
    failed: FailedPart, events: Iterable[PublishedEvent], planned: Part, following: Part, *, prefix: str
) -> tuple[TradeNo, ...]:
    """Every number under which tickets of the part may exist: that of today's plan, those of its events, and all
    derived ones before the `following` one.

    An event can be forged, and a number can have events that retention has removed.
    """
    kind = planned.trade_no.kind
    kinds = {(event.trade_no, _kind(event) or kind) for event in events if event.trade_no in failed.trade_nos}
    derived = _derived(failed, prefix)
    values = (*failed.trade_nos, *(derived(count) for count in range(1, following.reissue)))
    used = [TradeNo(kind=kind, value=value) for value in values]
    others = sorted((TradeNo(kind=kind, value=value or "") for value, kind in kinds), key=lambda each: each.value)
    return tuple(dict.fromkeys((planned.trade_no, *used, *others)))


def difference(parts: Sequence[Part], failed: FailedPart, order_ref: OrderRef, *, changed_items: bool) -> str | None:
    """Why today's plan differs from the one that failed; None if it does not.

    `changed_items` accepts other items than those that failed.
    """
    if (order_ref.merchant_id, order_ref.order_id) != (failed.merchant_id, failed.order_id):
        return (
            f"The order record is not that of order {failed.order_id} of merchant {failed.merchant_id}. "
            "Give the right one with --order."
        )
    if len(parts) != failed.parts:
        return (
            f"The order has {len(parts)} parts under today's mapping, and had {failed.parts}, so it "
            "is unknown which of them failed. Undo the change of the mapping, or have the shop send a new order."
        )
    if not 1 <= failed.part <= failed.parts:
        return (
            f"The event says that part {failed.part} of {failed.parts} failed, which the adapter cannot have written."
        )
    data = issuance_fields(order_ref, parts[failed.part - 1], ticket_trade_no=None)
    now: Mapping[str, object] = {**data, "items": list(data["items"])}
    changed = [name for name in _COMPARED if now[name] != failed.event.data.get(name)]
    if not changed or (changed_items and "trade_no_kind" not in changed):
        return None
    return (
        f"Part {failed.part} differs under today's mapping from the one that failed ({', '.join(changed)}). "
        "Undo the change of the mapping, or add --changed-items to issue the items of today's mapping."
    )


def reissue(
    order_record: Record,
    parts: Sequence[Part],
    found: Sequence[FailedPart],
    order_ref: OrderRef,
    *,
    prefix: str,
    topic: str,
    now: datetime,
    settled: int,
    paid_at: datetime | None = None,
    signer: RecordSigner | None = None,
) -> Reissue:
    """Build the deferred record with the failed parts; `settled` other parts of the order are published.
    `paid_at` is the order's, as `record_history.storable` returns it.

    The numbers count as possibly sent, because the same command may have run before.
    """
    renumbered_parts = tuple(next_part(parts[failed.part - 1], failed, prefix=prefix) for failed in found)
    plan = DeferredPlan(
        order_id=order_ref.order_id,
        merchant_id=order_ref.merchant_id,
        reference=order_ref.reference,
        parts_done=settled,
        parts=tuple(DeferredPart(part=part, history=PartHistory()) for part in renumbered_parts),
        paid_at=paid_at,
    )
    history = RecordHistory(
        origin=read_coordinates(found[0].order_record) or record_origin(order_record),
        origin_timestamp=order_record.timestamp,
        raw_origin_timestamp_ms=order_record.raw_timestamp_ms,
        first_seen=now,
        possibly_sent_at=now,
        not_before=now,
        parts_done=settled,
        plan=encode_plan(plan),
    ).of_order(order_ref.merchant_id, order_ref.order_id)
    producer_record = ProducerRecord(
        topic=topic,
        key=order_record.key,
        value=order_record.value,
        headers=(*foreign_headers(order_record.headers), *encode_headers(history_headers(history))),
    )
    signed = producer_record if signer is None else signer.sign(producer_record, order_ref.merchant_id)
    return Reissue(parts=renumbered_parts, producer_record=signed)


def plan_contains(record: Record, trade_nos: Iterable[str]) -> bool:
    """Whether a deferred record's plan holds one of the numbers."""
    plans = [value or b"" for name, value in record.headers if name == PLAN]
    return any(f'"{trade_no}"'.encode() in plan for plan in plans for trade_no in trade_nos)


_NOTHING_FAILED = (
    "No published event says that a part of {which} failed. An unresolved part is not failed: "
    "see ecticket-adapter dead-letters list."
)
_CONTRADICTED = (
    "Part {part} was published as issued and as failed under {trade_no}. One of the two is wrong, or another program "
    "wrote it: see ecticket-adapter explain {trade_no} --ask."
)
_NOT_FAILED = {
    "issued": "Part {part} was issued under {trade_no}.",
    "submitted": "Part {part} was sent again and is under way under {trade_no}; its result will be published.",
    "delayed": "Part {part} was sent again and is under way under {trade_no}; its result will be published.",
}


def _last_event_names(of_part: Iterable[PublishedEvent], events: Iterable[PublishedEvent]) -> dict[str, str]:
    """The last event about each of the part's numbers, which are in the order of their first events.

    The order of publishing counts, not the time, because clocks of machines differ. `submitted` may follow `failed` for
    one number, if the shop has sent the order again.
    """
    names = {event.trade_no: event.name for event in events}
    return {number: names[number] for number in dict.fromkeys(event.trade_no or "" for event in of_part)}


def _failed_part(events: Sequence[PublishedEvent], trade_nos: tuple[str, ...]) -> FailedPart:
    last = [event for event in events if event.name == "failed"][-1]
    part, parts = last.data.get("part"), last.data.get("parts")
    return FailedPart(
        merchant_id=last.merchant_id or "",
        order_id=last.order_id or "",
        order_record=last.order_record,
        part=part if isinstance(part, int) else 1,
        parts=parts if isinstance(parts, int) else 1,
        trade_nos=trade_nos,
        event=last,
    )


def _kind(event: PublishedEvent) -> TradeNoKind | None:
    kinds = {kind.value: kind for kind in TradeNoKind}
    return kinds.get(str(event.data.get("trade_no_kind")))


def _derived(failed: FailedPart, prefix: str) -> Callable[[int], str]:
    def number(count: int) -> str:
        return derive_trade_no(failed.merchant_id, failed.order_id, failed.part, prefix=prefix, reissue=count)

    return number
