"""Everything that can go wrong, drawn as one tree. The middle column says who must act:

STOP: a person, before the adapter continues. RETRY: the adapter, later. QUERY: the adapter, which first queries
ECTicket. PARK: a person, with the record on the dead letters.

AdapterError
├── SettingsError              STOP     a setting is missing, misspelt or out of range
├── PluginRejected             STOP     a plugin cannot be loaded or breaks the rules of hooks
├── NoTemporarySpace           STOP     a temporary file cannot be written
├── LocalKafkaError            STOP     the local broker cannot be fetched, started or stopped
├── OrderError                 PARK     this record cannot become tickets without a change
│   ├── Unreadable
│   ├── UnknownMerchant
│   ├── UnmappedItem
│   ├── InvalidOrder
│   ├── DoesNotFit
│   ├── TradeNoMissing
│   ├── TooLarge
│   └── HookFailed
├── EnvelopeError              QUERY    a received message cannot be trusted or read
│   ├── NotAnEnvelope
│   │   └── UnknownAddressee
│   ├── Undecryptable
│   ├── WrongChecksum
│   ├── NotANotification
│   ├── WrongAddressee
│   └── UnreadableReply
├── CallError                           a call to ECTicket ended without a usable answer
│   ├── NotSent                RETRY    no byte of the request was written
│   │   ├── BreakerOpen        RETRY    not tried, because the merchant's breaker is open
│   │   └── MerchantHeld       RETRY    not tried, because an operator holds the merchant
│   ├── Throttled              RETRY    refused before execution (HTTP 403, 429, 503 with Retry-After)
│   ├── NotAccepted            RETRY    the envelope was not accepted (TransCode ≠ 1, HTTP 400 and similar)
│   ├── ReportNotStored        STOP     a report came, and the disk did not take it
│   └── InDoubt                QUERY    sent and unanswered: tickets may exist
└── StreamError
    ├── BrokerUnavailable      RETRY    no broker answers
    ├── TopicsMissing          STOP     required topics do not exist
    ├── LeaseLost              STOP     another process may own the partition now
    ├── OutcomeTooLarge        PARK     the outcome is larger than its topic accepts
    └── OffsetNotOpen          STOP     an offset was settled that is not open

A refusal by ECTicket (RtnCode ≠ 1) is an outcome and not in this tree. No message holds a secret, customer data or a
whole payload.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar


class AdapterError(Exception):
    """The root: every error that the adapter raises on purpose is one of these."""


class SettingsError(AdapterError):
    """The settings are wrong; `problems` has one sentence for each error."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PluginRejected(AdapterError):
    """A plugin cannot be used; the message names plugin, hook and cure."""


class NoTemporarySpace(AdapterError):
    """A temporary file could not be written or read, for example because the disk is full; nothing was published."""


class LocalKafkaError(AdapterError):
    """The local broker could not be fetched, started or stopped."""


class OrderError(AdapterError):
    """The order cannot become tickets as it is; `reason` is the dead letter's reason (docs/events.md)."""

    reason: ClassVar[str] = "internal-error"


class Unreadable(OrderError):
    """Not JSON, or not of the schema's types."""

    reason = "unreadable"


class UnknownMerchant(OrderError):
    """No credentials are configured for the order's merchant, or it names none among several."""

    reason = "unknown-merchant"


class UnmappedItem(OrderError):
    """No plugin maps this line to a ticket."""

    reason = "unmapped-item"


class InvalidOrder(OrderError):
    """The mapped order breaks field rules of the specification; the message names field, rule and page."""

    reason = "invalid-order"


class DoesNotFit(OrderError):
    """The order needs more Issue calls than are allowed."""

    reason = "does-not-fit"


class TradeNoMissing(OrderError):
    """The order carries no trade number, and the settings do not allow the adapter to derive one."""

    reason = "trade-no-missing"


class TooLarge(OrderError):
    """The record is larger than the limit for orders, so the adapter could not defer it."""

    reason = "too-large"


class HookFailed(OrderError):
    """A merchant's hook raised, exceeded its time budget or returned a value that is not allowed."""

    reason = "plugin-error"

    def __init__(self, message: str, *, plugin: str, hook: str) -> None:
        super().__init__(message)
        self.plugin = plugin
        self.hook = hook


class EnvelopeError(AdapterError):
    """The received message is not a trustworthy message of ECTicket."""


class NotAnEnvelope(EnvelopeError):
    """The message is not JSON, or has not the fields of an envelope."""


class UnknownAddressee(NotAnEnvelope):
    """The envelope names a merchant or platform for which the adapter has no keys."""


class Undecryptable(EnvelopeError):
    """`Data` is not base64, not encrypted with this key, or does not contain URL-encoded JSON."""


class WrongChecksum(EnvelopeError):
    """`CheckMacValue` matches the decrypted text with none of the accepted encoders."""


class WrongAddressee(EnvelopeError):
    """No signed field names the merchant that the unsigned envelope names."""


class NotANotification(EnvelopeError):
    """The signed text is another message of the protocol, such as an answer, which someone may have recorded."""


class UnreadableReply(EnvelopeError):
    """The reply is verified, but a documented field is missing or has another type."""


class CallError(AdapterError):
    """A call to ECTicket ended without a usable answer."""


class NotSent(CallError):
    """No byte of the request was written, so the call had no effect at ECTicket.

    `remedy` is what the operator can do, if the cause is known; the message contains it.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class BreakerOpen(NotSent):
    """The merchant's breaker is open until `retry_at`; the call was not tried."""

    def __init__(self, message: str, *, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class MerchantHeld(NotSent):
    """An operator holds the merchant; the call was not tried, and is not tried again before `until`."""

    def __init__(self, message: str, *, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class Throttled(CallError):
    """ECTicket refused the call before it executed anything; the adapter may call again at `retry_at`."""

    def __init__(self, message: str, *, retry_at: datetime) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class NotAccepted(CallError):
    """ECTicket did not accept the envelope and executed nothing; settings, clock or this order's content are wrong."""


class ReportNotStored(CallError):
    """A report came and could not be written to a file, for example because the disk is full; nothing was changed."""


class InDoubt(CallError):
    """The request was sent without a trustworthy answer: its effect may have happened, or may happen later."""


class StreamError(AdapterError):
    """The engine cannot continue."""


class BrokerUnavailable(StreamError):
    """No broker answers at the configured addresses."""


class TokenUnavailable(StreamError):
    """There is no token with which to log in to the brokers; the message has the cause and never a secret."""


class TopicsMissing(StreamError):
    """Required topics do not exist; the message names them and the command that creates them."""


class LeaseLost(StreamError):
    """Another process may own the partition now: no request may be sent for its records."""


class OutcomeTooLarge(StreamError):
    """The outcome of a record is larger than its topic accepts; the stage must return a smaller one.

    `again`: the topic has already refused a smaller one.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class OffsetNotOpen(StreamError):
    """An offset was settled that is not open."""
