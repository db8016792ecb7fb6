"""WooCommerce's order webhooks become orders of the adapter.

Written from WooCommerce's public documentation: the webhooks `order.created` and `order.updated` send an order as the
REST API (version 3) shows it. The program that writes a webhook to Kafka copies two of its HTTP headers to the record:

    X-WC-Webhook-Topic    `order.created`, `order.updated` and `order.restored` are read; other topics are ignored;
                          records without it are left to the next plugin
    X-WC-Webhook-Source   the shop's address, and so the merchant under which its tickets are issued

WooCommerce has no webhook for a payment. An order is read once its status says that it is paid; in every other status
it is ignored, because a later webhook brings it again.
README.md says which fields of the order are read, and what for.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adapter import (
    Customer,
    DoesNotFit,
    Ignore,
    InvalidOrder,
    IssueType,
    Line,
    Order,
    OrderRecord,
    Unreadable,
    hookimpl,
)

TOPICS = frozenset({"order.created", "order.updated", "order.restored"})
EXACT_MAX = 2**53
"""Beyond it a number with a decimal point does not keep all its digits."""
LINES_MAX = 200
IssueTypeName = Literal["convenience_store", "paper", "electronic", "serial_number"]
_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff·．・]+")
_PING = re.compile(rb"webhook_id=[0-9]+")


class Settings(BaseModel):
    """The section `plugins.settings.woocommerce_orders`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    merchants: Annotated[dict[str, str], Field(description="MerchantID at ECPay by the shop's host name")] = {}
    issue_type: Annotated[IssueTypeName, Field(description="the kind of tickets for lines that do not name it")] = (
        "electronic"
    )
    paid_statuses: Annotated[tuple[str, ...], Field(description="the statuses of an order that is paid")] = (
        "processing",
        "completed",
    )
    paid_from: Annotated[date | None, Field(description="orders paid before this day (in UTC) are ignored")] = None
    date_meta: Annotated[str, Field(description="line item meta with the first day, as 2026-05-01")] = "ticket_date"
    type_meta: Annotated[str, Field(description="line item meta with the issue type")] = "ticket_type"
    trade_no_meta: Annotated[str, Field(description="order meta with the number of ECPay's payment")] = (
        "_wooecpay_payment_merchant_trade_no"
    )
    trade_no_payments: Annotated[
        str, Field(description="how the payment methods begin whose number that is; empty: all of them")
    ] = "Wooecpay"
    without_sku: Annotated[Literal["park", "leave_out"], Field(description="what happens to a product without SKU")] = (
        "park"
    )
    partially_refunded: Annotated[
        Literal["park", "issue"], Field(description="what happens to a paid order with refunds")
    ] = "park"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)


def _no_list(value: object) -> object:
    return () if value is None else value


class _Meta(_Read):
    key: object = None
    value: object = None


_MetaList = Annotated[tuple[_Meta, ...], BeforeValidator(_no_list)]


class _LineItem(_Read):
    name: str | None = None
    sku: str | None = None
    quantity: int
    subtotal: str
    subtotal_tax: str | None = None
    meta_data: _MetaList = ()


class _Address(_Read):
    first_name: str | None = None
    last_name: str | None = None
    state: str | None = None
    city: str | None = None
    address_1: str | None = None
    address_2: str | None = None
    email: str | None = None
    phone: str | None = None


class _WooCommerceOrder(_Read):
    id: int
    number: str | None = None
    status: str
    currency: str
    date_paid_gmt: datetime | None = None
    payment_method: str | None = None
    billing: _Address = _Address()
    shipping: _Address = _Address()
    meta_data: _MetaList = ()
    line_items: tuple[_LineItem, ...]
    refunds: Annotated[tuple[object, ...], BeforeValidator(_no_list)] = ()

    @property
    def paid_at(self) -> datetime | None:
        """WooCommerce writes it without a zone."""
        paid = self.date_paid_gmt
        return paid.replace(tzinfo=UTC) if paid and paid.tzinfo is None else paid


class WooCommerceOrders:
    """The plugin; without settings it serves a shop with one merchant."""

    settings_model = Settings

    def __init__(self) -> None:
        self._settings = Settings()

    @hookimpl
    def configure(self, settings: Settings) -> None:
        """Remember them."""
        self._settings = settings

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | Ignore | None:
        """The order in a webhook, or why there are no tickets in it.

        Raises Unreadable, InvalidOrder, DoesNotFit.
        """
        headers = {name.lower(): (value or b"").decode("utf-8", "replace") for name, value in record.headers}
        topic = headers.get("x-wc-webhook-topic")
        if not topic:
            is_ping = record.value is not None and _PING.fullmatch(record.value)
            return Ignore("ping of a new webhook") if is_ping else None
        if topic not in TOPICS:
            return Ignore(f"topic {topic}")
        return _order(_read(record.value), _host(headers.get("x-wc-webhook-source", "")), self._settings)


def _host(source: str) -> str:
    try:
        return urlsplit(source).hostname or ""
    except ValueError:
        return ""


def _read(value: bytes | None) -> _WooCommerceOrder:
    try:
        return _WooCommerceOrder.model_validate_json(value or b"")
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False, include_context=False)
        found = [f"{'.'.join(map(str, mistake['loc'])) or 'the record'}: {mistake['type']}" for mistake in mistakes[:5]]
        raise Unreadable(
            f"Not an order of WooCommerce's: {'; '.join(found)}. See which webhook writes to the orders topic."
        ) from None


def _order(paid: _WooCommerceOrder, host: str, settings: Settings) -> Order | Ignore:
    if paid.status not in settings.paid_statuses:
        return Ignore(f"status {paid.status}")
    if settings.paid_from and paid.paid_at and paid.paid_at.date() < settings.paid_from:
        return Ignore("paid before paid_from")
    if paid.refunds and settings.partially_refunded == "park":
        raise InvalidOrder(
            f"Order {paid.id} is paid and has refunds, and WooCommerce does not say of which lines. Issue its tickets "
            "by hand, or set plugins.settings.woocommerce_orders.partially_refunded to issue."
        )
    lines = tuple(_lines(paid, settings))
    if not lines:
        return Ignore("no line is a ticket")
    if len(lines) > LINES_MAX:
        raise DoesNotFit(f"Order {paid.id} has {len(lines)} lines; {LINES_MAX} are allowed. Split it in the shop.")
    return Order(
        order_id=str(paid.id),
        merchant_id=settings.merchants.get(host, ""),
        trade_no=_trade_no(paid, settings),
        paid_at=paid.paid_at,
        reference={"shop": host[:200], "number": (paid.number or "")[:64]},
        issue_type=IssueType[settings.issue_type.upper()],
        customer=_customer(paid),
        lines=lines,
    )


def _trade_no(paid: _WooCommerceOrder, settings: Settings) -> str | None:
    """The payment's number; a number of an earlier attempt to pay in another way does not count."""
    if not (paid.payment_method or "").startswith(settings.trade_no_payments):
        return None
    return _text(paid.meta_data, settings.trade_no_meta, f"order {paid.id}")


def _lines(paid: _WooCommerceOrder, settings: Settings) -> Iterator[Line]:
    for number, item in enumerate(paid.line_items, 1):
        if item.quantity < 1 or (not item.sku and settings.without_sku == "leave_out"):
            continue
        place = f"line {number} of order {paid.id}"
        if not item.sku:
            raise InvalidOrder(
                f"The product in {place} has no SKU. Give it one in WooCommerce, and send the order again. If it is "
                "no ticket, set plugins.settings.woocommerce_orders.without_sku to leave_out."
            )
        yield Line(
            sku=item.sku,
            quantity=item.quantity,
            name=html.unescape(item.name) if item.name else None,
            unit_price=_dollars(item, paid.currency, place),
            start_date=_date(_text(item.meta_data, settings.date_meta, place), place),
            issue_type=_issue_type(_text(item.meta_data, settings.type_meta, place), place),
        )


def _dollars(item: _LineItem, currency: str, place: str) -> int:
    """The price of one piece before discounts, with tax: WooCommerce writes the line's sum, "2400.00"."""
    if currency != "TWD":
        raise InvalidOrder(f"The price in {place} is in {currency}; ECTicket takes TWD. Sell tickets in TWD.")
    try:
        amount = (Decimal(item.subtotal) + Decimal(item.subtotal_tax or 0)) / item.quantity
        whole = int(amount)
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidOrder(f"The price in {place} is no number. Look at the webhook.") from None
    if amount != whole:
        raise InvalidOrder(
            f"The price of one piece in {place} has cents; ECTicket takes whole dollars. Correct the product's price."
        )
    return whole


def _date(text: str | None, place: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text.replace("/", "-"))
    except ValueError:
        raise InvalidOrder(f"The ticket's first day in {place} is no day like 2026-05-01. Correct the form.") from None


def _issue_type(text: str | None, place: str) -> IssueType | None:
    if text is None:
        return None
    try:
        return IssueType[text.upper()]
    except KeyError:
        known = ", ".join(kind.name.lower() for kind in IssueType)
        raise InvalidOrder(f"The ticket type in {place} is none of {known}. Correct the form.") from None


def _text(meta: tuple[_Meta, ...], key: str, place: str) -> str | None:
    """The text under a key, None if there is none; of several the last, which WooCommerce wrote last."""
    value = next((each.value for each in reversed(meta) if each.key == key), None)
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_MAX:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    raise InvalidOrder(
        f"The meta {key} of {place} is neither text nor a whole number that JSON keeps. Write it as text."
    )


def _customer(paid: _WooCommerceOrder) -> Customer:
    billing, shipping = paid.billing, paid.shipping
    return Customer(
        name=_full_name(shipping) or _full_name(billing),
        phone=shipping.phone or billing.phone or None,
        email=billing.email or shipping.email or None,
        address=_address(shipping) or _address(billing),
    )


def _full_name(address: _Address) -> str | None:
    """王小明, and Alice Chen: Chinese names begin with the family's and have no blank."""
    first, last = (address.first_name or "").strip(), (address.last_name or "").strip()
    if _CJK.fullmatch(first) and _CJK.fullmatch(last):
        return last + first
    return f"{first} {last}".strip() or None


def _address(address: _Address) -> str | None:
    """One line, from the large to the small, as addresses are written in Taiwan; a state's code is left out."""
    state = None if (address.state or "").isascii() else address.state
    steps = (state, address.city, address.address_1, address.address_2)
    text = "".join(dict.fromkeys(step.strip() for step in steps if step))
    return text or None
