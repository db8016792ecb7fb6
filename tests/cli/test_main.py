"""Where the process begins: exit codes, sentences instead of tracebacks, and a quick start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from adapter.cli import main, reference_settings
from adapter.cli.commands import build_app

from .command_runner import Commands, in_own_process

SOURCE_COLUMNS = 120
"""The longest line of source text."""
MOST_COMMANDS_OF_A_MODULE = 2
SLOW_TO_IMPORT = {"aiokafka", "cryptography", "httpx", "pydantic_settings", "starlette", "uvicorn", "yaml"}


def _every_command() -> Iterator[tuple[str, ...]]:
    app = build_app()
    for command in app.registered_commands:
        yield (str(command.name),)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from ((str(group.name), str(command.name)) for command in group.typer_instance.registered_commands)


def test_every_command_helps_with_an_example(run: Commands) -> None:
    """`--help` everywhere, and at its end something to copy."""
    for words in _every_command():
        shown = run(*words, "--help")

        assert shown.code == 0
        assert f"ecticket-adapter {' '.join(words)}" in shown.out.partition("Example")[2], words


@pytest.mark.parametrize("group", ["catalogue", "dead-letters", "plugins", "schemas", "settings"])
def test_every_group_helps_with_an_example(run: Commands, group: str) -> None:
    """A group too shows something to copy."""
    assert f"ecticket-adapter {group} " in run(group, "--help").out.partition("Example")[2]


def test_every_command_is_built_without_the_others() -> None:
    """A process that runs a command does not import the other ones; a name that is none gets all, for its message."""
    everything = build_app()
    for words in _every_command():
        alone = build_app(words[0])

        found = {str(each.name) for each in alone.registered_commands}
        found |= {str(each.name) for each in alone.registered_groups}
        assert words[0] in found
        assert len(found) <= MOST_COMMANDS_OF_A_MODULE
    assert len(build_app("rnu").registered_commands) == len(everything.registered_commands)


def test_help_is_whole_paragraphs(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal breaks the lines, not the source; and a flag shows no type."""
    monkeypatch.setenv("COLUMNS", "200")
    shown = run("demo", "--help").out
    text, _, _ = shown.partition("╭")

    assert max(map(len, map(str.strip, text.splitlines()))) > SOURCE_COLUMNS
    assert "<bool>" not in shown


def test_the_commands_are_the_contracts(run: Commands) -> None:
    """What this version has of docs/contract.md, "Commands", and nothing that does not work yet."""
    assert {" ".join(words) for words in _every_command()} == {
        "catalogue check",
        "run",
        "demo",
        "sandbox",
        "check",
        "topics",
        "plugins list",
        "plugins check",
        "plugins new",
        "plugins reference",
        "settings show",
        "settings reference",
        "issue",
        "query",
        "item",
        "report",
        "explain",
        "hold",
        "release",
        "dead-letters list",
        "dead-letters show",
        "dead-letters replay",
        "dead-letters skip",
        "resolve",
        "reissue",
        "reconcile",
        "support-bundle",
        "schemas write",
        "schemas check",
    }


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """A call without arguments shows the commands, and exits with a code that says that something was missing."""
    code = main([])
    output = capsys.readouterr()

    assert (code, output.err) == (2, "")
    assert "dead-letters" in output.out


def test_the_version_is_the_distributions(run: Commands) -> None:
    """`--version` shows it and exits."""
    assert run("--version").out == f"ecticket-adapter {version('ecticket-adapter')}\n"


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (("frobnicate",), ("'frobnicate'", "ecticket-adapter --help")),
        (("topics", "--frobnicate"), ("--frobnicate", "ecticket-adapter topics --help")),
        (("query",), ("'TRADE_NO'", "ecticket-adapter query --help")),
        (("report",), ("'--type'", "orders, tickets", "ecticket-adapter report --help")),
        (("settings", "show", "--set", "x"), ("--set", "KEY=VALUE")),
        (("settings", "show", "--set", "=x"), ("--set", "KEY=VALUE")),
        (("report", "--type", "both", "--from", "2026-03-01", "--to", "2026-03-01"), ("'--type'", "'both'")),
        (("report", "--type", "orders", "--from", "1.3.2026", "--to", "2026-03-01"), ("'--from'", "1.3.2026")),
        (("settings", "show", "--set", "submit.operatr=x"), ("submit.operatr ", "submit.operator")),
        (("settings", "show", "--config", "/nowhere/settings.yaml"), ("/nowhere/settings.yaml",)),
        (("sandbox", "--port", "123456"), ("port", "65535", "123456")),
    ],
)
def test_wrong_usage_and_settings_are_2(run: Commands, arguments: tuple[str, ...], facts: tuple[str, ...]) -> None:
    """One sentence on what is wrong and where to look, on standard error, and no traceback."""
    result = run(*arguments)

    assert result.code == 2
    assert [fact for fact in facts if fact not in result.err] == []
    assert all(line.startswith("ecticket-adapter: ") for line in result.err.splitlines())
    assert result.out == ""


def test_every_mistake_in_the_settings_is_a_line(run: Commands) -> None:
    """One sentence per mistake, so that all can be corrected at once."""
    result = run("settings", "show", "--set", "submit.defer_seconds=-1", "--set", "admin.port=99999")

    assert result.code == 2
    assert len(result.err.splitlines()) == 2


def test_what_stands_after_the_command_counts_more(run: Commands) -> None:
    """Common options are taken before and after the command."""
    shown = run(
        "--set", "submit.operator=first", "--set", "submit.store_id=TPE01",
        "settings", "show", "--json", "--set", "submit.operator=second",
    )  # fmt: skip
    submit = shown.json["submit"]

    assert isinstance(submit, dict)
    assert (submit["operator"], submit["store_id"]) == ("second", "TPE01")


def test_a_settings_file_after_the_command_counts_more(run: Commands, tmp_path: Path) -> None:
    """`--config` too; the last one is the only one."""
    other = tmp_path / "other.yaml"
    other.write_text("log: {level: error}\n")

    log = run("settings", "show", "--json", "--config", str(other)).json["log"]

    assert isinstance(log, dict)
    assert log["level"] == "error"


def _break(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken() -> str:
        raise error

    monkeypatch.setattr(reference_settings, "markdown", broken)


def test_the_unexpected_is_a_sentence(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug shows its type and what to do, and no traceback, which may quote a customer."""
    _break(monkeypatch, KeyError("王小明"))
    result = run("settings", "reference")

    assert result.code == 1
    assert "KeyError" in result.err
    assert "--debug" in result.err
    assert "王小明" not in result.err
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--debug` the traceback shows, wherever it stands."""
    _break(monkeypatch, KeyError("why"))

    assert "Traceback" in run("--debug", "settings", "reference").err
    assert "Traceback" in run("settings", "reference", "--debug").err
    assert "Traceback" in run("settings", "show", "--debug", "--set", "x.y=1").err


def test_control_characters_do_not_reach_the_terminal(run: Commands) -> None:
    """What a file or a record says is shown, never obeyed."""
    result = run("query", "--merchant", "\x1b[31mred", "ABC")

    assert "\x1b" not in result.err
    assert "[31mred" in result.err


def test_an_interrupt_is_quiet(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is 130 without a word."""
    _break(monkeypatch, KeyboardInterrupt())
    result = run("settings", "reference")

    assert (result.code, result.out, result.err) == (130, "", "")


def test_a_reader_that_leaves_is_quiet() -> None:
    """`ecticket-adapter settings reference | head -1` does not complain."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "adapter", "settings", "reference"]
    with os.fdopen(write) as no_reader:
        left = subprocess.run(command, stdout=no_reader, stderr=subprocess.PIPE, text=True, timeout=60, check=False)

    assert (left.returncode, left.stderr) == (1, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_no_mistake(closed: str) -> None:
    """A closed pipe gets no error message; the exit code still shows the result."""
    line = f'"$0" -m adapter plugins list {closed}'
    done = subprocess.run(["/bin/sh", "-c", line, sys.executable], capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, b"")


def test_a_process_exits_with_the_code() -> None:
    """`python -m adapter` is the command, and its exit code the process's."""
    result = in_own_process("settings", "show", "--set", "nonsense=1")

    assert result.returncode == 2
    assert result.stderr.startswith("ecticket-adapter: ")
    assert "nonsense" in result.stderr


def test_a_terminal_without_chinese_shows_the_rest() -> None:
    """Characters that the output cannot take become `?`."""
    shown = in_own_process("settings", "reference", env={**os.environ, "PYTHONIOENCODING": "ascii"})

    assert shown.returncode == 0
    assert "?" in shown.stdout


def test_a_real_interrupt_ends_the_sandbox_quietly() -> None:
    """Ctrl-C at the sandbox is how it ends, so it is 0; it had printed its address."""
    command = [sys.executable, "-m", "adapter", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert first.startswith("Sandbox at http://127.0.0.1:")
    assert (process.returncode, err) == (0, "")


def test_starting_imports_nothing_slow() -> None:
    """`--help` must come at once, so rooms are imported by the commands that need them."""
    code = "import sys, adapter.cli.commands as p; p.build_app(); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout

    assert not SLOW_TO_IMPORT & set(shown.split())


def test_main_takes_the_process_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The console script calls it without any."""
    monkeypatch.setattr(sys, "argv", ["ecticket-adapter", "--version"])

    assert main() == 0
    assert capsys.readouterr().out.startswith("ecticket-adapter ")
