"""The common fields of the events about an issuance, for the submit and confirm stories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict, cast

from pydantic import JsonValue

from adapter.flows.messages.events import IssueTypeName, Item
from adapter.flows.messages.order_paid import ISSUE_TYPE_TEXTS
from adapter.issuance.order import Order
from adapter.issuance.plan import Part
from adapter.issuance.plan_codec import DeferredPlan
from adapter.protocol.issue import TradeNoKind


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRef:
    """The identity of an order in its events."""

    merchant_id: str
    order_id: str
    reference: JsonValue


def order_ref_of(order: Order | DeferredPlan) -> OrderRef:
    """The identity of an order, or of a deferred plan."""
    return OrderRef(
        merchant_id=order.merchant_id,
        order_id=order.order_id,
        reference=cast("JsonValue", order.reference),  # parsing has checked it to be JSON, or it was read from JSON
    )


def kind_name(kind: TradeNoKind) -> Literal["merchant", "free"]:
    """The kind of the number, as events name it."""
    return "free" if kind is TradeNoKind.FREE else "merchant"


class _IssuanceFields(TypedDict):
    merchant_id: str
    order_id: str
    reference: JsonValue
    trade_no: str
    trade_no_kind: Literal["merchant", "free"]
    issue_type: IssueTypeName
    part: int
    parts: int
    items: tuple[Item, ...]
    ticket_count: int
    ticket_trade_no: str | None


def issuance_fields(order_ref: OrderRef, part: Part, *, ticket_trade_no: str | None) -> _IssuanceFields:
    """The fields of every event about this part."""
    return {
        "merchant_id": order_ref.merchant_id,
        "order_id": order_ref.order_id,
        "reference": order_ref.reference,
        "trade_no": part.trade_no.value,
        "trade_no_kind": kind_name(part.trade_no.kind),
        "issue_type": ISSUE_TYPE_TEXTS[part.request.issue_type],
        "part": part.number,
        "parts": part.of,
        "items": tuple(Item(item_no=item.item_no, name=item.name, quantity=item.quantity) for item in part.items),
        "ticket_count": part.ticket_count,
        "ticket_trade_no": ticket_trade_no,
    }
