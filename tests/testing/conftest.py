"""What tests of this room share."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocking hooks wait for; opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()
