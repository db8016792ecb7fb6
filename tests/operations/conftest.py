"""What the tests of operations share."""

from __future__ import annotations

import pytest
from flows.harness import Harness


@pytest.fixture
def harness() -> Harness:
    """Two merchants, no plugins, and the default times."""
    return Harness()
