"""What commands print: whole words on any terminal, plain lines in a pipe."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable

import pytest

from adapter.cli.audit import audit
from adapter.cli.output import note, print_entry, print_facts, print_marked, print_table, progress_bar

COLUMNS = ("number", "name", "what it means")
ROWS = (("CBX20260302153064851", "主題樂園一日券", "ECTicket knows this number already"), ("A1", None, "fine"))

Shown = Callable[[], str]
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[int], Shown]:
    """Makes standard output and error a terminal of so many columns; the answer reads what it shows."""

    def make(columns: int) -> Shown:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        for stream in (sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)
        return lambda: _STYLE.sub("", "".join(capsys.readouterr()))

    return make


def test_a_pipe_gets_one_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is broken, and no blanks fill the lines up."""
    print_table(COLUMNS, ROWS)
    head, rule, first, second = capsys.readouterr().out.splitlines()

    assert head == f"{COLUMNS[0]:<22}{COLUMNS[1]:<16}{COLUMNS[2]}"
    assert set(rule) == {"─"}
    assert first == "  ".join(filter(None, ROWS[0]))
    assert second == "A1                                    fine"


def test_only_the_last_column_is_broken(terminal: Callable[[int], Shown]) -> None:
    """And that between words, as long as each of them has room."""
    shown = terminal(48)
    print_table(COLUMNS, ROWS)
    lines = [line.rstrip().split("  ")[-1].strip() for line in shown().splitlines()]

    assert lines[0] == "what it"
    assert lines[-4:] == ["knows this", "number", "already", "fine"]


def test_a_table_too_wide_for_the_terminal_becomes_blocks(terminal: Callable[[int], Shown]) -> None:
    """One for each row, without what is empty."""
    shown = terminal(40)
    print_table(COLUMNS, ROWS)
    words = [line.split() for line in shown().splitlines()]

    assert words[0] == ["number", "CBX20260302153064851"]
    assert words[-3:] == [[], ["number", "A1"], ["what", "it", "means", "fine"]]


def test_what_follows_a_mark_stays_clear_of_it(terminal: Callable[[int], Shown]) -> None:
    """Warnings and dead letters are found by their marks."""
    shown = terminal(30)
    print_marked("warning  ", "yellow", " ".join(6 * ["loses"]))
    print_entry("12", "unreadable  A-1", " ".join(6 * ["bytes"]), None, "parse")

    assert [line.rstrip() for line in shown().splitlines()] == [
        "warning  loses loses loses",
        "         loses loses loses",
        " 12  unreadable  A-1",
        "     bytes bytes bytes bytes",
        "     bytes bytes",
        "     parse",
    ]


def test_sentences_are_broken_between_words(terminal: Callable[[int], Shown]) -> None:
    """So that a command in them can be copied; one longer than the terminal stays whole."""
    shown = terminal(20)
    note("Make them with: ecticket-adapter topics --create")

    assert shown().splitlines() == ["Make them with:", "ecticket-adapter", "topics --create"]


def test_facts_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """None is not shown, 0 and no text are."""
    print_facts((("a", None), ("bc", 0), ("d", "")))

    assert capsys.readouterr().out == "bc  0\nd\n"


def test_control_characters_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a record holds."""
    print_table(("a", "b"), [("\x1b[31m", "x")])
    print_entry("1", "\x1b[31m", "\x07")
    print_marked("", "red", "\x1b]0;")

    assert not {"\x1b", "\x07"} & set(capsys.readouterr().out)


def test_an_order_id_cannot_look_like_another_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """A line end in what comes from a record is shown, and begins no line."""
    print_table(("a", "b"), [("A\nforged", "x\nforged")])
    print_entry("1", "A\nforged", "a message")

    assert not any(line.strip().startswith("forged") for line in capsys.readouterr().out.splitlines())


def test_an_audit_line_that_cannot_be_written_stops_no_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay goes on, although standard error is on a full disk."""
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        audit("replayed", {"dead_letter": "a/0/1"}, text="replayed  a/0/1\nforged", as_json=False)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())

    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_an_action_is_logged_on_a_terminal_as_elsewhere(
    terminal: Callable[[int], Shown], capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    """With who ran the command; the line for people, or for a program, is on standard output."""
    facts = {"dead_letter": "a/0/1", "why": None}
    audit("dead-letters-replay", facts, text="replayed  a/0/1", as_json=as_json)
    elsewhere = json.loads(capsys.readouterr().err)
    terminal(80)
    audit("dead-letters-replay", facts, text="replayed  a/0/1", as_json=as_json)
    out, err = capsys.readouterr()

    logged = json.loads(err)
    assert out.count("\n") == 1
    assert {**logged, "timestamp": None} == {**elsewhere, "timestamp": None}
    assert logged["event"] == "dead-letters-replay"
    assert logged["dead_letter"] == "a/0/1"
    assert logged["user"]
    assert "why" not in logged


def test_a_user_without_a_name_is_a_number(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's user 65532 has none, nor has OpenShift's."""
    monkeypatch.setattr(os, "getuid", lambda: 65532)

    audit("hold", {}, text="held", as_json=False)

    assert json.loads(capsys.readouterr().err)["user"] == "65532"


def test_a_long_read_is_a_bar_on_a_terminal_and_nothing_elsewhere(
    terminal: Callable[[int], Shown], capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is read, and how much of it is done."""
    with progress_bar() as progress:
        progress("orders.paid", 1, 4)
    nothing = capsys.readouterr().err
    shown = terminal(80)
    with progress_bar() as progress:
        progress("orders.paid", 1, 4)

    assert nothing == ""
    assert {"orders.paid", "25%"} <= set(shown().split())
