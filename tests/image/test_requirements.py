"""The files of hashes hold all that the image installs, for every platform, in the tested versions."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from image.pinned import PinnedFile, constraints, hashed, needed, run_time_set

ROOT = Path(__file__).parents[2]
FILES = {name: (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8") for name in ("image", "build")}
ENVIRONMENTS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system.lower(),
        "platform_system": system,
        "platform_machine": machine,
    }
    for python, system, machine in product(
        ("3.11", "3.12", "3.13", "3.14"), ("Linux", "Darwin"), ("x86_64", "aarch64", "arm64")
    )
]


@pytest.mark.parametrize("name", FILES)
def test_every_entry_has_the_tested_version_and_hashes_of_sha256(name: str) -> None:
    """Of at least one file each; other algorithms are no pin."""
    entries, pinned = hashed(FILES[name]), constraints()

    assert entries
    assert {entry: each.version for entry, each in entries.items()} == {entry: pinned[entry] for entry in entries}
    for each in entries.values():
        assert len(set(each.hashes)) == len(each.hashes) >= 1
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in each.hashes)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda each: "-".join(list(each.values())[1:]))
def test_the_image_file_holds_what_the_adapter_needs_in_each_environment(environment: dict[str, str]) -> None:
    """All of it, with the image's extra; and nothing else, so no test tool comes into the image."""
    entries = hashed(FILES["image"])

    installed = {name for name, entry in entries.items() if entry.counts_in(environment)}
    assert installed == run_time_set(environment).keys()


def test_the_build_file_holds_what_builds_the_wheel() -> None:
    """The build backend, and what it needs."""
    entries = hashed(FILES["build"])

    assert {name for name, entry in entries.items() if entry.counts_in({})} == {"hatchling", *needed("hatchling")}


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_an_index(name: str) -> None:
    """A mirror with the same files works as well."""
    assert not re.search(r"://|@|index|find-links|trusted-host", FILES[name])


@pytest.mark.parametrize(
    "line",
    ["--index-url https://index.example/simple", "pip>=26 --hash=sha256:0", "pip @ https://host.example/pip.whl"],
)
def test_a_line_that_pins_nothing_is_no_entry(line: str) -> None:
    """So the tests above would notice it."""
    with pytest.raises(ValueError, match=r"."):
        hashed(line)


def test_an_entry_is_read_with_its_marker_and_hashes() -> None:
    """As pip reads it: continued lines are one."""
    entries = hashed("six==1.17.0 ; sys_platform == 'win32' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n")

    assert isinstance(entries["six"], PinnedFile)
    assert entries["six"].version == "1.17.0"
    assert entries["six"].hashes == ("sha256:aa", "sha256:bb")
    assert not entries["six"].counts_in({"sys_platform": "linux"})
