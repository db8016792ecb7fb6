"""Rolling upgrade and roll-back: the present version takes over from the commits of every released version, and from a
newer one that it cannot know.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable

import pytest

from adapter.stream import commit_metadata
from adapter.stream.commit_metadata import CommitMetadata, NoMetadata, decode, encode
from adapter.stream.port import Commit
from stream import fake_kafka
from stream.engine_harness import PAID, Sends, StageOfTests, running, until
from stream.fake_kafka import FakeCluster
from stream.metadata_recordings import RecordedCommit, Recording, offsets, record, recordings

RECORDINGS = recordings()
PRESENT = commit_metadata._VERSION
CASES = [
    pytest.param(recording, commit, id=f"{recording.version}-{commit.name}")
    for recording in RECORDINGS
    for commit in recording.commits
]
PRESENT_CASES = [case for case in CASES if str(case.id).startswith(PRESENT)]


def test_the_present_version_is_recorded() -> None:
    """A new version of the format needs a recording: `python -m stream.metadata_recordings`, in the folder `tests`."""
    assert [recording.version for recording in RECORDINGS][-1:] == [PRESENT]


@pytest.mark.parametrize(("recording", "commit"), PRESENT_CASES)
def test_the_present_version_reads_and_writes_its_recording(recording: Recording, commit: RecordedCommit) -> None:
    """A change of the format without a new version number would misread the commits of running processes."""
    metadata = _check_meaning(recording, commit)

    # Compressed bytes depend on the version of zlib, so the runs and the checksum are compared as decoded only.
    assert encode(metadata).split(" ")[:-2] == commit.metadata.split(" ")[:-2]


async def test_the_recorder_still_works() -> None:
    """It finds a truth that agrees with the metadata: recording the next version needs no repair."""
    again = await record("stopped with calls on the wire")

    (commit,) = again.commits
    _check_meaning(again, commit)
    assert again.version == PRESENT
    assert offsets(commit.settled) < offsets(commit.sent) < set(range(commit.log_end))


@pytest.mark.parametrize(("recording", "commit"), CASES)
async def test_a_take_over_from_a_recorded_commit_loses_and_repeats_nothing(
    recording: Recording, commit: RecordedCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was settled is not processed again, and what was sent and not settled is in doubt.

    A version that this one does not read any more leaves everything in doubt.
    """
    found = decode(commit.metadata, cluster_id=recording.cluster_id, committed=commit.offset)

    sends, published = await _taken_over(recording, commit, commit.metadata, monkeypatch)

    _check_exactly_once(commit, sends)
    if isinstance(found, CommitMetadata):
        unsettled = set(range(commit.log_end + 1)) - offsets(commit.settled)
        assert published == unsettled
        assert _doubted(sends) == {offset for offset in unsettled if offset < found.reserved_until}
    else:
        _check_everything_was_in_doubt(commit, sends, published)


@pytest.mark.parametrize("change", ["newer", "longer", "of another tool", "missing"])
@pytest.mark.parametrize(("recording", "commit"), PRESENT_CASES)
async def test_a_take_over_from_an_unknown_version_doubts_everything_up_to_the_end_of_the_log(
    recording: Recording, commit: RecordedCommit, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a roll-back the older version reads what the newer one wrote: nothing counts as settled beyond the
    offset.
    """
    metadata = _changed(commit.metadata, change)
    assert isinstance(decode(metadata, cluster_id=recording.cluster_id, committed=commit.offset), NoMetadata)

    sends, published = await _taken_over(recording, commit, metadata, monkeypatch)

    _check_exactly_once(commit, sends)
    _check_everything_was_in_doubt(commit, sends, published)


def _changed(metadata: str, change: str) -> str:
    """Metadata that this version does not know, with a valid checksum where it has one."""
    version, _, rest = metadata.rpartition(" ")[0].partition(" ")
    match change:
        case "newer":
            text = f"{version[:-1]}{int(version[-1]) + 1} {rest}"
        case "longer":
            text = f"{version} {rest} one-field-more"
        case "of another tool":
            return '{"version": 2}'
        case _:
            return ""
    return f"{text} {zlib.crc32(text.encode()):08x}"


async def _taken_over(
    recording: Recording, commit: RecordedCommit, metadata: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Sends, set[int]]:
    """Take over after the commit, process everything, and then one record more.

    Return the remote side, and the offsets whose outcomes were published.
    """
    monkeypatch.setattr(fake_kafka, "CLUSTER_ID", recording.cluster_id)
    cluster, sends = FakeCluster(), Sends()
    cluster.ids[PAID.topic] = recording.topic_id
    cluster.append(PAID, *map(str, range(commit.log_end)))
    cluster.commits[PAID] = Commit(offset=commit.offset, metadata=metadata)
    cluster.epochs[PAID] = 1
    sends.sent += map(str, sorted(offsets(commit.sent)))
    async with running(StageOfTests(sends, max_in_flight=64), cluster, PAID) as engine:
        await until(lambda: engine.assigned, seconds=60)
        cluster.append(PAID, str(commit.log_end))
        await until(lambda: cluster.commits[PAID].offset == commit.log_end + 1, seconds=60)
    return sends, _offsets_of(cluster.published)


def _offsets_of(texts: Iterable[str]) -> set[int]:
    """The offsets that are the first words of these texts, each once."""
    found = [int(text.split(" ")[0]) for text in texts]
    assert max(Counter(found).values(), default=1) == 1
    return set(found)


def _doubted(sends: Sends) -> set[int]:
    return _offsets_of(sends.doubted)


def _check_meaning(recording: Recording, commit: RecordedCommit) -> CommitMetadata:
    """The metadata says what it said when it was recorded, and the truth about what is settled."""
    metadata = decode(commit.metadata, cluster_id=recording.cluster_id, committed=commit.offset)
    assert isinstance(metadata, CommitMetadata)
    assert {name: getattr(metadata, name) for name in commit.meaning} == commit.meaning
    assert set(range(commit.offset)) | offsets(metadata.settled) == offsets(commit.settled)
    return metadata


def _check_exactly_once(commit: RecordedCommit, sends: Sends) -> None:
    """Every record was sent once, by the recorded process or by this one, and what that one left open was in doubt."""
    assert _offsets_of(sends.sent) == set(range(commit.log_end + 1))
    assert offsets(commit.sent) - offsets(commit.settled) <= _doubted(sends)


def _check_everything_was_in_doubt(commit: RecordedCommit, sends: Sends, published: set[int]) -> None:
    """From the committed offset to the end of the log at the take-over; the record that came later was not."""
    everything = set(range(commit.offset, commit.log_end))
    assert published == everything | {commit.log_end}
    assert _doubted(sends) == everything
