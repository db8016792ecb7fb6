"""Each protection can still be switched off: what it replaces exists under that name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chaos.protections import PROTECTIONS

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("name", PROTECTIONS)
def test_each_protection_can_be_switched_off(name: str) -> None:
    """In a process of its own, since it changes the adapter's modules."""
    switch_off = f"from chaos.protections import PROTECTIONS; PROTECTIONS[{name!r}].off()"
    result = subprocess.run([sys.executable, "-c", switch_off], cwd=TESTS, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
