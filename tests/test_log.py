"""What a log line may hold: types and places of an exception, never the values around it."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import structlog
import uvloop

from adapter import log
from adapter.errors import Unreadable

CUSTOMER = "0912345678"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in log._QUIETER}
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


@pytest.fixture
def stray() -> Iterator[Callable[[], str]]:
    """Logs as the running adapter does, and returns what was written."""
    stream = io.StringIO()
    log.configure(style="json", level="debug", stream=stream)
    with log.stray_errors_logged():
        yield stream.getvalue


def _raise(error: BaseException) -> None:
    raise error


def _lines(written: str) -> list[dict[str, object]]:
    assert CUSTOMER not in written
    return [json.loads(line) for line in written.splitlines()]


def test_an_error_that_ends_a_thread_is_logged_without_its_text(stray: Callable[[], str]) -> None:
    """Python would print a traceback with the text; `sys.exit` in a thread is no error."""
    for error in (ValueError(CUSTOMER), SystemExit(CUSTOMER)):
        thread = threading.Thread(target=_raise, args=(error,), name="mailer")
        thread.start()
        thread.join()

    (line,) = _lines(stray())
    assert (line["event"], line["thread_name"], line["level"]) == ("thread-error", "mailer", "error")
    assert "ValueError" in str(line["exception"])


class _RaisesAtItsEnd:
    def __del__(self) -> None:
        raise ValueError(CUSTOMER)


def test_an_error_in_a_finalizer_is_logged_without_its_text(stray: Callable[[], str]) -> None:
    """It cannot be raised, so Python would print it."""
    _RaisesAtItsEnd()

    (line,) = _lines(stray())
    assert "_RaisesAtItsEnd.__del__" in str(line["location"])
    assert "ValueError" in str(line["exception"])


def test_a_warning_is_logged_by_category_and_location(stray: Callable[[], str]) -> None:
    """Libraries quote their input in warnings too, such as pydantic about a value of the wrong type."""
    warnings.simplefilter("always")
    warnings.warn(f"expected a number, got {CUSTOMER}", UserWarning, stacklevel=1)

    (line,) = _lines(stray())
    assert line["category"] == "UserWarning"
    assert __file__ in str(line["location"])


@pytest.mark.parametrize("loops", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_what_asyncio_reports_has_no_arguments_and_no_texts(
    loops: Callable[[], asyncio.AbstractEventLoop], stray: Callable[[], str]
) -> None:
    """A forgotten task shows its exception, a callback its arguments, and a slow callback in debug mode both."""

    async def fail(text: str) -> None:
        raise ValueError(text)

    async def report() -> None:
        loop = asyncio.get_running_loop()
        forgotten = asyncio.create_task(fail(CUSTOMER))
        await asyncio.wait({forgotten})
        del forgotten
        gc.collect()
        loop.call_soon(_raise, ValueError(CUSTOMER))
        loop.call_soon(lambda text: time.sleep(0.002), CUSTOMER)
        loop.call_exception_handler({"message": f"Closed\n{CUSTOMER}"})
        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loops, debug=True) as runner:
        runner.get_loop().slow_callback_duration = 0.001
        runner.run(report())

    lines = [line for line in _lines(stray()) if line["logger"] == "asyncio"]
    texts = {str(line["message"]) for line in lines}
    assert "Task exception was never retrieved" in texts
    assert "Closed" in texts
    assert any(text.startswith("Exception in callback") for text in texts)
    assert any(text.startswith("Executing ... took") for text in texts)
    assert ["ValueError" in str(line["exception"]) for line in lines if "exception" in line] == [True, True]


def test_libraries_log_nothing_of_what_they_write_and_read(stray: Callable[[], str]) -> None:
    """At debug level too, which is for the adapter and its plugins."""
    for name in ("aiokafka.conn", "httpx", "httpcore.http11", "asyncio", "uvicorn.error", "botocore.auth"):
        logging.getLogger(name).debug("Request %r", CUSTOMER)
    logging.getLogger("family").debug("a plugin's own line")

    assert [line["logger"] for line in _lines(stray())] == ["family"]


def test_a_line_that_cannot_be_formatted_is_reported_without_its_arguments(
    stray: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Python would print the arguments; the caller that has the wrong format is named."""
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not type(each).__module__.startswith("_pytest")]
    logging.getLogger("family").warning("%d tickets", CUSTOMER)
    logging.getLogger("family").warning("the next line")

    lost, following = _lines(stray())
    assert lost["logger_of_line"] == "family"
    assert __file__ in str(lost["location"])
    assert following["message"] == "the next line"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("level", ["debug", "info"])
def test_an_exceptions_notes_and_group_are_left_out(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither what was added to an exception, nor the texts of those in a group, nor those of its causes."""
    log.configure(style="console", level=level)
    group = ExceptionGroup(f"for {CUSTOMER}", [ValueError(CUSTOMER)])
    group.add_note(CUSTOMER)
    error = Unreadable(TEXT)
    error.__cause__ = group
    logging.getLogger("a.room").error("it went wrong", exc_info=error)

    written = capsys.readouterr().err
    assert "ExceptionGroup" in written
    assert CUSTOMER not in written


def test_a_line_is_its_event_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """The names are those of docs/logs.md; the text of a line that is not the adapter's has a name of its own."""
    log.configure(style="json", level="info")
    logging.getLogger("adapter.a.room").info("partition-taken-over", extra={"topic": "paid", "partition": 0})
    logging.getLogger("a.room").warning("went %s", "wrong")
    structlog.stdlib.get_logger("a.plugin").warning("went wrong", number=1)

    ours, theirs, plugins = map(json.loads, capsys.readouterr().err.splitlines())
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {
        "event": "partition-taken-over",
        "level": "info",
        "logger": "adapter.a.room",
        "topic": "paid",
        "partition": 0,
    }
    assert (theirs["event"], theirs["message"], theirs["logger"]) == ("library-message", "went wrong", "a.room")
    assert (plugins["event"], plugins["message"], plugins["number"]) == ("library-message", "went wrong", 1)


@pytest.mark.parametrize(("level", "lines"), [("info", 1), ("debug", 50)])
def test_repeated_lines_are_left_out_unless_debugging(
    level: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """At level debug nothing is."""
    log.configure(style="json", level=level)
    for _ in range(50):
        logging.getLogger("adapter.flows").warning("no-known-number", extra={"merchant_id": "1"})

    assert len(capsys.readouterr().err.splitlines()) == lines
