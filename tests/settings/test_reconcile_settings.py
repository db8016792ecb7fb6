"""The settings of the daily comparison: its time, its days, and the numbers of other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.errors import SettingsError
from adapter.settings import load
from adapter.settings.checks import check_settings


@pytest.mark.parametrize(
    ("written", "read"),
    [('"05:00"', "05:00"), ("05:00", "05:00"), ('"5:30"', "05:30"), ('"23:59"', "23:59"), ('""', "")],
)
def test_the_time_is_read_as_people_write_it(tmp_path: Path, written: str, read: str) -> None:
    """In quotes, without which YAML makes a number of some times (and the loader asks for them)."""
    file = tmp_path / "settings.yaml"
    file.write_text(f"reconcile:\n  at: {written}\n", encoding="utf-8")

    assert load(file, {}).reconcile.at == read


@pytest.mark.parametrize("at", ["24:00", "5", "05:60", "noon", "05:00:00"])
def test_another_time_is_refused(at: str) -> None:
    """The message names the setting."""
    with pytest.raises(SettingsError, match=r"reconcile\.at"):
        load(None, {"reconcile.at": at})


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, set()),
        ({"reconcile.at": "05:00"}, set()),
        ({"reconcile.at": "05:00", "reconcile.days": "1", "confirm.give_up_after_hours": "48"}, {"reconcile.days"}),
        ({"reconcile.ignore_prefixes": "SHOP", "submit.trade_no_prefix": "TW"}, set()),
        ({"reconcile.ignore_prefixes": "t", "submit.trade_no_prefix": "TW"}, {"reconcile.ignore_prefixes"}),
        ({"reconcile.ignore_prefixes": "TW2", "submit.trade_no_prefix": "tw"}, {"reconcile.ignore_prefixes"}),
    ],
)
def test_what_would_hide_differences_is_a_warning(values: dict[str, str], keys: set[str]) -> None:
    """Results that come after the last comparison, and a prefix of this adapter's own numbers."""
    issues = [each for each in check_settings(load(None, values)) if each.key.startswith("reconcile.")]

    assert {each.key for each in issues} == keys
    assert all(each.level == "warning" for each in issues)
