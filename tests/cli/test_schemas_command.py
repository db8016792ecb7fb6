"""`schemas write` and `schemas check` keep files and code together."""

from __future__ import annotations

from pathlib import Path

import pytest

from .command_runner import Commands, Result


def test_what_was_written_is_current(run: Commands, tmp_path: Path) -> None:
    """Into a folder that need not exist."""
    folder = tmp_path / "a" / "schemas"

    written = run("schemas", "write", str(folder))

    assert written.code == 0
    assert {str(folder / name) for name in ("order-paid.v1.json", "asyncapi.yaml")} <= set(written.out.splitlines())
    assert run("schemas", "check", str(folder)).code == 0


def _line(result: Result, name: str) -> str:
    """The only line about this file."""
    (line,) = (line for line in result.err.splitlines() if f"/{name} " in line)
    return line


def test_differences_are_named(run: Commands, tmp_path: Path) -> None:
    """Changed, missing and foreign files, and the command that corrects it."""
    run("schemas", "write", str(tmp_path))
    (tmp_path / "order-paid.v1.json").write_text("{}")
    (tmp_path / "order-parked.v1.json").unlink()
    (tmp_path / "order-lost.v1.json").write_text("{}")
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: '2.0.0'")

    result = run("schemas", "check", str(tmp_path))

    assert result.code == 1
    assert "differs" in _line(result, "order-paid.v1.json")
    assert "missing" in _line(result, "order-parked.v1.json")
    assert "Remove" in _line(result, "order-lost.v1.json")
    assert "differs" in _line(result, "asyncapi.yaml")
    assert f"ecticket-adapter schemas write {tmp_path}" in result.err


def test_writing_again_is_advised_where_it_helps(run: Commands, tmp_path: Path) -> None:
    """Not for a file that is no schema; and the advice can be pasted whatever the folder's name."""
    folder = tmp_path / "our schemas"
    run("schemas", "write", str(folder))
    (folder / "order-lost.v1.json").write_text("{}")
    foreign = run("schemas", "check", str(folder))
    (folder / "order-lost.v1.json").unlink()
    (folder / "order-paid.v1.json").unlink()
    missing = run("schemas", "check", str(folder))

    assert (foreign.code, missing.code) == (1, 1)
    assert "Remove" in _line(foreign, "order-lost.v1.json")
    assert "schemas write" not in foreign.err
    assert f"ecticket-adapter schemas write '{folder}'" in missing.err


def test_examples_beside_the_schemas_are_in_the_document(run: Commands, tmp_path: Path) -> None:
    """The valid ones, and the document is not current until it has them."""
    run("schemas", "write", str(tmp_path))
    examples = tmp_path / "order-paid.v1" / "examples"
    examples.mkdir(parents=True)
    (examples / "valid-of-ours.json").write_text('{"order_id": "OURS"}')
    (examples / "invalid.json").write_text('{"order_id": "THEIRS"}')

    assert "asyncapi.yaml differs" in run("schemas", "check", str(tmp_path)).err
    run("schemas", "write", str(tmp_path))
    document = (tmp_path / "asyncapi.yaml").read_text(encoding="utf-8")

    assert "name: of-ours" in document
    assert "THEIRS" not in document
    assert run("schemas", "check", str(tmp_path)).code == 0


@pytest.mark.parametrize("verb", ["write", "check"])
def test_an_example_that_is_not_json_is_named(run: Commands, tmp_path: Path, verb: str) -> None:
    """By its file, with what to do; and nothing was written."""
    examples = tmp_path / "order-paid.v1" / "examples"
    examples.mkdir(parents=True)
    (examples / "valid.json").write_text("{")

    result = run("schemas", verb, str(tmp_path))

    assert result.code == 2
    for fact in (str(examples / "valid.json"), "JSON", "remove"):
        assert fact in result.err
    assert not list(tmp_path.glob("*.json"))


def test_a_folder_that_cannot_be_written_is_named(run: Commands, tmp_path: Path) -> None:
    """A file in the way is a sentence."""
    (tmp_path / "schemas").write_text("")

    result = run("schemas", "write", str(tmp_path / "schemas"))

    assert result.code == 1
    assert str(tmp_path / "schemas") in result.err
