"""Everything that can go wrong, drawn as one tree that says who must act.

AdapterError
├── SettingsError              STOP     a setting is missing, misspelt or out of range
├── PluginRefused              STOP     a plugin cannot be loaded or breaks the rules of hooks
├── LocalKafkaError            STOP     the local broker cannot be had or started
├── OrderError                 PARK     this record cannot become tickets as it stands
│   ├── Unreadable
│   ├── UnknownMerchant
│   ├── UnmappedItem
│   ├── InvalidOrder
│   ├── DoesNotFit
│   ├── TradeNoMissing
│   ├── TooLarge
│   └── HookFailed
├── EnvelopeError              LOOK_UP  what was received cannot be trusted or read
│   ├── NotAnEnvelope
│   │   └── UnknownAddressee
│   ├── Undecryptable
│   ├── WrongChecksum
│   ├── WrongAddressee
│   └── UnreadableReply
├── CallError                           a call to ECTicket ended without an answer to act on
│   ├── NotSent                RETRY    not one byte of the request was written
│   │   └── BreakerOpen        RETRY    not even tried: the merchant's breaker is open
│   ├── RefusedUnread          RETRY    refused before execution (HTTP 403, 429, 503 with Retry-After)
│   ├── NotAccepted            RETRY    the envelope was not accepted (TransCode ≠ 1, HTTP 400 and its kin)
│   └── InDoubt                LOOK_UP  sent and unanswered: tickets may exist
└── StreamError
    ├── BrokerAway             RETRY    no broker answers
    ├── TopicsMissing          STOP     topics that must exist do not
    ├── LeaseLost              STOP     the partition may belong to someone else by now
    ├── OutcomeTooLarge        PARK     a topic does not take what is to be published about this record
    └── OffsetNotOpen          STOP     the ledger was asked to settle what is not open

Who must act: STOP, a person, before anything goes on; RETRY, the adapter, later; LOOK_UP, the adapter, after it has
queried ECTicket; PARK, a person, with the record on the dead letters.

A refusal by ECTicket (RtnCode ≠ 1) is an outcome and not in this tree. No message holds a secret, customer data or a
whole payload.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class AdapterError(Exception):
    """The root: whatever the adapter raises on purpose is one of these."""


class SettingsError(AdapterError):
    """The settings are wrong; `problems` has one sentence for each error."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PluginRejected(AdapterError):
    """A plugin cannot be used; the message names plugin, hook and cure."""


class LocalKafkaError(AdapterError):
    """The local broker could not be fetched, started or stopped."""


class OrderError(AdapterError):
    """This order cannot become tickets as it stands; `reason` is the dead letter's reason (contract, section 2.3)."""

    reason: ClassVar[str] = "internal-error"


class Unreadable(OrderError):
    """Not JSON, or not of the schema's types."""

    reason = "unreadable"


class UnknownMerchant(OrderError):
    """No credentials are configured for the order's merchant, or it names none among several."""

    reason = "unknown-merchant"


class UnmappedItem(OrderError):
    """No plugin knows which ticket a line stands for."""

    reason = "unmapped-item"


class InvalidOrder(OrderError):
    """The mapped order breaks field rules of the specification; the message names field, rule and page."""

    reason = "invalid-order"


class DoesNotFit(OrderError):
    """The order would need more Issue calls than it may have."""

    reason = "does-not-fit"


class TradeNoMissing(OrderError):
    """The order carries no trade number, and the settings do not let one be derived."""

    reason = "trade-no-missing"


class TooLarge(OrderError):
    """The record is larger than an order may be, so it could not be carried forward."""

    reason = "too-large"


class HookFailed(OrderError):
    """A merchant's hook raised, ran over its budget or returned what it may not."""

    reason = "plugin-error"

    def __init__(self, message: str, *, plugin: str, hook: str) -> None:
        super().__init__(message)
        self.plugin = plugin
        self.hook = hook


class EnvelopeError(AdapterError):
    """What was received is no trustworthy message of ECTicket's."""


class NotAnEnvelope(EnvelopeError):
    """Not JSON, or not the envelope's fields."""


class UnknownAddressee(NotAnEnvelope):
    """It names a merchant or a platform whose keys are not known here."""


class Undecryptable(EnvelopeError):
    """`Data` is not base64, not this key's AES, or not URL-encoded JSON below it."""


class WrongChecksum(EnvelopeError):
    """`CheckMacValue` fits the decrypted text under none of the accepted encoders."""


class WrongAddressee(EnvelopeError):
    """Nothing that is signed says that it is for the merchant whom the unsigned envelope names."""


class UnreadableReply(EnvelopeError):
    """Decrypted and verified, yet a documented field is missing or of another type."""


class CallError(AdapterError):
    """A call to ECTicket brought no answer to act on."""


class NotSent(CallError):
    """Not one byte of the request was written: nothing can have happened at ECTicket."""


class BreakerOpen(NotSent):
    """The merchant's breaker is open until `retry_at`; nothing was tried."""

    def __init__(self, message: str, *, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class Throttled(CallError):
    """ECTicket refused before executing anything; `retry_at` says when to come back."""

    def __init__(self, message: str, *, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class NotAccepted(CallError):
    """The envelope was not accepted, so nothing was executed; settings, clock or this order's content are wrong."""


class InDoubt(CallError):
    """Sent, and no trustworthy answer came: the effect may have happened, now or later."""


class StreamError(AdapterError):
    """The engine cannot go on as it is."""


class BrokerUnavailable(StreamError):
    """No broker answers at the configured addresses."""


class TopicsMissing(StreamError):
    """Topics that must exist do not; the message names them and the command that makes them."""


class LeaseLost(StreamError):
    """The partition may belong to another process by now: nothing may be sent for its records."""


class OutcomeTooLarge(StreamError):
    """What a stage wants to publish about a record is larger than its topic takes; a smaller outcome is asked for.

    `again`: the topic has refused a smaller one already.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class OffsetNotOpen(StreamError):
    """The ledger was asked to settle an offset that is not open."""
