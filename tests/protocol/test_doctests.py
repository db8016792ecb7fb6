"""Every example in a docstring of the protocol does what it shows."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import adapter.protocol

MODULES = [module.name for module in pkgutil.iter_modules(adapter.protocol.__path__, "adapter.protocol.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_module_hold(name: str) -> None:
    """Examples that are not run go stale."""
    failed, _ = doctest.testmod(importlib.import_module(name))

    assert failed == 0
