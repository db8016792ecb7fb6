"""A process that cannot outlive this one: a command run under the watchdog."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

_WATCHDOG = Path(__file__).with_name("watchdog.py")
_BEYOND_SECONDS = 10.0
"""Time that the watchdog itself may take after its command was killed."""


class Supervised:
    """A running command; it is killed when this process ends, however it ends.

    It has a session of its own: Ctrl-C in the terminal reaches this process, which decides what to stop and when.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str], remove_when_orphaned: Path | None
    ) -> None:
        """Start `command` with its output appended to `log`; `remove_when_orphaned` is removed if this process dies."""
        folder = str(remove_when_orphaned or "")
        with log.open("ab") as errors:
            self._watchdog = subprocess.Popen(  # noqa: S603  our own program and command
                [sys.executable, "-I", "-S", str(_WATCHDOG), str(log), folder, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                env=dict(environment),
                start_new_session=True,
            )
        # Popen's pipes are None only if none were requested.
        self._orders = cast("IO[bytes]", self._watchdog.stdin)
        self._answers = cast("IO[bytes]", self._watchdog.stdout)
        self.pid = 0
        try:
            self.pid = self._read_pid()
        except BaseException:
            self.kill()
            raise

    def _read_pid(self) -> int:
        line = self._answers.readline()
        if not line:
            raise OSError(f"the watchdog could not run its command (exit status {self.wait(_BEYOND_SECONDS)})")
        return int(line)

    @property
    def status(self) -> int | None:
        """The command's exit status as a shell shows it; None while it runs."""
        status = self._watchdog.poll()
        return None if status is None else status % 256

    def wait(self, timeout_seconds: float) -> int | None:
        """Wait for the command's end; None if it is still running then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._watchdog.wait(timeout_seconds)
        return self.status

    def terminate(self, grace_seconds: float) -> bool:
        """Ask the command to end, and kill it after `grace_seconds`; True if it ended by itself."""
        self._order(b"t")
        ended = self.wait(grace_seconds) is not None
        self.kill()
        return ended

    def kill(self) -> None:
        """End the command at once; returns when it is gone."""
        self._order(b"k")
        try:
            self._watchdog.wait(_BEYOND_SECONDS)
        except subprocess.TimeoutExpired:
            self._watchdog.kill()
            self._watchdog.wait()
        if self._watchdog.returncode < 0 and self.pid:
            # The watchdog was killed before it could do its work; the command may have survived it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._orders.close()
        self._answers.close()

    def _order(self, order: bytes) -> None:
        """Send the watchdog a command, unless it has ended."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._orders.write(order)
