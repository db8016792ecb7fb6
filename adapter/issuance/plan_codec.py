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
from adapter.issuance.next_step import Unverified
from adapter.issuance.order import Voucher
from adapter.issuance.packing import MAX_CALLS
from adapter.issuance.plan import Part, PlannedItem
from adapter.issuance.state import IssueRefusal, PartHistory, PartState, initial_state
from adapter.issuance.times import later, latest
from adapter.issuance.trade_numbers import PREFIX_MAX_LENGTH, derive_trade_no
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind

VERSION = 1
_SENT_MEANWHILE = "somebody may have sent it meanwhile"
_CUSTOMER_FIELDS = ("name", "phone", "email", "address")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredPart:
    """An open part and its past."""

    part: Part
    history: PartHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredPlan:
    """The open parts of one order record; `parts_done` of the others have been settled with events of their own."""

    order_id: str
    merchant_id: str
    reference: object
    parts_done: int
    parts: tuple[DeferredPart, ...]
    unverified: Unverified | None = None

    @property
    def possibly_sent_at(self) -> datetime | None:
        """The last moment at which any of the parts may have been sent, for `ecticket-possibly-sent-at`."""
        histories = [deferred.history for deferred in self.parts]
        return latest(
            *(history.possibly_sent_since for history in histories),
            *(history.refusal.at for history in histories if history.refusal is not None),
        )


def deferred_parts(states: Iterable[PartState]) -> tuple[DeferredPart, ...]:
    """The parts of a sitting, reduced to what travels."""
    return tuple(DeferredPart(part=state.part, history=state.history) for state in states)


def resume(
    plan: DeferredPlan,
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
    sent_meanwhile = possibly_sent_at if known is None or (possibly_sent_at and possibly_sent_at > known) else None
    histories = (
        deferred.history
        if sent_meanwhile is None
        else deferred.history.with_doubt(sent_meanwhile, deferred.history.doubt or _SENT_MEANWHILE)
        for deferred in plan.parts
    )
    return tuple(
        initial_state(
            deferred.part,
            history=history if now is None else _within_bounds(history, now, later(now, longest_wait_seconds)),
            first_seen_at=first_seen_at,
            possibly_sent_since=fenced_at,
        )
        for deferred, history in zip(plan.parts, histories, strict=True)
    )


def with_notification_urls(
    plan: DeferredPlan, *, refund_notify_url: str | None, use_status_notify_url: str | None
) -> DeferredPlan:
    """The plan with the notification URLs of the settings in every request."""

    def with_urls(part: Part) -> Part:
        request = replace(
            part.request,
            refund_notify_url=refund_notify_url or None,
            use_status_notify_url=use_status_notify_url or None,
        )
        return replace(part, request=request)

    return replace(plan, parts=tuple(replace(deferred, part=with_urls(deferred.part)) for deferred in plan.parts))


def encode_plan(plan: DeferredPlan) -> bytes:
    """The plan as ASCII JSON."""
    pool = _Pool()
    parts = [_part_to_json(deferred, pool) for deferred in plan.parts]
    document = {
        "v": VERSION,
        "order_id": plan.order_id,
        "merchant_id": plan.merchant_id,
        "reference": plan.reference,
        "parts_done": plan.parts_done,
        "customer": pool.values,
        "parts": parts,
        "unproven": plan.unverified and _unverified_to_json(plan.unverified),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def decode_plan(data: bytes) -> DeferredPlan:
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


def _within_bounds(history: PartHistory, now: datetime, longest: datetime) -> PartHistory:
    """The past without times that are still to come; a part is not held back beyond `longest`."""

    def passed(moment: datetime | None) -> datetime | None:
        return None if moment is None else min(moment, now)

    refusal = history.refusal
    return replace(
        history,
        first_attempt_at=passed(history.first_attempt_at),
        last_attempt_at=passed(history.last_attempt_at),
        possibly_sent_since=passed(history.possibly_sent_since),
        refusal=None if refusal is None else replace(refusal, at=min(refusal.at, now)),
        retry_at=None if history.retry_at is None else min(history.retry_at, longest),
    )


class _Pool:
    """The customer's data, each value once."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {name: [] for name in _CUSTOMER_FIELDS}

    def positions(self, request: IssueRequest) -> dict[str, int]:
        """Where each of the request's customer fields stands in the pool."""
        given = {name: getattr(request, f"customer_{name}") for name in _CUSTOMER_FIELDS}
        return {name: self._position(self.values[name], value) for name, value in given.items() if value is not None}

    @staticmethod
    def _position(known: list[str], value: str) -> int:
        if value not in known:
            known.append(value)
        return known.index(value)


def _unverified_to_json(unverified: Unverified) -> dict[str, object]:
    return _present(
        {
            "skip": unverified.skip,
            "plugin": unverified.plugin,
            "remapped": unverified.mapping_changed,
            "came_before": unverified.issued_before or None,
            "plan_lost": unverified.plan_lost or None,
        }
    )


def _part_to_json(deferred: DeferredPart, pool: _Pool) -> dict[str, object]:
    part = deferred.part
    return _present(
        {
            "number": part.number,
            "of": part.of,
            "trade_no": part.trade_no.value,
            "kind": part.trade_no.kind.value,
            "reissue": part.reissue or None,
            "items": [_item_to_json(item) for item in part.items],
            "request": _request_to_json(part.request, pool),
            **_history_to_json(deferred.history),
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
            "customer": pool.positions(request) or None,
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


def _history_to_json(history: PartHistory) -> dict[str, object]:
    refusal = history.refusal
    return {
        "first_attempt_at": _moment(history.first_attempt_at),
        "last_attempt_at": _moment(history.last_attempt_at),
        "possibly_sent_since": _moment(history.possibly_sent_since),
        "doubt": history.doubt,
        "refusal": refusal and {"code": refusal.code, "message": refusal.message, "at": _moment(refusal.at)},
        "control_known": history.control_known or None,
        "unaccepted": history.unaccepted or None,
        "retry_at": _moment(history.retry_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _plan_from_json(reader: JsonReader) -> DeferredPlan:
    if reader.integer("v") != VERSION:
        raise NotAsWritten("v is another version's")
    merchant_id = reader.text("merchant_id")
    customer = reader.child("customer")
    pool = {name: customer.texts(name) for name in _CUSTOMER_FIELDS}
    parts = reader.children("parts")
    if len(parts) > MAX_CALLS:
        raise NotAsWritten(f"parts has more than {MAX_CALLS}")
    plan = DeferredPlan(
        order_id=reader.text("order_id"),
        merchant_id=merchant_id,
        reference=reader.anything("reference"),
        parts_done=reader.integer("parts_done", least=0, most=MAX_CALLS),
        parts=tuple(_part_from_json(part, merchant_id, pool) for part in parts),
        unverified=_unverified_from_json(reader.optional_child("unproven")),
    )
    _ensure_consistent(plan)
    return plan


def _ensure_consistent(plan: DeferredPlan) -> None:
    """Raises NotAsWritten if the parts cannot be those of one order.

    An order brings one trade number of its own at most (contract, section 4.1), so all others are derived.
    """
    parts = [deferred.part for deferred in plan.parts]
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


def _unverified_from_json(reader: JsonReader | None) -> Unverified | None:
    if reader is None:
        return None
    return Unverified(
        skip=reader.optional_text("skip"),
        plugin=reader.optional_text("plugin"),
        mapping_changed=reader.optional_boolean("remapped") or False,
        issued_before=reader.optional_boolean("came_before") or False,
        plan_lost=reader.optional_boolean("plan_lost") or False,
    )


def _part_from_json(reader: JsonReader, merchant_id: str, pool: Mapping[str, Sequence[str]]) -> DeferredPart:
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
    return DeferredPart(part=part, history=_history_from_json(reader))


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


def _history_from_json(reader: JsonReader) -> PartHistory:
    refusal = reader.optional_child("refusal")
    return PartHistory(
        first_attempt_at=reader.optional_moment("first_attempt_at"),
        last_attempt_at=reader.optional_moment("last_attempt_at"),
        possibly_sent_since=reader.optional_moment("possibly_sent_since"),
        doubt=reader.optional_text("doubt"),
        refusal=_refusal_from_json(refusal) if refusal else None,
        control_known=reader.optional_boolean("control_known") or False,
        unaccepted=reader.optional_integer("unaccepted", least=0) or 0,
        retry_at=reader.optional_moment("retry_at"),
    )


def _refusal_from_json(reader: JsonReader) -> IssueRefusal:
    return IssueRefusal(code=reader.integer("code"), message=reader.text("message"), at=reader.moment("at"))
