"""What a log line may hold: types and places of an exception, never the values around it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from adapter import log
from adapter.errors import Unreadable

CUSTOMER = "0912345678"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in ("aiokafka", "uvicorn", "httpx")}
    yield
    root.handlers, root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


TEXT = "It cannot be read."


def _fail(phone: str) -> None:
    try:
        int(f"{phone} of a customer")
    except ValueError as error:
        raise Unreadable(TEXT) from error


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exception_is_logged_by_type_and_place_and_never_with_values(
    style: Literal["json", "console"], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the variables around it nor a library's words about what it was given; of our own errors the text."""
    log.configure(style=style, level="info")
    try:
        _fail(CUSTOMER)
    except Unreadable as error:
        logging.getLogger("a.room").warning("it went wrong", exc_info=error)
        logging.getLogger("a.room").exception("again")
        structlog.stdlib.get_logger("a.room").exception("once more")

    written = capsys.readouterr().err
    assert CUSTOMER not in written
    assert written.count(f"Unreadable: {TEXT}") == 3
    assert written.count("ValueError") == 3
    assert "_fail" in written


def test_a_json_line_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """The description of an exception stays on its line."""
    log.configure(style="json", level="info")
    try:
        _fail(CUSTOMER)
    except Unreadable:
        logging.getLogger("a.room").exception("it went wrong")

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"].splitlines()[-1] == f"Unreadable: {TEXT}"


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("odd", ["\x1b[31m", "\x9b31m", "\u202e", "\n", "\r", "\x00", "\u2028"])
def test_what_a_viewer_would_obey_is_written_out(
    style: Literal["json", "console"], odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No record can forge a line, colour one or turn it round; letters of every language stay."""
    log.configure(style=style, level="info")
    structlog.stdlib.get_logger("a.room").warning(f"票 {odd}event", order=f"A{odd}1")
    logging.getLogger("a.room").warning("said %s", f"B{odd}2")

    written = capsys.readouterr().err
    first, second = written.removesuffix("\n").split("\n")
    assert odd not in first + second
    assert "票" in first


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("odd", ["\x1b[31m", "\x9b31m", "\u202e", "\n", "\u2028"])
def test_what_lies_deeper_is_written_out_too(
    style: Literal["json", "console"], odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the data of an event, as the sink `log` writes it."""
    log.configure(style=style, level="info")
    structlog.stdlib.get_logger("a.room").warning("an event", data={f"A{odd}1": [f"B{odd}2", {"c": f"C{odd}3"}]})

    (line,) = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert odd not in line
    assert "C" in line


def test_an_exception_keeps_its_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """They are the adapter's own, place by place."""
    log.configure(style="console", level="info")
    try:
        _fail(CUSTOMER)
    except Unreadable:
        logging.getLogger("a.room").exception("it went wrong")

    assert len(capsys.readouterr().err.splitlines()) > 3
