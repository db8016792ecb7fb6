"""The public test kit for plugins: fakes, builders, an adapter in memory, and the conformance suite.

Tests of plugins import from here and no deeper. The same objects come as pytest fixtures, which pytest finds by itself
(`pytest_plugin`): `clock`, `orders`, `events`, `sandbox`, `plugin_manager`, `memory_stream`, `conforms`.
`docs/testing-plugins.md` shows how to use them.

    clock                   a clock that the test moves
    orders                  orders of every kind, and records of them
    events                  events of every type, as sinks get them
    ecticket                an ECTicket in memory, with faults
    fakes                   merchants, topics, record context and observer for the stages
    outcome_reader          reads an outcome's events, deferred records and dead letters
    plugins                 a plugin manager of plugin objects
    harness                 the submit and confirm stages, driven as the engine drives them
    background              an event loop in a thread, and a sandbox on it
    memory_stream           an order's whole path, for plain functions
    conformance_suite       loads and configures a plugin, and tries each of its hooks
    samples, hook_trial     the arguments that hooks are tried with; one hook tried with one sample
    load_findings, model_rules, sink_rules   checks of loading, of the settings model, of sinks
    findings                the results

Importing this package imports nothing else (names load on first use): pytest loads it in every project that has the
adapter installed.
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
