"""Whatever is wrong with the machine around a command, it is one sentence each, and no defect of the adapter."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import typing
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

import pytest
import typer
from aiokafka.errors import BrokerNotAvailableError
from provider.server import RawServer, self_signed
from stream.advertising import broker_that_advertises
from typer.core import TyperCommand, TyperGroup

from adapter.cli.commands import build_app
from adapter.cli.main import DEFECT
from adapter.cli.output import note
from adapter.cli.system_errors import explain, with_path
from adapter.dev.local_kafka.jars import cache_directory
from adapter.dev.sandbox import RunningSandbox
from adapter.errors import LocalKafkaError
from adapter.testing.background import BackgroundLoop

from .command_runner import MERCHANT, Commands, in_own_process
from .conftest import settings_for

DRIVER = Path(__file__).parent / "forked_commands.py"
FULL_ARGUMENTS = {("dead-letters", "replay"): ["--all"], ("resolve",): ["T1", "--as", "failed", "--why", "x"]}
"""What lets a command go further than its required arguments alone."""
ORDER = {
    "order_id": "A-1",
    "merchant_id": MERCHANT.merchant_id,
    "customer": {"name": "王小明", "phone": "0912345678", "email": "a@example.com"},
    "issue_type": "electronic",
    "immediate": True,
    "lines": [{"sku": "VQT04959", "quantity": 1}],
}


def every_command(command: object = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    """The commands that the program has, whatever their number by now."""
    command = command or typer.main.get_command(build_app())
    if isinstance(command, TyperGroup):
        for name, below in command.commands.items():
            yield from every_command(below, (*path, name))
    else:
        yield path, typing.cast("TyperCommand", command)


def command_lines(order: Path, output: str) -> Iterator[list[str]]:
    """Each command with what it needs, and once more for each file that it can be asked to write."""
    for path, command in every_command():
        needed = [word for each in command.params if each.required for word in _given(each, order)]
        line = [*path, *FULL_ARGUMENTS.get(path, needed)]
        yield line
        for each in command.params:
            if "--output" in each.opts or "--into" in each.opts:
                yield [*line, each.opts[0], output]


def _given(parameter: typing.Any, order: Path) -> list[str]:  # typer's own parameters have no public type
    kind = parameter.type_descriptor.annotation
    if typing.get_origin(kind) is typing.Literal:
        value = str(typing.get_args(kind)[0])
    elif kind is datetime:
        value = "2026-03-01"
    else:
        value = str(order) if "Path" in str(kind) else {"trade_no": "T1"}.get(parameter.name, "x1")
    return [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]


class CommandEnvironment:
    """Runs every command in the same surroundings."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.settings: dict[str, object] = settings_for(base_url)
        self.settings["admin"] = {"host": "127.0.0.1", "port": 0}
        self.order = folder / "order.json"
        self.order.write_text(json.dumps(ORDER), encoding="utf-8")

    def run(
        self, *, env: Mapping[str, str] | None = None, output: str = "out.csv", **wrong: object
    ) -> dict[str, tuple[int, str, str]]:
        """Exit code, output and complaints by command line."""
        config = self.folder / "settings.yaml"
        config.write_text(json.dumps(self.settings), encoding="utf-8")
        lines = list(command_lines(self.order, output))
        wanted = {"commands": [["--config", str(config), *line] for line in lines], "folder": str(self.folder), **wrong}
        done = subprocess.run(
            [sys.executable, str(DRIVER), json.dumps(wanted)],
            env={**os.environ, **(env or {})},
            capture_output=True,
            timeout=600,
            check=True,
        )
        return {" ".join(line): tuple(result) for line, result in zip(lines, json.loads(done.stdout), strict=True)}


@pytest.fixture
def command_environment(tmp_path: Path, ecticket: RunningSandbox) -> CommandEnvironment:
    """Sound but for the broker, which is not there."""
    return CommandEnvironment(tmp_path, ecticket.base_url)


def _package(folder: Path, entry_points: bytes) -> dict[str, str]:
    """Another distribution on the path."""
    info = folder / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_bytes(entry_points)
    return {"PYTHONPATH": str(folder)}


def assert_no_defect(results: Mapping[str, tuple[int, str, str]]) -> None:
    """No command ends in a traceback, a complaint of the interpreter, or the sentence for defects."""
    for line, (code, out, err) in results.items():
        output = out + err
        assert DEFECT not in output, (line, err)
        assert "Traceback" not in output, (line, err)
        assert "Exception ignored" not in output, (line, err)
        assert code in (0, 1, 2) or (line in ("run", "sandbox") and code == -15), (line, code, err)  # stopped by us


WRONG: dict[str, dict[str, object]] = {
    "a full disk behind standard output": {"stdout": "/dev/full", "output": "/dev/full"},
    "a full disk behind both outputs": {"stdout": "/dev/full", "stderr": "/dev/full"},
    "a disk that takes nothing": {"limits": {"RLIMIT_FSIZE": 0}},
    "closed streams": {"stdin": "closed", "stdout": "closed", "stderr": "closed"},
    "readers that have left": {"stdout": "broken pipe", "stderr": "broken pipe"},
    "read-only places and a terminal of ASCII": {
        "output": "/sys/out.csv",
        "env": {"HOME": "/sys", "XDG_CACHE_HOME": "/sys", "PYTHONIOENCODING": "ascii"},
    },
    "no home and a broken locale": {
        "env": {
            "HOME": "/dev/null/home",
            "XDG_CACHE_HOME": "",
            "LC_ALL": "xx_YY.none",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
        }
    },
    "a folder that is gone": {"folder_removed": True},
    "few open files": {"limits": {"RLIMIT_NOFILE": 8}},
}


QUICK_ONES = {"closed streams", "few open files"}
"""Those of them that `make quick` tries."""


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(wrong, id=name, marks=() if name in QUICK_ONES else pytest.mark.slow)
        for name, wrong in WRONG.items()
    ],
)
def test_no_surroundings_look_like_a_defect(
    wrong: dict[str, typing.Any], command_environment: CommandEnvironment
) -> None:
    """Every command that there is ends with a sentence, or does its work."""
    assert_no_defect(command_environment.run(**wrong))
    assert Path("/dev/full").is_char_device()


@pytest.mark.slow
def test_servers_that_cannot_be_used_look_like_no_defect(
    command_environment: CommandEnvironment, tmp_path: Path
) -> None:
    """ECTicket's certificate is not trusted, and the broker advertises an address that does not answer."""
    _, context = self_signed(tmp_path)
    with BackgroundLoop() as loop:
        ecticket, broker = RawServer(tls=context), broker_that_advertises("127.0.0.1", 1)
        loop.run(ecticket.__aenter__())
        command_environment.settings["kafka"] = {"bootstrap_servers": loop.run(_entered(broker))}
        command_environment.settings["provider"] = {"environment": "custom", "base_url": ecticket.url}
        results = command_environment.run()
        loop.run(broker.__aexit__(None, None, None))
        loop.run(ecticket.__aexit__(None, None, None))

    assert_no_defect(results)
    for line in ("query T1", "item x1", "check"):
        assert "provider.ssl_ca_file" in results[line][1] + results[line][2]
    for line in ("topics", "dead-letters list", "check", "run"):
        assert "127.0.0.1:1 " in results[line][1] + results[line][2]
        assert "advertised.listeners" in results[line][1] + results[line][2]


async def _entered(broker: AbstractAsyncContextManager[str]) -> str:
    return await broker.__aenter__()


BROKEN_ENTRY_POINTS = {
    "no equals sign": b"[console_scripts]\nthis is no entry point\n",
    "not text": b"\xff\xfe\x00garbage = [\n",
}


@pytest.mark.slow
def test_unreadable_keys_look_like_no_defect(command_environment: CommandEnvironment, tmp_path: Path) -> None:
    """A key's file that is a folder, one that is no text, and one that is missing are named."""
    keys = tmp_path / "secrets" / "merchants"
    (keys / "1" / "hash_key").mkdir(parents=True)
    (keys / "2").mkdir()
    (keys / "2" / "hash_key").write_bytes(b"\xff\xfe")
    (keys / "3").mkdir()
    command_environment.settings["secrets_dir"] = str(tmp_path / "secrets")

    results = command_environment.run()

    assert_no_defect(results)
    complaints = results["query T1"][2].splitlines()
    named = {merchant: [line for line in complaints if f"{merchant}/hash_key" in line] for merchant in ("1", "2", "3")}
    assert {merchant: ["missing" in line for line in lines] for merchant, lines in named.items()} == {
        "1": [False],
        "2": [False],
        "3": [True],
    }


@pytest.mark.slow
@pytest.mark.parametrize("text", BROKEN_ENTRY_POINTS.values(), ids=BROKEN_ENTRY_POINTS.keys())
def test_a_broken_package_beside_is_named(text: bytes, tmp_path: Path) -> None:
    """Libraries read every package's entry points at their start; commands that import other libraries name it too."""
    environment = {**os.environ, **_package(tmp_path, text)}
    lines = [["check"], ["run"], ["topics"], ["query", "T1"], ["plugins", "list"], ["settings", "show"], ["demo"]]
    lines = lines if text == BROKEN_ENTRY_POINTS["no equals sign"] else lines[:2]
    with ThreadPoolExecutor(3) as three:
        done = list(three.map(lambda line: in_own_process(*line, env=environment), lines))

    assert_no_defect(
        {" ".join(line): (each.returncode, each.stdout, each.stderr) for line, each in zip(lines, done, strict=True)}
    )
    named = [
        line
        for line, each in zip(lines, done, strict=True)
        if "entry_points.txt" in each.stderr and " other " in each.stderr
    ]
    assert ["check"] in named
    assert ["run"] in named


@pytest.mark.parametrize("line", [("run",), ("sandbox", "--port", "{port}")])
def test_a_port_in_use_is_named(line: tuple[str, ...], run: Commands) -> None:
    """The sentence names address and cure."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        admin = ("--set", "admin.host=127.0.0.1", "--set", f"admin.port={port}") if line == ("run",) else ()
        command = [each.format(port=port) for each in line]
        result = in_own_process("--config", str(run.config), *command, *admin)

    assert result.returncode == 2
    assert f"127.0.0.1:{port}" in result.stderr
    assert "another port" in result.stderr


@pytest.mark.parametrize("home", ["/dev/null/home", "/sys/home"])
def test_a_home_that_takes_nothing_is_named(home: str) -> None:
    """Only the local Kafka keeps something there, and another place is the cure."""
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    result = in_own_process("demo", env={**environment, "HOME": home})

    assert result.returncode == 1
    assert f"{home}/.cache" in result.stderr
    assert "XDG_CACHE_HOME" in result.stderr


def test_a_user_without_a_home_gets_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in a container often runs as a user id without a home directory."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)

    with pytest.raises(LocalKafkaError, match="XDG_CACHE_HOME"):
        cache_directory()


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_is_a_sentence_and_a_cure(number: int, tmp_path: Path) -> None:
    """Whatever an operating system answers; the path is named where it is known."""
    result = explain(OSError(number, os.strerror(number), str(tmp_path / "票.csv")))

    assert result is not None
    assert "票.csv" in result[0]
    assert all(sentence.endswith(".") for sentence in result)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (MemoryError(), "memory"),
        (ModuleNotFoundError("No module named 'x'", name="x"), "x"),
        (RuntimeError("can't start new thread"), "thread"),
        (ExceptionGroup("two", [KeyError(), OSError(errno.ENOSPC, "No space left on device")]), "No space left"),
        (OSError(errno.ENOSPC, "No space left on device", b"\xff"), "No space left"),
        (TimeoutError(), "in time"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "DNS"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "network"),
        (ConnectionResetError("Connection lost"), "connection"),
        (BrokerNotAvailableError(), "BrokerNotAvailableError"),
    ],
)
def test_what_is_no_error_of_the_system_is_a_sentence_too(error: Exception, word: str) -> None:
    """Memory, threads, packages, and several at once."""
    assert word in str(explain(error))


@pytest.mark.parametrize("error", [KeyError("a"), RuntimeError("x"), AssertionError(), OSError("no number")])
def test_a_defect_stays_one(error: Exception) -> None:
    """What is not known to come from outside is not blamed on it."""
    assert explain(error) is None


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The system does not say which file it could not write any further."""
    with pytest.raises(OSError, match="full") as caught, with_path(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "full")

    assert str(tmp_path / "a") in str(explain(caught.value))


def test_a_note_that_cannot_be_written_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error is for people; the work behind it goes on without them."""
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        note("half of it is done")
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
