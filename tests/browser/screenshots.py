"""Takes the pictures of docs/console.md: `python -m browser.screenshots`, in the folder `tests`.

They show a real adapter on a local broker with a sandbox (`console_scene`), in headless Chromium.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from .console_scene import STORY, console_scene
from .page import Page

FOLDER = Path(__file__).parent.parent.parent / "docs" / "images"
SETTLES_SECONDS = 75.0
"""Until the troubles of the scene are all there, and some of them are a minute old."""
MARGIN = 8
_ARGUMENTS = ("--headless=new", "--disable-gpu", "--no-sandbox", "--no-proxy-server", "--hide-scrollbars")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One picture: from the top of one element to the end of another one."""

    name: str
    first: str
    last: str
    scheme: Literal["light", "dark"] = "light"
    width: int = 1100
    height: int = 900
    fragment: str = ""
    looks_seconds: float = 0.0
    """How long the page is open before: its rates begin with the first look."""


SHOTS = (
    Shot(name="console", first="body", last="#open-work"),
    Shot(name="console-order", first="#order", last="#order", fragment=f"#explain={STORY}"),
    Shot(name="console-dark", first="#stages", last="#merchants", scheme="dark", looks_seconds=40.0),
    Shot(name="console-dead-letters", first="#dead-letters", last="#dead-letters"),
    Shot(name="console-narrow", first="body", last="#open-work", width=390),
)


def take(browser: Chrome, base_url: str, shot: Shot) -> bytes:
    """The picture as PNG."""
    page = Page(browser, base_url)
    page.set_up(width=shot.width, height=shot.height, scheme=shot.scheme)
    page.open(shot.fragment)
    page.shows("breaker open", "#merchant-table")
    page.shows("unknown-merchant", "#dead-letter-table")
    if shot.fragment:
        page.shows("issued", "#timelines .parts")
    page.shows_match(r"[1-9][\d.]*/s", "#stage-table")
    time.sleep(shot.looks_seconds)
    browser.execute_script("scrollTo(0, 0)")  # the sections' links stay at the top of the window
    script = """
        const [first, last] = [...arguments].map((each) => document.querySelector(each).getBoundingClientRect());
        return { y: first.top + scrollY, height: last.bottom - first.top };
    """
    area = browser.execute_script(script, shot.first, shot.last)
    top = max(0, area["y"] - MARGIN)
    clip = {"x": 0, "y": top, "width": shot.width, "height": area["height"] + area["y"] - top + MARGIN, "scale": 1}
    options = {"format": "png", "clip": clip, "captureBeyondViewport": True}
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", options)["data"])


async def main() -> None:
    """Write all pictures."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    async with console_scene() as base_url:
        await asyncio.sleep(SETTLES_SECONDS)
        browser = Chrome(options=options, service=ChromeService(shutil.which("chromedriver") or ""))
        try:
            for shot in SHOTS:
                picture = await asyncio.to_thread(take, browser, base_url, shot)
                FOLDER.mkdir(exist_ok=True)
                (FOLDER / f"{shot.name}.png").write_bytes(picture)
                print(f"{shot.name}.png: {len(picture) // 1024} KiB", file=sys.stderr)
        finally:
            browser.quit()


if __name__ == "__main__":
    asyncio.run(main())
