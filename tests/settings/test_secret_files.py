"""Secrets of single settings that are mounted as files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapter.errors import SettingsError
from adapter.settings import load


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """The mounted password of the broker."""
    path = tmp_path / "secrets" / "kafka" / "sasl_password"
    path.parent.mkdir(parents=True)
    path.write_text("mounted\n", encoding="utf-8")
    return path


def _config(tmp_path: Path, password: str = "") -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(f"secrets_dir: {tmp_path / 'secrets'}\nkafka: {{sasl_username: shop{password}}}\n")
    return path


def _password(config: Path | None, overrides: dict[str, str] | None = None) -> str | None:
    password = load(config, overrides).kafka.sasl_password
    return None if password is None else password.get_secret_value()


def test_a_mounted_password_outranks_the_settings_file(tmp_path: Path, password_file: Path) -> None:
    """And leaves the rest of its group alone."""
    config = _config(tmp_path, ", sasl_password: written")

    assert _password(config) == "mounted"
    assert load(config).kafka.sasl_username == "shop"


def test_the_environment_outranks_a_mounted_password(
    tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/settings.md; the command line outranks both."""
    monkeypatch.setenv("ECTICKET_KAFKA__SASL_PASSWORD", "environment")

    assert _password(_config(tmp_path)) == "environment"
    assert _password(_config(tmp_path), {"kafka.sasl_password": "line"}) == "line"


def test_the_folder_may_come_from_any_source(
    tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line, the environment or the settings file."""
    folder = str(tmp_path / "secrets")

    assert _password(None, {"secrets_dir": folder}) == "mounted"
    assert _password(_config(tmp_path)) == "mounted"
    monkeypatch.setenv("ECTICKET_SECRETS_DIR", folder)
    assert _password(None) == "mounted"


def test_without_the_file_the_settings_file_counts(tmp_path: Path) -> None:
    """A folder that does not exist is no mistake."""
    assert _password(_config(tmp_path, ", sasl_password: written")) == "written"


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"\xff\xfe", b"one\ntwo\n", None],
    ids=["empty", "blank", "no text", "two lines", "folder"],
)
def test_a_password_file_that_cannot_be_used_is_named(
    tmp_path: Path, password_file: Path, content: bytes | None
) -> None:
    """The sentence has the path, and not what is in the file."""
    if content is None:
        password_file.unlink()
        password_file.mkdir()
    else:
        password_file.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        load(_config(tmp_path))

    (problem,) = caught.value.problems
    assert str(password_file) in problem


def _key_files(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True)
    for name, text in {"hash_key": "k" * 16, "hash_iv": "v" * 16, **texts}.items():
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("settings", "problems"),
    [("{}", ()), ("{submit: {oprator: web}}", ("submit.oprator",)), ("submit: [", ("YAML",))],
    ids=["good", "misspelt", "not YAML"],
)
def test_all_mistakes_of_secret_files_are_reported_at_once(
    tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch, settings: str, problems: tuple[str, ...]
) -> None:
    """With those of the other settings, and without a character of a key."""
    secrets = tmp_path / "secrets"
    password_file.write_text("")
    _key_files(secrets / "merchants" / "1", hash_key="", hash_iv="", known_trade_no="no number")
    _key_files(secrets / "merchants" / "2", hash_iv="topsecret")
    _key_files(secrets / "platforms" / "3", hash_key="")
    (secrets / "signing_key").write_text("topsecret")
    monkeypatch.setenv("ECTICKET_SECRETS_DIR", str(secrets))
    config = tmp_path / "settings.yaml"
    config.write_text(settings)

    with pytest.raises(SettingsError) as caught:
        load(config)

    files = ("sasl_password", "1/hash_key", "1/hash_iv", "Merchant 1: known_trade_no", "merchant 2", "3/hash_key")
    named = (*problems, *files, "signing_key")
    assert len(caught.value.problems) == len(named)
    assert all(name in problem for name, problem in zip(named, caught.value.problems, strict=True))
    assert "topsecret" not in str(caught.value)
