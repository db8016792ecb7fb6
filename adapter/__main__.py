"""Starts the process: `python -m adapter` and `ecticket-adapter` begin here.

The first process of a container gets only the signals that it handles: the kernel discards a SIGTERM for which there is
no handler yet, and the container then waits for SIGKILL. So the handler comes before the imports, which take most of a
start.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # type checkers take it as true; `typing` takes longer to import than all that is here
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

OPTIONS_WITH_VALUE = ("--config", "--set")
"""Options that may stand before the command, each followed by its value."""
_FIRST_PROCESS = 1
"""The id of a container's first process."""
_INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ends (`adapter.cli.main`)."""


def main() -> int:
    """Handle signals, forbid core dumps, then import and run the command; return its exit code.

    `run` ends with exit code 0 at once until it has something to finish; then it installs its own handlers. Other
    commands keep what Python does, and end at a SIGTERM also as the first process of a container.
    """
    is_service = _is_service(sys.argv[1:])
    if is_service:
        _handle_stop_signals(_end)
    elif os.getpid() == _FIRST_PROCESS:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        from adapter.cli.core_dumps import forbid_core_dumps

        forbid_core_dumps()
        from adapter.cli import main as run_command
    except KeyboardInterrupt:
        return _INTERRUPTED
    code = run_command()
    if is_service:
        _handle_stop_signals(signal.SIG_IGN)  # the exit code is final while Python cleans up
    return code


def _handle_stop_signals(handler: signal.Handlers | Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _is_service(arguments: list[str]) -> bool:
    """Whether the command is `run`: the first word that is neither an option nor the value of one."""
    words = iter(arguments)
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word == "run"
    return False


def _end(_signal: int, _frame: object) -> None:
    """End the process. An exception would not do: an import or a destructor in which it arises may discard it."""
    os._exit(0)


def _terminate(number: int, _frame: object) -> None:
    """End the command as a SIGTERM ends it in any other process, after it has closed what it opened."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
