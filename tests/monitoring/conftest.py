"""Prometheus and its promtool; where there are none, the tests that need them are skipped and say so.

`make test` gets them where it can (`prometheus.sh`).
"""

from __future__ import annotations

import pytest

from monitoring.tools import find_program

_NOT_RUN = "PROMETHEUS TEST NOT RUN"


def _program(name: str) -> str:
    found = find_program(name)
    if found is None:
        pytest.skip(f"{_NOT_RUN}: there is no {name}; on Debian, `sh tests/monitoring/prometheus.sh`")
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of `promtool`."""
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    """The path of the server."""
    return _program("prometheus")
