"""Fetches the broker's jars from a Maven repository into a folder, with jgo and without Java or Maven.

The only module that uses jgo, which is an extra: import it late. The caller discards a folder that was not completed.
"""

from __future__ import annotations

import configparser
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from xml.etree.ElementTree import ParseError

import requests
from jgo.maven import Artifact, MavenContext, PythonResolver

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


def fetch(coordinates: Sequence[str], into: Path, progress: Progress) -> tuple[Path, ...]:
    """Resolve `coordinates` (`group:artifact:version`) and put the jars of the whole class path below `into`.

    Raises LocalKafkaError if a repository does not answer or lacks a file, or if the configuration is unreadable.
    """
    sources = _sources()
    context = MavenContext(
        resolver=_PatientResolver(),
        repo_cache=into,
        remote_repos=sources,
        timeout=_TIMEOUT_SECONDS,
    )
    try:
        progress.step("resolving the jars that Kafka needs")
        artifacts = _resolve(context, coordinates)
        progress.step(f"fetching {len(artifacts)} jars")
        return tuple(_download(artifacts, progress))
    except (requests.RequestException, RuntimeError, ParseError, zipfile.BadZipFile) as error:
        raise LocalKafkaError(_explained(coordinates, sources, error)) from error


def _sources() -> dict[str, str]:
    try:
        return repositories(Path.home())
    except (RuntimeError, OSError, ParseError, configparser.Error) as error:  # no home, or a file there that is broken
        raise LocalKafkaError(
            f"The configuration of the local Kafka's repositories cannot be read: {type(error).__name__}. "
            "Set HOME, and correct ~/.m2/settings.xml and jgo.conf; or set ECTICKET_KAFKA__BOOTSTRAP_SERVERS to use a "
            "broker that already runs."
        ) from error


def _resolve(context: MavenContext, coordinates: Sequence[str]) -> list[Artifact]:
    wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
    direct, transitive = context.resolver.resolve(wanted)
    return [dependency.artifact for dependency in [*direct, *transitive] if dependency.scope in _RUNTIME_SCOPES]


def _download(artifacts: list[Artifact], progress: Progress) -> Iterator[Path]:
    pool = ThreadPoolExecutor(max_workers=_CONCURRENCY, thread_name_prefix="local-kafka-jars")
    try:
        pending = [pool.submit(_one, artifact) for artifact in artifacts]
        for done, future in enumerate(as_completed(pending), start=1):
            jar = future.result()
            progress.fetched(jar.name, done, len(artifacts))
            yield jar
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one(artifact: Artifact) -> Path:
    """One jar, read completely: a truncated download is found here and not in the broker."""
    jar: Path = artifact.resolve()
    with zipfile.ZipFile(jar) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"{jar.name} is damaged at {broken}")
    return jar


def _explained(coordinates: Sequence[str], sources: dict[str, str], error: Exception) -> str:
    cause = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"The local Kafka's jars ({', '.join(coordinates)}) could not be fetched from {', '.join(sources.values())}: "
        f"{cause}. They are needed once; afterwards no network is. Check the network, or name a mirror in "
        "~/.m2/settings.xml or a proxy in HTTPS_PROXY, and try again; or set ECTICKET_KAFKA__BOOTSTRAP_SERVERS to use "
        "a broker that already runs."
    )
