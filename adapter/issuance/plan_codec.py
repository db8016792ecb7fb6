"""Encode and decode the header `ecticket-plan`: an order's open parts, from one run to the next (docs/delivery.md).

With the plan, the mapping runs only once: the process that resumes the order finds each part's number, its complete
request and its history. The customer's data are written once, whatever the number of parts.

A plan that cannot be read in full is refused, because to guess "never sent" from a corrupted plan could buy tickets
twice. A plan that no adapter could have made is refused too, signed or not: more parts than an order has, or numbers
that do not belong together. Notification URLs are not in it; they come from the settings of the process that resumes
the plan.

Does not know topics and other headers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationError,
)

from adapter.errors import InvalidOrder, Unreadable
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS
from adapter.issuance.next_step import Unverified
from adapter.issuance.order import REFERENCE_MAX_DEPTH, Voucher, nests_too_deep
from adapter.issuance.packing import MAX_CALLS
from adapter.issuance.plan import Part, PlannedItem
from adapter.issuance.state import IssueRefusal, PartHistory, PartState, WaitReason, initial_state
from adapter.issuance.times import YEARS, later, latest
from adapter.issuance.trade_numbers import PREFIX_MAX_LENGTH, derive_trade_no
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.values import replace

VERSION = 1
_SENT_MEANWHILE = "it may have been sent outside the adapter since"
_CUSTOMER_FIELDS = ("name", "phone", "email", "address")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredPart:
    """An open part and its history."""

    part: Part
    history: PartHistory
    reason: WaitReason | None = None
    """Why it waits, for people; the next run decides from its history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferredPlan:
    """The open parts of one order record; `parts_done` other parts are settled, with events of their own."""

    order_id: str
    merchant_id: str
    reference: object
    parts_done: int
    parts: tuple[DeferredPart, ...]
    unverified: Unverified | None = None
    paid_at: datetime | None = None
    """The order's `paid_at`, aware, of a year in `times.YEARS`; for metrics."""

    @property
    def possibly_sent_at(self) -> datetime | None:
        """The last moment at which a part may have been sent, for `ecticket-possibly-sent-at`."""
        histories = [deferred.history for deferred in self.parts]
        return latest(
            *(history.possibly_sent_since for history in histories),
            *(history.refusal.at for history in histories if history.refusal is not None),
        )


def deferred_part(state: PartState, reason: WaitReason | None = None) -> DeferredPart:
    """Reduce a part of a run to what the plan keeps."""
    return DeferredPart(part=state.part, history=state.history, reason=reason)


def resume(
    plan: DeferredPlan,
    *,
    first_seen_at: datetime,
    possibly_sent_at: datetime | None,
    fenced_at: datetime | None,
    now: datetime | None = None,
    longest_wait_seconds: float = LONGEST_DEFERRAL_SECONDS,
) -> tuple[PartState, ...]:
    """Return the states in which the next run of a deferred order begins.

    `possibly_sent_at` is the record's header. If it is later than every time in the plan, a replay has set it, and
    every part counts as possibly sent, even a refused one: the operator may have issued it by hand. `fenced_at`: an
    earlier owner of the partition could have sent the order, at the latest then.

    With `now`, times in the plan are limited: no attempt is later than `now`, whatever clock wrote it, and no part
    waits longer than `longest_wait_seconds`.
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
    """Return the plan with the notification URLs of the settings in every request."""

    def with_urls(part: Part) -> Part:
        request = replace(
            part.request,
            refund_notify_url=refund_notify_url or None,
            use_status_notify_url=use_status_notify_url or None,
        )
        return replace(part, request=request)

    return replace(plan, parts=tuple(replace(deferred, part=with_urls(deferred.part)) for deferred in plan.parts))


def encode_plan(plan: DeferredPlan) -> bytes:
    """Return the plan as ASCII JSON."""
    pool: dict[str, list[str]] = {name: [] for name in _CUSTOMER_FIELDS}
    parts = [_written(deferred, pool) for deferred in plan.parts]
    document = _Plan(
        v=VERSION,
        order_id=plan.order_id,
        merchant_id=plan.merchant_id,
        reference=cast("JsonValue", plan.reference),  # parsing has checked it
        parts_done=plan.parts_done,
        customer=_Pool(**pool),
        parts=parts,
        unverified=None if plan.unverified is None else _Unverified.model_validate(plan.unverified),
        paid_at=plan.paid_at,
    )
    return json.dumps(document.model_dump(mode="json", exclude_defaults=True), separators=(",", ":")).encode("ascii")


def decode_plan(data: bytes) -> DeferredPlan:
    """Return the plan that `encode_plan` wrote.

    Raises Unreadable for anything else; the message names the position of the error and never the content.
    """
    try:
        document = _Plan.model_validate_json(data)
        plan = DeferredPlan(
            order_id=document.order_id,
            merchant_id=document.merchant_id,
            reference=document.reference,
            parts_done=document.parts_done,
            parts=tuple(_read(part, document) for part in document.parts),
            unverified=None if document.unverified is None else Unverified(**dict(document.unverified)),
            paid_at=document.paid_at,
        )
        _ensure_consistent(plan)
    except ValidationError as error:
        raise _unreadable(_first_mistake(error)) from None
    except _Inconsistent as error:
        raise _unreadable(str(error)) from None
    return plan


def _within_bounds(history: PartHistory, now: datetime, longest: datetime) -> PartHistory:
    """Return the history without times after `now`; a part is not held back beyond `longest`."""

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


def _in_utc(moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise ValueError(f"it must be a time from {YEARS.start} on")
    return moment.astimezone(UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


Count = Annotated[int, Field(ge=0)]
PartNumber = Annotated[int, Field(ge=1, le=MAX_CALLS)]
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc), PlainSerializer(_rfc3339, return_type=str)]


class _Model(BaseModel):
    """One object of the JSON document; fields with their default value are not written."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="ignore", from_attributes=True, populate_by_name=True, serialize_by_alias=True
    )


class _Pool(_Model):
    """The customer's data, each value written once."""

    name: list[str]
    phone: list[str]
    email: list[str]
    address: list[str]


class _Places(_Model):
    """The positions of a request's customer fields in the pool."""

    name: Count | None = None
    phone: Count | None = None
    email: Count | None = None
    address: Count | None = None


class _Entry(_Model):
    item_no: str | None = None
    item_name: str | None = None
    ticket_price: int | None = None
    ticket_amount: int
    start_date: date | None = None
    expire_date: date | None = None


class _Request(_Model):
    issue_type: IssueType
    operator: str
    print_type: PrintType | None = None
    is_immediate: bool | None = None
    store_id: str | None = None
    payment_provider: str | None = None
    customer: _Places = _Places()
    ticket_info: Annotated[list[_Entry], Field(min_length=1)]


class _Item(_Model):
    item_no: str | None = None
    name: str | None = None
    quantity: Annotated[int, Field(ge=1)]
    voucher: Voucher = Voucher.PICKUP
    start_moves: bool = False
    expire_moves: bool = False


class _Refusal(_Model):
    code: int
    message: str
    at: Instant


class _History(_Model):
    first_attempt_at: Instant | None = None
    last_attempt_at: Instant | None = None
    possibly_sent_since: Instant | None = None
    doubt: str | None = None
    refusal: _Refusal | None = None
    control_known: bool = False
    unaccepted: Count = 0
    retry_at: Instant | None = None


class _Part(_History):
    number: PartNumber
    of: PartNumber
    trade_no: str
    kind: TradeNoKind
    reissue: Count = 0
    reason: str | None = None
    items: Annotated[list[_Item], Field(min_length=1)]
    request: _Request


class _Unverified(_Model):
    skip: str | None = None
    plugin: str | None = None
    mapping_changed: Annotated[bool, Field(alias="remapped")] = False
    issued_before: Annotated[bool, Field(alias="came_before")] = False
    plan_lost: bool = False


def _readable(reference: JsonValue) -> JsonValue:
    """Raises ValueError for what readers of later events could not read: NaN and infinities, and deep nesting."""
    json.dumps(reference, allow_nan=False)
    if nests_too_deep(reference):
        raise ValueError(f"nested deeper than {REFERENCE_MAX_DEPTH} lists and objects")
    return reference


Reference = Annotated[JsonValue, AfterValidator(_readable)]
"""An order's `reference`, read from a record of the adapter's own."""


class _Plan(_Model):
    v: Annotated[int, Field(ge=VERSION, le=VERSION)]
    order_id: str
    merchant_id: str
    reference: Reference = None
    parts_done: Annotated[int, Field(ge=0, le=MAX_CALLS)]
    customer: _Pool
    parts: Annotated[list[_Part], Field(min_length=1, max_length=MAX_CALLS)]
    unverified: Annotated[_Unverified | None, Field(alias="unproven")] = None
    paid_at: Instant | None = None


class _Inconsistent(Exception):
    """The parts cannot be those of one order."""


def _written(deferred: DeferredPart, pool: dict[str, list[str]]) -> _Part:
    part, request = deferred.part, deferred.part.request
    positions = {}
    for name, known in pool.items():
        value = getattr(request, f"customer_{name}")
        if value is not None:
            if value not in known:
                known.append(value)
            positions[name] = known.index(value)
    written = _Request(
        **{name: getattr(request, name) for name in _Request.model_fields if name not in ("customer", "ticket_info")},
        customer=_Places(**positions),
        ticket_info=[_Entry.model_validate(entry) for entry in request.ticket_info],
    )
    return _Part(
        **dict(_History.model_validate(deferred.history)),
        number=part.number,
        of=part.of,
        trade_no=part.trade_no.value,
        kind=part.trade_no.kind,
        reissue=part.reissue,
        reason=None if deferred.reason is None else deferred.reason.value,
        items=[_Item.model_validate(item) for item in part.items],
        request=written,
    )


def _read(part: _Part, plan: _Plan) -> DeferredPart:
    """Return the part; raise _Inconsistent for a position that the pool does not have."""
    trade_no = TradeNo(kind=part.kind, value=part.trade_no)
    request = dict(part.request)
    del request["customer"], request["ticket_info"]
    request |= _customer(part.request.customer, plan.customer)
    refusal = part.refusal and IssueRefusal(**dict(part.refusal))
    history = {name: getattr(part, name) for name in _History.model_fields}
    return DeferredPart(
        part=Part(
            number=part.number,
            of=part.of,
            trade_no=trade_no,
            request=IssueRequest(
                **request,
                merchant_id=plan.merchant_id,
                trade_no=trade_no,
                ticket_info=tuple(TicketInfo(**dict(entry)) for entry in part.request.ticket_info),
            ),
            items=tuple(PlannedItem(**dict(item)) for item in part.items),
            reissue=part.reissue,
        ),
        history=PartHistory(**{**history, "refusal": refusal}),
        reason=WaitReason(part.reason) if part.reason in tuple(WaitReason) else None,
    )


def _customer(positions: _Places, pool: _Pool) -> dict[str, str | None]:
    try:
        return {f"customer_{name}": None if place is None else getattr(pool, name)[place] for name, place in positions}
    except IndexError:
        raise _Inconsistent("a part names customer data that are not there") from None


def _ensure_consistent(plan: DeferredPlan) -> None:
    """Raise _Inconsistent if the parts cannot be those of one order.

    An order brings at most one trade number of its own (docs/orders.md), so all others are derived.
    """
    parts = [deferred.part for deferred in plan.parts]
    if len({part.of for part in parts}) > 1:
        raise _Inconsistent("parts differ in `of`")
    if any(part.number > part.of for part in parts):
        raise _Inconsistent("parts has a number beyond `of`")
    if len({part.number for part in parts}) < len(parts):
        raise _Inconsistent("parts has a number twice")
    if len({part.trade_no.value for part in parts}) < len(parts):
        raise _Inconsistent("parts has a trade_no twice")
    given = [part for part in parts if not _is_derived(part, plan.order_id)]
    if len(given) > 1 or any(part.reissue for part in given):
        raise _Inconsistent("parts has a trade_no that is not derived from its order")


def _is_derived(part: Part, order_id: str) -> bool:
    """Whether the number is derived from merchant, order, part and reissue, with any `submit.trade_no_prefix`."""
    try:
        derived = derive_trade_no(part.request.merchant_id, order_id, part.number, reissue=part.reissue)
    except InvalidOrder:
        return False
    return part.trade_no.value[PREFIX_MAX_LENGTH:] == derived[PREFIX_MAX_LENGTH:]


def _first_mistake(error: ValidationError) -> str:
    """Return the position and kind of the first error, never the content."""
    mistake = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if mistake["type"] == "json_invalid":
        return "it is not JSON"
    return f"{'.'.join(map(str, mistake['loc'])) or 'it'}: {mistake['msg']}"


def _unreadable(mistake: str) -> Unreadable:
    return Unreadable(
        f"The header ecticket-plan is not as the adapter wrote it ({mistake}). Without it, the numbers under which the "
        "order may have been sent are unknown: find the record's original, or look up the order at ECPay."
    )
