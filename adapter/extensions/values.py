"""What hooks are given and may answer, where the issuance's own words do not suffice.

All of it is frozen: a plugin answers, it does not change what others see. Nothing here shows customer data in `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from adapter.issuance.state import Phase
from adapter.protocol.issue import TradeNo


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """A record of the orders topic as it came, before anybody has read it.

    `key` and `value` are the record's bytes, None where Kafka has null. `headers` keep their order and may repeat.
    `timestamp` is the record's own, aware; a record that comes again has that of its first time.
    """

    topic: str
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes | None], ...] = field(default=(), repr=False)
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class Skip:
    """No tickets for this order, on purpose; `reason` is told in the `skipped` event, so it holds no customer data.

    `plugin` is filled in by the adapter.

    Raises ValueError for an empty reason.
    """

    reason: str
    plugin: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError("Skip needs a reason, since whoever misses the tickets will ask for it.")


@dataclass(frozen=True, slots=True)
class Ignore:
    """The record is no order to issue: a cancelled or draft order, a tombstone, another kind of event.

    The adapter settles and counts the record, and publishes nothing. `reason` becomes the label of a metric, so write
    one of a few fixed texts (`cancelled`, `draft`) without customer data or order numbers. The adapter fills in
    `plugin`.

    Raises ValueError for an empty reason.
    """

    reason: str
    plugin: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.reason:
            raise ValueError("Ignore needs a reason, because the adapter counts ignored records by it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOutcome:
    """How far one part of an order has come: `number` `of` all parts, counted from 1.

    `recovered`: found at ECTicket by asking, after an answer was lost or a process died.
    """

    number: int
    of: int
    trade_no: TradeNo
    phase: Phase
    ticket_count: int
    recovered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOutcome:
    """What became of one order record, without customer data.

    Exactly one of these holds: `ignored` or `skipped` has the reason a plugin gave; `parked` has the dead letter's
    reason, such as `unmapped-item`; or none of them, and `parts` tell. Parts may come along with `parked`, and a part
    that is taken up again later has the phase `deferred`. `merchant_id` and `order_id` are None where the record could
    not be read or was ignored; `plugin` is the one that ignored the record, skipped the order or was at fault.
    """

    merchant_id: str | None
    order_id: str | None
    reference: object = None
    parts: tuple[PartOutcome, ...] = ()
    skipped: str | None = None
    parked: str | None = None
    plugin: str | None = None
    ignored: str | None = None
