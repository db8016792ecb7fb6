"""Fixtures of the stream's tests."""

from __future__ import annotations

import pytest

from stream.fake_kafka import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    """Kafka in memory, empty."""
    return FakeCluster()
