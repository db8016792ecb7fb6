"""`docs/sandbox.md` leaves nothing out that can be asked for or set."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from adapter.dev.sandbox import SandboxSettings, Simulator
from adapter.dev.sandbox.control_api import control_routes
from adapter.dev.sandbox.fault_json import MATCHERS
from adapter.dev.sandbox.fault_types import KINDS
from adapter.dev.sandbox.notifications import NotificationKind

from .helpers import Clock

MANUAL = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(KINDS))
def test_every_fault_is_in_the_manual_with_its_options(name: str) -> None:
    """One line each."""
    (line,) = (line for line in MANUAL.splitlines() if line.startswith(f"| `{name}` |"))

    assert [option.name for option in fields(KINDS[name]) if option.name not in line] == []


@pytest.mark.parametrize("name", [*MATCHERS, *(kind.value for kind in NotificationKind)])
def test_every_matcher_and_notification_is_in_the_manual(name: str) -> None:
    """By its name."""
    assert f"`{name}`" in MANUAL


def test_every_setting_of_notifications_is_in_the_manual() -> None:
    """With its default beside it."""
    names = [each.name for each in fields(SandboxSettings) if "notif" in each.name]

    assert [name for name in names if f"| `{name}` |" not in MANUAL] == []


def test_every_address_of_the_operators_is_in_the_manual() -> None:
    """With the path as it is."""
    paths = {route.path.replace("{act}", "redeem") for route in control_routes(Simulator(SandboxSettings()), Clock())}

    assert [path for path in sorted(paths) if f"/_{path}`" not in MANUAL] == []
