"""Settings of the sandbox are checked once, all mistakes at once."""

from __future__ import annotations

import pytest

from adapter.dev.sandbox import SandboxSettings
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.errors import SettingsError


def test_the_defaults_are_loopback_and_the_public_test_merchants() -> None:
    """A sandbox needs no setting at all."""
    settings = SandboxSettings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8700)
    assert {merchant.merchant_id for merchant in settings.merchants} == {"3085676", "3362787", "3361934"}


def test_every_value_out_of_range_is_reported() -> None:
    """One sentence per mistake, each naming the setting."""
    with pytest.raises(SettingsError) as caught:
        SandboxSettings(port=70_000, job_seconds=-1, max_orders=0, merchants=PUBLIC_TEST_MERCHANTS[:1] * 2)

    assert [problem.split()[1] for problem in caught.value.problems] == [
        "port",
        "job_seconds",
        "max_orders",
        "merchant",
    ]


def test_codes_are_checked_when_the_settings_are_made() -> None:
    """Not when the first call is refused."""
    with pytest.raises(SettingsError, match="not a reason"):
        SandboxSettings(codes={"nonsense": 2})
