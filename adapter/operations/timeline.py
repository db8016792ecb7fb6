"""The timeline of one order as data: facts in the order of time, the state of each part, and who must act next.

    topic_search      finds the records of an order
    order_facts       reads facts from a record
    part_progress     derives the state of each part from the facts
    next_actions      derives who must act next, and with which commands
    timeline_builder  puts it all into an `OrderTimeline`

Holds coordinates, times, trade numbers, codes and messages. Does not hold customer data, ticket numbers or redemption
codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from adapter.protocol.issue import TradeNo


class FactKind(StrEnum):
    """What a fact is about; those of events have the event's name."""

    RECEIVED = "received"
    """The shop's record of the order."""
    REPLAYED = "replayed"
    """A dead letter was written to its stage's topic again."""
    DEFERRED = "deferred"
    REISSUED = "reissued"
    """A failed part got a new number."""
    SUBMITTED = "submitted"
    AWAITED = "awaited"
    """A record on the confirmations topic: the result is awaited."""
    DELAYED = "delayed"
    ISSUED = "issued"
    FAILED = "failed"
    COLLECTING = "collecting"
    """A record on the confirmations topic: the ticket numbers are awaited."""
    COLLECTED = "collected"
    SKIPPED = "skipped"
    PARKED = "parked"
    """The event about a dead letter."""
    DEAD_LETTER = "dead-letter"
    STATUS_CHANGED = "status-changed"
    REFUNDED = "refunded"
    DIFFERENCE = "difference"
    ANSWER = "answer"
    """What ECTicket answers now about a number (`--ask`)."""


class ProgressState(StrEnum):
    """How far a part is, as far as the topics show."""

    NOT_FOUND = "not-found"
    """The order has this part, or others name its number, and no record of the adapter's work on it was found."""
    WAITING = "waiting"
    """Received, and not settled yet."""
    DEFERRED = "deferred"
    SUBMITTED = "submitted"
    DELAYED = "delayed"
    ISSUED = "issued"
    COLLECTING = "collecting"
    COLLECTED = "collected"
    FAILED = "failed"
    REPLACED = "replaced"
    """Failed, and reissued under another number."""
    PARKED = "parked"
    SKIPPED = "skipped"


class Actor(StrEnum):
    """Who must act next."""

    ADAPTER = "adapter"
    """It acts without a person."""
    OPERATOR = "operator"
    """A person, with the commands of the action."""
    NONE = "none"
    """Nothing is open."""


class TimelineFact(Struct, frozen=True, kw_only=True):
    """One thing that happened to the order, from one record or one answer."""

    at: datetime
    kind: FactKind
    record: str | None
    """topic/partition/offset; None for an answer of ECTicket."""
    text: str
    """What happened, without customer data."""
    order_id: str | None = None
    trade_no: TradeNo | None = None
    """None for a fact about the whole order."""
    part: int | None = None
    parts: int | None = None
    not_before: datetime | None = None
    """When the adapter acts again, for what waits."""
    reason: str | None = None
    stage: str | None = None
    sink: str | None = None
    dead_letter: str | None = None
    """The coordinates of the dead letter that this is."""
    replay_of: str | None = None
    """The coordinates of the dead letter that was replayed to this record, or to one before it."""
    details: Mapping[str, object] = field(default_factory=dict)
    """Further fields, as JSON values."""


class PartProgress(Struct, frozen=True, kw_only=True):
    """One part of the order under one trade number."""

    trade_no: TradeNo | None
    """None for a part that was not found, and for the order as a whole while no part is known."""
    part: int | None
    state: ProgressState
    since: datetime | None
    """Time of the fact that shows the state."""


class NextAction(Struct, frozen=True, kw_only=True):
    """Who must act next, why, and with which commands (in this order)."""

    actor: Actor
    why: str
    commands: tuple[str, ...] = ()
    trade_no: TradeNo | None = None
    """None for an action about the whole order, or about several of its numbers."""
    not_before: datetime | None = None
    """When the adapter acts at the earliest."""


class OrderTimeline(Struct, frozen=True, kw_only=True):
    """Everything that the topics show about one order of one merchant."""

    merchant_id: str | None
    order_id: str | None
    facts: tuple[TimelineFact, ...]
    """The oldest first."""
    parts: tuple[PartProgress, ...]
    next: tuple[NextAction, ...]
    """Those of the operator first; never empty."""
    truncated: bool
    """Whether facts are left out because there are too many of a kind: the oldest ones."""
    other_orders: tuple[str, ...]
    """Other orders of the merchant that have one of this order's numbers, which ECTicket accepts only once."""
    unreadable: tuple[str, ...]
    """The coordinates of batches that cannot be read: they may hold further facts."""
