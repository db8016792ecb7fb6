"""Fixtures for tests of plugins; pytest finds them wherever the adapter is installed.

Loading this costs what importing `adapter` costs, some hundredths of a second: whatever a fixture needs is imported
when a test asks for it, so that a suite which uses none of them does not notice. A fixture of the same name in a
project's own `conftest.py` goes before the one here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from adapter import Order, OrderRecord
    from adapter.dev.sandbox import RunningSandbox
    from adapter.extensions.manager import PluginManager
    from adapter.testing import Clock, Events, MemoryStream, Orders
    from adapter.testing.plugins import Sections


class PluginManagerFactory(Protocol):
    """Makes a manager of plugin objects, which may be named, with their settings by name.

    Raises PluginRefused and SettingsError for what the adapter would refuse.
    """

    def __call__(self, *plugins: object, settings: Sections | None = None, **named: object) -> PluginManager: ...


class MemoryStreamFactory(Protocol):
    """Makes a memory stream with plugin objects, which may be named, and their settings by name.

    `merchants` are the configured ones, the public test merchant unless others are named. Calls go to `sandbox` where
    there is one.
    """

    def __call__(
        self,
        *plugins: object,
        settings: Sections | None = None,
        merchants: Sequence[str] | None = None,
        sandbox: RunningSandbox | None = None,
        **named: object,
    ) -> MemoryStream: ...


class ConformanceCheck(Protocol):
    """Fails the test, with all that was found, unless the plugin passes the conformance suite.

    What may be given is what `conformance` takes.
    """

    def __call__(
        self,
        plugin: object,
        *,
        settings: Mapping[str, object] | None = None,
        records: Sequence[OrderRecord] = (),
        orders: Sequence[Order] = (),
    ) -> None: ...


@pytest.fixture
def clock() -> Clock:
    """A clock that moves when told; `sandbox` and `memory_stream` go by it."""
    from adapter.testing import Clock

    return Clock()


@pytest.fixture
def orders() -> Orders:
    """Makes orders of every kind."""
    from adapter.testing import Orders

    return Orders()


@pytest.fixture
def events() -> Events:
    """Makes events of every type, as sinks are handed them."""
    from adapter.testing import Events

    return Events()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[RunningSandbox]:
    """An ECTicket with every rule of ECPay's pages, on loopback; its jobs are done at once."""
    from adapter.testing.background import sandbox_in_a_thread

    with sandbox_in_a_thread(now=clock) as running:
        yield running


@pytest.fixture
def plugin_manager() -> PluginManagerFactory:
    """Takes plugins in as the adapter does at start."""

    def make(*plugins: object, settings: Sections | None = None, **named: object) -> PluginManager:
        from adapter.testing.plugins import by_name, manager_of

        return manager_of(by_name(*plugins, **named), settings)

    return make


@pytest.fixture
def memory_stream(clock: Clock) -> Iterator[MemoryStreamFactory]:
    """Takes orders through the adapter with plugins, in memory."""
    with ExitStack() as made:

        def make(
            *plugins: object,
            settings: Sections | None = None,
            merchants: Sequence[str] | None = None,
            sandbox: RunningSandbox | None = None,
            **named: object,
        ) -> MemoryStream:
            from adapter.testing import MemoryStream
            from adapter.testing.orders import MERCHANT

            configured = (MERCHANT,) if merchants is None else merchants
            stream = MemoryStream(
                *plugins, settings=settings, merchants=configured, clock=clock, sandbox=sandbox, **named
            )
            return made.enter_context(stream)

        yield make


@pytest.fixture
def conforms() -> ConformanceCheck:
    """Holds a plugin to everything the adapter asks of plugins."""

    def check(
        plugin: object,
        *,
        settings: Mapping[str, object] | None = None,
        records: Sequence[OrderRecord] = (),
        orders: Sequence[Order] = (),
    ) -> None:
        from adapter.testing import Level, conformance

        found = conformance(plugin, settings=settings, records=records, orders=orders)
        wrong = [str(finding) for finding in found if finding.level is not Level.NOTE]
        if wrong:
            pytest.fail("\n".join(wrong), pytrace=False)

    return check
