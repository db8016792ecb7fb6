"""What this repository pins: versions in constraints.txt, and files by their SHA-256 in `requirements/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
EXTRA = "otel"
"""The extra that the image has, so that variables alone switch traces on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """One entry of a file of hashes."""

    version: str
    marker: Marker | None
    """Where it is installed; None everywhere."""
    hashes: tuple[str, ...]
    """Hash options of pip, without `--hash=`: `sha256:` and 64 hexadecimal digits."""

    def counts_in(self, environment: Mapping[str, str]) -> bool:
        return self.marker is None or self.marker.evaluate(dict(environment))


def constraints() -> dict[str, str]:
    """The pinned version of each distribution."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): pinned for name, _, pinned in (line.partition("==") for line in lines)}


def hashed(text: str) -> dict[str, PinnedFile]:
    """The entries of a file of hashes, by name. Raises ValueError for a line that is no entry, such as an index."""
    entries: dict[str, PinnedFile] = {}
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        read = Requirement(requirement)
        (specifier,) = read.specifier
        if specifier.operator != "==" or read.url is not None or canonicalize_name(read.name) in entries:
            raise ValueError(f"{line} is no entry with one version")
        entries[canonicalize_name(read.name)] = PinnedFile(
            version=specifier.version, marker=read.marker, hashes=tuple(hashes)
        )
    return entries


def needed(root: str, *extras: str, environment: Mapping[str, str] | None = None) -> set[str]:
    """What a distribution needs with these extras, directly or not, in an environment (by default in this one).

    Metadata comes from this interpreter. What is not installed here, because only another environment needs it, counts
    without its own requirements.
    """
    names: set[str] = set()
    open_names = [(root, frozenset(extras))]
    while open_names:
        name, wanted = open_names.pop()
        try:
            requirements = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, requirements):
            facts = [{**(environment or {}), "extra": extra} for extra in ("", *wanted)]
            counts = requirement.marker is None or any(map(requirement.marker.evaluate, facts))
            if counts and canonicalize_name(requirement.name) not in names:
                names.add(canonicalize_name(requirement.name))
                open_names.append((requirement.name, frozenset(requirement.extras)))
    return names


def run_time_set(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the image holds beside the adapter, in the pinned versions; with pip, for images with plugins."""
    pinned = constraints()
    return {name: pinned[name] for name in {"pip", *needed("ecticket-adapter", EXTRA, environment=environment)}}
