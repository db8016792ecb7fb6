"""Hidden packages cannot be imported for a while; nothing else changes."""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from adapter.cli.hidden_packages import hidden_packages

_NAME = "this"
"""A package that no test uses; to import it prints a poem."""


def test_a_hidden_package_can_be_imported_afterwards() -> None:
    """Tables of a command that runs later in the process need rich."""
    sys.modules.pop(_NAME, None)
    with hidden_packages(_NAME), pytest.raises(ImportError):
        importlib.import_module(_NAME)

    assert importlib.import_module(_NAME).__name__ == _NAME


def test_a_package_that_is_in_use_is_not_hidden() -> None:
    """Else the process would have it twice."""
    with hidden_packages("json"):
        assert importlib.import_module("json") is json
    assert sys.modules["json"] is json
