"""The order-paid event as received: a CloudEvent (binary or structured) or bare JSON, parsed with strict types.

The model is the schema `schemas/order-paid.v1.json`. `protocol.rules` decides whether ECTicket accepts the values, on
the mapped order. No error quotes a value, since nearly all of them may be personal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    Strict,
    ValidationError,
    field_validator,
)

from adapter.errors import Unreadable
from adapter.extensions.values import OrderRecord
from adapter.flows.messages.event_value import BOM, find_document, is_structured, not_an_order, surrogate_in
from adapter.flows.messages.events import IssueTypeName
from adapter.flows.ports import Merchants
from adapter.issuance.order import (
    ISSUE_TYPES,
    LINES_MAX,
    ORDER_ID_MAX_CHARACTERS,
    REFERENCE_MAX_BYTES,
    REFERENCE_MAX_DEPTH,
    Customer,
    Line,
    Order,
    Voucher,
    nests_too_deep,
    voucher_kind,
)
from adapter.protocol.issue import PrintType

_PRINT_TYPES = {"ecpay": PrintType.ECPAY, "merchant": PrintType.MERCHANT}

_LARGEST_INTEGER = 2**53 - 1
"""The integers that every JSON reader reads exactly (RFC 8259, section 6)."""
_TIME = re.compile(
    r"(?!0000)([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(?::([0-9]{2})(\.[0-9]+)?)?"
    r"(?:[Zz]|([+-][0-9]{2})(?::?([0-9]{2}))?)"
)
"""RFC 3339, and what databases and Java write as well: no seconds, +0800, +08, a blank between date and time."""


def _whole(value: object) -> object:
    """Accept a number without a fraction as an integer, however it is written (JSON Schema, section 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _written_time(value: object) -> object:
    """The time as pydantic reads it; never a number, not even as text, because pydantic would guess a unit."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("it must be text in RFC 3339 form, 2026-01-31T12:00:00+08:00")
    day, hour, second, jitter, offset_hours, offset_minutes = found.groups()
    second = "59" if second == "60" else second or "00"  # a leap second, which Python does not know
    zone = f"{offset_hours}:{offset_minutes or '00'}" if offset_hours else "Z"
    return f"{day}T{hour}:{second}{jitter or ''}{zone}"


Quantity = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(_whole)]
Price = Annotated[int, Field(ge=-_LARGEST_INTEGER, le=_LARGEST_INTEGER), BeforeValidator(_whole)]
Day = Annotated[date, Field(json_schema_extra={"pattern": "^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}$"})]
Moment = Annotated[
    AwareDatetime,
    Strict(strict=False),
    BeforeValidator(_written_time),
    Field(json_schema_extra={"pattern": f"^{_TIME.pattern}$"}),
]
"""A time with a zone; not strict, since strict validation behind a function of ours would want a datetime object."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True)


class CustomerData(_Model):
    """Whom the tickets are for; each field only where ECPay needs it."""

    name: str | None = None
    """Name: paper tickets that are sent, electronic tickets."""
    phone: str | None = None
    """Mobile number: electronic tickets."""
    email: str | None = None
    """Email address: convenience store and electronic tickets."""
    address: str | None = None
    """Postal address: paper tickets that are sent."""


class LineData(_Model):
    """One line of the order."""

    sku: Annotated[str, Field(min_length=1, max_length=200)]
    """The shop's product; what it stands for is decided by mapping."""
    quantity: Quantity
    """Number of pieces."""
    name: str | None = None
    """Product name; serial-number tickets are issued under it."""
    unit_price: Price | None = None
    """Price of one piece in New Taiwan dollars."""
    voucher: Literal["pickup", "gift"] | None = None
    """Pickup voucher (提貨券) or gift voucher (贈品券); default `gift` if `expire_date` is given, else `pickup`."""
    start_date: Day | None = None
    """First day of use. It makes an electronic ticket a presale; other types are usable at once."""
    expire_date: Day | None = None
    """Last day of use; gift vouchers only."""
    issue_type: IssueTypeName | None = None
    """Overrides the order's."""
    immediate: bool | None = None
    """Overrides the order's."""


class OrderPaid(_Model):
    """An order has been paid and is to become tickets."""

    order_id: Annotated[str, Field(min_length=1, max_length=ORDER_ID_MAX_CHARACTERS)]
    """The shop's order number."""
    merchant_id: Annotated[str, Field(min_length=1, max_length=10)] | None = None
    """MerchantID at ECPay; may be left out when only one merchant is configured."""
    trade_no: Annotated[str, Field(min_length=1, max_length=25)] | None = None
    """ECPay trade number to issue under: the payment's number when ECPay took the payment."""
    paid_at: Moment | None = None
    """When it was paid."""
    reference: JsonValue = None
    """Anything, up to 1 KiB as JSON and 64 levels deep; passed through untouched into every event about this order."""
    issue_type: IssueTypeName | None = None
    """What kind of tickets, for lines that do not say it themselves."""
    print_by: Literal["ecpay", "merchant"] | None = None
    """Paper tickets only: who prints."""
    immediate: bool | None = None
    """Electronic tickets only: usable at once, for lines that do not say it themselves. A line with `start_date` is not
    immediate, a line without is; a value that contradicts this parks the order."""
    store_id: str | None = None
    """Branch that issues; default from the settings."""
    operator: str | None = None
    """Operator on record; default from the settings."""
    customer: CustomerData | None = None
    """Whom the tickets are for."""
    lines: Annotated[tuple[LineData, ...], Field(min_length=1, max_length=LINES_MAX)]
    """What was bought."""

    @field_validator("reference")
    @classmethod
    def _small(cls, value: JsonValue) -> JsonValue:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError:
            raise ValueError("it holds NaN or an infinity, which JSON does not know") from None
        if len(text.encode("utf-8")) > REFERENCE_MAX_BYTES:
            raise ValueError(f"it is longer than {REFERENCE_MAX_BYTES} bytes as JSON")
        if nests_too_deep(value):
            raise ValueError(f"it is nested deeper than {REFERENCE_MAX_DEPTH} lists and objects")
        return value


def parse_order_paid(
    value: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...],
    only_merchant: str | None,
    received_at: datetime | None = None,
) -> Order:
    """The order in an event; `only_merchant` is used if the event names no merchant.

    Raises Unreadable, which says what the value is instead, or which fields are wrong and how, never their values.
    """
    try:
        return _order(_event(value, headers), only_merchant, received_at)
    except ValidationError as error:
        raise Unreadable(_explain(error)) from None


def order_of_record(record: OrderRecord, merchants: Merchants) -> Order:
    """The order in a record; the only merchant is used if it names none. Raises as `parse_order_paid`."""
    ids = merchants.ids
    return parse_order_paid(record.value, record.headers, ids[0] if len(ids) == 1 else None, record.timestamp)


def _event(value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]) -> OrderPaid:
    """The event: parsed at once if the value is a bare order, else searched for in the value.

    Raises Unreadable, ValidationError.
    """
    if value and not is_structured(value, headers):
        try:
            return OrderPaid.model_validate_json(value.removeprefix(BOM))
        except ValidationError:
            pass  # the way below reads what this one does not, and says better what is wrong
    return OrderPaid.model_validate_json(_known_fields(find_document(value, headers)))


def _known_fields(document: Mapping[str, object]) -> str:
    """The document without unknown fields, so that nothing in them can be an error.

    Raises Unreadable for what the model's JSON reader would reject without naming the field.
    """
    known = _fields_of(OrderPaid, document)
    if nests_too_deep(known.get("reference")):
        raise not_an_order(
            f"reference: it is nested deeper than {REFERENCE_MAX_DEPTH} lists and objects", "Flatten it."
        )
    try:
        text = json.dumps(known)
        surrogate = surrogate_in(known) if "\\ud" in text else None  # only then can it hold one
    except RecursionError:
        raise not_an_order("its JSON is nested too deeply", "Send fewer levels of lists and objects.") from None
    if surrogate is not None:
        what = f"{surrogate}: half of a surrogate pair, which is no character (an emoji was cut in two)"
        raise not_an_order(what, "Correct the shop's text.")
    return text


def _fields_of(model: type[BaseModel], given: object) -> dict[str, object]:
    """The fields of a model, nested ones too; a value of another type is left for the model to reject."""
    if not isinstance(given, Mapping):
        return given  # type: ignore[return-value]  # it is not what the annotation says, and the model will say so
    known = {name: given[name] for name in model.model_fields if name in given}
    if model is OrderPaid:
        if "customer" in known:
            known["customer"] = _fields_of(CustomerData, known["customer"])
        if isinstance(known.get("lines"), list):
            known["lines"] = [_fields_of(LineData, line) for line in known["lines"]]
    return known


def _explain(error: ValidationError) -> str:
    problems = tuple(_problems(error))
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return f"Not an order-paid event: {'; '.join(problems[:5])}{more}. See schemas/order-paid.v1.json."


def _problems(error: ValidationError) -> Iterator[str]:
    mistakes = error.errors(include_url=False, include_input=False, include_context=False)
    locations = [mistake["loc"] for mistake in mistakes]
    for mistake in mistakes:
        if any(_is_below(location, mistake["loc"]) for location in locations):
            continue  # of lines none of which can be read pydantic also says "no lines"; the line's own mistake helps
        location = ".".join(str(part) for part in mistake["loc"])
        message = (
            "it is not JSON" if mistake["type"] == "json_invalid" else mistake["msg"].removeprefix("Value error, ")
        )
        yield f"{location}: {message}" if location else message


def _is_below(location: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    return len(location) > len(other) > 0 and location[: len(other)] == other


def _order(event: OrderPaid, only_merchant: str | None, received_at: datetime | None) -> Order:
    customer = event.customer or _NO_CUSTOMER
    return Order(
        order_id=event.order_id,
        merchant_id=event.merchant_id or only_merchant or "",
        trade_no=event.trade_no,
        paid_at=event.paid_at,
        reference=event.reference,
        issue_type=ISSUE_TYPES[event.issue_type] if event.issue_type else None,
        print_type=_PRINT_TYPES[event.print_by] if event.print_by else None,
        immediate=event.immediate,
        store_id=event.store_id,
        operator=event.operator,
        received_at=received_at,
        customer=Customer(name=customer.name, phone=customer.phone, email=customer.email, address=customer.address),
        lines=tuple([_line(line) for line in event.lines]),
    )


_NO_CUSTOMER = CustomerData()


def _line(line: LineData) -> Line:
    return Line(
        sku=line.sku,
        quantity=line.quantity,
        name=line.name,
        unit_price=line.unit_price,
        voucher=voucher_kind(Voucher(line.voucher) if line.voucher else None, line.expire_date),
        start_date=line.start_date,
        expire_date=line.expire_date,
        issue_type=ISSUE_TYPES[line.issue_type] if line.issue_type else None,
        immediate=line.immediate,
    )
