"""The order-paid event as it comes in: a CloudEvent (binary or structured) or bare JSON, read strictly by type.

The model is the schema `schemas/order-paid.v1.json`. Whether the values make sense to ECTicket is not decided here:
`protocol.rules` judges the mapped order. No error quotes a value, since nearly all of them may be personal.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from datetime import date
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
from adapter.issuance.order import (
    LINES_MAX,
    ORDER_ID_MAX_CHARACTERS,
    REFERENCE_MAX_BYTES,
    REFERENCE_MAX_DEPTH,
    Customer,
    Line,
    Order,
    Voucher,
    nests_too_deep,
)
from adapter.protocol.issue import IssueType, PrintType

IssueTypeText = Literal["convenience_store", "paper", "electronic", "serial_number"]
ISSUE_TYPES: Mapping[str, IssueType] = {
    "convenience_store": IssueType.CONVENIENCE_STORE,
    "paper": IssueType.PAPER,
    "electronic": IssueType.ELECTRONIC,
    "serial_number": IssueType.SERIAL_NUMBER,
}
ISSUE_TYPE_TEXTS: Mapping[IssueType, IssueTypeText] = {
    kind: text  # type: ignore[misc]  # the keys of ISSUE_TYPES are exactly the literal's texts
    for text, kind in ISSUE_TYPES.items()
}
_PRINT_TYPES = {"ecpay": PrintType.ECPAY, "merchant": PrintType.MERCHANT}

Quantity = Annotated[int, Field(ge=1, le=1_000_000)]


def _written_time(value: object) -> object:
    """Refuse numbers, also as text (`"1700000000"`), which pydantic would take for a time and guess their unit."""
    if not isinstance(value, str) or value.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError("it must be text in RFC 3339 form, 2026-01-31T12:00:00+08:00")
    return value


Moment = Annotated[AwareDatetime, Strict(strict=False), BeforeValidator(_written_time)]
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
    unit_price: int | None = None
    """Price of one piece in New Taiwan dollars."""
    voucher: Literal["pickup", "gift"] = "pickup"
    """Pickup voucher (提貨券) or gift voucher (贈品券)."""
    start_date: date | None = None
    """First day of use; only electronic tickets that are not immediate."""
    expire_date: date | None = None
    """Last day of use; gift vouchers only."""
    issue_type: IssueTypeText | None = None
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
    issue_type: IssueTypeText | None = None
    """What kind of tickets, for lines that do not say it themselves."""
    print_by: Literal["ecpay", "merchant"] | None = None
    """Paper tickets only: who prints."""
    immediate: bool = True
    """Electronic tickets only: usable at once; false needs `start_date` on the lines."""
    store_id: str | None = None
    """Branch that issues; default from the settings."""
    operator: str | None = None
    """Operator on record; default from the settings."""
    customer: CustomerData = CustomerData()
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
    value: bytes | None, headers: tuple[tuple[str, bytes | None], ...], only_merchant: str | None
) -> Order:
    """The order an event tells of; `only_merchant` stands in where it names none.

    Raises Unreadable saying which fields are wrong and how, never their values.
    """
    if not value:
        raise Unreadable("The record is empty (a tombstone). An order-paid event must carry its order as JSON.")
    try:
        return _order(OrderPaid.model_validate_json(_event_data(value, headers)), only_merchant)
    except ValidationError as error:
        raise Unreadable(_explain(error)) from None


def _event_data(value: bytes, headers: tuple[tuple[str, bytes | None], ...]) -> bytes:
    """What the event says, taken out of a structured CloudEvent where it is one."""
    content_type = next((text for name, text in headers if name.lower() == "content-type"), None) or b""
    looks_structured = b'"specversion"' in value
    if not content_type.lower().startswith(b"application/cloudevents") and not looks_structured:
        return value
    try:
        event = json.loads(value)
        if not isinstance(event, dict) or "specversion" not in event:
            return value
        if "data" in event:
            return json.dumps(event["data"]).encode()
    except (ValueError, RecursionError):
        return value  # the schema says what is wrong with it
    try:
        return base64.b64decode(event.get("data_base64", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Unreadable("The CloudEvent's data_base64 is not base64. Send the order as JSON in `data`.") from None


def _explain(error: ValidationError) -> str:
    problems = tuple(_problems(error))
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return f"Not an order-paid event: {'; '.join(problems[:5])}{more}. See schemas/order-paid.v1.json."


def _problems(error: ValidationError) -> Iterator[str]:
    mistakes = error.errors(include_url=False, include_input=False, include_context=False)
    places = [mistake["loc"] for mistake in mistakes]
    for mistake in mistakes:
        if any(_is_below(place, mistake["loc"]) for place in places):
            continue  # of lines none of which can be read pydantic also says "no lines"; the line's own mistake helps
        place = ".".join(str(part) for part in mistake["loc"])
        message = (
            "it is not JSON" if mistake["type"] == "json_invalid" else mistake["msg"].removeprefix("Value error, ")
        )
        yield f"{place}: {message}" if place else message


def _is_below(place: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    return len(place) > len(other) > 0 and place[: len(other)] == other


def _order(event: OrderPaid, only_merchant: str | None) -> Order:
    customer = event.customer
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
        customer=Customer(name=customer.name, phone=customer.phone, email=customer.email, address=customer.address),
        lines=tuple(_line(line) for line in event.lines),
    )


def _line(line: LineData) -> Line:
    return Line(
        sku=line.sku,
        quantity=line.quantity,
        name=line.name,
        unit_price=line.unit_price,
        voucher=Voucher(line.voucher),
        start_date=line.start_date,
        expire_date=line.expire_date,
        issue_type=ISSUE_TYPES[line.issue_type] if line.issue_type else None,
    )
