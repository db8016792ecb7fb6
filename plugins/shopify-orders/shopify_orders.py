"""Shopify's order webhooks become orders of the adapter.

Written from Shopify's public documentation: the webhook topic `orders/paid` sends the REST resource Order as JSON, and
describes it in HTTP headers. The program that writes the webhook to Kafka copies these headers to the record:

    X-Shopify-Topic         `orders/paid` is read; webhooks of other topics are ignored; records without it are left to
                            the next plugin
    X-Shopify-Shop-Domain   the shop, and so the merchant under which its tickets are issued

Cancelled and refunded orders are ignored, and so are orders of which no line is a ticket. Tips, gift cards and custom
items are left out of an order.

The program that receives the webhook over HTTP checks its signature (X-Shopify-Hmac-SHA256); records on the topic are
trusted.
README.md says which fields of the order are read, and what for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adapter import (
    Customer,
    DoesNotFit,
    Ignore,
    InvalidOrder,
    IssueType,
    Line,
    Order,
    OrderRecord,
    Skip,
    Unreadable,
    hookimpl,
)

TOPIC = "orders/paid"
PAID = frozenset({None, "paid", "partially_refunded"})
UNWANTED = frozenset({"refunded", "voided"})
EXACT_MAX = 2**53
"""Beyond it a number with a decimal point does not keep all its digits."""
LINES_MAX = 200
IssueTypeName = Literal["convenience_store", "paper", "electronic", "serial_number"]
_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff·．・]+")
REFERENCE = {"shop", "name", "test"}
_MOBILE = re.compile(r"09[0-9]{8}")


class Settings(BaseModel):
    """The section `plugins.settings.shopify_orders`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    merchants: Annotated[dict[str, str], Field(description="MerchantID at ECPay by shop domain")] = {}
    issue_type: Annotated[IssueTypeName, Field(description="the kind of tickets for lines that do not name it")] = (
        "electronic"
    )
    date_property: Annotated[str, Field(description="line item property with the first day, as 2026-05-01")] = (
        "ticket_date"
    )
    type_property: Annotated[str, Field(description="line item property with the issue type")] = "ticket_type"
    trade_no_attribute: Annotated[str, Field(description="note attribute with the number of ECPay's payment")] = (
        "ecpay_trade_no"
    )
    without_sku: Annotated[Literal["park", "leave_out"], Field(description="what happens to a product without SKU")] = (
        "park"
    )
    skip_test_orders: Annotated[bool, Field(description="whether orders with `test: true` get no tickets")] = False
    other_topics: Annotated[
        Literal["ignore", "pass_on"], Field(description="what happens to Shopify's webhooks of other topics")
    ] = "ignore"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)


class _Named(_Read):
    """A property of a line or an attribute of an order; the shop decides its value."""

    name: object = None
    value: object = None


def _no_list(value: object) -> object:
    return () if value is None else value


_NamedList = Annotated[tuple[_Named, ...], BeforeValidator(_no_list)]


class _LineItem(_Read):
    id: int | None = None
    product_id: int | None = None
    product_exists: bool | None = None
    sku: str | None = None
    quantity: int
    current_quantity: int | None = None
    title: str | None = None
    price: str
    gift_card: bool | None = None
    tip_payment_gateway: object = None
    tip_payment_method: object = None
    properties: _NamedList = ()

    @property
    def never_a_ticket(self) -> bool:
        """A tip (only tips have `tip_payment_gateway`, which may be null), a gift card, or an item typed in by hand."""
        is_tip = bool({"tip_payment_gateway", "tip_payment_method"} & self.model_fields_set)
        has_no_product = self.product_exists is False or ("product_id" in self.model_fields_set and not self.product_id)
        return is_tip or self.gift_card is True or (has_no_product and not self.sku)


class _RefundedLine(_Read):
    line_item_id: int | None = None
    quantity: int = 0


class _Refund(_Read):
    refund_line_items: Annotated[tuple[_RefundedLine, ...], BeforeValidator(_no_list)] = ()


class _Address(_Read):
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
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
    test: bool | None = None
    cancelled_at: str | None = None
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
    note_attributes: _NamedList = ()
    line_items: tuple[_LineItem, ...]
    refunds: Annotated[tuple[_Refund, ...], BeforeValidator(_no_list)] = ()

    def pieces(self, item: _LineItem) -> int:
        """The number of pieces that still get tickets: refunded and removed ones do not.

        Shopify's `current_quantity` has it; API versions before 2024-01 have only the refunds.
        """
        if item.current_quantity is not None:
            return item.current_quantity
        refunded = (line for refund in self.refunds for line in refund.refund_line_items)
        return item.quantity - sum(line.quantity for line in refunded if line.line_item_id == item.id)


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
    def parse_order(self, record: OrderRecord) -> Order | Ignore | None:
        """The order in a webhook of the topic `orders/paid`.

        Raises Unreadable, InvalidOrder, DoesNotFit.
        """
        headers = {name.lower(): value for name, value in record.headers}
        topic = (headers.get("x-shopify-topic") or b"").decode("utf-8", "replace")
        if topic != TOPIC:
            return Ignore(f"topic {topic}") if topic and self._settings.other_topics == "ignore" else None
        domain = (headers.get("x-shopify-shop-domain") or b"").decode("utf-8", "replace")
        return _order(_read(record.value), domain, self._settings)

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        """Skip Shopify's test orders, if the settings say so."""
        reference = order.reference
        is_test = isinstance(reference, dict) and reference.keys() == REFERENCE and reference["test"] is True
        return Skip("a test order of Shopify's") if is_test and self._settings.skip_test_orders else None


def _read(value: bytes | None) -> _ShopifyOrder:
    try:
        return _ShopifyOrder.model_validate_json(value or b"")
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False, include_context=False)
        problems = [
            f"{'.'.join(map(str, mistake['loc'])) or 'the record'}: {mistake['type']}" for mistake in mistakes[:5]
        ]
        raise Unreadable(
            f"Not an order of Shopify's: {'; '.join(problems)}. See which webhook writes to the orders topic."
        ) from None


def _order(paid: _ShopifyOrder, domain: str, settings: Settings) -> Order | Ignore:
    if paid.cancelled_at is not None:
        return Ignore("cancelled")
    if paid.financial_status in UNWANTED:
        return Ignore(f"{paid.financial_status}")
    if paid.financial_status not in PAID:
        raise InvalidOrder(
            f"Order {paid.id} is not paid at Shopify (financial_status). Send only webhooks of the topic orders/paid."
        )
    lines = tuple(_lines(paid, settings))
    if not lines:
        return Ignore("no line is a ticket")
    if len(lines) > LINES_MAX:
        raise DoesNotFit(f"Order {paid.id} has {len(lines)} lines; {LINES_MAX} are allowed. Split it in the shop.")
    return Order(
        order_id=str(paid.id),
        merchant_id=settings.merchants.get(domain, ""),
        trade_no=_text(paid.note_attributes, settings.trade_no_attribute, f"order {paid.id}"),
        paid_at=paid.processed_at or paid.created_at,
        reference={"shop": domain[:200], "name": (paid.name or "")[:64], "test": paid.test is True},
        issue_type=IssueType[settings.issue_type.upper()],
        customer=_customer(paid),
        lines=lines,
    )


def _lines(paid: _ShopifyOrder, settings: Settings) -> Iterator[Line]:
    for number, item in enumerate(paid.line_items, 1):
        pieces = paid.pieces(item)
        if pieces < 1 or item.never_a_ticket or (not item.sku and settings.without_sku == "leave_out"):
            continue
        place = f"line {number} of order {paid.id}"
        if not item.sku:
            raise InvalidOrder(
                f"The product in {place} has no SKU. Give it one in Shopify, and send the order again. If it is no "
                "ticket, set plugins.settings.shopify_orders.without_sku to leave_out."
            )
        yield Line(
            sku=item.sku,
            quantity=pieces,
            name=item.title,
            unit_price=_dollars(item.price, paid.currency, place),
            start_date=_date(_text(item.properties, settings.date_property, place), place),
            issue_type=_issue_type(_text(item.properties, settings.type_property, place), place),
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


def _text(named: tuple[_Named, ...], name: str, place: str) -> str | None:
    """The text under a name, None if there is none; a number becomes its digits."""
    value = next((each.value for each in named if each.name == name), None)
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_MAX:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    raise InvalidOrder(
        f"The attribute {name} of {place} is neither text nor a whole number that JSON keeps. Write it as text."
    )


def _customer(paid: _ShopifyOrder) -> Customer:
    person = paid.customer or _Person()
    shipping, billing = paid.shipping_address or _Address(), paid.billing_address or _Address()
    return Customer(
        name=_name(shipping) or _name(billing) or _full_name(person.first_name, person.last_name),
        phone=_phone(paid.phone, shipping.phone, billing.phone, person.phone),
        email=paid.email or paid.contact_email or person.email,
        address=_address(shipping) or _address(billing),
    )


def _name(address: _Address) -> str | None:
    """The address's name; Shopify's `name` is the given name, a blank, and the family name."""
    if address.first_name or address.last_name:
        return _full_name(address.first_name, address.last_name)
    first, _, last = (address.name or "").strip().partition(" ")
    if len(first) == 1 and len(last) > 1:  # 王 小明, as a customer typed it into one field
        first, last = last, first
    return _full_name(first, last.strip())


def _full_name(first: str | None, last: str | None) -> str | None:
    """王小明, and Alice Chen: Chinese names begin with the family's and have no blank."""
    first, last = (first or "").strip(), (last or "").strip()
    if _CJK.fullmatch(first) and _CJK.fullmatch(last):
        return last + first
    return f"{first} {last}".strip() or None


def _phone(*given: str | None) -> str | None:
    """The first Taiwanese mobile number as ECTicket wants it, 0912345678; the first number of all if none is mobile."""
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
