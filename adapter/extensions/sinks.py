"""Notification sinks: what a merchant's sink is, what it receives, and what it may raise.

A sink delivers events to another system: a chat, a CRM, a shop's own endpoint. It receives every event on the issuances
and tickets topics at least once, those about one issuance in their order; the event's `id` is the idempotency key. It
runs on a thread and an event loop of its own, with a consumer group of its own, so it delays no order and no other
sink.

Does not read events and does not decide when a delivery is retried.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One published event (CloudEvents); `schemas/` describes the `data` of each type. No customer data.

    `id` is the same each time the fact is published. `data` is a copy for this delivery. `extensions` are further
    attributes, such as `orderid`, `orderref` and `traceparent`. `trace_headers` are the W3C headers of the request with
    which a sink delivers the event, so that its receiver continues the order's trace; empty for an event without one.
    """

    id: str
    type: str
    source: str
    subject: str | None
    time: datetime
    data: Mapping[str, object] = field(repr=False)
    extensions: Mapping[str, str] = field(default_factory=dict)
    trace_headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the event as one JSON object, in the JSON format of CloudEvents (`application/cloudevents+json`).

        >>> from datetime import UTC, datetime
        >>> noon = datetime(2026, 3, 1, 4, tzinfo=UTC)
        >>> Event(id="1", type="t.v1", source="/s", subject="A-1", time=noon, data={"order_id": "A-1"}).to_json()
        '{"specversion":"1.0","id":"1","source":"/s","type":"t.v1","subject":"A-1","time":"2026-03-01T04:00:00.000Z","datacontenttype":"application/json","data":{"order_id":"A-1"}}'
        """
        time = self.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        whole = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            **({} if self.subject is None else {"subject": self.subject}),
            "time": time,
            "datacontenttype": "application/json",
            **self.extensions,
            "data": dict(self.data),
        }
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


COLLECTED: Final = "ecticket.ticket.collected.v1"
"""The type of the events whose data hold ticket numbers and redemption codes."""


def asks_for(types: frozenset[str] | None, event_type: str) -> bool:
    """Whether a sink with these `types` gets an event of this type; None is a sink that names no types."""
    return event_type != COLLECTED if types is None else event_type in types


class Sink(Protocol):
    """An object that `notification_sinks` provides.

    `name`: 1 to 50 letters, digits, `-` and `_`, the first a letter or digit; unique among all sinks. A new name is a
    new consumer group, which starts at the latest event.

    Optional attribute: `types`, the event types that the sink asks for; it gets no others. Without it, the sink gets
    every type but one: `ecticket.ticket.collected.v1`, whose data are worth money, goes only to a sink that names it.

    Optional methods: the plain function `wants(event) -> bool`, False for an event that is not for this sink, and
    `async aclose() -> None`, called once at the end.
    """

    @property
    def name(self) -> str: ...

    async def deliver(self, event: Event) -> None:
        """Deliver the event; when this returns, it is delivered.

        Raises NotDelivered, RetryAfter or Undeliverable.
        """
        ...


class NotDelivered(Exception):
    """The event was not delivered; the adapter retries it.

    `reason` ends a sentence in the log and in the dead letter: no secret, no personal data. The text of other
    exceptions is not shown.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)


class RetryAfter(NotDelivered):
    """The event was not delivered, and the sink pauses for this many seconds.

    Raises ValueError unless `seconds` is a number of 0 or more.
    """

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = float(seconds)
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"RetryAfter needs a number of seconds of 0 or more, not {seconds!r}.")


class Undeliverable(NotDelivered):
    """The event can never be delivered: it goes to the dead letters at once."""
