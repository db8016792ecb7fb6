"""`support-bundle` makes an archive whatever is broken, for its owner alone."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adapter.cli import support_files
from adapter.operations import support_bundle

from .command_runner import CLOSED_PORT, KEYS, Commands

SECRET = "Kq7-a-password-of-its-own-Zt3"
KAFKA = {"kafka/brokers.json", "kafka/topics.json", "kafka/offsets.json", "kafka/groups.json"}
PAGES = set(support_files.ADMIN_PAGES)
ALWAYS = {"README.txt", "manifest.json", "versions.json", "host.json"}
FROM_SETTINGS = {"settings.json", "advice.json", "plugins.json"}
NO_ADAPTER = ("--set", "admin.port=1")


def unpacked(content: bytes) -> dict[str, str]:
    """The files of an archive, without its folder."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def reasons(files: dict[str, str]) -> dict[str, str]:
    """Why files are missing, by file, as the manifest has it."""
    return {each["name"]: each["missing"] for each in json.loads(files["manifest.json"])["files"] if "missing" in each}


class _Pages(BaseHTTPRequestHandler):
    """The admin server of an adapter that is not ready."""

    def do_GET(self) -> None:
        self.send_response({"/readyz": 503, "/livez": 302}.get(self.path, 200))
        self.end_headers()
        self.wfile.write(b"x" * 100 if self.path == "/metrics" else self.path.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def admin_port() -> Iterator[int]:
    """The port of an admin server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_without_broker_and_adapter_the_rest_is_collected(run: Commands, tmp_path: Path) -> None:
    """Each missing file has its reason in the manifest and on standard error; nothing is a failure."""
    target = tmp_path / "bundle.tar.gz"
    result = run("support-bundle", "--output", str(target), *NO_ADAPTER)
    files = unpacked(target.read_bytes())
    why = reasons(files)

    assert (result.code, result.out) == (0, f"{target}\n")
    assert set(files) == ALWAYS | FROM_SETTINGS
    assert set(why) == KAFKA | PAGES | {"log.txt"}
    assert CLOSED_PORT in why["kafka/topics.json"]
    assert "admin.port" in why["adapter/info.json"]
    assert "--log" in why["log.txt"]
    assert all(file in result.err for file in why)
    assert json.loads(files["settings.json"])["merchants"]["3085676"]["hash_key"] == "(hidden)"
    assert {"aiokafka", "pluggy"} <= set(json.loads(files["versions.json"])["packages"])
    assert "NOFILE" in json.loads(files["host.json"])["limits"]


def test_with_wrong_settings_versions_and_limits_are_collected(run: Commands, tmp_path: Path) -> None:
    """The mistakes are the reason for what is missing, without any value."""
    target = tmp_path / "bundle.tar.gz"
    result = run("support-bundle", "--output", str(target), "--set", f"kafka.sasl_pasword={SECRET}", "--json")
    why = reasons(unpacked(target.read_bytes()))

    assert result.code == 0
    assert set(why) >= FROM_SETTINGS | KAFKA
    assert "kafka.sasl_pasword" in why["settings.json"]
    assert SECRET not in result.err + str(why)
    assert result.json["output"] == str(target)


@pytest.mark.parametrize("source", ["option", "variable", "file"])
def test_with_wrong_settings_the_texts_of_secret_files_are_hidden(
    run: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Wherever their folder is given; that other secrets may show is in the manifest and on standard error."""
    folder, log, config, target = (tmp_path / name for name in ("secrets", "adapter.log", "s.yaml", "bundle.tar.gz"))
    (folder / "kafka").mkdir(parents=True)
    (folder / "kafka" / "sasl_password").write_text(SECRET)
    log.write_text(f"a line with {SECRET}\n")
    config.write_text(f"unknown: 1\n{f'secrets_dir: {folder}' if source == 'file' else ''}\n")
    options = ("--set", f"secrets_dir={folder}") if source == "option" else ()
    if source == "variable":
        monkeypatch.setenv("ECTICKET_SECRETS_DIR", str(folder))
    result = run("support-bundle", "--output", str(target), "--log", str(log), "--config", str(config), *options)
    files = unpacked(target.read_bytes())
    entry = next(each for each in json.loads(files["manifest.json"])["files"] if each["name"] == "log.txt")

    assert "unknown" in reasons(files)["settings.json"]
    assert files["log.txt"] == "a line with (hidden)\n"
    assert (entry["hidden"], entry["lacks"]) == (1, [support_files.NOT_HIDDEN])
    assert support_files.NOT_HIDDEN in result.err


def test_the_file_is_for_its_owner_alone(run: Commands, tmp_path: Path) -> None:
    """Whatever the umask, and if another file of the name was readable for all."""
    target = tmp_path / "bundle.tar.gz"
    target.write_text("older")
    target.chmod(0o644)
    before = os.umask(0)
    try:
        run("support-bundle", "--output", str(target), *NO_ADAPTER)
    finally:
        os.umask(before)

    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert unpacked(target.read_bytes())


def test_a_pipe_is_written_to_and_a_link_stays_a_link(run: Commands, tmp_path: Path) -> None:
    """As a device is: the archive takes no place but that of a file."""
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "bundle.tar.gz"
    os.mkfifo(pipe)
    link.symlink_to(target)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()

    assert run("support-bundle", "--output", str(pipe), *NO_ADAPTER).code == 0
    reader.join()
    assert run("support-bundle", "--output", str(link), *NO_ADAPTER).code == 0

    assert pipe.is_fifo()
    assert link.is_symlink()
    assert unpacked(read[0]).keys() == unpacked(target.read_bytes()).keys()


def test_what_cannot_be_written_leaves_the_older_file(
    run: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other file beside it; the error names the path."""
    target = tmp_path / "bundle.tar.gz"
    target.write_text("older")
    before = set(tmp_path.iterdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    result = run("support-bundle", "--output", str(target), *NO_ADAPTER)

    assert result.code == 1
    assert str(target) in result.err
    assert target.read_text() == "older"
    assert set(tmp_path.iterdir()) == before


def test_the_running_adapter_is_read(
    run: Commands, tmp_path: Path, admin_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pages, that of a problem too; a redirect and an answer without end are no pages."""
    monkeypatch.setattr("adapter.operations.admin_pages.FILE_MAX_BYTES", 50)
    monkeypatch.setenv("HTTP_PROXY", f"http://{CLOSED_PORT}")
    target = tmp_path / "bundle.tar.gz"
    run("support-bundle", "--output", str(target), "--set", f"admin.port={admin_port}")
    files = unpacked(target.read_bytes())
    why = reasons(files)

    assert (files["adapter/info.json"], files["adapter/readyz.json"]) == ("/info", "/readyz")
    assert "302" in why["adapter/livez.json"]
    assert "50 bytes" in why["adapter/metrics.txt"]


def test_the_end_of_the_log_is_added(run: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last lines, without the secrets of the settings, which a line of another program may show."""
    monkeypatch.setattr(support_files, "LOG_LINES", 3)
    log, target = tmp_path / "adapter.log", tmp_path / "bundle.tar.gz"
    log.write_bytes(f"1\n2\n{SECRET} and {KEYS['hash_iv']}\n\xff\n".encode("latin-1") + b"last")
    options = ("--set", f"kafka.sasl_password={SECRET}", "--log", str(log))
    run("support-bundle", "--output", str(target), *options, *NO_ADAPTER)
    files = unpacked(target.read_bytes())
    entry = next(each for each in json.loads(files["manifest.json"])["files"] if each["name"] == "log.txt")

    assert files["log.txt"].splitlines() == ["(hidden) and (hidden)", "\ufffd", "last"]
    assert entry["hidden"] == 2
    assert "lacks" not in entry


def test_the_newest_lines_of_a_long_log_are_kept(
    run: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the manifest names the cut."""
    monkeypatch.setattr(support_bundle, "FILE_MAX_BYTES", 10_000)
    log, target = tmp_path / "adapter.log", tmp_path / "bundle.tar.gz"
    log.write_text("".join(f"line {number:04}\n" for number in range(2000)))
    run("support-bundle", "--output", str(target), "--log", str(log), *NO_ADAPTER)
    files = unpacked(target.read_bytes())
    entry = next(each for each in json.loads(files["manifest.json"])["files"] if each["name"] == "log.txt")

    assert files["log.txt"].splitlines() == [f"line {number:04}" for number in range(1000, 2000)]
    assert len(entry["lacks"]) == 1


def test_a_log_that_cannot_be_read_is_a_reason(run: Commands, tmp_path: Path) -> None:
    """Not an end of the command."""
    target = tmp_path / "bundle.tar.gz"
    result = run("support-bundle", "--output", str(target), "--log", str(tmp_path), *NO_ADAPTER)

    assert result.code == 0
    assert str(tmp_path) in reasons(unpacked(target.read_bytes()))["log.txt"]


def test_the_archive_and_the_log_can_be_pipes(tmp_path: Path) -> None:
    """For a container without a writable folder: `kubectl logs | kubectl exec -i ... > file`."""
    (tmp_path / "prints.py").write_text("print('a plugin prints')\n", encoding="utf-8")
    command = [sys.executable, "-m", "adapter", "support-bundle", "--output", "-", "--log", "-", *NO_ADAPTER]
    options = ["--set", f"kafka.bootstrap_servers={CLOSED_PORT}", "--set", f"plugins.paths={tmp_path / 'prints.py'}"]
    result = subprocess.run([*command, *options], input=b"a line\n", capture_output=True, timeout=120, check=True)
    files = unpacked(result.stdout)

    assert files["log.txt"] == "a line\n"
    assert "prints" in files["plugins.json"]


def test_two_uses_of_standard_output_are_wrong_usage(run: Commands) -> None:
    """The archive and JSON."""
    assert run("support-bundle", "--output", "-", "--json").code == 2


def test_the_files_that_a_reader_looks_for_have_these_names(run: Commands, tmp_path: Path) -> None:
    """docs/operations/support-bundle.md lists every file."""
    target = tmp_path / "bundle.tar.gz"
    listed = run("support-bundle", "--output", str(target), "--json", *NO_ADAPTER).json["files"]
    assert isinstance(listed, list)
    page = (Path(__file__).parents[2] / "docs" / "operations" / "support-bundle.md").read_text(encoding="utf-8")

    assert {f"`{each['name']}`" for each in listed} == {
        cell for line in page.splitlines() if line.startswith("| `") for cell in line.split("|")[1].strip().split(", ")
    }
    assert support_bundle.FORMAT == 1
