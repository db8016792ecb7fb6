"""What the demo shows can be read on the smallest terminal that people use, and says what went wrong."""

from __future__ import annotations

from collections import Counter

from key_words import mentions
from rich.console import Console, RenderableType

from adapter.dev.demo.display import DISPLAY_COLUMNS, day_table, live_display, result_table, verdict
from adapter.dev.demo.orders import KINDS

COUNTS = {
    "orders": 12_345,
    "submitted": 10_000,
    "waiting": 2_345,
    "in doubt": 17,
    "issued": 7_655,
    "failed": 0,
    "parked": 20_000,
    "accounted for": 7_600,
}


def _shown(what: RenderableType, columns: int) -> str:
    console = Console(width=columns, color_system=None)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_the_live_display_fits_80_columns() -> None:
    """Every state with its number and what it means, uncut; large numbers too."""
    shown = _shown(live_display(COUNTS, orders=20_000, issuances=21_000, seconds=61.2), 80)

    assert max(map(len, shown.splitlines())) == 80
    assert "…" not in shown
    assert "12345" in shown
    assert mentions(shown, "7600 20000 124.2 61")


def test_the_live_display_does_not_fill_a_wide_screen() -> None:
    """A bar across a whole screen says no more."""
    shown = _shown(live_display(COUNTS, orders=20_000, issuances=21_000, seconds=0), 300)

    assert max(map(len, map(str.rstrip, shown.splitlines()))) == DISPLAY_COLUMNS


def test_the_table_has_a_line_for_each_plain_kind_at_80_columns() -> None:
    """Only what needs two halves of a sentence takes two lines."""
    results = [(kind, Counter[str]({kind.result: 1000})) for kind in KINDS]
    lines = _shown(result_table(results), 80).splitlines()

    assert max(map(len, lines)) <= 80
    _, heading, rule, *rows = [line for line in lines if line.strip()]
    assert (heading.split()[0], rule.strip(" ─")) == ("kind", "")
    assert [row[1:].split("  ")[0] for row in rows if row[1] != " "] == [kind.name for kind in KINDS]
    assert len(rows) <= len(KINDS) + 3


def test_a_kind_with_an_unexpected_result_is_shown_with_the_expected_one() -> None:
    """Each ending with its number."""
    kind = next(kind for kind in KINDS if kind.result == "failed at confirm")
    shown = _shown(result_table([(kind, Counter({"open": 1, "issued": 2}))]), 120)

    assert "1 open, 2 issued" in shown
    assert kind.result in shown


def test_the_rest_of_the_day_fits_80_columns() -> None:
    """Each number beside the topic where the events are."""
    counts = {"notifications": 12_345, "collected issuances": 678, "collected tickets": 9_012, "differences": 4}
    shown = _shown(day_table(counts), 80)

    assert max(map(len, map(str.rstrip, shown.splitlines()))) <= 80
    for number, topic in (
        ("12345", "ecticket.tickets"),
        ("678", "ecticket.tickets"),
        ("4", "ecticket.reconciliations"),
    ):
        assert any(number in line.split() and topic in line for line in shown.splitlines())
    assert "9012" in shown


def test_the_last_word_names_each_disagreement() -> None:
    """Or says that there is none, and how many tickets there are."""
    assert "980 tickets: none missing" in _shown(verdict([], orders=200, tickets=980, seconds=16), 80)
    assert "A1 was issued 2 times" in _shown(verdict(["A1 was issued 2 times"], orders=1, tickets=2, seconds=1), 80)
