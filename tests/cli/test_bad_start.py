"""What stops the start of `run`: each case ends with its exit code, one log line, and the same termination message."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from unprivileged import obey_file_modes

from adapter.app import Adapter
from adapter.cli import run as run_command
from adapter.cli.failure_report import MESSAGE_MAX_BYTES, write_termination_message
from adapter.settings import termination_log
from adapter.settings.termination_log import TERMINATION_LOG_VARIABLE

from .command_runner import KEYS, Commands
from .conftest import settings_for

SECRET = "ThisKeyIsASecret"
UNREACHABLE = "http://127.0.0.1:1"


@dataclass(frozen=True, slots=True)
class BadInput:
    """One case: where it prepares its files, and what it changes of good settings."""

    folder: Path
    settings: dict[str, object] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    def secrets(self, merchant: str = "3085676", **files: bytes | None) -> Path:
        """A mounted Secret with good keys, but for these files; None: a file that is missing."""
        folder = self.folder / "secrets" / "merchants" / merchant
        folder.mkdir(parents=True)
        good: dict[str, bytes | None] = {"hash_key": SECRET.encode(), "hash_iv": SECRET[::-1].encode()}
        for name, content in {**good, **files}.items():
            if content is not None:
                (folder / name).write_bytes(content)
        self.settings["secrets_dir"] = str(self.folder / "secrets")
        self.settings["merchants"] = {}
        return folder


Prepare = Callable[[BadInput], None]
CASES: dict[str, tuple[Prepare, int, tuple[str, ...]]] = {}
"""Each case by its name: what prepares it, the exit code, and what the text must name."""


def case(code: int, *named: str) -> Callable[[Prepare], Prepare]:
    def add(prepare: Prepare) -> Prepare:
        CASES[prepare.__name__] = (prepare, code, named)
        return prepare

    return add


@case(2, "nowhere.yaml", "--config")
def no_settings_file(given: BadInput) -> None:
    given.arguments.append(f"--config={given.folder / 'nowhere.yaml'}")


@case(2, "is.d", "--config")
def settings_file_is_a_folder(given: BadInput) -> None:
    (given.folder / "is.d").mkdir()
    given.arguments.append(f"--config={given.folder / 'is.d'}")


@case(2, "submit.oprator", "submit.operator")
def misspelt_setting(given: BadInput) -> None:
    given.settings["submit"] = {"oprator": "web"}


@case(2, "ECTICKET_SUBMIT__OPERATOR", "empty")
def empty_variable(given: BadInput) -> None:
    given.environment["ECTICKET_SUBMIT__OPERATOR"] = ""


@case(2, "ECTICKET_SUBMIT__OPERATOR")
def no_operator(given: BadInput) -> None:
    given.settings["submit"] = {}


@case(2, "--onyl", "run --help")
def misspelt_option(given: BadInput) -> None:
    given.arguments.append("--onyl")


@case(2, "sumbit", "submit")
def unknown_stage(given: BadInput) -> None:
    given.arguments.append("--only=sumbit")


@case(2, "ECTICKET_MERCHANTS", "ECTICKET_SECRETS_DIR")
def no_merchant(given: BadInput) -> None:
    given.settings["merchants"] = {}


@case(2, "secrets_dir", "gone", "Mount")
def missing_secret(given: BadInput) -> None:
    given.settings["secrets_dir"] = str(given.folder / "gone")


@case(2, "secrets_dir", "merchants/ID", "hash_key")
def secret_without_merchants(given: BadInput) -> None:
    (given.folder / "empty").mkdir()
    given.settings.update({"secrets_dir": str(given.folder / "empty"), "merchants": {}})


@case(2, "hash_iv", "missing", "3085676")
def missing_key_file(given: BadInput) -> None:
    given.secrets(hash_iv=None)


@case(2, "hash_key", "empty", "3085676")
def empty_key_file(given: BadInput) -> None:
    given.secrets(hash_key=b"\n")


@case(2, "hash_key", "UTF-8")
def binary_key_file(given: BadInput) -> None:
    given.secrets(hash_key=b"\xff" * 16)


@case(2, "hash_key", "16", "15", "3085676")
def short_key(given: BadInput) -> None:
    given.secrets(hash_key=SECRET[:-1].encode())


@case(2, "hash_key", "directory")
def key_file_is_a_folder(given: BadInput) -> None:
    (given.secrets(hash_key=None) / "hash_key").mkdir()


@case(2, "signing_key", "empty")
def empty_signing_key_file(given: BadInput) -> None:
    given.secrets()
    (given.folder / "secrets" / "signing_key").write_text("\n")


@case(2, "signing_key", "32")
def short_signing_key(given: BadInput) -> None:
    given.secrets()
    (given.folder / "secrets" / "signing_key").write_text(SECRET)


@case(2, "signing_key", "128", "two keys")
def glued_signing_keys(given: BadInput) -> None:
    given.secrets()
    (given.folder / "secrets" / "signing_key").write_text(SECRET * 8)


@case(2, "hash_key", "16", "32")
def glued_hash_keys(given: BadInput) -> None:
    given.secrets(hash_key=2 * SECRET.encode())


@case(2, "submit.operator", "kafka.sasl_mechanism", "hash_key", "hash_iv", "signing_key", "catalogue.yaml", "CA.crt")
def mistakes_of_every_kind(given: BadInput) -> None:
    given.secrets(hash_key=b"", hash_iv=SECRET[:-1].encode())
    (given.folder / "secrets" / "signing_key").write_text(SECRET)
    given.settings["submit"] = {"catalogue": str(given.folder / "catalogue.yaml")}
    given.settings["kafka"] = {"security_protocol": "SASL_PLAINTEXT"}
    provider = cast("dict[str, object]", settings_for(UNREACHABLE)["provider"])
    given.settings["provider"] = {**provider, "ssl_ca_file": str(given.folder / "CA.crt")}


@case(2, "kafka.ssl_ca_file", "ca.crt", "PEM")
def missing_ca_file(given: BadInput) -> None:
    given.settings["kafka"] = _tls(given.folder / "ca.crt")


@case(2, "kafka.ssl_ca_file", "ca.crt", "PEM")
def empty_ca_file(given: BadInput) -> None:
    (given.folder / "ca.crt").write_text("")
    given.settings["kafka"] = _tls(given.folder / "ca.crt")


@case(2, "provider.ssl_ca_file", "ca.crt", "PEM")
def missing_ca_file_of_ecticket(given: BadInput) -> None:
    provider = cast("dict[str, object]", settings_for(UNREACHABLE)["provider"])
    given.settings["provider"] = {**provider, "ssl_ca_file": str(given.folder / "ca.crt")}


@case(2, "kafka.sasl_password")
def login_without_password(given: BadInput) -> None:
    given.settings["kafka"] = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "adapter",
    }


@case(2, "catalogue.yaml")
def missing_catalogue(given: BadInput) -> None:
    given.settings["submit"] = {"operator": "web", "catalogue": str(given.folder / "catalogue.yaml")}


@case(1, "shop.py", "plugins.paths")
def missing_plugin(given: BadInput) -> None:
    given.settings["plugins"] = {"paths": [str(given.folder / "shop.py")]}


@case(2, "callbacks.host", "192.0.2.1")
def address_of_another_machine(given: BadInput) -> None:
    given.settings["callbacks"] = {"host": "192.0.2.1", "port": 0}


@case(2, "callbacks.port", "admin.port")
def one_port_for_two(given: BadInput) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given.settings["admin"] = {"host": "127.0.0.1", "port": port}
    given.settings["callbacks"] = {"host": "127.0.0.1", "port": port}


def _tls(ca_file: Path) -> dict[str, object]:
    return {"bootstrap_servers": "127.0.0.1:1", "security_protocol": "SSL", "ssl_ca_file": str(ca_file)}


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the termination message, as Kubernetes mounts it: there and empty."""
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(path))
    return path


def _must_not_wait(reason: str | None) -> None:
    raise AssertionError(f"the start waits: {reason}")


def _good(given: BadInput) -> dict[str, object]:
    return {**settings_for(UNREACHABLE), "admin": {"host": "127.0.0.1", "port": 0}, **given.settings}


def _the_line(text: str) -> Mapping[str, object]:
    """The only line that is an error."""
    (line,) = [each for each in map(json.loads, text.splitlines()) if each["level"] == "error"]
    assert isinstance(line, dict)
    return line


def _assert_reported(code: int, expected: int, err: str, message: str, named: tuple[str, ...]) -> None:
    assert code == expected, err
    line = _the_line(err)
    assert line["exit_code"] == expected
    assert "\n".join(cast("list[str]", line["problems"])) == message
    assert [each for each in named if each not in message] == [], message
    assert "exception" not in line, "it is no defect of the adapter"
    keys = (SECRET, SECRET[:-1], SECRET[::-1], *KEYS.values())
    assert not any(secret in err + message for secret in keys)


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_the_start_with_one_report(
    name: str, run: Commands, tmp_path: Path, message: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log line and the termination message are the same, name what is wrong, and hold no key."""
    monkeypatch.setattr(run_command, "report_wait", _must_not_wait)
    prepare, code, named = CASES[name]
    given = BadInput(tmp_path)
    prepare(given)
    run.settings(_good(given))
    for variable, value in given.environment.items():
        monkeypatch.setenv(variable, value)

    result = run("run", *given.arguments)

    _assert_reported(result.code, code, result.err, message.read_text(), named)


@pytest.mark.parametrize("options", [(), ("--debug",)])
def test_a_crash_names_its_type_and_place(
    options: tuple[str, ...], run: Commands, message: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of an error of another library may quote a key, so only its type and stack locations are logged.

    The log of a container is kept and sent on, so `--debug` adds no texts either.
    """

    async def crash(*_: object) -> None:
        raise LookupError(SECRET)

    monkeypatch.setattr(Adapter, "run", crash)
    run.settings(settings_for(UNREACHABLE))
    result = run(*options, "run")

    line = _the_line("\n".join(each for each in result.err.splitlines() if each.startswith("{")))
    assert (result.code, line["exit_code"]) == (1, 1)
    assert "LookupError" in message.read_text()
    assert "test_bad_start.py" in str(line["exception"])
    assert SECRET not in result.err + message.read_text()


def test_other_commands_leave_the_message_alone(run: Commands, message: Path) -> None:
    """They may run in the adapter's container (`kubectl exec`), and the message is the adapter's."""
    message.write_text("of the adapter")
    result = run("topics", "--set", "kafka.bootstrap_servers=nowhere")

    assert result.code == 2
    assert message.read_text() == "of the adapter"


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "nowhere", "full"])
def test_a_message_that_cannot_be_written_changes_nothing(
    kind: str, run: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log line and exit code are as ever."""
    path = tmp_path / kind
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "nowhere":
        path = path / "below"
    else:
        path = Path("/dev/full")
    monkeypatch.setenv(TERMINATION_LOG_VARIABLE, str(path))
    result = run("run", "--only=sumbit")

    assert result.code == 2
    assert "sumbit" in str(_the_line(result.err)["problems"])


def test_a_message_has_at_most_4096_bytes(message: Path) -> None:
    """It is cut between two characters; without problems it is emptied."""
    write_termination_message(["票" * 2000])
    cut = message.read_bytes()
    write_termination_message(())

    assert MESSAGE_MAX_BYTES - 4 < len(cut) <= MESSAGE_MAX_BYTES
    assert cut.decode("utf-8").startswith("票" * 1300)
    assert message.read_bytes() == b""


def test_without_kubernetes_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default file is used only where it is; nothing makes one."""
    monkeypatch.setattr(termination_log, "DEFAULT", tmp_path / "termination-log")
    write_termination_message(["lost"])
    assert not (tmp_path / "termination-log").exists()

    (tmp_path / "termination-log").touch()
    write_termination_message(["kept"])
    assert (tmp_path / "termination-log").read_text() == "kept"


def _run_process(given: BadInput) -> subprocess.CompletedProcess[str]:
    """`run` in its own process, which may do with files only what their modes allow."""
    config = given.folder / "settings.json"
    config.write_text(json.dumps(_good(given)))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ECTICKET_")}
    return subprocess.run(
        [sys.executable, "-m", "adapter", "run", "--config", str(config), *given.arguments],
        env={**environment, TERMINATION_LOG_VARIABLE: str(given.folder / "message")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=obey_file_modes,
    )


def test_a_secret_of_another_user_names_uid_and_groups(tmp_path: Path) -> None:
    """A pod with the wrong runAsUser or fsGroup; the text says who the process is, and what to set."""
    given = BadInput(tmp_path)
    (given.secrets() / "hash_key").chmod(0)
    result = _run_process(given)

    named = ("hash_key", f"uid {os.getuid()}", "runAsUser", "fsGroup")
    _assert_reported(result.returncode, 2, result.stderr, (tmp_path / "message").read_text(), named)


def test_a_port_in_use_names_setting_and_address(tmp_path: Path) -> None:
    """Before the broker is waited for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = BadInput(tmp_path, {"admin": {"host": "127.0.0.1", "port": port}})
        result = _run_process(given)

    named = ("admin.port", f"127.0.0.1:{port}", "in use")
    _assert_reported(result.returncode, 2, result.stderr, (tmp_path / "message").read_text(), named)
