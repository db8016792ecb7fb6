"""What a person sees and does at the console's page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from adapter.flows.messages.hold import MerchantHold

from .console_harness import ConsoleHarness, a_timeline, dead_letters, open_console, trouble
from .page import Page


@pytest.fixture
def console() -> Iterator[ConsoleHarness]:
    with open_console() as opened:
        yield opened


@pytest.fixture
def page(chromium: Chrome, console: ConsoleHarness) -> Iterator[Page]:
    """The console's page, just opened; when the test ends, nothing may stand in the browser's own console."""
    page = Page(chromium, console.base_url)
    page.set_up(width=1280, height=900, scheme="light")
    page.open()
    yield page
    chromium.get("about:blank")
    assert page.complaints() == []


def test_a_hold_appears_with_its_end_and_what_ends_it(page: Page, console: ConsoleHarness) -> None:
    """In its merchant's row, and where a person looks first."""
    hold = MerchantHold(held_at=datetime.now(UTC), until=None, reason="wrong prices")
    console.change(holds=lambda: {"3085676": hold})

    page.shows("ecticket-adapter release 3085676", "#attention")
    page.shows("until it is released; wrong prices", "#merchant-table")

    console.change(holds=dict)
    page.shows("All is well", "#attention")


def test_changes_appear_without_a_reload(page: Page, console: ConsoleHarness, chromium: Chrome) -> None:
    """And those that need a person are announced."""
    chromium.execute_script("window.same = true")
    page.shows("All is well", "#attention")

    trouble(console)

    page.shows("ECTicket accepts no calls of merchant 3085676 (HTTP 403, a lock-out).", "#attention")
    page.shows("4 dead letters wait for a person. Of 3 of them tickets may exist.", "#attention")
    page.shows("breaker open", "#merchant-table")
    page.shows("250 of 256", "#merchant-table")
    page.shows("unresolved", "#dead-letter-table")
    page.shows("Query the number", "#dead-letter-table")
    page.shows("does not read all", "#stage-table")
    page.shows("44", "#lag-table")
    page.shows("version 2.1", "#plugin-table")
    page.shows("chat", "#sink-table")
    assert chromium.execute_script("return window.same") is True
    live = chromium.find_element(By.ID, "concerns")
    assert live.get_attribute("aria-live") == "polite"


def test_rates_come_from_totals(page: Page, console: ConsoleHarness) -> None:
    """Two looks are enough."""
    trouble(console)
    page.shows("0.0/s", "#stage-table")

    console.metrics.stream.outcomes_committed("submit", "orders.paid", 1000, 1000)

    page.shows("At work", "#stage-table")
    page.shows_match(r"submit[\s\S]*\b[1-9][0-9]*/s", "#stage-table")


def test_a_console_that_goes_away_is_shown_and_comes_back(page: Page, console: ConsoleHarness) -> None:
    """The facts stay on the page, marked as old."""

    def broken() -> dict[str, object]:
        raise RuntimeError

    console.change(stages=broken)
    page.shows("no answer; trying again", "#live")

    console.change(stages=dict)

    page.shows("live", "#live.on")
    assert any("500" in each for each in page.complaints())


def test_an_order_is_found_and_drawn(page: Page, console: ConsoleHarness, chromium: Chrome) -> None:
    """With a lane for each part, who acts next, and everything in words below."""
    console.timelines["A-1"] = a_timeline()
    page.fill_in("Order id or trade number", "A-1")

    page.click("Explain")

    page.shows("Order A-1 of merchant 3085676", "#timelines h3")
    page.shows("A person acts next", "#timelines")
    page.shows("ecticket-adapter query NUMBER2", "#timelines code")
    lanes = [each.text for each in chromium.find_elements(By.CSS_SELECTOR, ".picture .lane")]
    assert lanes == ["Whole order", "Part 1, NUMBER1", "Part 2, NUMBER2"]
    assert len(chromium.find_elements(By.CSS_SELECTOR, ".picture circle")) == 7  # five deferrals are two marks
    assert "3 more deferred" in page.text(".picture")
    assert len(chromium.find_elements(By.CSS_SELECTOR, "ol.facts > li")) == 10
    (name,) = page.names(".picture svg")
    assert name.startswith("3 lanes from ")
    assert chromium.current_url.endswith("#explain=A-1")
    focused = chromium.switch_to.active_element
    assert focused.text == "Order A-1 of merchant 3085676"


def test_an_order_that_does_not_exist_is_one_sentence(page: Page, console: ConsoleHarness) -> None:
    """And the next search works."""
    page.fill_in("Order id or trade number", "A-2")
    page.click("Explain")
    page.shows("No record is about an order or a trade number 'A-2'.", "#search-state")
    console.timelines["A-1"] = a_timeline()

    page.fill_in("Order id or trade number", "A-1")
    page.click("Explain")

    page.shows("1 order found.", "#search-state")
    (complaint,) = page.complaints()
    assert "404" in complaint


def test_a_search_shows_its_progress_and_can_be_cancelled(page: Page, console: ConsoleHarness) -> None:
    """The adapter stops to read, so that another search can begin."""

    async def event() -> asyncio.Event:
        return asyncio.Event()

    console.hold_search = console.run(event())
    page.fill_in("Order id or trade number", "A-1")
    page.click("Explain")
    page.shows("Searching events: 1,200 of 5,000 records.", "#search-state")

    page.click("Cancel")

    page.shows("The search was cancelled.", "#search-state")
    console.hold_search = None
    console.timelines["A-1"] = a_timeline()
    page.click("Explain")
    page.shows("Order A-1", "#timelines h3")


def test_a_dead_letter_leads_to_its_order(page: Page, console: ConsoleHarness) -> None:
    """One click explains it."""
    console.timelines["A-7"] = a_timeline("A-7")
    console.overview = dead_letters(("gave-up", 1), order_id="A-7")

    page.click("A-7")

    page.shows("Order A-7", "#timelines h3")
    assert console.searches == ["A-7"]


HOSTILE = (
    "<img src=x onerror=document.title='evil'>",
    "A\u202e1-X",
    "A\u200b\u2066\x1b[31m\n\t\x07",
    "\ud83d\ude00" + "訂單" * 15,
    "W" * 64,
    "A-1#%/?&=\"'`\\",
    "javascript:alert(1)",
)


@pytest.mark.parametrize("order_id", HOSTILE, ids=ascii)
@pytest.mark.parametrize("width", [1280, 360])
def test_a_hostile_id_is_only_a_text(
    page: Page, console: ConsoleHarness, chromium: Chrome, order_id: str, width: int
) -> None:
    """Shown, searched and explained: never markup, nothing invisible, nothing turned around, nothing sticks out."""
    order_id = order_id.encode("utf-16", "surrogatepass").decode("utf-16")
    page.set_up(width=width, height=800, scheme="light")
    console.timelines[order_id] = a_timeline(order_id, text=order_id)
    console.overview = dead_letters((order_id, 1), order_id=order_id, message=order_id)
    page.shows("tickets may exist", "#dead-letter-table")

    chromium.find_element(By.CSS_SELECTOR, "#dead-letter-table [data-explain]").click()

    page.shows("of merchant 3085676", "#timelines h3")
    assert console.searches == [order_id]
    assert "evil" not in chromium.title
    assert chromium.find_elements(By.CSS_SELECTOR, "main img") == []
    shown = page.text("#timelines") + page.text("#dead-letter-table")
    assert not {each for each in shown if each in "\u202e\u200b\u2066\x1b\x07"}
    if "\u202e" in order_id:
        assert "A⟨U+202E⟩1-X" in shown
    assert not page.sticks_out()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1900, 1000), (1000, 800), (360, 740)])
def test_it_can_be_read_and_reached(
    page: Page, console: ConsoleHarness, chromium: Chrome, width: int, height: int, scheme: str
) -> None:
    """On a desk and on a phone, light and dark: enough contrast, nothing sticks out, everything has a name."""
    page.set_up(width=width, height=height, scheme="dark" if scheme == "dark" else "light")
    findings = [page.faint_texts(), page.nameless(), page.sticks_out()]
    trouble(console)
    console.timelines["A-1"] = a_timeline()
    page.open("#explain=A-1")
    page.shows("breaker open", "#merchant-table")
    page.shows("Order A-1", "#timelines h3")
    page.shows("Whole order", ".picture")

    findings += [page.faint_texts(), page.nameless(), page.sticks_out()]

    assert findings == [[], [], False] * 2
    assert _structure(chromium) == []


def _structure(chromium: Chrome) -> list[str]:
    """What a screen reader would miss: landmarks, headings in order, header cells, names of sections and tables."""
    script = """
    const missing = [];
    for (const landmark of ["header", "nav", "main", "footer"])
      if (document.querySelectorAll(landmark).length !== 1) missing.push(landmark);
    let level = 0;
    for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
      const its = Number(heading.tagName[1]);
      if (its > level + 1) missing.push(`${heading.tagName} after h${level}`);
      level = its;
    }
    const text = (id) => document.getElementById(id)?.textContent.trim();
    for (const section of document.querySelectorAll("main section"))
      if (!text(section.getAttribute("aria-labelledby"))) missing.push(section.id);
    for (const table of document.querySelectorAll("table")) {
      const name = table.getAttribute("aria-label");
      if (!name) missing.push("a table without a name");
      if (table.getAttribute("role") !== "table") missing.push("a table that is none on a narrow screen");
      if (table.scrollWidth > table.parentElement.clientWidth + 1) missing.push(`${name} sticks out of its section`);
      if (!table.querySelector("thead th[scope=col]")) missing.push(`no column heads: ${name}`);
      for (const row of table.querySelectorAll("tbody tr"))
        if (!row.querySelector("th[scope=row]")?.textContent.trim()) missing.push(`no row head: ${name}`);
    }
    for (const image of document.querySelectorAll("svg:not([aria-hidden])"))
      if (!(image.getAttribute("aria-label") || image.querySelector("title"))) missing.push("a picture without a name");
    return missing;
    """
    return list(chromium.execute_script(script))


def test_the_keyboard_is_enough(page: Page, console: ConsoleHarness, chromium: Chrome) -> None:
    """From the address to an order's next command; what has the focus is always marked."""
    trouble(console)
    console.timelines["A-1"] = a_timeline()
    page.shows("breaker open", "#merchant-table")
    visited: list[str] = []

    def press(*keys: str) -> None:
        ActionChains(chromium).send_keys(*keys).perform()
        focused = chromium.switch_to.active_element
        visited.append(focused.accessible_name)
        marked = "const style = getComputedStyle(arguments[0]); return style.outlineStyle !== 'none'"
        unmarked = focused.tag_name in ("body", "main", "h3") or bool(chromium.execute_script(marked, focused))
        assert unmarked, f"{focused.accessible_name} has the focus and is not marked"

    press(Keys.TAB)
    assert visited == ["Skip to the facts"]
    press(Keys.ENTER)
    while visited[-1] != "Order id or trade number":
        assert len(visited) < 10, visited
        press(Keys.TAB)
    ActionChains(chromium).send_keys("A-1", Keys.ENTER).perform()  # the focus moves when the order is found
    page.shows("Order A-1", "#timelines h3")
    while not visited[-1].startswith("Copy ecticket-adapter"):
        assert len(visited) < 30, visited
        press(Keys.TAB)
    while "Partitions of this process" not in visited[-1]:
        assert len(visited) < 60, visited
        press(Keys.TAB)
    press(Keys.ENTER)

    page.shows("orders.paid/0", "#partition-table")


def test_the_focus_stays_while_facts_change(page: Page, console: ConsoleHarness, chromium: Chrome) -> None:
    """A person who reads with the keyboard must not be thrown back every two seconds."""
    console.overview = dead_letters(("gave-up", 1), order_id="A-7")
    page.shows("A-7", "#dead-letter-table")
    chromium.find_element(By.CSS_SELECTOR, "[data-explain]").send_keys("")
    chromium.execute_script("document.querySelector('[data-explain]').focus()")

    console.overview = dead_letters(("gave-up", 2), order_id="A-7", message="Another message.")
    page.shows("Another message.", "#dead-letter-table")

    assert chromium.switch_to.active_element.accessible_name == "A-7"


def test_nothing_moves_for_those_who_ask_for_it(page: Page, chromium: Chrome) -> None:
    """`prefers-reduced-motion`, which these tests set."""
    script = "return document.getAnimations({ subtree: true }).length"

    assert chromium.execute_script(script) == 0


def test_a_large_deployment_can_be_shown(page: Page, console: ConsoleHarness, chromium: Chrome) -> None:
    """Hundreds of merchants: the page still answers a click."""
    console.change(merchants=lambda: tuple(str(3_000_000 + number) for number in range(500)))
    page.shows("3000499", "#merchant-table")

    page.click("Merchants")

    assert chromium.current_url.endswith("#merchants")
