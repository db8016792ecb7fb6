"""Commits as each released version left them, with the truth about the records: `recordings/commit-metadata-*.json`.

    cd tests && python -m stream.metadata_recordings

writes the file of the current version. Run it once for each version of the format, and never write the file of a
released version again: what old processes left on clusters does not change.

Each commit comes from an engine that was at work on Kafka in memory until it died or stopped. The truth is what the
remote side and the output topic had by then; it does not come from the metadata.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from msgspec import structs

from adapter.stream.commit_metadata import CommitMetadata, decode
from adapter.stream.ledger import Run
from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import PAID, StageOfTests, outcome_with, running, until
from stream.fake_kafka import CLUSTER_ID, FakeCluster

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCommit:
    """One commit, and the truth about the log's records at that moment. Runs are first and past-the-last offsets."""

    name: str
    offset: int
    metadata: str
    log_end: int
    settled: tuple[Run, ...]
    """Records whose outcome is published."""
    sent: tuple[Run, ...]
    """Records that were sent to the remote side."""
    meaning: Mapping[str, object]
    """The other fields of the metadata, as its own version reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """The commits of one version of the format."""

    version: str
    cluster_id: str
    topic_id: str
    commits: tuple[RecordedCommit, ...]


def offsets(runs: Iterable[Run]) -> set[int]:
    """The offsets in the runs."""
    return {offset for first, past in runs for offset in range(first, past)}


def runs(found: Iterable[int]) -> tuple[Run, ...]:
    """The runs of these offsets."""
    result: list[Run] = []
    for offset in sorted(found):
        if result and result[-1][1] == offset:
            result[-1] = (result[-1][0], offset + 1)
        else:
            result.append((offset, offset + 1))
    return tuple(result)


def recordings() -> list[Recording]:
    """Every recorded version, the oldest first."""
    return [_read(path) for path in sorted(FOLDER.glob("commit-metadata-*.json"))]


def _read(path: Path) -> Recording:
    document = json.loads(path.read_text(encoding="utf-8"))
    return Recording(
        version=document["version"],
        cluster_id=document["cluster_id"],
        topic_id=document["topic_id"],
        commits=tuple(_read_commit(commit) for commit in document["commits"]),
    )


def _read_commit(document: dict[str, Any]) -> RecordedCommit:
    found = {name: tuple((first, past) for first, past in document[name]) for name in ("settled", "sent")}
    return RecordedCommit(**(document | found))


# --- recording -------------------------------------------------------------------------------------------------------


class _Remote:
    """Answers a share of the calls of each process, and keeps the others on the wire."""

    def __init__(self, share: float) -> None:
        self._chance = random.Random(1)
        self._share = share
        self.sent: set[int] = set()

    async def __call__(self, subject: str, context: RecordContext) -> Outcome:
        offset = context.record.offset
        context.authorize_send()
        self.sent.add(offset)
        if self._chance.random() >= self._share:
            await asyncio.Event().wait()
        return outcome_with(subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """One process at work: how many records, the share of its calls that are answered, and how the process ends."""

    name: str
    records: int
    answered: float = 0.7
    in_flight: int = 8
    fingerprints: Sequence[str] = ("one",)
    """One process after the other, each with its fingerprint; the last one's commit is recorded."""
    stops: bool = False
    """SIGTERM instead of kill -9."""


_STORIES = (
    _Story(name="nothing to do yet", records=0),
    _Story(name="everything settled", records=30, answered=1.0),
    _Story(name="calls on the wire", records=40),
    _Story(name="stopped with calls on the wire", records=40, stops=True),
    _Story(name="hundreds of open records", records=3000, answered=0.8, in_flight=400),
    _Story(name="another mapping", records=60, fingerprints=("one", "two")),
)


async def record(*names: str) -> Recording:
    """Record the commits of the current version: of these stories, or of all."""
    commits = tuple([await _commit(story) for story in _STORIES if not names or story.name in names])
    (version,) = {commit.metadata.split(" ")[0] for commit in commits}
    return Recording(version=version, cluster_id=CLUSTER_ID, topic_id=FakeCluster().ids[PAID.topic], commits=commits)


async def _commit(story: _Story) -> RecordedCommit:
    cluster, remote = FakeCluster(), _Remote(story.answered)
    cluster.append(PAID, *map(str, range(story.records)))
    for fingerprint in story.fingerprints:
        await _work(story, cluster, remote, fingerprint)
    commit = cluster.commits[PAID]
    metadata = decode(commit.metadata, cluster_id=CLUSTER_ID, committed=commit.offset)
    assert isinstance(metadata, CommitMetadata)
    return RecordedCommit(
        name=story.name,
        offset=commit.offset,
        metadata=commit.metadata,
        log_end=cluster.end(PAID),
        settled=runs(map(int, cluster.published)),
        sent=runs(remote.sent),
        meaning={name: value for name, value in structs.asdict(metadata).items() if name != "settled"},
    )


async def _work(story: _Story, cluster: FakeCluster, remote: _Remote, fingerprint: str) -> None:
    """One process, from its start to its end."""
    before = len(cluster.published)
    stage = StageOfTests(remote, max_in_flight=story.in_flight, max_waiting=story.records + 1, fingerprint=fingerprint)

    def all_places_taken() -> bool:
        """Each by a call that is not answered, or no record is left; all the rest is committed."""
        if PAID not in cluster.commits or not cluster.members:
            return False
        on_the_wire = len(stage.handled) - (len(cluster.published) - before)
        return on_the_wire == stage.max_in_flight or before + len(stage.handled) == len(cluster.logs[PAID])

    async with running(stage, cluster, PAID, grace=0.01 if story.stops else 1.0):
        await until(all_places_taken, seconds=60)
        if not story.stops:
            cluster.members[0].die()


def _document(recording: Recording) -> str:
    """The recording as JSON, one commit a line."""
    fields = asdict(recording)
    commits = ",\n".join(json.dumps(commit) for commit in fields.pop("commits"))
    return f'{json.dumps(fields)[:-1]}, "commits": [\n{commits}\n]}}\n'


def _write() -> Iterator[str]:
    recording = asyncio.run(record())
    path = FOLDER / f"commit-metadata-{recording.version}.json"
    if path.exists():
        yield f"{path} exists. Delete it first if this version of the format was never released."
        return
    path.write_text(_document(recording), encoding="utf-8")
    yield f"{path} is written."


if __name__ == "__main__":
    for line in _write():
        print(line)
