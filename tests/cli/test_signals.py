"""A signal ends the process at every moment of its start, also where the kernel discards what has no handler.

Moments are shown by what the process does: an import that ends is a line on its standard error, and a settings file
that is a pipe is read until the test closes the pipe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.main import get_command

from adapter.cli.commands import build_app
from adapter.command_name import OPTIONS_WITH_VALUE, command_name

_SHOWS_ITS_IMPORTS = ("-X", "importtime")
_PROCESS_NAMESPACE = ("unshare", *(() if os.getuid() == 0 else ("--user", "--map-root-user")), "--pid", "--fork")
_FIRST_IMPORTS = "adapter.cli.help"
"""A module that every command imports, and one of the first."""
_LAST_IMPORTS = "adapter.app"
"""What `run` imports itself, as the last thing before it reads the settings."""


@contextmanager
def _process(*arguments: str, python: tuple[str, ...] = (), first: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Start the command; `first`: as the first process of a namespace of its own, as in a container."""
    command = ((*_PROCESS_NAMESPACE,) if first else ()) + (sys.executable, *python, "-m", "adapter", *arguments)
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def needs_namespaces() -> None:
    """Skip where this user may not make a namespace of processes."""
    made = subprocess.run((*_PROCESS_NAMESPACE, "true"), capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"TEST OF THE FIRST PROCESS NOT RUN: {made.stderr.strip()}")


def _until_imported(process: subprocess.Popen[str], module: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(f" {module}"):
            return
    pytest.fail(f"{module} was never imported")


@contextmanager
def _reading(process: subprocess.Popen[str], pipe: Path, *, first: bool = False) -> Iterator[int]:
    """The id of the command's own process, which reads its settings from this pipe and gets nothing."""
    writer = os.open(pipe, os.O_WRONLY)  # returns when the process opens the pipe
    try:
        pid = _pid(process, first=first)
        while "State:\tS" not in Path(f"/proc/{pid}/status").read_text():  # it has not begun to wait
            time.sleep(0.01)
        yield pid
    finally:
        os.close(writer)


def _pid(process: subprocess.Popen[str], *, first: bool) -> int:
    """The id of the command's own process."""
    if not first:
        return process.pid
    (pid,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(pid)


@pytest.fixture
def settings_pipe(tmp_path: Path) -> Path:
    """A settings file that is never complete."""
    pipe = tmp_path / "settings.yaml"
    os.mkfifo(pipe)
    return pipe


@pytest.mark.parametrize("module", [_FIRST_IMPORTS, _LAST_IMPORTS])
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)],
    ids=["term", "int", "several"],
)
def test_run_ends_during_its_imports(module: str, signals: tuple[signal.Signals, ...], settings_pipe: Path) -> None:
    """Exit code 0 and no traceback, however many signals come."""
    with _process("--config", str(settings_pipe), "run", python=_SHOWS_ITS_IMPORTS) as process:
        _until_imported(process, module)
        for number in signals:
            process.send_signal(number)
        rest = process.communicate(timeout=60)[1]

    assert process.returncode == 0
    assert "Traceback" not in rest


def test_run_ends_while_it_reads_its_settings(settings_pipe: Path) -> None:
    """Between the imports and the event loop."""
    with _process("run", "--config", str(settings_pipe)) as process, _reading(process, settings_pipe):
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=60)[1]

    assert process.returncode == 0
    assert rest == ""


def test_a_signal_after_the_end_of_run_changes_no_exit_code(tmp_path: Path) -> None:
    """The process has reported why it ends, and Python cleans up."""
    program = """
import atexit, os, signal, sys
from adapter.__main__ import main
atexit.register(os.kill, os.getpid(), signal.SIGTERM)
sys.exit(main())
"""
    command = (sys.executable, "-c", program, "run", "--config", str(tmp_path / "missing.yaml"))
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 2
    assert "missing.yaml" in ended.stderr


def test_an_interruption_inside_a_destructor_ends_the_imports() -> None:
    """An exception in a destructor, or in a callback of the import system, is printed and discarded."""
    program = """
import os, signal, sys
from adapter.__main__ import main

class Finder:
    def find_spec(self, name, *_):
        if name == "adapter.cli.help":
            Interrupts()

class Interrupts:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.exit(main())
"""
    command = (sys.executable, "-c", program, "check", "--help")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 130
    assert ended.stdout + ended.stderr == ""


def test_run_ends_as_the_first_process_of_a_container(needs_namespaces: None) -> None:
    """Its handler is there before the first import of a package, so the kernel has nothing to discard."""
    with _process("run", python=_SHOWS_ITS_IMPORTS, first=True) as process:
        _until_imported(process, _FIRST_IMPORTS)
        os.kill(_pid(process, first=True), signal.SIGTERM)
        process.communicate(timeout=60)

    assert process.returncode == 0


def test_another_command_ends_as_the_first_process_of_a_container(needs_namespaces: None, settings_pipe: Path) -> None:
    """With the code that a shell gives to a process that SIGTERM has ended."""
    with (
        _process("check", "--config", str(settings_pipe), first=True) as process,
        _reading(process, settings_pipe, first=True) as pid,
    ):
        os.kill(pid, signal.SIGTERM)
        process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_other_commands_keep_what_signals_do(number: signal.Signals, code: int, settings_pipe: Path) -> None:
    """During the imports and later: SIGTERM ends the process at once, Ctrl-C is an exit code without a traceback."""
    with _process("check", python=_SHOWS_ITS_IMPORTS) as importing:
        _until_imported(importing, _FIRST_IMPORTS)
        importing.send_signal(number)
        errors = importing.communicate(timeout=60)[1]
    with _process("settings", "show", "--config", str(settings_pipe)) as reading, _reading(reading, settings_pipe):
        reading.send_signal(number)
        errors += reading.communicate(timeout=60)[1]

    assert (importing.returncode, reading.returncode) == (code, code)
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["run"], "run"),
        (["--config", "settings.yaml", "--debug", "run", "--only", "submit"], "run"),
        (["--set=admin.port=0", "run"], "run"),
        (["--config", "run", "check"], "check"),
        (["--set", "submit.operator=run", "topics"], "topics"),
        (["explain", "run"], "explain"),
        (["run", "--help"], "run"),
        (["--help", "run"], None),
        (["--version"], None),
        (["--config"], None),
        ([], None),
    ],
)
def test_a_command_is_known_by_the_first_word(arguments: list[str], name: str | None) -> None:
    """Before any option is parsed."""
    assert command_name(arguments) == name


def test_options_before_the_command_are_known() -> None:
    """Those with a value, whose value is no command."""
    options = [option for option in get_command(build_app()).params if not getattr(option, "is_flag", True)]

    assert {name for option in options for name in option.opts} == set(OPTIONS_WITH_VALUE)
