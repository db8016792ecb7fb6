"""What the chaos suite's tests share: clients that complain of brokers that are killed are not part of the story."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _quiet_clients() -> Iterator[None]:
    """Thousands of their lines would bury the books of a run that failed."""
    clients = logging.getLogger("aiokafka")
    before = clients.level
    clients.setLevel(logging.CRITICAL)
    yield
    clients.setLevel(before)
