"""What tests of this room share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from adapter.extensions import hookspecs
from adapter.extensions.hooks import hooks

Marks = Callable[[str, Warning | None, dict[str, Warning] | None], None]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocking hooks wait for; opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Marks]:
    """Mark a hook's specification as one that changes, until the test ends."""

    def mark(hook: str, whole: Warning | None, arguments: dict[str, Warning] | None) -> None:
        marked = getattr(hookspecs, hook).ecticket_adapter_spec
        monkeypatch.setitem(marked, "warn_on_impl", whole)
        monkeypatch.setitem(marked, "warn_on_impl_args", arguments)
        hooks.cache_clear()

    yield mark
    monkeypatch.undo()
    hooks.cache_clear()
