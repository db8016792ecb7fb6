"""Values that hooks receive and return, besides those of `issuance`.

All are frozen, so that a plugin cannot change what others see. No `repr` shows customer data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from adapter.issuance.state import Phase
from adapter.protocol.issue import TradeNo
from adapter.values import PartlyShown, public_value


@public_value
class OrderRecord(PartlyShown, frozen=True, kw_only=True):
    """A record of the orders topic, not parsed yet.

    `key` and `value` are bytes, None for Kafka's null. `headers` keep their order and may repeat. `timestamp` is aware;
    a record that comes again keeps its first timestamp.
    """

    PRIVATE = ("key", "value", "headers")

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaToken:
    """A token for SASL OAUTHBEARER. It is used for four fifths of its lifetime, or a minute if that is not known.

    Raises ValueError for an empty value and for a lifetime that is not above 0.
    """

    value: str = field(repr=False)
    lifetime_seconds: int | float | None = None

    def __post_init__(self) -> None:
        if not self.value:
            raise ValueError("a token is not empty")
        if self.lifetime_seconds is not None and not self.lifetime_seconds > 0:
            raise ValueError("a token's lifetime is above 0 seconds")


@dataclass(frozen=True, slots=True)
class Skip:
    """No tickets for this order, on purpose.

    The `skipped` event publishes `reason`, so it holds no customer data. The adapter sets `plugin`.

    Raises ValueError for an empty reason.
    """

    reason: str
    plugin: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError("Skip needs a reason, because the skipped event publishes it.")


@dataclass(frozen=True, slots=True)
class Ignore:
    """The record is no order to issue, such as a cancelled order, a draft or a tombstone.

    The adapter settles and counts it and publishes nothing. `reason` is a metric label: use a few fixed texts
    (`cancelled`, `draft`) without customer data or order numbers. The adapter sets `plugin`.

    Raises ValueError for an empty reason.
    """

    reason: str
    plugin: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError("Ignore needs a reason, because the adapter counts ignored records by it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOutcome:
    """The state of one part of an order: `number` of `of` parts, from 1.

    `recovered`: found at ECTicket by a query.
    """

    number: int
    of: int
    trade_no: TradeNo
    phase: Phase
    ticket_count: int
    recovered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOutcome:
    """The outcome of one order record, without customer data.

    At most one of these is set: `ignored` or `skipped` with a plugin's reason, `parked` with the dead letter's, such as
    `unmapped-item`. `parts` may accompany `parked`; a part that is resumed later has the phase `deferred`.
    `merchant_id` and `order_id` are None if the record was unreadable or ignored. `plugin` is the one that ignored,
    skipped or failed.
    """

    merchant_id: str | None
    order_id: str | None
    reference: object = None
    parts: tuple[PartOutcome, ...] = ()
    skipped: str | None = None
    parked: str | None = None
    plugin: str | None = None
    ignored: str | None = None
