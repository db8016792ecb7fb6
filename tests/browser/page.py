"""The page as a person uses it: by what is written on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeVar

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

TIMEOUT_SECONDS = 30

_Found = TypeVar("_Found")

# Every element with text of its own, and the contrast of that text with what is behind it (WCAG 2, 1.4.3).
_FAINT = """
const channel = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parts = (color) => color.match(/[0-9.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
const behind = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const color = parts(getComputedStyle(each).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility()) continue;
  const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) found.push(`${element.textContent.trim()}: ${contrast.toFixed(2)}`);
}
return found;
"""
_NAMELESS = """
return [...document.querySelectorAll("button, a, input, summary, [tabindex='0']")]
  .filter((element) => !(element.getAttribute("aria-label") || element.textContent.trim() || element.labels?.length))
  .map((element) => element.outerHTML);
"""


class Page:
    """The page in a browser; whatever is looked for is waited for."""

    def __init__(self, browser: Chrome, base_url: str) -> None:
        self._browser = browser
        self._base_url = base_url

    def set_up(self, *, width: int, height: int, scheme: Literal["light", "dark"]) -> None:
        """Make the window so large, and its owner one who likes it light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        taste = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in taste.items()]
        self._browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, fragment: str = "") -> None:
        """Reload it and wait until it is live."""
        self._browser.get("about:blank")  # else only the fragment would change
        self._browser.get(f"{self._base_url}/{fragment}")
        self.shows("live", "#live")

    def shows(self, text: str, selector: str = "body") -> WebElement:
        """Wait until what the selector finds says this; that element."""

        def saying() -> WebElement | None:
            elements = self._browser.find_elements(By.CSS_SELECTOR, selector)
            return next((each for each in elements if text in each.text), None)

        return self._until(saying, f"{text!r} in {selector}")

    def shows_match(self, pattern: str, selector: str = "body") -> None:
        """Wait until the text of what the selector finds matches this."""
        self._until(lambda: re.search(pattern, self.text(selector)), f"{pattern} in {selector}")

    def fill_in(self, name: str, text: str) -> None:
        """Replace the text of the field that has this accessible name."""

        def filled() -> bool:
            for field in self._browser.find_elements(By.CSS_SELECTOR, "input"):
                if field.accessible_name == name:
                    field.clear()
                    field.send_keys(text)
                    return True
            return False

        self._until(filled, f"a field named {name!r}")

    def click(self, name: str) -> None:
        """Click the button or link that has this name."""
        xpath = f'//*[self::button or self::a][@aria-label="{name}" or normalize-space()="{name}" or .//*[.="{name}"]]'

        def clicked() -> bool:
            found = [each for each in self._browser.find_elements(By.XPATH, xpath) if each.is_displayed()]
            if found:
                found[0].click()
            return bool(found)

        self._until(clicked, f"a button or link named {name!r}")

    def names(self, selector: str) -> list[str]:
        """The accessible names of what the selector finds."""
        return [each.accessible_name for each in self._browser.find_elements(By.CSS_SELECTOR, selector)]

    def search(self, text: str) -> None:
        """Type into the search field."""
        field = self._browser.find_element(By.ID, "search")
        field.clear()
        field.send_keys(text)

    def text(self, selector: str = "body") -> str:
        """What is written there now."""
        return self._browser.find_element(By.CSS_SELECTOR, selector).text

    def source(self) -> str:
        """The whole document, what is not shown included."""
        return str(self._browser.execute_script("return document.documentElement.outerHTML"))

    def sticks_out(self) -> bool:
        """Whether one would have to scroll sideways."""
        return bool(self._browser.execute_script("return document.documentElement.scrollWidth > innerWidth"))

    def faint_texts(self) -> list[str]:
        """Texts that are hard to read against what is behind them."""
        return list(self._browser.execute_script(_FAINT))

    def nameless(self) -> list[str]:
        """Buttons, links and fields that a screen reader could not name."""
        return list(self._browser.execute_script(_NAMELESS))

    def complaints(self) -> list[str]:
        """What stands in the browser's console; it is empty afterwards."""
        entries = self._browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium left it untyped
        return [str(entry["message"]) for entry in entries]

    def _until(self, look: Callable[[], _Found | None], what: str) -> _Found:
        wait: WebDriverWait[Chrome] = WebDriverWait(
            self._browser, TIMEOUT_SECONDS, poll_frequency=0.05, ignored_exceptions=[StaleElementReferenceException]
        )
        try:
            return wait.until(lambda _browser: look() or False)
        except TimeoutException:
            raise AssertionError(f"there is no {what}; the page says {self.text()!r}") from None
