"""ecticket-adapter: paid orders on Kafka become ECPay ECTicket tickets, exactly once.

Plugins import the names listed here; no other name is public. `adapter.extensions.hookspecs` describes the hooks.

A public name is imported at its first use. `import adapter` itself comes before everything else in a process, also
before its handler for signals (`adapter.__main__`), so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it as true; `typing` takes longer to import than all that is here
if TYPE_CHECKING:
    from adapter.errors import (
        DoesNotFit,
        InvalidOrder,
        OrderError,
        SettingsError,
        TradeNoMissing,
        UnknownMerchant,
        UnmappedItem,
        Unreadable,
    )
    from adapter.extensions.hookspecs import hookimpl
    from adapter.extensions.sinks import Event, NotDelivered, RetryAfter, Sink, Undeliverable
    from adapter.extensions.values import Ignore, KafkaToken, OrderOutcome, OrderRecord, PartOutcome, Skip
    from adapter.issuance.order import Customer, Line, Order, TicketItem, Voucher
    from adapter.issuance.state import Phase
    from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind

__all__ = [
    "Customer",
    "DoesNotFit",
    "Event",
    "Ignore",
    "InvalidOrder",
    "IssueRequest",
    "IssueType",
    "KafkaToken",
    "Line",
    "NotDelivered",
    "Order",
    "OrderError",
    "OrderOutcome",
    "OrderRecord",
    "PartOutcome",
    "Phase",
    "PrintType",
    "RetryAfter",
    "SettingsError",
    "Sink",
    "Skip",
    "TicketInfo",
    "TicketItem",
    "TradeNo",
    "TradeNoKind",
    "TradeNoMissing",
    "Undeliverable",
    "UnknownMerchant",
    "UnmappedItem",
    "Unreadable",
    "Voucher",
    "hookimpl",
    "read_order",
]

_HOMES = (
    "adapter.errors",
    "adapter.extensions.hookspecs",
    "adapter.extensions.sinks",
    "adapter.extensions.values",
    "adapter.issuance.order",
    "adapter.issuance.state",
    "adapter.protocol.issue",
)
"""The modules that define the public names; the first one that has a name counts."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name."""
        from importlib import import_module

        for home in _HOMES if name in __all__ else ():
            value = getattr(import_module(home), name, None)
            if value is not None:
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def read_order(value: bytes, headers: tuple[tuple[str, bytes | None], ...] = ()) -> Order:
    """Read an order in the adapter's own format (`schemas/order-paid.v1.json`).

    For a `parse_order` that unpacks an envelope. An order without a merchant gets the only one that is configured.

    Raises Unreadable.
    """
    # Imported here because it needs pydantic, which most plugins' tests do not.
    from adapter.flows.messages.order_paid import parse_order_paid

    return parse_order_paid(value, headers, None)
