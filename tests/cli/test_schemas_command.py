"""`schemas write` and `schemas check` keep files and code together."""

from __future__ import annotations

from pathlib import Path

from .running import Commands


def test_what_was_written_is_current(run: Commands, tmp_path: Path) -> None:
    """Into a folder that need not exist."""
    folder = tmp_path / "a" / "schemas"

    written = run("schemas", "write", str(folder))

    assert written.code == 0
    assert str(folder / "order-paid.v1.json") in written.out.splitlines()
    assert run("schemas", "check", str(folder)).code == 0


def test_differences_are_named(run: Commands, tmp_path: Path) -> None:
    """Changed, missing and foreign files, and the command that mends it."""
    run("schemas", "write", str(tmp_path))
    (tmp_path / "order-paid.v1.json").write_text("{}")
    (tmp_path / "order-parked.v1.json").unlink()
    (tmp_path / "order-lost.v1.json").write_text("{}")

    told = run("schemas", "check", str(tmp_path))

    assert told.code == 1
    assert "order-paid.v1.json differs" in told.err
    assert "order-parked.v1.json is missing" in told.err
    assert "order-lost.v1.json is no schema" in told.err
    assert f"ecticket-adapter schemas write {tmp_path}" in told.err


def test_a_folder_that_cannot_be_written_is_named(run: Commands, tmp_path: Path) -> None:
    """A file in the way is a sentence."""
    (tmp_path / "schemas").write_text("")

    told = run("schemas", "write", str(tmp_path / "schemas"))

    assert told.code == 1
    assert str(tmp_path / "schemas") in told.err
