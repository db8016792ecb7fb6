"""Where there is no browser, its tests are skipped and say so, and setting up does not fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from key_words import line_mentions

HERE = Path(__file__).parent


def test_without_a_browser_its_tests_are_skipped_and_say_so(tmp_path: Path) -> None:
    """A green run without a browser must not look like a run that tested the page."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "-k", "markup", str(HERE / "test_page.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(tmp_path)},
        check=False,
    )

    assert run.returncode == 0, run.stdout
    assert line_mentions(run.stdout, "BROWSER TEST NOT RUN Chromium")
    assert "1 skipped" in run.stdout


def test_where_nothing_can_be_installed_that_is_reported(tmp_path: Path) -> None:
    """`make test` goes on."""
    run = subprocess.run(
        ["/bin/sh", HERE / "chromium.sh"], capture_output=True, text=True, env={"PATH": str(tmp_path)}, check=False
    )

    assert run.returncode == 0
    assert line_mentions(run.stderr, "browser tests skipped")
