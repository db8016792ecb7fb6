"""The jars of the local broker and their SHA-256: the file `jars.lock`, which this module reads and writes.

The broker runs with the rights of the user who starts it, and its jars come over a network, often from a mirror. A
checksum next to the jar in the same repository proves nothing about either. So the hashes are pinned here, and only
what is listed is fetched: a changed POM cannot add a jar.

`python -m adapter.dev.local_kafka.jar_lock` writes the file for the coordinates of `jars`, after its Kafka version was
changed. Its user compares the change with the checksums that the projects publish.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

LOCK_FILE = Path(__file__).with_name("jars.lock")
_HEAD = (
    "# The jars of the local Kafka: the SHA-256 of each, and its coordinates. Nothing else is fetched and started.\n"
    "# Written by `python -m adapter.dev.local_kafka.jar_lock`; compare the change with the projects' own checksums.\n"
)

JarHashes = Mapping[str, str]
"""The SHA-256 of each jar in hexadecimal digits, by its coordinates (`group:artifact:version`)."""


def read_lock(path: Path) -> JarHashes:
    """The pinned jars."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {coordinates: digest for digest, coordinates in lines}


def lock_text(hashes: JarHashes) -> str:
    """The content of the lock file, sorted by coordinates, in the form of `sha256sum`."""
    return _HEAD + "".join(f"{digest}  {coordinates}\n" for coordinates, digest in sorted(hashes.items()))


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    """Resolve the jars of today's coordinates and write their hashes."""
    from adapter.dev.local_kafka.fetching import resolve
    from adapter.dev.local_kafka.jars import COORDINATES

    with TemporaryDirectory() as folder:
        fetched = resolve(COORDINATES, Path(folder))
        LOCK_FILE.write_text(lock_text({name: sha256(jar) for name, jar in fetched.items()}), encoding="utf-8")


if __name__ == "__main__":
    main()
