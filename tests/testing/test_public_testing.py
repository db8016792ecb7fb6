"""What tests of plugins may import is exactly what `adapter.testing` lists, and importing it is cheap."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import entry_points

import adapter.testing

PUBLIC = {
    # the clock
    "Clock",
    "NOON",
    # orders
    "Orders",
    "order_paid",
    "order_record",
    # events
    "Events",
    # the path of an order, and its events
    "MemoryStream",
    "OrderEvents",
    "OutcomeEvent",
    # the conformance suite
    "conformance",
    "Finding",
    "Level",
    # the types of fixtures
    "PluginManagerFactory",
    "MemoryStreamFactory",
    "ConformanceCheck",
    # an ECTicket with faults
    "FakeEcticket",
    "Fault",
    "LOST_AFTER",
    "LOST_BEFORE",
    "NOT_SENT",
    "NOT_ACCEPTED",
    "REFUSED",
    "REFUSED_AFTER",
}
FIXTURES = {"clock", "orders", "events", "sandbox", "plugin_manager", "memory_stream", "conforms"}
HEAVY = ("asyncio", "aiokafka", "httpx", "pydantic", "cryptography", "yaml", "starlette", "uvicorn", "typer")


def test_public_names_are_these_and_no_others() -> None:
    """A name is added here on purpose, and never taken away by accident."""
    assert set(adapter.testing.__all__) == PUBLIC


def test_every_public_name_is_there() -> None:
    """They are imported when they are asked for, so that a wrong one would show only then."""
    for name in PUBLIC:
        assert getattr(adapter.testing, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    assert not hasattr(adapter.testing, "no_such_name")


def test_pytest_finds_the_fixtures() -> None:
    """Through the entry point, under these names."""
    (point,) = (point for point in entry_points(group="pytest11") if point.name == "ecticket_adapter")
    plugin = importlib.import_module(point.value)

    assert {name for name, value in vars(plugin).items() if "fixture" in type(value).__name__.lower()} == FIXTURES


def test_what_pytest_loads_everywhere_imports_nothing_heavy() -> None:
    """A suite that uses none of it does not notice that the adapter is installed."""
    program = (
        "import sys, pytest; before = set(sys.modules); import adapter.testing.pytest_plugin; "
        f"print([name for name in {HEAVY} if name in set(sys.modules) - before])"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert result.stdout.strip() == "[]"
