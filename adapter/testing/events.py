"""Events of every type, as sinks get them: input for the tests of a sink.

They are built with the models that the adapter writes events with, and decoded as it decodes them, so that no sample
holds what an event cannot hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import count
from typing import Final

from adapter.extensions.sinks import Event
from adapter.flows.messages.event_reader import decode_event
from adapter.flows.messages.events import (
    EVENTS,
    EventData,
    IssuanceData,
    IssuanceDelayed,
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    Notified,
    OrderNotIssued,
    OrderParked,
    OrderRefunded,
    OrderSkipped,
    Origin,
    ReconciliationCompleted,
    ReconciliationData,
    ReconciliationDifference,
    TicketCollected,
    TicketStatusChanged,
    issuance_event,
    notification_event,
    notification_event_id,
    order_event,
    reconciliation_event,
)
from adapter.stream.records import ProducerRecord, Record
from adapter.testing.clock import NOON
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT

_ISSUANCE: Final[Mapping[str, object]] = {
    "merchant_id": MERCHANT,
    "order_id": "A-1",
    "reference": {"cart": 7},
    "trade_no_kind": "merchant",
    "issue_type": "electronic",
    "part": 1,
    "parts": 1,
    "items": ({"item_no": "VQT04959", "name": None, "quantity": 2},),
    "ticket_count": 2,
    "ticket_trade_no": "2026030112000001",
}
_NOTIFIED: Final[Mapping[str, object]] = {
    "merchant_id": MERCHANT,
    "trade_no_kind": "merchant",
    "ticket_trade_no": "2026030112000001",
}
_TICKET: Final[Mapping[str, object]] = {
    "redemption_code": None,
    "item_no": "VQT04959",
    "name": "下午茶雙人套票",
    "face_value": 1280,
    "start_date": date(2026, 3, 1),
    "expire_date": None,
    "status": "unused",
}
_STOPPED: Final[Mapping[str, object]] = {"order_id": "A-1", "plugin": None, "parts_done": 0}
SAMPLES: Final[Mapping[type[EventData], Mapping[str, object]]] = {
    IssuanceSubmitted: {**_ISSUANCE, "recovered": False},
    IssuanceIssued: {**_ISSUANCE, "recovered": False, "submitted_at": NOON, "queries": 1},
    IssuanceFailed: {
        **_ISSUANCE,
        "stage": "submit",
        "rtn_code": 10_200_001,
        "rtn_msg": "Inventory shortage",
        "remark": None,
    },
    IssuanceDelayed: {**_ISSUANCE, "submitted_at": NOON, "queries": 12},
    TicketCollected: {
        **_ISSUANCE,
        "tickets": tuple({**_TICKET, "ticket_no": number} for number in ("CB2SY20260301001", "CB2SY20260301002")),
    },
    OrderSkipped: {
        **_STOPPED,
        "reason": "test order",
        "stage": "map",
        "plugin": "skip_policy",
        "message": "Plugin skip_policy says that this order gets no tickets: test order.",
    },
    OrderParked: {
        **_STOPPED,
        "reason": "unmapped-item",
        "stage": "map",
        "message": "No plugin knows which ticket sku 'X' stands for. Add it to the catalogue.",
    },
    TicketStatusChanged: {
        **_NOTIFIED,
        "raw": {"RtnCode": 1, "UseStatus": 2},
        "withheld": ("TicketNo",),
        "ticket_ref": "5f0c6d1b9a3e47280d1c6b5a49382716",
        "use_status": 2,
        "may_mean": ("redeemed", "refunded"),
    },
    OrderRefunded: {
        **_NOTIFIED,
        "raw": {"TradeAmount": 1000, "TotalRefundAmount": 500, "RefundAmount": 200},
        "withheld": (),
        "trade_amount": 1000,
        "refund_amount": 200,
        "total_refund_amount": 500,
    },
    ReconciliationDifference: {
        "merchant_id": MERCHANT,
        "issue_date": NOON.date(),
        "trade_no_kind": "merchant",
        "order_id": "A-1",
        "kind": "ticket-count",
        "published": {"state": "issued", "ticket_count": 2},
        "reported": {"state": "issued", "ticket_count": 3},
        "message": "It was published with 2 tickets, and ECPay's report has 3. Ask ECPay which tickets exist.",
    },
    ReconciliationCompleted: {
        "merchant_id": MERCHANT,
        "from": NOON.date(),
        "to": NOON.date(),
        "reported": 1,
        "published": 1,
        "differences": 1,
        "by_kind": {"ticket-count": 1},
    },
}
"""The data of each type of event, unless a test gives other values."""
_NUMBERED: Final = (IssuanceData, Notified, ReconciliationDifference)
"""The types with a trade number."""


class Events:
    """Makes events; a test names the fields it cares about: `events.failed(rtn_code=7)`."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def submitted(self, **data: object) -> Event:
        """ECTicket has received an issuance."""
        return self.of(IssuanceSubmitted, **data)

    def issued(self, **data: object) -> Event:
        """The tickets exist."""
        return self.of(IssuanceIssued, **data)

    def failed(self, **data: object) -> Event:
        """No tickets were issued, and none will be."""
        return self.of(IssuanceFailed, **data)

    def delayed(self, **data: object) -> Event:
        """The job takes longer than expected."""
        return self.of(IssuanceDelayed, **data)

    def collected(self, **data: object) -> Event:
        """The numbers of all tickets of an issuance are known."""
        return self.of(TicketCollected, **data)

    def skipped(self, **data: object) -> Event:
        """A plugin skipped the order; it gets no tickets."""
        return self.of(OrderSkipped, **data)

    def parked(self, **data: object) -> Event:
        """The order is on the dead letters."""
        return self.of(OrderParked, **data)

    def status_changed(self, **data: object) -> Event:
        """ECTicket reported that the status of a ticket changed."""
        return self.of(TicketStatusChanged, **data)

    def refunded(self, **data: object) -> Event:
        """ECTicket reported that money of an order was refunded."""
        return self.of(OrderRefunded, **data)

    def difference(self, **data: object) -> Event:
        """Events and ECPay's order report differ."""
        return self.of(ReconciliationDifference, **data)

    def completed(self, **data: object) -> Event:
        """A merchant's days were compared."""
        return self.of(ReconciliationCompleted, **data)

    def of_every_type(self) -> tuple[Event, ...]:
        """One of each."""
        return tuple(self.of(model) for model in EVENTS)

    def of(self, model: type[EventData], **data: object) -> Event:
        """An event of this type with these data.

        Raises ValueError for data that such an event cannot hold.
        """
        number = next(self._numbers)
        own = {"trade_no": f"T{number:06}"} if issubclass(model, _NUMBERED) else {}
        return _read(_published(model.model_validate({**SAMPLES[model], **own, **data}), number))


def _published(data: EventData, number: int) -> ProducerRecord:
    origin = Origin(topic=TOPICS.orders_paid, partition=0, offset=number)
    if isinstance(data, IssuanceData):
        return issuance_event(data, topic=TOPICS.topic_for(type(data)), origin=origin, now=NOON)
    if isinstance(data, OrderNotIssued):
        return order_event(data, topic=TOPICS.issuances, origin=origin, now=NOON, merchant_id=MERCHANT)
    if isinstance(data, Notified):
        event_id = notification_event_id(MERCHANT, f"notification {number}", NOON.date())
        return notification_event(data, topic=TOPICS.tickets, event_id=event_id, now=NOON)
    if isinstance(data, ReconciliationData):
        return reconciliation_event(data, topic=TOPICS.reconciliations, now=NOON)
    raise TypeError(f"There is no sample of {data.TYPE}.")


def _read(published: ProducerRecord) -> Event:
    record = Record(
        topic=published.topic,
        partition=0,
        offset=0,
        timestamp=NOON,
        key=published.key,
        value=published.value,
        headers=published.headers,
    )
    event = decode_event(record)
    if event is None:
        raise TypeError("The adapter does not read this record, which it wrote, as an event.")
    return event
