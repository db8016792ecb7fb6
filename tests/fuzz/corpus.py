"""The kept inputs, one file each, in a folder for each target; `test_corpus` runs them all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def kept(target: str) -> Mapping[Path, bytes]:
    """The inputs of a target by file."""
    return {path: path.read_bytes() for path in sorted((FOLDER / target).glob("*"))}


def keep(target: str, data: bytes, *, folder: Path = FOLDER) -> Path:
    """Write an input, named by its digest; return its file."""
    path = folder / target / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
