"""Where there is no Prometheus, the tests that need it are skipped and say so, and setting up does not fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from key_words import line_mentions

HERE = Path(__file__).parent


def test_without_promtool_the_alerts_tests_are_skipped_and_say_so(tmp_path: Path) -> None:
    """A green run without it must not look like one that tested the rules; tests that do not need it still run."""
    chosen = (HERE / "test_alerts.py", "-k", "ControlNumberKnown or each_alert")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *chosen],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path), "PROMETHEUS_FOLDER": str(tmp_path)},
        check=False,
    )

    assert run.returncode == 0, run.stdout
    assert line_mentions(run.stdout, "PROMETHEUS TEST NOT RUN promtool")
    assert "1 passed, 1 skipped" in run.stdout


def test_where_nothing_can_be_had_that_is_reported(tmp_path: Path) -> None:
    """`make test` goes on."""
    environment = {"PATH": str(tmp_path), "PROMETHEUS_FOLDER": str(tmp_path)}
    run = subprocess.run(
        ["/bin/sh", HERE / "prometheus.sh"], capture_output=True, text=True, env=environment, check=False
    )

    assert run.returncode == 0
    assert line_mentions(run.stderr, "prometheus promtool skipped")
