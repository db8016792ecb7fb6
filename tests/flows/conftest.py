"""What the stories of this room share."""

from __future__ import annotations

import pytest

from flows.house import House


@pytest.fixture
def house() -> House:
    """Two merchants, no plugins, and the contract's default times."""
    return House()
