"""How those who wait learn what the local broker is doing: a port that the command line fills with its bar.

It exists because the first start fetches some forty megabytes. It refuses to know terminals.
"""

from __future__ import annotations

import sys
from typing import Protocol, TextIO


class Progress(Protocol):
    """Listens while the local broker is made ready; called in the thread that called `prepare` or `start`."""

    def step(self, what: str) -> None:
        """A step begins that takes seconds; `what` is a phrase for people, such as "starting Kafka 4.1.2"."""
        ...

    def fetched(self, name: str, done: int, of: int) -> None:
        """The file `name` has come down, the `done`-th of `of`; only when something has to be fetched at all."""
        ...


class Lines:
    """Progress as a few plain lines, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def step(self, what: str) -> None:
        """Say what begins."""
        self._print(f"local kafka: {what}")

    def fetched(self, name: str, done: int, of: int) -> None:
        """Say every tenth file and the last one."""
        if done % 10 == 0 or done == of:
            self._print(f"local kafka: {done} of {of} files are here")

    def _print(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)
