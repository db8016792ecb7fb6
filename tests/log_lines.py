"""Collects the adapter's log lines in a test: each a dictionary of its event, its level and its fields."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LogLine = dict[str, object]

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime"}


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[LogLine] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("adapter"):
            self.lines.append(log_line(record))


def log_line(record: logging.LogRecord) -> LogLine:
    """The event, the level (`log_level`) and the fields of one line; `exc_info` if it has a traceback."""
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if record.exc_info:
        fields["exc_info"] = record.exc_info
    return {"event": record.getMessage(), "log_level": record.levelname.lower(), **fields}


@contextmanager
def capture_logs() -> Iterator[list[LogLine]]:
    """Collect all lines, of every level, that are logged meanwhile."""
    logger, collector = logging.getLogger("adapter"), _Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.DEBUG)
    try:
        yield collector.lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(collector)


def shown(records: Iterable[logging.LogRecord]) -> str:
    """The lines as text, one each: event, then fields."""
    lines = (log_line(record) for record in records if record.name.startswith("adapter"))
    return "\n".join(" ".join([str(line["event"]), *(f"{k}={v}" for k, v in list(line.items())[2:])]) for line in lines)
