"""Fixtures of the stream's tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from stream.fake_kafka import FakeCluster


@pytest.fixture
def cluster() -> FakeCluster:
    """Kafka in memory, empty."""
    return FakeCluster()


@pytest.fixture
def nothing_overlooked(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After the test, no future is found whose exception nobody looked at: such lines frighten and say nothing."""
    yield
    gc.collect()
    records = (*caplog.get_records("call"), *caplog.get_records("teardown"))
    assert [record.getMessage() for record in records if record.name == "asyncio"] == []
