"""Files with secrets that every user can read are reported, and files of a container or of Kubernetes are not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from log_lines import capture_logs

from adapter import app
from adapter.cli.check import _preflight
from adapter.settings import load
from adapter.settings.exposed_files import exposed_files, exposed_settings_file
from adapter.settings.groups import SettingsFile


@pytest.fixture
def folder() -> Iterator[Path]:
    """A secrets folder that every user reaches: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        path = Path(made)
        path.chmod(0o755)
        (path / "merchants").mkdir(mode=0o755)
        (path / "merchants" / "hash_key").write_text("MARKED")
        (path / "merchants").chmod(0o755)
        (path / "merchants" / "hash_key").chmod(0o644)
        yield path


def test_a_file_that_every_user_can_read_is_named(folder: Path) -> None:
    """With the command that closes it, and without its content."""
    (sentence,) = exposed_files(folder, contained=False)

    assert str(folder / "merchants" / "hash_key") in sentence
    assert f"chmod -R o-rwx {folder}" in sentence
    assert "MARKED" not in sentence


@pytest.mark.parametrize(("name", "mode"), [("merchants/hash_key", 0o640), ("merchants", 0o750), (".", 0o750)])
def test_a_closed_file_or_folder_is_not_reported(folder: Path, name: str, mode: int) -> None:
    """One closed step on the way is enough."""
    (folder / name).chmod(mode)

    assert exposed_files(folder, contained=False) == ()


def test_files_of_kubernetes_and_of_containers_are_not_reported(folder: Path) -> None:
    """Mode 0644 is usual there, and no other user is."""
    assert exposed_files(folder, contained=True) == ()
    assert exposed_files(None, contained=False) == ()
    (folder / "..data").symlink_to(folder / "merchants")

    assert exposed_files(folder, contained=False) == ()


def _settings_file(folder: Path, *secret_keys: str) -> SettingsFile:
    path = folder / "settings.yaml"
    path.touch()
    path.chmod(0o644)
    return SettingsFile(path=path, secret_keys=secret_keys)


def test_a_settings_file_with_secrets_that_every_user_can_read_is_named(folder: Path) -> None:
    """With the first keys and the command that closes it."""
    (issue,) = exposed_settings_file(_settings_file(folder, "a.b", "c.d", "e.f", "g.h"), contained=False)

    assert (issue.level, issue.key) == ("warning", "a.b")
    assert all(key in issue.message for key in ("a.b", "c.d", "e.f", "1 more"))
    assert f"chmod o-rwx {folder / 'settings.yaml'}" in issue.cure


def test_a_closed_settings_file_and_one_without_secrets_are_not_reported(folder: Path) -> None:
    """One closed step on the way is enough; nor is one of a container or of Kubernetes reported."""
    file = _settings_file(folder, "a.b")
    assert exposed_settings_file(file, contained=False)
    assert exposed_settings_file(file, contained=True) == ()
    assert exposed_settings_file(None, contained=False) == ()
    assert exposed_settings_file(_settings_file(folder), contained=False) == ()

    (folder / "..data").symlink_to(folder / "merchants")
    assert exposed_settings_file(file, contained=False) == ()
    (folder / "..data").unlink()
    file.path.chmod(0o640)
    assert exposed_settings_file(file, contained=False) == ()
    file.path.chmod(0o644)
    folder.chmod(0o750)
    assert exposed_settings_file(file, contained=False) == ()


def test_check_and_the_start_warn_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both, under the key that is exposed."""
    for module in ("adapter.app", "adapter.settings.exposed_files"):
        monkeypatch.setattr(f"{module}.in_container", lambda: False)
    path = _settings_file(folder).path
    path.write_text("keys: {signing_key: MARKED-a-signing-key-of-at-least-32-characters}\n", encoding="utf-8")
    settings = load(path)

    with capture_logs() as lines:
        app._log_settings_warnings(settings)

    assert [line["event"] for line in lines if line.get("setting") == "keys.signing_key"] == ["setting-risky"]
    assert [issue.level for issue in _preflight(settings, "").advice if issue.key == "keys.signing_key"] == ["warning"]
    assert "MARKED" not in str(lines)
