"""Opens and answers ECTicket's notifications of refunds and of used tickets (pages 32228 and 46921).

ECPay posts a notification in the form of a request and expects an answer with RtnCode 1. Only parts of the pages' field
lists could be read, and the meaning of UseStatus is disputed. So this module reads leniently: a notification with a
valid checksum is never rejected because of another missing field, or of a new or oddly typed one. It uses only what is
signed in the envelope.

A valid checksum alone makes no notification: requests, answers and this module's own answers are signed with the same
keys, and anyone who has recorded one can post it. The envelope's shape and time are not signed, so only the fields
distinguish them: a notification names a status or a refunded amount, and nothing that only requests and answers have.
Two answers cannot be distinguished, because no source lists their fields: those of QueryTicketStatus and
QueryRefundInfo, which the adapter never asks for. What they say is true as well.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import TypeGuard, TypeVar

from adapter.errors import NotANotification, UnreadableReply, WrongAddressee
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.envelope import Request, open_request, seal_response
from adapter.protocol.fields import Payload, optional_integer, optional_text
from adapter.protocol.issue import TradeNo
from adapter.protocol.order_detail import UseStatus

MEANINGS: Mapping[int, tuple[UseStatus, ...]] = {
    1: (UseStatus.UNUSED, UseStatus.REDEEMED),
    2: (UseStatus.REDEEMED, UseStatus.REFUNDED),
    3: (UseStatus.REFUNDED,),
    4: (UseStatus.EXPIRED,),
}
"""What each UseStatus may mean: every meaning that some source gives it, because the page's own list could not be read.

ECPay's sample code says 1 redeemed, 2 refunded; the answers to queries say 1 unused, 2 redeemed, 3 refunded, 4 expired.
"""

PLAIN_FIELDS = frozenset(
    {
        "MerchantID", "RtnCode", "RtnMsg", "MerchantTradeNo", "FreeTradeNo", "TicketTradeNo", "UseStatus",
        "TradeAmount", "TotalRefundAmount", "RefundAmount", "TotalRefundFee", "RefundFee", "ItemNo", "ItemName",
        "TicketType", "TicketAmount", "StartDate", "WriteOffDate", "RefundDate", "ExpiredDate",
    }
)  # fmt: skip
"""Fields that identify neither a customer nor a ticket."""

_REFUND_FIELDS = ("RefundAmount", "TotalRefundAmount")
_STATUS_FIELDS = ("UseStatus", "TicketNo")
_ANY_OF = ("UseStatus", *_REFUND_FIELDS)
"""A notification has one of these, by every source: without one, it would report nothing."""
_NONE_OF = ("Action", "Operator", "RedeemAmount", "RedeemCount", "TicketList")
"""Fields of redemption and refund requests (pages 29926 and 29931) and of the answer of QueryOrderInfo (page 37942)."""
_LONGEST_VALUE = 200
_LONGEST_NAME = 64
_MAX_NAMES = 50
_MERCHANT_TRADE_NO = 25
_ANSWER = {"RtnCode": 1, "RtnMsg": "成功"}

Scalar = str | int | float | bool | None
Value = TypeVar("Value")


@unique
class CallbackKind(StrEnum):
    """What a notification is about."""

    REFUND = "refund"
    """An order was refunded (RefundNotifyURL)."""
    USE_STATUS = "use-status"
    """A ticket was redeemed or refunded (UseStatusNotifyURL)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """An opened notification; None stands for a field that is absent or unreadable.

    `ticket_no` identifies a ticket and is not in `repr`. `raw` holds the plain fields unchanged; `withheld` names all
    others, which may identify a person or a ticket.
    """

    request: Request = field(repr=False)
    kind: CallbackKind
    trade_no: TradeNo | None
    ticket_trade_no: str | None
    ticket_no: str | None = field(repr=False)
    use_status: int | None
    trade_amount: int | None
    refund_amount: int | None
    total_refund_amount: int | None
    raw: Mapping[str, Scalar] = field(repr=False)
    withheld: tuple[str, ...]

    @property
    def merchant(self) -> Merchant:
        """The merchant that it is for."""
        return self.request.merchant

    @property
    def may_mean(self) -> tuple[UseStatus, ...]:
        """Everything that `use_status` may mean; empty for an unknown number."""
        return MEANINGS.get(self.use_status, ()) if self.use_status is not None else ()


def open_notification(
    body: bytes,
    find_merchant: Callable[[str], Merchant | None],
    *,
    of_one: Callable[[Credentials], bool],
    posted_to: CallbackKind,
) -> Notification:
    """Open a notification that was posted to the address of the kind `posted_to`.

    Its fields decide about its kind, because one of ECPay's documents sends both kinds to one address; the address
    decides if the fields do not. `of_one` returns whether a pair of keys is accepted for one merchant only: then it
    identifies the merchant of a text that names none.

    Raises:
        NotAnEnvelope, UnknownAddressee, Undecryptable, WrongChecksum: as `envelope.open_request`; answer all alike.
        WrongAddressee: the signed text names another merchant than the envelope, or it names none and its keys, such
            as a platform's, are accepted for several.
        NotANotification: the signed text is of another message.
    """
    request = open_request(body, lambda merchant_id, _platform_id: find_merchant(merchant_id))
    payload = request.payload
    _check_addressee(request, of_one)
    if payload.keys().isdisjoint(_ANY_OF):
        raise NotANotification("The signed text names neither a refunded amount nor the status of a ticket.")
    if not payload.keys().isdisjoint(_NONE_OF):
        raise NotANotification("The signed text has fields of a request or of an answer about an order.")
    return Notification(
        request=request,
        kind=_kind(payload, posted_to),
        trade_no=_trade_no(payload),
        ticket_trade_no=_alphanumeric(_readable(optional_text, payload, "TicketTradeNo")),
        ticket_no=_readable(optional_text, payload, "TicketNo"),
        use_status=_readable(optional_integer, payload, "UseStatus"),
        trade_amount=_readable(optional_integer, payload, "TradeAmount"),
        refund_amount=_readable(optional_integer, payload, "RefundAmount"),
        total_refund_amount=_readable(optional_integer, payload, "TotalRefundAmount"),
        raw={name: value for name, value in payload.items() if name in PLAIN_FIELDS and _is_plain(value)},
        withheld=_withheld(payload),
    )


def seal_answer(notification: Notification, *, timestamp: int) -> bytes:
    """Return the answer "received", sealed with the keys of the notification."""
    request = notification.request
    return seal_response(_ANSWER, request.merchant, timestamp=timestamp, credentials=request.credentials)


def pseudonym(text: str, credentials: Credentials) -> str:
    """Return a stable name for a text, from which the text cannot be found without these keys.

    A plain hash would not be enough: ticket numbers are short and begin with a date, so all of them can be tried.
    """
    key = (credentials.hash_key + credentials.hash_iv).encode()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


def _check_addressee(request: Request, of_one: Callable[[Credentials], bool]) -> None:
    named = _readable(optional_text, request.payload, "MerchantID")
    if named is not None and named != request.merchant.merchant_id:
        raise WrongAddressee("The signed text is for another merchant than the envelope says.")
    if named is None and not of_one(request.credentials):
        raise WrongAddressee("The signed text names no merchant, and several have the keys that it is signed with.")


def _kind(payload: Payload, posted_to: CallbackKind) -> CallbackKind:
    """The kind, from fields that only one of the two kinds has."""
    refund = any(name in payload for name in _REFUND_FIELDS)
    status = any(name in payload for name in _STATUS_FIELDS)
    if refund == status:
        return posted_to
    return CallbackKind.REFUND if refund else CallbackKind.USE_STATUS


def _trade_no(payload: Payload) -> TradeNo | None:
    try:
        found = TradeNo.from_payload(payload)
    except UnreadableReply:
        return None
    return found if found is not None and _alphanumeric(found.value) else None


def _alphanumeric(text: str | None) -> str | None:
    """The text if it can be a number of ECTicket's, because it becomes part of a record's key."""
    fits = text is not None and text.isascii() and text.isalnum() and len(text) <= _MERCHANT_TRADE_NO
    return text if fits else None


def _readable(read: Callable[[Payload, str], Value | None], payload: Payload, name: str) -> Value | None:
    try:
        return read(payload, name)
    except UnreadableReply:
        return None


def _is_plain(value: object) -> TypeGuard[Scalar]:
    """Whether a value may be published unchanged: nested or long values may hold anything."""
    if isinstance(value, str):
        return len(value) <= _LONGEST_VALUE
    return value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 10**18)


def _withheld(payload: Payload) -> tuple[str, ...]:
    """The names of the other fields that are valid identifiers."""
    others = sorted(name for name, value in payload.items() if name not in PLAIN_FIELDS or not _is_plain(value))
    return tuple(name for name in others if len(name) <= _LONGEST_NAME and name.isascii() and name.isidentifier())[
        :_MAX_NAMES
    ]
