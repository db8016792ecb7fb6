"""Fixtures for tests of plugins; pytest finds them wherever the adapter is installed.

Loading this module costs as much as importing `adapter`, some hundredths of a second. A fixture imports the rest when a
test uses it, so a suite without these fixtures pays nothing. A fixture of the same name in a project's `conftest.py`
takes precedence.
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
    """Makes a plugin manager of plugin objects, with optional names, and their settings by name.

    Raises PluginRejected and SettingsError for what the adapter would reject.
    """

    def __call__(self, *plugins: object, settings: Sections | None = None, **named: object) -> PluginManager: ...


class MemoryStreamFactory(Protocol):
    """Makes a memory stream with plugin objects, with optional names, and their settings by name.

    `merchants` are the configured ones; the default is the public test merchant. With a `sandbox`, calls go there.
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
    """Fails the test, with all findings, unless the plugin passes the conformance suite.

    Takes the arguments of `conformance`.
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
    """A clock that the test moves; `sandbox` and `memory_stream` use it."""
    from adapter.testing import Clock

    return Clock()


@pytest.fixture
def orders() -> Orders:
    """Makes orders of every kind."""
    from adapter.testing import Orders

    return Orders()


@pytest.fixture
def events() -> Events:
    """Makes events of every type, as sinks get them."""
    from adapter.testing import Events

    return Events()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[RunningSandbox]:
    """An ECTicket on loopback with every rule of ECPay's pages; its jobs finish at once."""
    from adapter.testing.background import sandbox_in_a_thread

    with sandbox_in_a_thread(now=clock) as running:
        yield running


@pytest.fixture
def plugin_manager() -> PluginManagerFactory:
    """Loads plugins as the adapter does at start."""

    def make(*plugins: object, settings: Sections | None = None, **named: object) -> PluginManager:
        from adapter.testing.plugins import by_name, manager_of

        return manager_of(by_name(*plugins, **named), settings)

    return make


@pytest.fixture
def memory_stream(clock: Clock) -> Iterator[MemoryStreamFactory]:
    """Runs orders through the adapter with plugins, in memory."""
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
    """Checks a plugin against everything that the adapter requires of plugins."""

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
