"""Notification sinks: what a merchant's sink is, what it is handed, and what it may raise.

A sink takes events to somewhere else: a chat, a CRM, a shop's own endpoint. It is told every event on the issuances and
tickets topics at least once, those about one issuance in their order; the event's `id` is the idempotency key. It runs
on a thread and an event loop of its own, with a consumer group of its own, so whatever it does delays no order and no
other sink.

The module refuses to know how events are read, and when a delivery is tried again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event, a CloudEvent as it is on its topic; `schemas/` says what each type's `data` holds. No customer data.

    `id` is the same however often the fact is told. `data` is this delivery's own. `extensions` are the attributes
    beyond CloudEvents' own, such as `orderid`, `orderref` and `traceparent`.
    """

    id: str
    type: str
    source: str
    subject: str | None
    time: datetime
    data: Mapping[str, object] = field(repr=False)
    extensions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The event as one JSON object, in CloudEvents' own JSON format (`application/cloudevents+json`).

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


class Sink(Protocol):
    """What `notification_sinks` hands over.

    `name`: 1 to 50 letters, digits, `-` and `_`, the first a letter or digit; unique among all sinks. It becomes part
    of the sink's consumer group, so another name is another sink, which begins at the latest event.

    Two methods are optional. `wants(event) -> bool`, a plain function: False for an event that is not for this sink.
    `async aclose() -> None`: called once at the end, to close what the sink has opened.
    """

    @property
    def name(self) -> str: ...

    async def deliver(self, event: Event) -> None:
        """Take the event to where it belongs; once this returns, the event is delivered.

        Called on the sink's own loop, several times at once (`deliver.concurrency`), for at most
        `deliver.timeout_seconds`. Whatever it raises means that the event was not delivered; it is tried again, later
        and later, for `deliver.give_up_after_hours`, and then goes to the dead letters.

        Raises NotDelivered, RetryAfter or Undeliverable where it has something to say about it.
        """
        ...


class NotDelivered(Exception):
    """The event was not delivered; it is tried again with the adapter's back-off.

    `reason` is the end of a sentence, told in the log and on the dead letter: no secret, no personal data. The text of
    any other exception is not told, since it may quote anything.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)


class RetryAfter(NotDelivered):
    """The event was not delivered, and nothing else of this sink is to be tried for so many seconds.

    Raises ValueError for a number of seconds that is none, or below 0.
    """

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = float(seconds)
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise ValueError(f"RetryAfter needs a number of seconds from 0 on, and not {seconds!r}.")


class Undeliverable(NotDelivered):
    """The event was not delivered and never will be: it goes to the dead letters at once."""
