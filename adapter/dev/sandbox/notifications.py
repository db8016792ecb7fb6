"""The two notifications that ECTicket sends to a merchant when tickets are redeemed or refunded, and their Data.

The field list of the status change could not be read on ECPay's pages; it is the union of what others have seen
(docs/ecticket-protocol.md, 4). A refund causes both, as the pages have it: its money once to RefundNotifyURL, and each
ticket's new state to UseStatusNotifyURL. `notification_queue` decides when they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final

from adapter.dev.sandbox.codes import SUCCESS
from adapter.dev.sandbox.order_store import StoredOrder, Ticket
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.order_detail import UseStatus
from adapter.protocol.query_item_info import TicketType


@unique
class NotificationKind(StrEnum):
    """The two notifications; the value is the name in faults, in the delivery log and on the page."""

    REFUND = "refund_notification"
    USE_STATUS = "use_status_notification"


USE_STATUS_NUMBERS: Final[Mapping[UseStatus, int]] = MappingProxyType(
    {UseStatus.UNUSED: 1, UseStatus.REDEEMED: 2, UseStatus.REFUNDED: 3, UseStatus.EXPIRED: 4}
)
"""UseStatus on the wire, as QueryOrderInfo numbers it (ECPay's AI guides number the notification's otherwise)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingNotification:
    """One notification: its address, its order, and the payload of Data."""

    kind: NotificationKind
    url: str
    merchant_id: str
    platform_id: str | None
    trade_no: TradeNo
    ticket_no: str | None
    data: Mapping[str, object] = field(hash=False)


def use_status_notification(order: StoredOrder, ticket: Ticket, status: UseStatus) -> OutgoingNotification | None:
    """The change of one ticket's state; None if the order has no UseStatusNotifyURL."""
    url = order.request.use_status_notify_url
    if url is None:
        return None
    trade_no = order.request.trade_no
    return OutgoingNotification(
        kind=NotificationKind.USE_STATUS,
        url=url,
        merchant_id=order.request.merchant_id,
        platform_id=order.platform_id,
        trade_no=trade_no,
        ticket_no=ticket.number,
        data={
            "MerchantID": order.request.merchant_id,
            "RtnCode": SUCCESS,
            **{kind.field_name: trade_no.value if kind is trade_no.kind else "" for kind in TradeNoKind},
            "TicketTradeNo": order.ticket_trade_no,
            "TicketNo": ticket.number,
            "UseStatus": USE_STATUS_NUMBERS[status],
        },
    )


def refund_notification(
    order: StoredOrder, *, amount: int, total: int, extra_fields: bool
) -> OutgoingNotification | None:
    """The money of a refund, `total` with all earlier refunds; None without RefundNotifyURL or a pickup voucher.

    "When a pickup voucher order is refunded, the ECTicket Server will actively notify" (spec, Issue, RefundNotifyURL).
    """
    url = order.request.refund_notify_url
    if url is None or all(line.ticket_type is TicketType.GIFT for line in order.lines):
        return None
    extra = {"TicketTradeNo": order.ticket_trade_no} if extra_fields else {}
    return OutgoingNotification(
        kind=NotificationKind.REFUND,
        url=url,
        merchant_id=order.request.merchant_id,
        platform_id=order.platform_id,
        trade_no=order.request.trade_no,
        ticket_no=None,
        data={
            "MerchantID": order.request.merchant_id,
            "MerchantTradeNo": order.request.trade_no.value,
            "TradeAmount": order.amount,
            "TotalRefundAmount": total,
            "RefundAmount": amount,
            **extra,
        },
    )
