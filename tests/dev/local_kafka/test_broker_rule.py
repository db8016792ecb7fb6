"""The rule of `tests/conftest.py`: a broker test that cannot run says so, and under CI=true it has failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from key_words import line_mentions

from dev.local_kafka.processes import ROOT

TESTS = """
import pytest

def test_asks_for_the_broker(kafka):
    raise AssertionError("there is none")

@pytest.mark.broker
@pytest.mark.skip(reason="not today")
def test_is_skipped_by_hand():
    raise AssertionError("skipped")

@pytest.mark.skip(reason="needs no broker")
def test_of_something_else():
    raise AssertionError("skipped")
"""
SETTINGS = "[pytest]\nmarkers =\n    broker: real Kafka\nasyncio_default_fixture_loop_scope = function\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A test suite with our fixtures, on a machine without network and without a cache."""
    for file in ("conftest.py", "quick.py", "unclosed.py"):
        shutil.copy(ROOT / "tests" / file, tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "jgo.conf").write_text("[repositories]\ncentral = http://127.0.0.1:1\n", encoding="utf-8")
    return tmp_path


def outcome(suite: Path, **settings: str) -> str:
    """What pytest says at the end of a run of the suite."""
    own = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("ECTICKET_")}
    machine = {"XDG_CACHE_HOME": str(suite / "cache"), "JGO_CONFIG_FILE": str(suite / "jgo.conf")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(suite)],
        capture_output=True,
        text=True,
        cwd=suite,
        env={**own, **machine, **settings, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    return run.stdout


def test_without_a_network_broker_tests_are_skipped_and_say_so(suite: Path) -> None:
    """At a desk that is offline the others still run."""
    output = outcome(suite)

    assert "3 skipped" in output
    assert line_mentions(output, "BROKER TEST NOT RUN")
    assert "fetched" in output


def test_under_ci_a_broker_test_that_did_not_run_has_failed(suite: Path) -> None:
    """A run without a broker must not look like a tested one; what needs no broker may still be skipped."""
    output = outcome(suite, CI="true")

    assert "1 skipped" in output
    assert "ERROR test_some.py::test_is_skipped_by_hand" in output
    assert "ERROR test_some.py::test_asks_for_the_broker" in output
    assert line_mentions(output, "CI=true failure")
