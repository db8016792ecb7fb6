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
    """After the test, asyncio reports no future whose exception was not retrieved, and no client left open.

    What earlier tests left is collected first: their reports belong to the set-up, which is not judged.
    """
    gc.collect()
    yield
    gc.collect()
    records = (*caplog.get_records("call"), *caplog.get_records("teardown"))
    assert [record.getMessage() for record in records if record.name == "asyncio"] == []
