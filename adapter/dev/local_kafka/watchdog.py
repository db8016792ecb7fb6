"""Runs one command and makes sure that it never outlives the process that started it.

A separate program, started by `supervised.py`; it imports only the standard library. It holds the read end of a pipe
whose write end only the parent has. When the parent dies in any way, kill -9 included, the pipe closes, and the
watchdog kills the command and removes FOLDER. On Linux the command also dies with the watchdog.

    python watchdog.py LOG FOLDER COMMAND...

LOG receives the command's output. FOLDER is removed when the parent is gone; empty keeps everything. The command's
process id is the only line on standard output. On standard input, `t` asks the command to end and `k` kills it. The
exit status is the command's (negative ones plus 256).
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1


def _die_with_watchdog() -> None:
    """Runs in the command's process before it starts: be killed when the watchdog dies.

    The signal is sent when the *thread* that started the command ends. So this must not happen in the parent, where any
    thread may start a broker; the watchdog has only one thread.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _start(log: str, command: list[str]) -> subprocess.Popen[bytes]:
    with open(log, "ab") as output:
        return subprocess.Popen(  # noqa: S603  the parent's own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_watchdog if sys.platform == "linux" else None,
        )


def _watch(child: subprocess.Popen[bytes], parent: int) -> bool:
    """Forward the parent's commands until the child has ended (False) or the parent is gone (True).

    A fork of the parent may hold the pipe open, so the parent's id is checked as well.
    """
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
        order = os.read(0, 1) if readable else b""
        if os.getppid() != parent or (readable and not order):
            return True
        if order == b"t":
            child.terminate()
        elif order == b"k":
            child.kill()
    return False


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(1)


def main(log: str, folder: str, *command: str) -> int:
    """Run `command` until it or the parent ends."""
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _end)
    child = _start(log, list(command))
    try:
        print(child.pid, flush=True)
        orphaned = _watch(child, parent)
    except BrokenPipeError:
        orphaned = True
    finally:
        child.kill()
        status = child.wait()
    if orphaned and folder:
        shutil.rmtree(folder, ignore_errors=True)
    return status % 256


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
