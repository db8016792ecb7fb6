"""Reports what the local broker is doing: a port that the command line implements with a progress bar.

The first start fetches some forty megabytes.
"""

from __future__ import annotations

import sys
from typing import Protocol, TextIO


class Progress(Protocol):
    """Gets the steps of `prepare` and `start`, in the thread that called them."""

    def step(self, what: str) -> None:
        """A step of some seconds begins; `what` describes it, such as "starting Kafka 4.1.2"."""
        ...

    def fetched(self, name: str, done: int, of: int) -> None:
        """The file `name` was fetched, the `done`-th of `of`; not called if nothing has to be fetched."""
        ...


class Lines:
    """Progress as a few plain lines, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def step(self, what: str) -> None:
        """Print the step."""
        self._print(f"local kafka: {what}")

    def fetched(self, name: str, done: int, of: int) -> None:
        """Print every tenth file and the last one."""
        if done % 10 == 0 or done == of:
            self._print(f"local kafka: {done} of {of} files fetched")

    def _print(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)
