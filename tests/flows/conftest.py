"""What the stories of this room share."""

from __future__ import annotations

import pytest

from flows.harness import Harness


@pytest.fixture
def harness() -> Harness:
    """Two merchants, no plugins, and the default times."""
    return Harness()
