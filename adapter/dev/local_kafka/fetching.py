"""Fetches the broker's jars from a Maven repository into a folder, with jgo and without Java or Maven.

Each jar must have the SHA-256 that `jar_lock` pins: jgo itself compares a file only with a checksum from the same
repository, and only logs a difference. The only module that uses jgo, which is an extra: import it late. The caller
discards a folder that was not completed.
"""

from __future__ import annotations

import configparser
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from xml.etree.ElementTree import ParseError

import requests
from jgo.maven import Artifact, MavenContext, PythonResolver

from adapter.dev.local_kafka.jar_lock import JarHashes, sha256
from adapter.dev.local_kafka.progress import Progress
from adapter.dev.local_kafka.repositories import repositories
from adapter.errors import LocalKafkaError

_CONCURRENCY = 6
_TRIES = 3
_PAUSE_SECONDS = 0.5
_TIMEOUT_SECONDS = 20
_RUNTIME_SCOPES = {None, "compile", "runtime"}


class _PatientResolver(PythonResolver):
    """jgo's resolver with retries; jgo itself fails at the first error and leaves half a file behind."""

    def download(self, artifact: Artifact) -> Path | None:
        """The complete file of `artifact`; raises the last error."""
        for attempt in range(1, _TRIES + 1):
            try:
                return super().download(artifact)
            except requests.RequestException:
                if artifact.cached_path is not None:
                    artifact.cached_path.unlink(missing_ok=True)
                if attempt == _TRIES:
                    raise
                time.sleep(attempt * _PAUSE_SECONDS)
        raise AssertionError("unreachable")


def fetch(hashes: JarHashes, into: Path, progress: Progress) -> tuple[Path, ...]:
    """Put the jars with these coordinates below `into`, each with the SHA-256 that is given for it.

    Raises LocalKafkaError if a repository does not answer, lacks a file or has another one, or if the configuration is
    unreadable.
    """
    sources = _sources()
    context = _context(sources, into)
    jars = {context.create_dependency(coordinates).artifact: digest for coordinates, digest in hashes.items()}
    try:
        progress.step(f"fetching {len(jars)} jars")
        return tuple(_download(jars, progress))
    except (requests.RequestException, RuntimeError) as error:
        raise LocalKafkaError(_explained(sources, error)) from error


def resolve(coordinates: Sequence[str], into: Path) -> dict[str, Path]:
    """Fetch `coordinates` and all that they need at run time, whatever it is, below `into`; each jar by coordinates.

    Raises as the libraries do: it serves the developer who writes the lock file.
    """
    context = _context(_sources(), into)
    direct, transitive = context.resolver.resolve([context.create_dependency(each) for each in coordinates])
    needed = [dependency.artifact for dependency in [*direct, *transitive] if dependency.scope in _RUNTIME_SCOPES]
    return {_coordinates(artifact): artifact.resolve() for artifact in needed}


def _coordinates(artifact: Artifact) -> str:
    return f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"


def _context(sources: dict[str, str], into: Path) -> MavenContext:
    return MavenContext(resolver=_PatientResolver(), repo_cache=into, remote_repos=sources, timeout=_TIMEOUT_SECONDS)


def _sources() -> dict[str, str]:
    try:
        return repositories(Path.home())
    except (RuntimeError, OSError, ParseError, configparser.Error) as error:  # no home, or a file there that is broken
        raise LocalKafkaError(
            f"The configuration of the local Kafka's repositories cannot be read: {type(error).__name__}. "
            "Set HOME, and correct ~/.m2/settings.xml and jgo.conf; or set ECTICKET_KAFKA__BOOTSTRAP_SERVERS to use a "
            "broker that already runs."
        ) from error


def _download(jars: Mapping[Artifact, str], progress: Progress) -> Iterator[Path]:
    pool = ThreadPoolExecutor(max_workers=_CONCURRENCY, thread_name_prefix="local-kafka-jars")
    try:
        pending = [pool.submit(_one, artifact, digest) for artifact, digest in jars.items()]
        for done, future in enumerate(as_completed(pending), start=1):
            jar = future.result()
            progress.fetched(jar.name, done, len(jars))
            yield jar
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one(artifact: Artifact, digest: str) -> Path:
    """One jar, read completely: what is not the pinned file is found here, and no Java reads it."""
    jar: Path = artifact.resolve()
    found = sha256(jar)
    if found != digest:
        raise LocalKafkaError(
            f"{jar.name} is not the file that this version of the adapter pins: its SHA-256 is {found}, not {digest} "
            "(jars.lock). The repository, a mirror or a proxy sent something else, such as a login page. Nothing of it "
            "was started. Name another mirror in ~/.m2/settings.xml; or set ECTICKET_KAFKA__BOOTSTRAP_SERVERS to use "
            "a broker that already runs."
        )
    return jar


def _explained(sources: dict[str, str], error: Exception) -> str:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"The local Kafka's jars could not be fetched from {', '.join(sources.values())}: "
        f"{cause}. They are needed once; afterwards no network is. Check the network, or name a mirror in "
        "~/.m2/settings.xml or a proxy in HTTPS_PROXY, and try again; or set ECTICKET_KAFKA__BOOTSTRAP_SERVERS to use "
        "a broker that already runs."
    )
