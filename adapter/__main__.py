"""Starts the process: `python -m adapter` and `ecticket-adapter` begin here.

The first process of a container gets only the signals that it handles: the kernel discards a SIGTERM for which there is
no handler yet, and the container then waits for SIGKILL. So the handler comes before the imports, which take most of a
start.
"""

from __future__ import annotations

import os
import signal
import sys

from adapter.command_name import command_name

TYPE_CHECKING = False  # type checkers take it as true; `typing` takes longer to import than all that is here
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_FIRST_PROCESS = 1
"""The id of a container's first process."""
_BY_SIGNAL = 128
"""The exit code of a command that a signal ends is its number and this, as in a shell (`adapter.cli.main`)."""


def main() -> int:
    """Handle signals, forbid core dumps, then import and run the command; return its exit code.

    `run` ends with exit code 0 at once until it has something to finish; then it installs its own handlers. Other
    commands end at once during the imports, then do what Python does; as the first process of a container they end at
    a SIGTERM too.
    """
    is_service = command_name(sys.argv[1:]) == "run"
    if is_service:
        _handle({signal.SIGTERM: _end_with(0), signal.SIGINT: _end_with(0)})
        after_imports = {}
    else:
        after_imports = _handlers_of_commands()
        _handle({number: _end_with(_BY_SIGNAL + number) for number in after_imports})
    from adapter.cli.core_dumps import forbid_core_dumps

    forbid_core_dumps()
    from adapter.cli import main as run_command

    _handle(after_imports)
    code = run_command()
    if is_service:
        _handle({signal.SIGTERM: signal.SIG_IGN, signal.SIGINT: signal.SIG_IGN})  # the exit code is final
    return code


def _handlers_of_commands() -> dict[signal.Signals, Handler]:
    """The handlers of all commands but `run`. A shell may have decided that Ctrl-C does not reach this one."""
    handlers: dict[signal.Signals, Handler] = {}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        handlers[signal.SIGINT] = signal.default_int_handler
    if os.getpid() == _FIRST_PROCESS:
        handlers[signal.SIGTERM] = _terminate
    return handlers


def _handle(handlers: dict[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end_with(code: int) -> Handler:
    """End the process. An exception would not do: an import or a destructor in which it arises may discard it."""
    return lambda _signal, _frame: os._exit(code)


def _terminate(number: int, _frame: object) -> None:
    """End the command as a SIGTERM ends it in any other process, after it has closed what it opened."""
    raise SystemExit(_BY_SIGNAL + number)


if __name__ == "__main__":
    raise SystemExit(main())
