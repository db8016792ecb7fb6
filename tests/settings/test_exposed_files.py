"""Secret files that every user can read are reported, and files of a container or of Kubernetes are not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.settings.exposed_files import exposed_files


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
