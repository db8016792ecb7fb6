"""The one table of assumed numbers."""

from __future__ import annotations

import pytest

from adapter.dev.sandbox.codes import ASSUMED, Reason, code_table
from adapter.errors import SettingsError


def test_every_reason_has_a_number_and_none_is_success() -> None:
    """A refusal with code 1 would be a success."""
    assert set(ASSUMED) == set(Reason)
    assert 1 not in ASSUMED.values()


def test_a_number_can_be_changed_by_the_name_of_its_reason() -> None:
    """Everything but 1 is assumed, so everything but 1 can be changed."""
    table = code_table({"repeated_trade_no": 42})

    assert table[Reason.REPEATED_TRADE_NO] == 42
    assert {**table, Reason.REPEATED_TRADE_NO: ASSUMED[Reason.REPEATED_TRADE_NO]} == ASSUMED


def test_every_mistake_in_the_changes_is_reported() -> None:
    """A misspelt reason names the nearest one; 1 is refused."""
    with pytest.raises(SettingsError) as caught:
        code_table({"repeated_tradeno": 3, "qqq": 4, "field": 1})

    assert len(caught.value.problems) == 3
    assert "did you mean repeated_trade_no" in caught.value.problems[0]
    assert "allowed: not_an_envelope" in caught.value.problems[1]
    assert "codes.field" in caught.value.problems[2]
