"""Silences the log lines of clients about killed brokers."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _quiet_clients() -> Iterator[None]:
    """Thousands of their lines would hide the results of a failed run."""
    clients = logging.getLogger("aiokafka")
    before = clients.level
    clients.setLevel(logging.CRITICAL)
    yield
    clients.setLevel(before)
