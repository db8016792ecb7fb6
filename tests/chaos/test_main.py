"""The command line of the long run."""

from __future__ import annotations

import pytest

from chaos.__main__ import _arguments
from chaos.scenario import PROFILES


def test_scenarios_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them run unless some are named."""
    monkeypatch.setattr("sys.argv", ["chaos"])
    every = _arguments().scenario
    monkeypatch.setattr("sys.argv", ["chaos", "--scenario", "worst", "--seeds", "7"])
    asked = _arguments()

    assert every == list(PROFILES)
    assert (asked.scenario, list(asked.seeds)) == (["worst"], [7])
