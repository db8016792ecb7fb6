"""Receive: publishes a notification of ECTicket as an event, and answers it only after that.

The order matters: a notification that is answered before it is published can be lost; one that is published and not
answered is sent again and gets the same event id. What the status number means is disputed, so the event holds the
number as received, with every possible meaning. Does not use HTTP or Kafka directly.

A text that anyone has recorded can be posted again and again. So each event is published only a few times by a process:
as often as ECPay sends a notification on its day.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple, Protocol, TypedDict

from adapter.errors import (
    AdapterError,
    NotAnEnvelope,
    NotANotification,
    StreamError,
    Undecryptable,
    UnknownAddressee,
    WrongAddressee,
    WrongChecksum,
)
from adapter.flows.messages.events import (
    Notified,
    OrderRefunded,
    TicketStatusChanged,
    kind_name,
    notification_event,
    notification_event_id,
)
from adapter.flows.order_log import order_fields
from adapter.flows.ports import Clock, Merchants
from adapter.protocol.credentials import Credentials
from adapter.protocol.notification import CallbackKind, Notification, Scalar, open_notification, pseudonym, seal_answer
from adapter.protocol.taipei import TAIPEI
from adapter.stream.port import Publisher

_log = logging.getLogger(__name__)

PUBLISHED = "published"
REPEATED = "repeated"
"""The metric's outcome for a notification that was answered and not published again."""
MAX_PUBLICATIONS = 5
"""The most publications of one event: ECPay sends a notification once and repeats it up to four times (page 32228)."""
MAX_REMEMBERED = 20_000
"""The most events that a process counts; the one that was published longest ago is forgotten first."""
REASONS: Mapping[type[AdapterError], str] = {
    UnknownAddressee: "unknown-merchant",
    NotAnEnvelope: "not-an-envelope",
    Undecryptable: "undecryptable",
    WrongChecksum: "wrong-checksum",
    WrongAddressee: "wrong-addressee",
    NotANotification: "not-a-notification",
    StreamError: "not-published",
}
"""The metric's outcome for a notification that was not published; the first class that fits."""


class ReceiveObserver(Protocol):
    """Gets the result of each notification, for metrics. Called on the loop: must be quick and must not raise."""

    def notification_ended(self, posted_to: str, outcome: str) -> None:
        """One has ended: `published`, `repeated`, or the reason why not."""

    def notification_verified(self, merchant_id: str, encoder: str) -> None:
        """Its checksum was right, under this percent-encoder."""


class NotificationAnswer(NamedTuple):
    """The whole body of an answer, and whether the notification was only a repetition."""

    body: bytes
    repeated: bool


class NotificationReceiver(Protocol):
    """What an endpoint calls; `Receiver` is the real one."""

    async def receive(self, body: bytes, posted_to: CallbackKind) -> NotificationAnswer:
        """Publish a notification and return its answer, as `Receiver.receive` does."""
        ...


class Receiver:
    """Publishes ECTicket's notifications."""

    def __init__(
        self, *, topic: str, merchants: Merchants, publisher: Publisher, observer: ReceiveObserver, now: Clock
    ) -> None:
        self._topic = topic
        self._merchants = merchants
        self._publisher = publisher
        self._observer = observer
        self._now = now
        self._published: OrderedDict[str, int] = OrderedDict()

    async def receive(self, body: bytes, posted_to: CallbackKind) -> NotificationAnswer:
        """Publish a notification and return its answer.

        Raises EnvelopeError for a notification that cannot be trusted, and StreamError if it was not published in time.
        Failures are counted here; the sender must not learn which EnvelopeError it was.
        """
        try:
            notification = open_notification(body, self._merchants.find, of_one=self._is_of_one, posted_to=posted_to)
            merchant_id = notification.merchant.merchant_id
            self._observer.notification_verified(merchant_id, notification.request.encoder)
            outcome = await self._publish(notification)
        except AdapterError as error:
            self._observer.notification_ended(posted_to, reason(error))
            raise
        self._observer.notification_ended(posted_to, outcome)
        if _log.isEnabledFor(logging.DEBUG):
            number = notification.trade_no
            order = order_fields(merchant_id, None, None, trade_no=number.value if number else None)
            _log.debug("notification-received", extra={**order, "callback": str(posted_to), "reason": outcome})
        sealed = seal_answer(notification, timestamp=int(self._now().timestamp()))
        return NotificationAnswer(body=sealed, repeated=outcome == REPEATED)

    async def _publish(self, notification: Notification) -> str:
        """Publish the event, unless that was done often enough; return the outcome.

        Only what the broker has acknowledged counts, because the answer to a repetition acknowledges the notification.
        """
        now = self._now()
        the_id = event_id(notification, now)
        if self._published.get(the_id, 0) >= MAX_PUBLICATIONS:
            return REPEATED
        await self._publisher.publish(
            notification_event(event_data(notification), topic=self._topic, event_id=the_id, now=now)
        )
        self._published[the_id] = self._published.get(the_id, 0) + 1
        self._published.move_to_end(the_id)
        if len(self._published) > MAX_REMEMBERED:
            self._published.popitem(last=False)
        return PUBLISHED

    def _is_of_one(self, credentials: Credentials) -> bool:
        """Whether at most one merchant is accepted under these keys."""
        merchants = (self._merchants.find(merchant_id) for merchant_id in self._merchants.ids)
        return sum(merchant is not None and credentials in merchant.accepted for merchant in merchants) <= 1


def event_id(notification: Notification, now: datetime) -> str:
    """The same id for the same text on the same day in Taipei: ECPay sends again on the same day only."""
    merchant = notification.merchant
    text = pseudonym(notification.request.plaintext, merchant.credentials)
    return notification_event_id(merchant.merchant_id, text, now.astimezone(TAIPEI).date())


def event_data(notification: Notification) -> Notified:
    """The data of a notification's event."""
    if notification.kind is CallbackKind.REFUND:
        return OrderRefunded(
            **_notification_fields(notification),
            trade_amount=notification.trade_amount,
            refund_amount=notification.refund_amount,
            total_refund_amount=notification.total_refund_amount,
        )
    ticket_no = notification.ticket_no
    return TicketStatusChanged(
        **_notification_fields(notification),
        ticket_ref=pseudonym(ticket_no, notification.merchant.credentials) if ticket_no else None,
        use_status=notification.use_status,
        may_mean=notification.may_mean,
    )


class _NotificationFields(TypedDict):
    merchant_id: str
    trade_no: str | None
    trade_no_kind: Literal["merchant", "free"] | None
    ticket_trade_no: str | None
    raw: dict[str, Scalar]
    withheld: tuple[str, ...]


def _notification_fields(notification: Notification) -> _NotificationFields:
    number = notification.trade_no
    return {
        "merchant_id": notification.merchant.merchant_id,
        "trade_no": number.value if number else None,
        "trade_no_kind": kind_name(number.kind) if number else None,
        "ticket_trade_no": notification.ticket_trade_no,
        "raw": dict(notification.raw),
        "withheld": notification.withheld,
    }


def reason(error: AdapterError) -> str:
    """The metric's outcome for a notification that was not published."""
    return next(code for kind, code in REASONS.items() if isinstance(error, kind))
