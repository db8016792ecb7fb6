"""The log of one process as a pod has it: a pipe, and a reader that can stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class LogPipe:
    """Copies what a process writes into `file`, except while it is blocked.

    A pipe that is blocked is full, so the next byte that is written to it has to wait.
    """

    def __init__(self, fifo: Path, file: Path) -> None:
        os.mkfifo(fifo)
        self._reading_end = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.writing_end = os.open(fifo, os.O_WRONLY)
        # Non-blocking is a property of an opened file, so the process must not share this one.
        self._filling_end = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        self._file = file
        asyncio.get_running_loop().add_reader(self._reading_end, self._copy)

    def _copy(self) -> None:
        with self._file.open("ab") as file:
            file.write(os.read(self._reading_end, 1 << 16))

    def block(self) -> None:
        """Stop reading, and fill the pipe with empty lines."""
        asyncio.get_running_loop().remove_reader(self._reading_end)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self._filling_end, b"\n" * 4096)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self._filling_end, b"\n")

    def unblock(self) -> None:
        """Read again."""
        asyncio.get_running_loop().add_reader(self._reading_end, self._copy)

    def close(self) -> None:
        """Copy what is left, and close it."""
        asyncio.get_running_loop().remove_reader(self._reading_end)
        with contextlib.suppress(BlockingIOError):
            self._copy()
        for end in (self._reading_end, self.writing_end, self._filling_end):
            os.close(end)


@asynccontextmanager
async def log_pipe(folder: Path, file: Path) -> AsyncIterator[LogPipe]:
    """A pipe in `folder` that is copied into `file`."""
    pipe = LogPipe(folder / "log.fifo", file)
    try:
        yield pipe
    finally:
        pipe.close()
