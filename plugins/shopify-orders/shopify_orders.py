"""Shopify's order webhooks become orders of the adapter.

Written from Shopify's public documentation: the webhook topic `orders/paid` sends the REST resource Order as JSON, and
tells in HTTP headers what it is. Whoever writes the webhook to Kafka copies those headers to the record as they are:

    X-Shopify-Topic         must be `orders/paid`; records of another topic, or of none, are left to the next plugin
    X-Shopify-Shop-Domain   says which shop's it is, and so under which merchant its tickets are issued

The webhook's signature (X-Shopify-Hmac-SHA256) is for whoever receives it over HTTP; what is on the topic is believed.
README.md says which fields of the order are read, and what for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from adapter import Customer, DoesNotFit, InvalidOrder, IssueType, Line, Order, OrderRecord, Unreadable, hookimpl

TOPIC = b"orders/paid"
LINES_MAX = 200
IssueTypeName = Literal["convenience_store", "paper", "electronic", "serial_number"]
_CJK = re.compile(r"[\u3400-\u9fff]")
_MOBILE = re.compile(r"09[0-9]{8}")


class Settings(BaseModel):
    """The section `plugins.settings.shopify_orders`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    merchants: Annotated[dict[str, str], Field(description="MerchantID at ECPay by shop domain")] = {}
    issue_type: Annotated[IssueTypeName, Field(description="what kind of tickets lines are that do not say it")] = (
        "electronic"
    )
    date_property: Annotated[str, Field(description="line item property with the first day, as 2026-05-01")] = (
        "ticket_date"
    )
    type_property: Annotated[str, Field(description="line item property with the issue type")] = "ticket_type"
    trade_no_attribute: Annotated[str, Field(description="note attribute with the number of ECPay's payment")] = (
        "ecpay_trade_no"
    )


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Named(_Read):
    """A property of a line or an attribute of an order: whatever the shop wrote there."""

    name: str
    value: object = None


class _LineItem(_Read):
    sku: str | None = None
    quantity: int
    current_quantity: int | None = None
    title: str | None = None
    price: str
    properties: tuple[_Named, ...] = ()

    @property
    def pieces(self) -> int:
        """How many are still wanted: what was taken out of the order afterwards gets no tickets."""
        return self.quantity if self.current_quantity is None else self.current_quantity


class _Address(_Read):
    name: str | None = None
    phone: str | None = None
    province: str | None = None
    city: str | None = None
    address1: str | None = None
    address2: str | None = None


class _Person(_Read):
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    phone: str | None = None


class _ShopifyOrder(_Read):
    id: int
    name: str | None = None
    test: bool = False
    currency: str
    financial_status: str | None = None
    processed_at: AwareDatetime | None = None
    created_at: AwareDatetime | None = None
    email: str | None = None
    contact_email: str | None = None
    phone: str | None = None
    customer: _Person | None = None
    billing_address: _Address | None = None
    shipping_address: _Address | None = None
    note_attributes: tuple[_Named, ...] = ()
    line_items: tuple[_LineItem, ...]


class ShopifyOrders:
    """The plugin; without settings it serves a shop with one merchant."""

    settings_model = Settings

    def __init__(self) -> None:
        self._settings = Settings()

    @hookimpl
    def configure(self, settings: Settings) -> None:
        """Remember them."""
        self._settings = settings

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | None:
        """The order that a webhook of the topic `orders/paid` tells of.

        Raises Unreadable, InvalidOrder, DoesNotFit.
        """
        headers = {name.lower(): value for name, value in record.headers}
        if headers.get("x-shopify-topic") != TOPIC:
            return None
        domain = (headers.get("x-shopify-shop-domain") or b"").decode("utf-8", "replace")
        return _order(_read(record.value), domain, self._settings)


def _read(value: bytes | None) -> _ShopifyOrder:
    try:
        return _ShopifyOrder.model_validate_json(value or b"")
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False, include_context=False)
        told = [f"{'.'.join(map(str, mistake['loc'])) or 'the record'}: {mistake['type']}" for mistake in mistakes[:5]]
        raise Unreadable(
            f"Not an order of Shopify's: {'; '.join(told)}. See which webhook writes to the orders topic."
        ) from None


def _order(paid: _ShopifyOrder, domain: str, settings: Settings) -> Order:
    if paid.financial_status not in (None, "paid"):
        raise InvalidOrder(
            f"Shopify says of order {paid.id} that it is {paid.financial_status}, not paid. "
            "Send webhooks of the topic orders/paid and no others."
        )
    lines = tuple(_lines(paid, settings))
    if not lines:
        raise InvalidOrder(f"Of order {paid.id} nothing is wanted any more. Let it be.")
    if len(lines) > LINES_MAX:
        raise DoesNotFit(f"Order {paid.id} has {len(lines)} lines; {LINES_MAX} are allowed. Split it in the shop.")
    return Order(
        order_id=str(paid.id),
        merchant_id=settings.merchants.get(domain, ""),
        trade_no=_text(paid.note_attributes, settings.trade_no_attribute),
        paid_at=paid.processed_at or paid.created_at,
        reference={"shop": domain[:200], "name": (paid.name or "")[:64], "test": paid.test},
        issue_type=IssueType[settings.issue_type.upper()],
        customer=_customer(paid),
        lines=lines,
    )


def _lines(paid: _ShopifyOrder, settings: Settings) -> Iterator[Line]:
    for number, item in enumerate(paid.line_items, 1):
        if item.pieces < 1:
            continue
        place = f"line {number} of order {paid.id}"
        if not item.sku:
            raise InvalidOrder(f"The product in {place} has no SKU. Give it one in Shopify, and send the order again.")
        yield Line(
            sku=item.sku,
            quantity=item.pieces,
            name=item.title,
            unit_price=_dollars(item.price, paid.currency, place),
            start_date=_date(_text(item.properties, settings.date_property), place),
            issue_type=_issue_type(_text(item.properties, settings.type_property), place),
        )


def _dollars(price: str, currency: str, place: str) -> int:
    """Shopify writes money as text with two decimals, "1200.00"; ECTicket takes whole New Taiwan dollars."""
    if currency != "TWD":
        raise InvalidOrder(f"The price in {place} is in {currency}; ECTicket takes TWD. Sell tickets in TWD.")
    try:
        amount = Decimal(price)
        whole = int(amount)
    except (InvalidOperation, ValueError, OverflowError):
        raise InvalidOrder(f"The price in {place} is no number. Look at the webhook.") from None
    if amount != whole:
        raise InvalidOrder(
            f"The price in {place} has cents; ECTicket takes whole dollars. Correct the product's price."
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


def _text(named: tuple[_Named, ...], name: str) -> str | None:
    """The text under a name, None where there is none."""
    found = next((each.value for each in named if each.name == name), None)
    return found.strip() or None if isinstance(found, str) else None


def _customer(paid: _ShopifyOrder) -> Customer:
    person = paid.customer or _Person()
    shipping, billing = paid.shipping_address or _Address(), paid.billing_address or _Address()
    return Customer(
        name=shipping.name or billing.name or _full_name(person),
        phone=_phone(paid.phone, shipping.phone, billing.phone, person.phone),
        email=paid.email or paid.contact_email or person.email,
        address=_address(shipping) or _address(billing),
    )


def _full_name(person: _Person) -> str | None:
    """王小明, and Alice Chen: Chinese names begin with the family's and have no space."""
    first, last = person.first_name or "", person.last_name or ""
    if _CJK.search(first + last):
        return last + first
    return f"{first} {last}".strip() or None


def _phone(*given: str | None) -> str | None:
    """The first Taiwanese mobile number as ECTicket wants it, 0912345678; the first number at all where none is one."""
    numbers = [phone for phone in given if phone]
    mobiles = [mobile for mobile in map(_domestic, numbers) if _MOBILE.fullmatch(mobile)]
    return next(iter(mobiles or numbers), None)


def _domestic(phone: str) -> str:
    """+886 912-345-678, 886912345678, 00886 (0)912 345 678: all are 0912345678."""
    digits = re.sub(r"[^0-9]", "", phone)
    return re.sub(r"^(?:00)?8860?(?=9[0-9]{8}$)", "0", digits)


def _address(address: _Address) -> str | None:
    """One line, from the large to the small, as addresses are written in Taiwan."""
    steps = (address.province, address.city, address.address1, address.address2)
    text = "".join(dict.fromkeys(step.strip() for step in steps if step))
    return text or None
