"""What tests of plugins are made of: fakes, builders, an adapter in memory, and the suite that every plugin passes.

What is named here is public, for the tests of plugins to import; nothing deeper is. The same things come as pytest
fixtures, which pytest finds by itself (`pytest_plugin`): `clock`, `orders`, `events`, `sandbox`, `plugin_manager`,
`memory_stream`, `conforms`. `docs/testing-plugins.md` shows them at work.

    clock          a clock that moves when told
    orders         orders of every kind, and records of them
    events         events of every type, as sinks are handed them
    ecticket       an ECTicket in memory that misbehaves when told
    surroundings   what else the stages need around them
    told           what an outcome tells
    plugins        plugin objects as the adapter takes them in
    stages         both stages, driven as the engine drives them
    background     an event loop on a thread of its own, and a sandbox on it
    memory_stream  the whole way of an order, for plain functions
    examining      the conformance suite: a plugin loaded, configured, and each of its hooks tried
    samples        what hooks are tried with
    trying         one hook tried with one sample
    refused, model_rules, sink_rules: what else is found about a plugin
    findings       what is found

Nothing is imported before it is asked for: pytest loads this package in every project that has the adapter installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter.testing.clock import NOON, Clock
    from adapter.testing.conformance_suite import conformance
    from adapter.testing.ecticket import (
        LOST_AFTER,
        LOST_BEFORE,
        NOT_ACCEPTED,
        NOT_SENT,
        REFUSED,
        REFUSED_AFTER,
        FakeEcticket,
        Fault,
    )
    from adapter.testing.events import Events
    from adapter.testing.findings import Finding, Level
    from adapter.testing.memory_stream import MemoryStream
    from adapter.testing.orders import Orders, order_paid, order_record
    from adapter.testing.outcome_reader import OrderEvents, OutcomeEvent
    from adapter.testing.pytest_plugin import ConformanceCheck, MemoryStreamFactory, PluginManagerFactory

_HOMES = {
    "clock": ("NOON", "Clock"),
    "ecticket": (
        "LOST_AFTER",
        "LOST_BEFORE",
        "NOT_ACCEPTED",
        "NOT_SENT",
        "REFUSED",
        "REFUSED_AFTER",
        "FakeEcticket",
        "Fault",
    ),
    "events": ("Events",),
    "conformance_suite": ("conformance",),
    "findings": ("Finding", "Level"),
    "memory_stream": ("MemoryStream",),
    "orders": ("Orders", "order_paid", "order_record"),
    "pytest_plugin": ("ConformanceCheck", "PluginManagerFactory", "MemoryStreamFactory"),
    "outcome_reader": ("OutcomeEvent", "OrderEvents"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "LOST_AFTER",
    "LOST_BEFORE",
    "NOON",
    "NOT_ACCEPTED",
    "NOT_SENT",
    "REFUSED",
    "REFUSED_AFTER",
    "Clock",
    "ConformanceCheck",
    "Events",
    "FakeEcticket",
    "Fault",
    "Finding",
    "Level",
    "MemoryStream",
    "MemoryStreamFactory",
    "OrderEvents",
    "Orders",
    "OutcomeEvent",
    "PluginManagerFactory",
    "conformance",
    "order_paid",
    "order_record",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
