"""Starts the process, and turns errors into sentences and exit codes.

0 done, 1 failed, 2 wrong usage or settings, 130 interrupted. Standard error shows what happened, then what to do. A
traceback shows with `--debug` only. What ends `run` is a log line, unless standard error is a terminal, and the
container's termination message.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress

import typer
from typer.main import get_command

from adapter.cli.commands import NAME, build_app
from adapter.cli.context import CommandContext
from adapter.cli.failure_report import log_failure, write_termination_message
from adapter.cli.output import clean, note
from adapter.cli.system_errors import (
    discard_unwritable_output,
    explain,
    reopen_closed_streams,
    replace_unencodable_characters,
)
from adapter.command_name import command_name
from adapter.errors import AdapterError, InDoubt, NotSent, ReportNotStored, SettingsError, Throttled, TopicsMissing

FAILED = 1
WRONG = 2
INTERRUPTED = 130

DEFECT = "This should not have happened"
"""How the message for an unexpected exception begins; anything else explains itself."""

_CURES: tuple[tuple[type[AdapterError], str], ...] = (
    (Throttled, "Nothing was executed. Come back later."),
    (ReportNotStored, "Free some space there, or write to another place (TMPDIR, --output)."),
    (NotSent, "Nothing was sent. Check provider.environment, provider.base_url and the network, or run check."),
    (InDoubt, "Run it again; for an order, query its trade number before you do anything else with it."),
)
"""What to do about errors of ECTicket's calls, whose own sentences say only what happened: they are made for flows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code; `arguments` are those after the program's name."""
    context = CommandContext()
    reopen_closed_streams()
    replace_unencodable_characters()
    try:
        return _run_and_report(arguments, context)
    finally:
        discard_unwritable_output()


def _run_and_report(arguments: Sequence[str] | None, context: CommandContext) -> int:
    """Run the command, and print errors on standard error."""
    try:
        code = _run(arguments, context)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the top of the process: whatever it is becomes a sentence
        if context.is_service or _is_usage_of_run(error):
            return _report_end_of_run(error, context)
        if isinstance(error, BrokenPipeError):  # the reader has closed the pipe
            return FAILED
        _report(error, context)
        return _exit_code(error)
    return code


def _report_end_of_run(error: Exception, context: CommandContext) -> int:
    code, sentences = _exit_code(error), [clean(each) for each in _sentences(error, context)]
    write_termination_message(sentences)
    if sys.stderr.isatty() or not log_failure(
        sentences, exit_code=code, unexpected=error if _is_unexpected(error) else None
    ):
        _report(error, context)
    elif context.debug:
        _note_locations(error)
    return code


def _report(error: Exception, context: CommandContext) -> None:
    if context.debug:
        _print_traceback(error)
    else:
        _print_errors(_sentences(error, context))


def _print_traceback(error: Exception) -> None:
    with suppress(OSError):  # standard error may be what is broken
        traceback.print_exception(error)


def _note_locations(error: Exception) -> None:
    """Print what a log line has of an exception: the log of `run` quotes no library, which may quote customer data."""
    from adapter.log import describe_exception

    note(describe_exception(error))


def _exit_code(error: Exception) -> int:
    return WRONG if isinstance(error, SettingsError) else getattr(error, "exit_code", FAILED)


def _is_usage_of_run(error: Exception) -> bool:
    """Whether `run` was called with arguments that it does not have, so that it did not even begin."""
    where = getattr(error, "ctx", None)
    return isinstance(error, typer.TyperException) and getattr(where, "command_path", "") == f"{NAME} run"


def _is_unexpected(error: Exception) -> bool:
    """Whether no sentence explains it: a defect of the adapter or of a library."""
    return not isinstance(error, AdapterError | typer.TyperException | typer.Abort) and explain(error) is None


def _run(arguments: Sequence[str] | None, context: CommandContext) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    command = get_command(build_app(command_name(given)))
    code = command.main(args=given, prog_name=NAME, standalone_mode=False, obj=context)
    return code if isinstance(code, int) else 0


def _sentences(error: Exception, context: CommandContext) -> Iterable[str]:
    """What happened and what to do, for people."""
    if isinstance(error, SettingsError):
        return error.problems
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, typer.Abort):
        return ("The input ended too early.",)
    if isinstance(error, TopicsMissing) and context.config is not None:
        return (str(error), f"The command needs the same settings:{context.same_config}")
    if isinstance(error, AdapterError):
        cure = next((cure for kind, cure in _CURES if isinstance(error, kind)), None)
        return (str(error), cure) if cure else (str(error),)
    around = explain(error)
    if around is not None:
        return around
    return (
        f"{DEFECT}: {type(error).__name__}.",
        "Run it again with --debug, and report what shows.",
    )


def _usage(error: typer.TyperException) -> Iterable[str]:
    context = getattr(error, "ctx", None)
    text = error.format_message().removeprefix("Invalid value: ").replace("Value error, ", "")
    message = " ".join(text.split())  # choices come one to a line
    if not message:  # the help has just been shown instead
        return ()
    end = "" if message.endswith((".", "?")) else "."
    return (f"{message}{end} See: {context.command_path if context else NAME} --help",)


def _print_errors(sentences: Iterable[str]) -> None:
    for line in "\n".join(sentences).splitlines():
        note(f"{NAME}: {clean(line)}")
