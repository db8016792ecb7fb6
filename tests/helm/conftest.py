"""Helm, for all tests of the chart."""

from __future__ import annotations

import pytest

from helm.renderer import Renderer, find_renderer


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    """The one on the PATH, else the library from pip."""
    return find_renderer()
