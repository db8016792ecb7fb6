"""Issue: requests tickets (page "Ticket Issuance", developers.ecpay.com.tw/32163; family `issuance`: 40335).

This is the one request that costs money. RtnCode 1 means issued only for paper tickets; for the other types it means
*received*, and `query_issue_result` gives the result. `rules` has the rules that a request must follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum, unique
from typing import Self

from msgspec import Struct

from adapter.errors import UnreadableReply
from adapter.protocol.fields import Payload, integer, objects, optional_integer, optional_text
from adapter.protocol.taipei import compact_date
from adapter.values import PartlyShown, public_value


@unique
class IssueType(StrEnum):
    """IssueType, String(1): the form in which tickets reach the customer."""

    CONVENIENCE_STORE = "1"
    """Collected at a convenience store; at most 8 tickets per call."""
    PAPER = "2"
    """Printed on paper; issued during the call."""
    ELECTRONIC = "3"
    """Sent to the customer's phone and mail."""
    SERIAL_NUMBER = "4"
    """Serial numbers only, for products that need not be listed with ECPay."""


@unique
class PrintType(StrEnum):
    """PrintType, String(1): who prints paper tickets."""

    ECPAY = "1"
    MERCHANT = "2"


@unique
class TradeNoKind(StrEnum):
    """Which of the two numbers identifies an issuance."""

    MERCHANT = "merchant"
    """MerchantTradeNo, String(25): the order includes a pickup voucher (提貨券)."""
    FREE = "free"
    """FreeTradeNo, String(20): all items are gift vouchers (贈品券)."""

    @property
    def field_name(self) -> str:
        """The field's name on the wire."""
        return _TRADE_NO_FIELDS[self]


_TRADE_NO_FIELDS = {TradeNoKind.MERCHANT: "MerchantTradeNo", TradeNoKind.FREE: "FreeTradeNo"}


@public_value
class TradeNo(Struct, frozen=True, kw_only=True):
    """The number of an issuance: letters and digits, unique per merchant, not reused even after a failure."""

    kind: TradeNoKind
    value: str

    def to_payload(self) -> dict[str, object]:
        """Write the one of the two fields that is filled."""
        return {self.kind.field_name: self.value}

    @classmethod
    def from_payload(cls, payload: Payload) -> Self | None:
        """Read the one of the two fields that is filled; MerchantTradeNo if both are, None if none is.

        Raises:
            UnreadableReply: a number is no text.
        """
        for kind, name in _TRADE_NO_FIELDS.items():
            value = optional_text(payload, name)
            if value is not None:
                return cls(kind=kind, value=value)
        return None


@public_value
class TicketInfo(Struct, frozen=True, kw_only=True):
    """One entry of TicketInfo: how many tickets of which item.

    `item_no` String(8) names a listed product (all types except serial numbers); `item_name` String(20) and
    `ticket_price` (NT$, whole) describe a serial number's product. `start_date` only for electronic presale tickets;
    `expire_date` for gift vouchers, and only for them.
    """

    item_no: str | None = None
    item_name: str | None = None
    ticket_price: int | None = None
    ticket_amount: int
    start_date: date | None = None
    expire_date: date | None = None

    def to_payload(self) -> dict[str, object]:
        """Write the entry, dates as yyyymmdd, absent fields left out."""
        return _present(
            {
                "ItemNo": self.item_no,
                "ItemName": self.item_name,
                "TicketPrice": self.ticket_price,
                "TicketAmount": self.ticket_amount,
                "StartDate": None if self.start_date is None else compact_date(self.start_date),
                "ExpireDate": None if self.expire_date is None else compact_date(self.expire_date),
            }
        )


@public_value
class IssueRequest(PartlyShown, frozen=True, kw_only=True):
    """The content of one Issue call; `repr` shows no customer data.

    `is_immediate` (electronic only): usable at once, else from each item's `start_date`. `store_id` None means the head
    office. `payment_provider` only in family `issuance`: "1" paid through ECPay, else "2".
    """

    PRIVATE = ("customer_name", "customer_phone", "customer_email", "customer_address")

    merchant_id: str
    trade_no: TradeNo
    issue_type: IssueType
    operator: str
    ticket_info: tuple[TicketInfo, ...]
    print_type: PrintType | None = None
    is_immediate: bool | None = None
    store_id: str | None = None
    refund_notify_url: str | None = None
    use_status_notify_url: str | None = None
    customer_name: str | None = None
    customer_phone: str | None = None
    customer_email: str | None = None
    customer_address: str | None = None
    payment_provider: str | None = None

    def to_payload(self) -> dict[str, object]:
        """Write the plaintext of `Data`, fields in the page's order, absent ones left out."""
        return _present(
            {
                "MerchantID": self.merchant_id,
                self.trade_no.kind.field_name: self.trade_no.value,
                "IssueType": self.issue_type,
                "PrintType": self.print_type,
                "IsImmediate": None if self.is_immediate is None else ("1" if self.is_immediate else "2"),
                "PaymentProvider": self.payment_provider,
                "RefundNotifyURL": self.refund_notify_url,
                "UseStatusNotifyURL": self.use_status_notify_url,
                "StoreID": self.store_id,
                "Operator": self.operator,
                "CustomerName": self.customer_name,
                "CustomerPhone": self.customer_phone,
                "CustomerEmail": self.customer_email,
                "CustomerAddress": self.customer_address,
                "TicketInfo": [entry.to_payload() for entry in self.ticket_info],
            }
        )


class IssuedItem(Struct, frozen=True, kw_only=True):
    """One entry of TicketData: what ECTicket has accepted.

    `item_no` for listed products; `item_name` and `ticket_price` (NT$) for serial numbers.
    """

    item_no: str | None
    item_name: str | None
    ticket_price: int | None
    ticket_amount: int

    @classmethod
    def from_payload(cls, payload: Payload) -> Self:
        """Read one entry.

        Raises:
            UnreadableReply: TicketAmount is missing, or a field is of another type.
        """
        return cls(
            item_no=optional_text(payload, "ItemNo"),
            item_name=optional_text(payload, "ItemName"),
            ticket_price=optional_integer(payload, "TicketPrice"),
            ticket_amount=integer(payload, "TicketAmount"),
        )


class IssueReply(Struct, frozen=True, kw_only=True):
    """The answer to Issue.

    `rtn_code` 1: received (paper: issued); anything else is a refusal; no readable page of ECPay documents these
    numbers. `ticket_trade_no` String(16) is ECTicket's own number. `items` is empty for a refusal and if TicketData is
    absent, and None if it cannot be read; RtnCode 1 counts all the same.
    """

    rtn_code: int
    rtn_msg: str
    trade_no: TradeNo | None
    ticket_trade_no: str | None
    items: tuple[IssuedItem, ...] | None

    @classmethod
    def from_payload(cls, payload: Payload) -> Self:
        """Read the answer; TicketData is read only if RtnCode is 1.

        Raises:
            UnreadableReply: RtnCode is missing, or a field other than TicketData is of another type.
        """
        rtn_code = integer(payload, "RtnCode")
        return cls(
            rtn_code=rtn_code,
            rtn_msg=optional_text(payload, "RtnMsg") or "",
            trade_no=TradeNo.from_payload(payload),
            ticket_trade_no=optional_text(payload, "TicketTradeNo"),
            items=_ticket_data(payload) if rtn_code == 1 else (),
        )


def _ticket_data(payload: Payload) -> tuple[IssuedItem, ...] | None:
    try:
        return tuple(map(IssuedItem.from_payload, objects(payload, "TicketData")))
    except UnreadableReply:
        return None


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    """Leave out what is absent."""
    return {name: value for name, value in fields.items() if value is not None}
