"""Writes log lines from a thread of its own, so that standard error never stops an order.

A pipe whose reader has stopped takes 64 KiB and then blocks its writers; a full disk rejects every write. If the event
loop waited for either, its heartbeats would end, and the group would give its partitions to others. So `write` puts a
line into a bounded queue and returns, and the thread writes it. A line that does not fit into the queue, or that the
file rejects, is dropped and counted. `on_dropped` gets the number of dropped lines as soon as lines are written again.

The thread writes to the file descriptor itself. `sys.stderr` has a lock, and a thread that waits for a blocked pipe
would hold it: the interpreter could not exit.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

CAPACITY_BYTES = 4 * 1024 * 1024
"""How much the queue holds: about ten thousand lines."""
CLOSE_SECONDS = 2.0
"""How long `close` waits for the queue to become empty."""


class LogWriter:
    """The stream of a `logging.StreamHandler`. `write` never blocks and never raises.

    `descriptor` is a file descriptor that stays open. A process that is killed loses the lines in the queue.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        on_dropped: Callable[[int], None],
        capacity_bytes: int = CAPACITY_BYTES,
    ) -> None:
        self._descriptor = descriptor
        self._on_dropped = on_dropped
        self._capacity = capacity_bytes
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._dropped = 0
        self._reported = 0
        self._torn = False
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_lines, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._dropped

    def write(self, text: str) -> None:
        """Queue one line, with its line break, or drop it."""
        line = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._closing or self._queued_bytes + len(line) > self._capacity:
                self._dropped += 1
                return
            self._lines.append(line)
            self._queued_bytes += len(line)
            self._changed.notify()

    def flush(self) -> None:
        """Do nothing: `logging` flushes after each line, and must not wait."""

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Accept no more lines, and write those in the queue. If they are not written in time, they are lost."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- on the thread -----------------------------------------------------------------------------------------------

    def _write_lines(self) -> None:
        while (line := self._next_line()) is not None:
            if self._written(line):
                self._report_dropped()
            else:
                with self._changed:
                    self._dropped += 1

    def _next_line(self) -> bytes | None:
        """Wait for a line; None at the end."""
        with self._changed:
            while not self._lines and not self._closing:
                self._changed.wait()
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._queued_bytes -= len(line)
            return line

    def _written(self, line: bytes) -> bool:
        """Write one line, after a line break if only a part of the line before it was written."""
        left = memoryview(b"\n" + line if self._torn else line)
        written = 0
        while left:
            try:
                count = os.write(self._descriptor, left)
            except BlockingIOError:  # another program made the pipe non-blocking
                if not self._wait_until_writable():
                    break
                continue
            except OSError:
                break
            left, written = left[count:], written + count
        if written:
            self._torn = bool(left)
        return not left

    def _wait_until_writable(self) -> bool:
        """False if the adapter ends first."""
        try:
            while not select.select((), (self._descriptor,), (), 0.5)[1]:
                if self._closing:
                    return False
        except (OSError, ValueError):  # closed; or a descriptor beyond those that select can watch
            time.sleep(0.05)
        return True

    def _report_dropped(self) -> None:
        """Report the lines dropped since the last report, once the queue has room for the report itself."""
        dropped = self._dropped
        if dropped > self._reported and 2 * self._queued_bytes < self._capacity:
            count, self._reported = dropped - self._reported, dropped
            self._on_dropped(count)
