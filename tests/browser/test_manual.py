"""The manual's site in a real browser, opened from files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parent.parent.parent
BOUND_SECONDS = 60


def test_the_search_finds_a_setting_without_a_server(chromium: Chrome, tmp_path: Path) -> None:
    """The built folder can be read and searched as it lies on a disk."""
    build = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path))
    subprocess.run(build, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True)

    chromium.get(f"{(tmp_path / 'index.html').as_uri()}?q=first_query_seconds")

    links = WebDriverWait(chromium, BOUND_SECONDS).until(
        lambda browser: browser.find_elements(By.CSS_SELECTOR, "a.md-search-result__link")
    )
    found = [str(link.get_attribute("href")) for link in links]
    assert any("docs/settings.html" in each for each in found), found
    log = chromium.get_log("browser")  # type: ignore[no-untyped-call]  # selenium leaves this one untyped
    assert [entry for entry in log if entry["level"] == "SEVERE"] == []
