"""Fixtures for tests of plugins; pytest finds them wherever the adapter is installed.

Loading this costs what importing `adapter` costs, some hundredths of a second: whatever a fixture needs is imported
when a test asks for it, so that a suite which uses none of them does not notice. A fixture of the same name in a
project's own `conftest.py` goes before the one here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from adapter.extensions.manager import PluginManager
    from adapter.sandbox import RunningSandbox
    from adapter.testing import Clock, MemoryStream, Orders


class MakesManagers(Protocol):
    """Makes a manager of plugin objects, which may be named; raises PluginRefused for what the adapter would refuse."""

    def __call__(self, *plugins: object, **named: object) -> PluginManager: ...


class MakesStreams(Protocol):
    """Makes a memory stream with plugin objects, which may be named; calls go to `sandbox` where there is one."""

    def __call__(self, *plugins: object, sandbox: RunningSandbox | None = None, **named: object) -> MemoryStream: ...


class Conforms(Protocol):
    """Fails the test, with every finding, unless the plugin passes the conformance suite; takes what that one takes."""

    def __call__(self, plugin: object, **given: object) -> None: ...


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
def sandbox(clock: Clock) -> Iterator[RunningSandbox]:
    """An ECTicket with every rule of ECPay's pages, on loopback; its jobs are done at once."""
    from adapter.testing.background import sandbox_in_a_thread

    with sandbox_in_a_thread(now=clock) as running:
        yield running


@pytest.fixture
def plugin_manager() -> MakesManagers:
    """Takes plugins in as the adapter does at start."""

    def make(*plugins: object, **named: object) -> PluginManager:
        from adapter.testing.plugins import by_name, manager_of

        return manager_of(by_name(*plugins, **named))

    return make


@pytest.fixture
def memory_stream(clock: Clock) -> Iterator[MakesStreams]:
    """Takes orders through the adapter with plugins, in memory."""
    with ExitStack() as made:

        def make(*plugins: object, sandbox: RunningSandbox | None = None, **named: object) -> MemoryStream:
            from adapter.testing import MemoryStream

            return made.enter_context(MemoryStream(*plugins, clock=clock, sandbox=sandbox, **named))

        yield make
