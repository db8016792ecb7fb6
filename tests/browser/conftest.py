"""A real Chromium, once for all tests of a run; where there is none, they are skipped and say so.

`make test` installs it where it can (`chromium.sh`). Tests that use `chromium` are marked `browser`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from adapter.dev.sandbox import SandboxSettings

from .harness import BrowserHarness, open_harness
from .page import Page

_NOT_RUN = "BROWSER TEST NOT RUN"
_ARGUMENTS = ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that use the browser are marked automatically."""
    if "chromium" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chrome]:
    """The browser, without a window."""
    binary = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip(f"{_NOT_RUN}: there is no Chromium with its chromedriver; as root, `sh tests/browser/chromium.sh`")
    options = ChromeOptions()
    options.binary_location = binary
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    if os.geteuid() == 0:  # Chromium refuses to confine itself as root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        browser = Chrome(options=options, service=ChromeService(driver))
    except WebDriverException as error:
        pytest.skip(f"{_NOT_RUN}: {binary} does not start: {error.msg}")
    yield browser
    browser.quit()


@pytest.fixture
def harness() -> Iterator[BrowserHarness]:
    """A sandbox, and a merchant that takes its notifications, on a loop of their own."""
    with open_harness(SandboxSettings(port=0)) as opened:
        yield opened


@pytest.fixture
def page(chromium: Chrome, harness: BrowserHarness) -> Iterator[Page]:
    """The sandbox's page, just opened; when the test ends, nothing may stand in the browser's console."""
    page = Page(chromium, harness.base_url)
    page.set_up(width=1280, height=900, scheme="light")
    page.open()
    yield page
    chromium.get("about:blank")
    assert page.complaints() == []
