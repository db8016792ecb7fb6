"""What plugins may import is exactly what `adapter` lists, and importing it costs little."""

from __future__ import annotations

import subprocess
import sys

import pytest

import adapter
from adapter.extensions.invocation import ANSWERS

PUBLIC = {
    # the mark, and what hooks are given and answer
    "hookimpl",
    "KafkaToken",
    "OrderRecord",
    "Order",
    "Line",
    "Customer",
    "Voucher",
    "TicketItem",
    "Skip",
    "Ignore",
    "IssueRequest",
    "TicketInfo",
    "TradeNo",
    "TradeNoKind",
    "IssueType",
    "PrintType",
    "OrderOutcome",
    "PartOutcome",
    "Phase",
    # what a `parse_order` may read the adapter's own format with
    "read_order",
    # what `configure` may raise
    "SettingsError",
    # notification sinks: what they are, are handed and may raise
    "Sink",
    "Event",
    "NotDelivered",
    "RetryAfter",
    "Undeliverable",
    # what hooks may raise
    "OrderError",
    "Unreadable",
    "UnknownMerchant",
    "UnmappedItem",
    "InvalidOrder",
    "DoesNotFit",
    "TradeNoMissing",
}


def test_public_names_are_these_and_no_others() -> None:
    """A name is added here on purpose, and never taken away by accident."""
    assert set(adapter.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_listed_names_can_be_imported(name: str) -> None:
    """A module that the package names has it."""
    assert getattr(adapter, name) is not None


def test_unlisted_names_cannot_be_imported() -> None:
    """Neither what a module of the public names also imports, nor what nothing has."""
    for name in ("NotSent", "dataclass", "Typo"):
        with pytest.raises(AttributeError, match=name):
            getattr(adapter, name)


def test_what_hooks_may_raise_is_public() -> None:
    """A plugin can only raise what it can import."""
    assert {answer.__name__ for answer in ANSWERS} <= set(adapter.__all__)


def test_importing_the_package_starts_nothing_heavy() -> None:
    """A plugin's tests need neither a broker's client nor an event loop; the package alone needs nothing."""
    heavy = ("asyncio", "aiokafka", "httpx", "pydantic", "cryptography", "yaml", "starlette", "typer")
    program = f"""
import sys
before = set(sys.modules)
import adapter
alone = set(sys.modules) - before
adapter.hookimpl, adapter.read_order
print(sorted(alone - {{"__future__"}}), [name for name in {heavy} if name in sys.modules])
"""

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert result.stdout.strip() == "['adapter'] []"
