"""The header `ecticket-plan`: an order's open parts, as they travel from one sitting to the next (contract, section 5).

Exists so that the mapping is asked once: whoever takes the order up again finds each part's number and complete
request, and what must never be forgotten about it. The customer's data stand in it once, whatever the number of parts.

What cannot be read in full is refused, since guessing "never sent" from a broken plan would be buying tickets on a
guess. So is a plan that no adapter could have made, signed or not: more parts than an order has, or numbers that do not
belong together. Notification URLs are not in it; they come from the settings of the process that resumes the plan.

Does not know topics and other headers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from adapter.errors import InvalidOrder, Unreadable
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS
from adapter.issuance.json_reader import JsonReader, NotAsWritten
from adapter.issuance.order import Voucher
from adapter.issuance.packing import MAX_CALLS
from adapter.issuance.plan import Part, PlannedItem
from adapter.issuance.sitting import Unproven
from adapter.issuance.state import PartState, Past, Refusal, begin
from adapter.issuance.times import later, latest
from adapter.issuance.trade_numbers import PREFIX_MAX_LENGTH, derive_trade_no
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind

VERSION = 1
_SOMEBODY = "somebody may have sent it meanwhile"
_CUSTOMER_FIELDS = ("name", "phone", "email", "address")


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedPart:
    """An open part and its past."""

    part: Part
    past: Past


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedPlan:
    """The open parts of one order record; `parts_done` of the others have been settled with events of their own."""

    order_id: str
    merchant_id: str
    reference: object
    parts_done: int
    parts: tuple[CarriedPart, ...]
    unproven: Unproven | None = None

    @property
    def possibly_sent_at(self) -> datetime | None:
        """The last moment at which any of the parts may have been sent, for `ecticket-possibly-sent-at`."""
        pasts = [carried.past for carried in self.parts]
        return latest(
            *(past.possibly_sent_since for past in pasts),
            *(past.refusal.at for past in pasts if past.refusal is not None),
        )


def carried_parts(states: Iterable[PartState]) -> tuple[CarriedPart, ...]:
    """The parts of a sitting, reduced to what travels."""
    return tuple(CarriedPart(part=state.part, past=state.past) for state in states)


def take_up(
    plan: CarriedPlan,
    *,
    first_seen_at: datetime,
    possibly_sent_at: datetime | None,
    fenced_at: datetime | None,
    now: datetime | None = None,
    longest_wait_seconds: float = LONGEST_DEFERRAL_SECONDS,
) -> tuple[PartState, ...]:
    """Begin the next sitting of a carried order.

    `possibly_sent_at` is the record's header: where it is later than anything the plan knows of, somebody else has put
    it there (a replay), and every part counts as possibly sent, a refused one too: whoever replays it may have issued
    it by hand. `fenced_at`: an earlier owner of the partition could have sent the order, at the latest then.

    What a plan says happened before it was read: with `now`, no attempt is later than that, whatever clock wrote it,
    and no part waits longer than an adapter ever lets it wait.
    """
    known = plan.possibly_sent_at
    told = possibly_sent_at if known is None or (possibly_sent_at and possibly_sent_at > known) else None
    pasts = (
        carried.past if told is None else carried.past.doubted(told, carried.past.doubt or _SOMEBODY)
        for carried in plan.parts
    )
    return tuple(
        begin(
            carried.part,
            past=past if now is None else _within_bounds(past, now, later(now, longest_wait_seconds)),
            first_seen_at=first_seen_at,
            possibly_sent_since=fenced_at,
        )
        for carried, past in zip(plan.parts, pasts, strict=True)
    )


def with_notification_urls(
    plan: CarriedPlan, *, refund_notify_url: str | None, use_status_notify_url: str | None
) -> CarriedPlan:
    """The plan with the notification URLs of the settings in every request."""

    def with_urls(part: Part) -> Part:
        request = replace(
            part.request,
            refund_notify_url=refund_notify_url or None,
            use_status_notify_url=use_status_notify_url or None,
        )
        return replace(part, request=request)

    return replace(plan, parts=tuple(replace(carried, part=with_urls(carried.part)) for carried in plan.parts))


def encode_plan(plan: CarriedPlan) -> bytes:
    """The plan as ASCII JSON."""
    pool = _Pool()
    parts = [_part_to_json(carried, pool) for carried in plan.parts]
    document = {
        "v": VERSION,
        "order_id": plan.order_id,
        "merchant_id": plan.merchant_id,
        "reference": plan.reference,
        "parts_done": plan.parts_done,
        "customer": pool.values,
        "parts": parts,
        "unproven": plan.unproven and _unproven_to_json(plan.unproven),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def decode_plan(data: bytes) -> CarriedPlan:
    """The plan that `encode_plan` wrote.

    Raises Unreadable for anything else, saying where it differs and never what is there.
    """
    try:
        return _plan_from_json(JsonReader.load(data))
    except NotAsWritten as error:
        raise Unreadable(
            f"The header ecticket-plan is not as the adapter wrote it ({error}). Without it nobody knows under which "
            "numbers the order may have been sent: find the record's original, or look the order up at ECPay."
        ) from None


def _within_bounds(past: Past, now: datetime, longest: datetime) -> Past:
    """The past without times that are still to come; a part is not held back beyond `longest`."""

    def passed(moment: datetime | None) -> datetime | None:
        return None if moment is None else min(moment, now)

    refusal = past.refusal
    return replace(
        past,
        first_attempt_at=passed(past.first_attempt_at),
        last_attempt_at=passed(past.last_attempt_at),
        possibly_sent_since=passed(past.possibly_sent_since),
        refusal=None if refusal is None else replace(refusal, at=min(refusal.at, now)),
        retry_at=None if past.retry_at is None else min(past.retry_at, longest),
    )


class _Pool:
    """The customer's data, each value once."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {name: [] for name in _CUSTOMER_FIELDS}

    def places(self, request: IssueRequest) -> dict[str, int]:
        """Where each of the request's customer fields stands in the pool."""
        given = {name: getattr(request, f"customer_{name}") for name in _CUSTOMER_FIELDS}
        return {name: self._place(self.values[name], value) for name, value in given.items() if value is not None}

    @staticmethod
    def _place(known: list[str], value: str) -> int:
        if value not in known:
            known.append(value)
        return known.index(value)


def _unproven_to_json(unproven: Unproven) -> dict[str, object]:
    return _present(
        {
            "skip": unproven.skip,
            "plugin": unproven.plugin,
            "remapped": unproven.remapped,
            "came_before": unproven.came_before or None,
            "plan_lost": unproven.plan_lost or None,
        }
    )


def _part_to_json(carried: CarriedPart, pool: _Pool) -> dict[str, object]:
    part = carried.part
    return _present(
        {
            "number": part.number,
            "of": part.of,
            "trade_no": part.trade_no.value,
            "kind": part.trade_no.kind.value,
            "reissue": part.reissue or None,
            "items": [_item_to_json(item) for item in part.items],
            "request": _request_to_json(part.request, pool),
            **_past_to_json(carried.past),
        }
    )


def _item_to_json(item: PlannedItem) -> dict[str, object]:
    voucher = None if item.voucher is Voucher.PICKUP else item.voucher.value
    return _present(
        {
            "item_no": item.item_no,
            "name": item.name,
            "quantity": item.quantity,
            "voucher": voucher,
            "start_moves": item.start_moves or None,
            "expire_moves": item.expire_moves or None,
        }
    )


def _request_to_json(request: IssueRequest, pool: _Pool) -> dict[str, object]:
    return _present(
        {
            "issue_type": request.issue_type.value,
            "operator": request.operator,
            "print_type": request.print_type and request.print_type.value,
            "is_immediate": request.is_immediate,
            "store_id": request.store_id,
            "payment_provider": request.payment_provider,
            "customer": pool.places(request) or None,
            "ticket_info": [_entry_to_json(entry) for entry in request.ticket_info],
        }
    )


def _entry_to_json(entry: TicketInfo) -> dict[str, object]:
    return _present(
        {
            "item_no": entry.item_no,
            "item_name": entry.item_name,
            "ticket_price": entry.ticket_price,
            "ticket_amount": entry.ticket_amount,
            "start_date": _day(entry.start_date),
            "expire_date": _day(entry.expire_date),
        }
    )


def _past_to_json(past: Past) -> dict[str, object]:
    refusal = past.refusal
    return {
        "first_attempt_at": _moment(past.first_attempt_at),
        "last_attempt_at": _moment(past.last_attempt_at),
        "possibly_sent_since": _moment(past.possibly_sent_since),
        "doubt": past.doubt,
        "refusal": refusal and {"code": refusal.code, "message": refusal.message, "at": _moment(refusal.at)},
        "control_known": past.control_known or None,
        "unaccepted": past.unaccepted or None,
        "retry_at": _moment(past.retry_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _plan_from_json(reader: JsonReader) -> CarriedPlan:
    if reader.integer("v") != VERSION:
        raise NotAsWritten("v is another version's")
    merchant_id = reader.text("merchant_id")
    customer = reader.child("customer")
    pool = {name: customer.texts(name) for name in _CUSTOMER_FIELDS}
    parts = reader.children("parts")
    if len(parts) > MAX_CALLS:
        raise NotAsWritten(f"parts has more than {MAX_CALLS}")
    plan = CarriedPlan(
        order_id=reader.text("order_id"),
        merchant_id=merchant_id,
        reference=reader.anything("reference"),
        parts_done=reader.integer("parts_done", least=0, most=MAX_CALLS),
        parts=tuple(_part_from_json(part, merchant_id, pool) for part in parts),
        unproven=_unproven_from_json(reader.optional_child("unproven")),
    )
    _ensure_consistent(plan)
    return plan


def _ensure_consistent(plan: CarriedPlan) -> None:
    """Raises NotAsWritten if the parts cannot be those of one order.

    An order brings one trade number of its own at most (contract, section 4.1), so all others are derived.
    """
    parts = [carried.part for carried in plan.parts]
    if len({part.of for part in parts}) > 1:
        raise NotAsWritten("parts differ in `of`")
    if len({part.number for part in parts}) < len(parts):
        raise NotAsWritten("parts has a number twice")
    if len({part.trade_no.value for part in parts}) < len(parts):
        raise NotAsWritten("parts has a trade_no twice")
    given = [part for part in parts if not _is_derived(part, plan.order_id)]
    if len(given) > 1 or any(part.reissue for part in given):
        raise NotAsWritten("parts has a trade_no that is not derived from its order")


def _is_derived(part: Part, order_id: str) -> bool:
    """Whether the number is derived from merchant, order, part and reissue, with any `submit.trade_no_prefix`."""
    try:
        derived = derive_trade_no(part.request.merchant_id, order_id, part.number, reissue=part.reissue)
    except InvalidOrder:
        return False
    return part.trade_no.value[PREFIX_MAX_LENGTH:] == derived[PREFIX_MAX_LENGTH:]


def _unproven_from_json(reader: JsonReader | None) -> Unproven | None:
    if reader is None:
        return None
    return Unproven(
        skip=reader.optional_text("skip"),
        plugin=reader.optional_text("plugin"),
        remapped=reader.optional_boolean("remapped") or False,
        came_before=reader.optional_boolean("came_before") or False,
        plan_lost=reader.optional_boolean("plan_lost") or False,
    )


def _part_from_json(reader: JsonReader, merchant_id: str, pool: Mapping[str, Sequence[str]]) -> CarriedPart:
    trade_no = TradeNo(kind=reader.member("kind", TradeNoKind), value=reader.text("trade_no"))
    of = reader.integer("of", least=1, most=MAX_CALLS)
    part = Part(
        number=reader.integer("number", least=1, most=of),
        of=of,
        trade_no=trade_no,
        request=_request_from_json(reader.child("request"), merchant_id, trade_no, pool),
        items=tuple(_item_from_json(item) for item in reader.children("items")),
        reissue=reader.optional_integer("reissue", least=0) or 0,
    )
    return CarriedPart(part=part, past=_past_from_json(reader))


def _item_from_json(reader: JsonReader) -> PlannedItem:
    return PlannedItem(
        item_no=reader.optional_text("item_no"),
        name=reader.optional_text("name"),
        quantity=reader.integer("quantity", least=1),
        voucher=reader.optional_member("voucher", Voucher) or Voucher.PICKUP,
        start_moves=reader.optional_boolean("start_moves") or False,
        expire_moves=reader.optional_boolean("expire_moves") or False,
    )


def _request_from_json(
    reader: JsonReader, merchant_id: str, trade_no: TradeNo, pool: Mapping[str, Sequence[str]]
) -> IssueRequest:
    customer = reader.optional_child("customer")
    fields = {f"customer_{name}": customer.pick(name, pool[name]) if customer else None for name in _CUSTOMER_FIELDS}
    return IssueRequest(
        merchant_id=merchant_id,
        trade_no=trade_no,
        issue_type=reader.member("issue_type", IssueType),
        operator=reader.text("operator"),
        ticket_info=tuple(_entry_from_json(entry) for entry in reader.children("ticket_info")),
        print_type=reader.optional_member("print_type", PrintType),
        is_immediate=reader.optional_boolean("is_immediate"),
        store_id=reader.optional_text("store_id"),
        payment_provider=reader.optional_text("payment_provider"),
        **fields,
    )


def _entry_from_json(reader: JsonReader) -> TicketInfo:
    return TicketInfo(
        item_no=reader.optional_text("item_no"),
        item_name=reader.optional_text("item_name"),
        ticket_price=reader.optional_integer("ticket_price"),
        ticket_amount=reader.integer("ticket_amount"),
        start_date=reader.optional_day("start_date"),
        expire_date=reader.optional_day("expire_date"),
    )


def _past_from_json(reader: JsonReader) -> Past:
    refusal = reader.optional_child("refusal")
    return Past(
        first_attempt_at=reader.optional_moment("first_attempt_at"),
        last_attempt_at=reader.optional_moment("last_attempt_at"),
        possibly_sent_since=reader.optional_moment("possibly_sent_since"),
        doubt=reader.optional_text("doubt"),
        refusal=_refusal_from_json(refusal) if refusal else None,
        control_known=reader.optional_boolean("control_known") or False,
        unaccepted=reader.optional_integer("unaccepted", least=0) or 0,
        retry_at=reader.optional_moment("retry_at"),
    )


def _refusal_from_json(reader: JsonReader) -> Refusal:
    return Refusal(code=reader.integer("code"), message=reader.text("message"), at=reader.moment("at"))
