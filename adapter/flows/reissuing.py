"""Reissuing: what finally failed is bought anew, under the next derived number (contract, section 11).

Begins with what was told, since nothing is left of an issuance once it was told as failed. A part is reissued only
where the last word of every number it ever had is `failed`. The next number is derived as ever, so that running the
command twice finds the same one, and the second order is asked about before it is sent.

Refuses to read topics and to ask plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adapter.flows.events import Origin, record_origin
from adapter.flows.journey import Journey, encoded_headers, own_headers
from adapter.flows.signatures import RecordSigner
from adapter.flows.telling import Whose, common
from adapter.flows.words import Word
from adapter.issuance.carried import CarriedPart, CarriedPlan, encode_plan
from adapter.issuance.plan import Part, renumbered
from adapter.issuance.state import Past
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.stream.records import ProducerRecord, Record

_MOST_REISSUES = 100
_COMPARED = ("issue_type", "trade_no_kind", "items", "ticket_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A part whose every number failed: `trade_nos` are they, and `word` the last word about it."""

    merchant_id: str
    order_id: str
    order_record: str | None
    part: int
    parts: int
    trade_nos: tuple[str, ...]
    word: Word


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReissued:
    """Why nothing is reissued, and what to do instead."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reissue:
    """The parts under their new numbers, and the deferred record that carries them."""

    parts: tuple[Part, ...]
    producer_record: ProducerRecord


def failures(words: Sequence[Word], which: str) -> tuple[Failure, ...] | NotReissued:
    """The parts of one order that finally failed; only the one under `which` where that is a trade number.

    `words` is all that was told of the order; what was told of one number stands in the order in which it was told.
    """
    about = sorted((word for word in words if word.trade_no is not None), key=lambda word: word.at)
    parts = {word.data.get("part") for word in about if which in (word.trade_no, word.order_id)}
    found, refused = [], []
    for number in sorted(part for part in parts if isinstance(part, int)):
        of_part = [word for word in about if word.data.get("part") == number]
        if not any(word.kind == "failed" for word in of_part):
            continue
        last = _last_words(of_part, words)
        standing = {trade_no: kind for trade_no, kind in last.items() if kind != "failed"}
        if standing:
            refused += [_STANDING[kind].format(part=number, trade_no=trade_no) for trade_no, kind in standing.items()]
        else:
            found.append(_failure(of_part, tuple(last)))
    if found:
        return tuple(found)
    return NotReissued(why=" ".join(refused) or _NOTHING_FAILED.format(which=which))


def orders_named(words: Iterable[Word], which: str) -> frozenset[tuple[str | None, str | None]]:
    """Merchant and order id of each order that `which` names, as its id or by a trade number."""
    return frozenset((word.merchant_id, word.order_id) for word in words if which in (word.trade_no, word.order_id))


def next_part(part: Part, failure: Failure, *, prefix: str) -> Part:
    """The part under its next number, counted on from the last reissue."""
    derived = _derived(failure, prefix)
    counted = max((count for count in range(_MOST_REISSUES) if derived(count) in failure.trade_nos), default=0)
    count = max(counted, len(failure.trade_nos) - 1)
    return renumbered(replace(part, reissue=count), order_id=failure.order_id, prefix=prefix)


def difference(parts: Sequence[Part], failure: Failure, whose: Whose, *, changed_items: bool) -> str | None:
    """Why today's plan is not the one that failed; None where it is.

    `changed_items`: other items than those that failed are meant.
    """
    if (whose.merchant_id, whose.order_id) != (failure.merchant_id, failure.order_id):
        return (
            f"The order record is not that of order {failure.order_id} of merchant {failure.merchant_id}. "
            "Give the right one with --order."
        )
    if len(parts) != failure.parts:
        return (
            f"The order has {len(parts)} parts under today's mapping, and had {failure.parts}: which of them failed "
            "cannot be said. Undo the change of the mapping, or have the shop send a new order."
        )
    data = common(whose, parts[failure.part - 1], ticket_trade_no=None)
    now: Mapping[str, object] = {**data, "items": [dict(item) for item in data["items"]]}
    changed = [name for name in _COMPARED if now[name] != failure.word.data.get(name)]
    if not changed or (changed_items and "trade_no_kind" not in changed):
        return None
    return (
        f"Part {failure.part} is another one under today's mapping than the one that failed ({', '.join(changed)}). "
        "Undo the change of the mapping, or say --changed-items if that is what is to be issued now."
    )


def reissue(
    order_record: Record,
    parts: Sequence[Part],
    found: Sequence[Failure],
    whose: Whose,
    *,
    prefix: str,
    topic: str,
    now: datetime,
    settled: int,
    signer: RecordSigner | None = None,
) -> Reissue:
    """The deferred record that carries the failed parts on; `settled` of the order's other parts were told.

    The numbers count as possibly sent: somebody may have run the same command before.
    """
    anew = tuple(next_part(parts[failure.part - 1], failure, prefix=prefix) for failure in found)
    plan = CarriedPlan(
        order_id=whose.order_id,
        merchant_id=whose.merchant_id,
        reference=whose.reference,
        parts_done=settled,
        parts=tuple(CarriedPart(part=part, past=Past()) for part in anew),
    )
    journey = Journey(
        origin=origin_of(found[0].order_record) or record_origin(order_record),
        origin_timestamp=order_record.timestamp,
        odd_origin_timestamp=order_record.odd_timestamp,
        first_seen=now,
        possibly_sent_at=now,
        not_before=now,
        parts_done=settled,
        plan=encode_plan(plan),
    ).of_order(whose.merchant_id, whose.order_id)
    producer_record = ProducerRecord(
        topic=topic,
        key=order_record.key,
        value=order_record.value,
        headers=(*own_headers(order_record.headers), *encoded_headers(journey)),
    )
    signed = producer_record if signer is None else signer.sign(producer_record, whose.merchant_id)
    return Reissue(parts=anew, producer_record=signed)


def origin_of(order_record: str | None) -> Origin | None:
    """The coordinates in `topic/partition/offset`; None where there are none."""
    topic, _, rest = (order_record or "").partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdigit() and offset.isdigit()):
        return None
    return Origin(topic=topic, partition=int(partition), offset=int(offset))


def carries(record: Record, trade_nos: Iterable[str]) -> bool:
    """Whether a deferred record's plan holds one of the numbers."""
    plans = [value or b"" for name, value in record.headers if name == "ecticket-plan"]
    return any(trade_no.encode() in plan for plan in plans for trade_no in trade_nos)


_NOTHING_FAILED = (
    "Nothing that was told says that anything of {which} failed. What is unresolved is not failed: "
    "see ecticket-adapter dead-letters list."
)
_STANDING = {
    "issued": "Part {part} was issued under {trade_no}.",
    "submitted": "Part {part} was sent again and is under way under {trade_no}; its result will be told.",
    "delayed": "Part {part} was sent again and is under way under {trade_no}; its result will be told.",
}


def _last_words(of_part: Iterable[Word], told: Iterable[Word]) -> dict[str, str]:
    """The last word about each of the part's numbers, which stand in the order of their first ones.

    By the order in which it was `told` and not by the time: machines' clocks differ. A number that failed may be taken
    in after that (the shop sent the order again), so `submitted` is a word like any other.
    """
    kinds = {word.trade_no: word.kind for word in told}
    return {number: kinds[number] for number in dict.fromkeys(word.trade_no or "" for word in of_part)}


def _failure(words: Sequence[Word], trade_nos: tuple[str, ...]) -> Failure:
    last = [word for word in words if word.kind == "failed"][-1]
    part, parts = last.data.get("part"), last.data.get("parts")
    return Failure(
        merchant_id=last.merchant_id or "",
        order_id=last.order_id or "",
        order_record=last.order_record,
        part=part if isinstance(part, int) else 1,
        parts=parts if isinstance(parts, int) else 1,
        trade_nos=trade_nos,
        word=last,
    )


def _derived(failure: Failure, prefix: str) -> Callable[[int], str]:
    def number(count: int) -> str:
        return derive_trade_no(failure.merchant_id, failure.order_id, failure.part, prefix=prefix, reissue=count)

    return number
