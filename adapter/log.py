"""Configures the format of log lines: one JSON object each for machines, or coloured lines for people.

A line of the adapter is an event name with fields: `_log.warning("breaker-opened", extra={"merchant_id": ...})`. Its
message is the name and nothing else; docs/logs.md lists all names and fields, and tests/test_log_events.py compares it
with the code. Packages log through the standard library: of a level that is off, a line costs 0.2 µs (structlog: 4 µs).
What libraries and plugins log is the field `message` of an event of its own. `log_limits` limits repeated lines.

Log lines name topics, partitions, offsets, order ids and trade numbers, never customer data, keys or payloads.

So an exception is logged by its type and stack locations. Values of variables (records, orders, keys), which a renderer
of tracebacks would print, are left out, and so are the texts of all exceptions but the adapter's own: libraries quote
their input. The same holds for what Python itself would print: exceptions that end a thread, exceptions of finalizers,
warnings, and asyncio's lines about tasks and callbacks, which show their arguments.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Literal, TextIO

import structlog

from adapter.errors import AdapterError
from adapter.log_limits import LIBRARY, RepeatedLines, is_ours
from adapter.log_writer import LogWriter
from adapter.visible_text import visible, visible_value

_QUIETER = {
    "aiokafka": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "boto3": logging.WARNING,
    "botocore": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn": logging.ERROR,
}
"""Libraries that log what the adapter handles and logs itself, or, at lower levels, what they write and read."""

_FRAMES = 20
"""Number of innermost stack locations that are logged."""
_OBJECT = re.compile(r"[(<\n]")
"""Where the text of an object begins in asyncio's messages: arguments, a task, or a further line."""

_log = logging.getLogger(__name__)


def configure(*, style: Literal["json", "console"], level: str, stream: TextIO | LogWriter | None = None) -> None:
    """Send every log line of this process to `stream` (default: standard error) in one style."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named,
        _without_values,
    ]
    renderer: list[structlog.types.Processor] = (
        [structlog.processors.JSONRenderer(ensure_ascii=False)]
        if style == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _escaped, *renderer],
        )
    )
    if logging.getLevelNamesMapping()[level.upper()] > logging.DEBUG:
        handler.addFilter(RepeatedLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name, minimum in _QUIETER.items():
        logging.getLogger(name).setLevel(max(minimum, root.level))


def report_suppressed_lines(*, everything: bool = False) -> None:
    """Log how many repeated lines were left out, of those that do not come again or of all (`log_limits`)."""
    for handler in logging.getLogger().handlers:
        for each in handler.filters:
            if isinstance(each, RepeatedLines):
                each.flush(everything=everything)


class _StreamHandler(logging.StreamHandler[TextIO | LogWriter]):
    """Leaves the objects out of asyncio's lines, and the arguments out of the report of a line that has a mistake."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line's text."""
        return super().format(_without_objects(record) if record.name == "asyncio" else record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name in logging
        """Log whose line it was; nothing, if that line cannot be logged either."""
        error = sys.exc_info()[1]
        if record.name != __name__:
            location = f"{record.pathname}:{record.lineno}"
            lost = {"logger_of_line": record.name, "location": location}
            _log.error("log-line-lost", extra=lost, exc_info=error)


def configured_style() -> Literal["json", "console"] | None:
    """The style of `configure`; None if it was not called."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            renders_json = isinstance(handler.formatter.processors[-1], structlog.processors.JSONRenderer)
            return "json" if renders_json else "console"
    return None


@contextlib.contextmanager
def log_stream() -> Iterator[tuple[LogWriter | TextIO, Callable[[], int]]]:
    """The stream of log lines, and the number of dropped lines.

    A program that runs the adapter in its own process may have replaced standard error by an object without a file
    descriptor. Then lines are written to that object.
    """
    try:
        descriptor = sys.stderr.fileno()
    except OSError:
        yield sys.stderr, lambda: 0
        return
    with LogWriter(descriptor, on_dropped=_report_dropped_lines) as writer:
        yield writer, lambda: writer.dropped


@contextlib.contextmanager
def stray_errors_logged() -> Iterator[None]:
    """Log what Python prints by itself: errors that end a thread or rise in a finalizer, and warnings.

    Python prints their texts, which may quote customer data. A log line has their types and locations.
    """
    before = threading.excepthook, sys.unraisablehook
    with warnings.catch_warnings():
        threading.excepthook, sys.unraisablehook = _log_end_of_thread, _log_unraisable
        warnings.showwarning = _log_warning
        try:
            yield
        finally:
            threading.excepthook, sys.unraisablehook = before


def _log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if not issubclass(ended.exc_type, SystemExit):
        thread = ended.thread.name if ended.thread is not None else None
        _log.error("thread-error", extra={"thread_name": thread}, exc_info=ended.exc_value)


def _log_unraisable(found: sys.UnraisableHookArgs) -> None:
    where = getattr(found.object, "__qualname__", type(found.object).__name__)
    _log.error("finalizer-error", extra={"location": where}, exc_info=found.exc_value)


def _log_warning(
    message: Warning | str,  # it may quote a library's input
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _log.warning("python-warning", extra={"category": category.__name__, "location": f"{filename}:{lineno}"})


def _report_dropped_lines(count: int) -> None:
    _log.warning("log-lines-dropped", extra={"count": count})


def _named(
    logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Give a line that the adapter did not log the event of such lines, and its text the name `message`."""
    name = str(event.get("logger", getattr(logger, "name", "")))
    if not is_ours(name):
        event["message"], event["event"] = event["event"], LIBRARY
    return event


def _without_values(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Replace an exception by a text of types and stack locations."""
    given = event.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given is True else _second(given)
    if error is not None:
        event["exception"] = describe_exception(error)
    return event


def _without_objects(record: logging.LogRecord) -> logging.LogRecord:
    """Leave the objects out of a line of asyncio: a task shows its exception's text, and a callback its arguments."""
    text = str(record.msg)
    shown: tuple[object, ...] = ()
    if isinstance(record.args, tuple) and record.args:
        shown = tuple(each if isinstance(each, int | float) else "..." for each in record.args)
    else:
        text = _OBJECT.split(text, maxsplit=1)[0].rstrip(" :")
    return logging.makeLogRecord({**record.__dict__, "msg": text, "args": shown})


def _escaped(
    _logger: structlog.types.WrappedLogger, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Escape characters that control a terminal or viewer, at any depth; an exception keeps its line breaks."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = visible(value, keep="\n" if name == "exception" else "")
        elif isinstance(value, (dict, list, tuple)):
            event[name] = visible_value(value)
    return event


def _second(given: object) -> BaseException | None:
    """The exception of a triple as `sys.exc_info` makes it."""
    error = given[1] if isinstance(given, tuple) and len(given) == 3 else None
    return error if isinstance(error, BaseException) else None


def describe_exception(error: BaseException) -> str:
    """The types and stack locations of an exception and its causes, one a line, without the values around them."""
    return "\n".join(_format_exception(error))


def _format_exception(error: BaseException) -> Iterator[str]:
    """The causes first, each with its stack locations, the innermost last."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _format_exception(cause)
    for frame in traceback.extract_tb(error.__traceback__, limit=-_FRAMES):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    yield f"{type(error).__name__}: {error}" if isinstance(error, AdapterError) else type(error).__name__
