"""One back-off for all retries."""

from __future__ import annotations

import pytest

from adapter.backoff import backoff_seconds


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 2.0), (4, 3.0), (10_000, 3.0)])
def test_pauses_double_up_to_the_limit(failures: int, seconds: float) -> None:
    """No number of failures overflows."""
    assert backoff_seconds(failures, first=0.5, longest=3.0) == seconds


def test_a_pause_without_a_limit_stays_finite() -> None:
    """A caller that adds it to a time must not fail."""
    assert backoff_seconds(10_000, first=0.25) == 0.25 * 2**30
