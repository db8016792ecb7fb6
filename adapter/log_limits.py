"""Limits repeated log lines, so that an outage or a hostile producer cannot flood the log (docs/logs.md).

A line is repeated if its event and its `KEY_FIELDS` were logged before. Of each such key a few lines pass in a window
of time. The first line after them has the number of those that were left out. If no such line follows, a line
`lines-suppressed` has it: after another window, when any line is logged or `flush` is called, and at the end of the
process. Metrics count each case all the same.

Memory is bounded: a key is forgotten after its window, and the keys of an event beyond `KEYS_MAX` count as one.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec import Struct

KEY_FIELDS: Final = (
    "merchant_id", "stage", "sink", "plugin", "hook", "topic", "partition", "server", "address",
    "reason", "code", "error", "refused", "setting",
)  # fmt: skip
"""Fields that distinguish lines of one event. An order id is none of them: a flood of orders is one repetition."""
KEYS_MAX: Final = 200
"""The most keys of one event that are distinguished. A merchant id may come from a record that anyone has written."""
LIBRARY: Final = "library-message"
"""The event of every line that a library or a plugin logs."""

_log = logging.getLogger(__name__)


class Limit(Struct, frozen=True):
    """At most so many lines of one key in so many seconds."""

    lines: int
    seconds: float


DEFAULT: Final = Limit(10, 60.0)
LIMITS: Final[Mapping[str, Limit]] = {
    "batch-unreadable": Limit(1, 10.0),
    "delivery-failed": Limit(1, 10.0),
    "headers-untrusted": Limit(1, 10.0),
    "stage-disconnected": Limit(1, 10.0),
    "start-waits": Limit(1, 10.0),
    "issuances-unreadable": Limit(1, 60.0),
    "observer-failed": Limit(1, 60.0),
    "request-refused": Limit(1, 60.0),
    "call-refused": Limit(1, 600.0),
    "control-record-ignored": Limit(1, 600.0),
    "group-shared": Limit(1, 600.0),
    "holds-unknown": Limit(1, 600.0),
    "no-known-number": Limit(1, 600.0),
    "span-not-recorded": Limit(1, 600.0),
    "product-not-issuable": Limit(1, 600.0),
    "topics-missing": Limit(1, 600.0),
}
"""Events whose limit is not `DEFAULT`: what lasts is logged once in a while."""
UNLIMITED: Final = frozenset({"cloud-event", "lines-suppressed", "spans-not-exported", "tickets-differ"})
"""Events of which every line passes: the lines of the sink `log` are its deliveries, only `tickets-differ` names an
order that was issued with other tickets, and `spans-not-exported` is rare and has the number of all spans since."""

_Key = tuple[str, ...]


@dataclass(slots=True)
class _Window:
    """What was logged under one key since `began`."""

    limit: Limit
    fields: Mapping[str, object]
    began: float
    passed: int = 1
    suppressed: int = field(default=0)


class RepeatedLines(logging.Filter):
    """A filter of a handler. Lines of level debug are not limited. `clock` returns seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[_Key, _Window] = {}
        self._keys: Counter[str] = Counter()
        self._look_at = 0.0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is logged; if so, it gets the number of lines that were left out before it."""
        event = event_of(record)
        if record.levelno <= logging.DEBUG or event in UNLIMITED:
            return True
        with self._lock:
            now = self._clock()
            passes = self._passes(event, record, now)
            ended: tuple[tuple[str, _Window], ...] = ()
            if now >= self._look_at:
                self._look_at = now + 1.0
                ended = tuple(self._ended(now))
        _log_suppressed(ended)
        return passes

    def flush(self, *, everything: bool = False) -> None:
        """Log how many lines were left out of the windows that ended, or of all windows if `everything` is set."""
        with self._lock:
            ended = tuple(self._ended(math.inf if everything else self._clock()))
        _log_suppressed(ended)

    def _passes(self, event: str, record: logging.LogRecord, now: float) -> bool:
        fields = {name: value for name in KEY_FIELDS if (value := record.__dict__.get(name)) is not None}
        key = (event, *map(str, fields.items())) if event != LIBRARY else (event, record.name)
        if key not in self._windows and self._keys[event] >= KEYS_MAX:
            key, fields = (event,), {}
        window = self._windows.get(key)
        limit = LIMITS.get(event, DEFAULT)
        if window is None:
            self._keys[event] += 1
        elif now - window.began < limit.seconds:
            if window.passed < limit.lines:
                window.passed += 1
                return True
            window.suppressed += 1
            return False
        elif window.suppressed:
            record.suppressed = window.suppressed
        self._windows[key] = _Window(limit, fields, now)
        return True

    def _ended(self, now: float) -> Iterator[tuple[str, _Window]]:
        """Forget the keys that were not logged any more; return those of which lines were left out.

        A window is kept for twice its time, so that the next line of its key, if there is one, has the number.
        """
        for key in [each for each, window in self._windows.items() if now - window.began >= 2 * window.limit.seconds]:
            window = self._windows.pop(key)
            self._keys[key[0]] -= 1
            if window.suppressed:
                yield key[0], window


def _log_suppressed(ended: Iterable[tuple[str, _Window]]) -> None:
    for name, window in ended:
        _log.warning(
            "lines-suppressed",
            extra={**window.fields, "suppressed_event": name, "suppressed": window.suppressed},
        )


def event_of(record: logging.LogRecord) -> str:
    """The event of a line. A line of the adapter has its event as message; a line of anyone else is `LIBRARY`."""
    return str(record.msg) if is_ours(record.name) else LIBRARY


def is_ours(logger: str) -> bool:
    """Whether a logger belongs to the adapter, by its name."""
    return logger == "adapter" or logger.startswith("adapter.")
