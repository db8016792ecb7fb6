"""What must be believed of an earlier owner, case by case."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adapter.stream.commit_metadata import CommitMetadata, encode
from adapter.stream.port import Commit, OffsetRange
from adapter.stream.recovery import OwnSends, RecoveredState, recover
from adapter.values import replace

CLUSTER = "cluster-1"
LOG = OffsetRange(start=0, end=1000, topic_id="one")


def a_commit(
    offset: int = 100,
    *,
    written_for: int = 100,
    cluster_id: str = CLUSTER,
    topic_id: str = "one",
    other_fingerprint_until: int = 0,
    owner: str = "",
) -> Commit:
    metadata = CommitMetadata(
        cluster_id=cluster_id,
        topic_id=topic_id,
        committed=written_for,
        reserved_until=600,
        other_fingerprint_until=other_fingerprint_until,
        fingerprint="one",
        owner=owner,
        settled=((110, 120),),
    )
    return Commit(offset=offset, metadata=encode(metadata))


def recovered_from(
    commit: Commit | None, log: OffsetRange = LOG, fingerprint: str = "one", *, had_producer: bool = False
) -> RecoveredState:
    return recover(commit, log, cluster_id=CLUSTER, fingerprint=fingerprint, had_producer=had_producer)


def test_a_group_that_never_committed_has_sent_nothing() -> None:
    """Everything that is sent is reserved by a commit first."""
    found = recovered_from(None, OffsetRange(start=7, end=1000))

    assert (found.offset, found.possibly_sent_until, found.warning) == (7, 0, None)


def test_the_first_owner_commits_at_once() -> None:
    """From then on a missing commit is one that got lost."""
    assert recovered_from(None).commit_outdated


def test_a_commit_that_got_lost_means_that_everything_may_have_been_sent() -> None:
    """A tool deleted it, or it expired; the brokers still remember the producer that wrote it."""
    found = recovered_from(None, OffsetRange(start=7, end=1000), had_producer=True)

    assert (found.offset, found.possibly_sent_until, found.other_fingerprint_until, found.reserved_until) == (
        7,
        1000,
        1000,
        0,
    )
    assert "expired" in (found.warning or "")
    assert found.commit_outdated


def test_readable_metadata_is_believed() -> None:
    """Where to read on, what to skip, what to ask for first; and what it reserved needs no new commit."""
    assert recovered_from(a_commit()) == RecoveredState(
        offset=100, settled=((110, 120),), possibly_sent_until=600, other_fingerprint_until=0, reserved_until=600
    )


def test_another_fingerprint_makes_everything_possibly_sent_mixed() -> None:
    """The plan may come out otherwise than the one that was sent."""
    assert recovered_from(a_commit(), fingerprint="two").other_fingerprint_until == 600


def test_another_fingerprint_is_committed_before_anything_is_sent_under_it() -> None:
    """Else the next owner would take what is sent now for something that was sent under the old one."""
    assert recovered_from(a_commit(), fingerprint="two").reserved_until == 0
    assert recovered_from(a_commit(), fingerprint="one").reserved_until == 600


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
OWN = OwnSends(topic_id="one", possibly_sent_until=105, fenced_at=MOMENT, sent={130: MOMENT})


def taken_over_again(commit: Commit | None, *, own: OwnSends | None = OWN, log: OffsetRange = LOG) -> RecoveredState:
    return recover(commit, log, cluster_id=CLUSTER, fingerprint="one", owner="me", own=own)


def test_a_process_whose_commit_is_still_the_last_one_believes_what_it_knows() -> None:
    """No other process can have sent anything: only its own sends and the earlier doubts are in doubt."""
    found = taken_over_again(a_commit(owner="me"))

    assert (found.possibly_sent_until, found.sent, found.fenced_at, found.proven) == (105, {130: MOMENT}, MOMENT, True)
    assert (found.offset, found.settled, found.reserved_until) == (100, ((110, 120),), 600)


def test_what_a_process_knows_is_worth_nothing_once_another_one_has_committed() -> None:
    """That one may have sent everything that it reserved; and nothing is sent before a commit names the new one."""
    found = taken_over_again(a_commit(owner="another"))

    assert (found.possibly_sent_until, found.sent, found.proven) == (600, {}, False)
    assert found.reserved_until == 0


@pytest.mark.parametrize(
    ("commit", "own", "log"),
    [
        (a_commit(owner="me"), None, LOG),
        (a_commit(owner="me"), replace(OWN, topic_id="two"), LOG),
        (a_commit(50, owner="me"), OWN, LOG),
        (Commit(offset=100, metadata=""), OWN, LOG),
        (a_commit(owner="me", cluster_id="elsewhere"), OWN, LOG),
        (a_commit(owner="me"), OWN, OffsetRange(start=0, end=10, topic_id="one")),
        (a_commit(owner="me"), OWN, OffsetRange(start=0, end=1000, topic_id="two")),
    ],
    ids=[
        "knows-nothing",
        "of-another-log",
        "moved-offset",
        "no-metadata",
        "another-cluster",
        "shorter-log",
        "another-log",
    ],
)
def test_what_a_process_knows_needs_a_commit_of_its_own_about_the_same_log(
    commit: Commit, own: OwnSends | None, log: OffsetRange
) -> None:
    """Everything else is doubt, up to the reservation or to the log's end."""
    found = taken_over_again(commit, own=own, log=log)

    assert not found.proven
    assert found.possibly_sent_until >= min(600, log.end)
    assert found.sent == {}


def test_what_was_mixed_stays_mixed() -> None:
    """The owner in between wrote its own fingerprint, but records sent under an older one may still be open."""
    assert recovered_from(a_commit(other_fingerprint_until=300)).other_fingerprint_until == 300


def test_a_commit_without_metadata_means_that_everything_may_have_been_sent() -> None:
    """A tool set the offset: nothing is settled beyond it, and nothing was reserved."""
    found = recovered_from(Commit(offset=100, metadata=""))

    assert (found.offset, found.settled, found.possibly_sent_until, found.other_fingerprint_until) == (
        100,
        (),
        1000,
        1000,
    )
    assert found.reserved_until == 0
    assert found.warning is not None


def test_metadata_from_another_cluster_is_not_believed() -> None:
    """A mirrored group's runs are about other records."""
    found = recovered_from(a_commit(cluster_id="elsewhere"))

    assert (found.settled, found.possibly_sent_until) == ((), 1000)


def test_an_offset_moved_by_hand_outdates_its_metadata() -> None:
    """The metadata was written for another offset."""
    found = recovered_from(a_commit(50, written_for=100))

    assert (found.offset, found.settled, found.possibly_sent_until) == (50, (), 1000)


def test_records_that_retention_deleted_are_reported() -> None:
    """Reading starts at what is left; unsettled offsets are counted, once."""
    found = recovered_from(a_commit(), OffsetRange(start=115, end=1000))

    assert (found.offset, found.possibly_sent_until) == (115, 600)
    assert found.lost_count == 10
    assert found.commit_outdated


def test_what_was_settled_is_not_lost() -> None:
    """Records may be deleted once they are settled, whether or not the committed offset has passed them."""
    assert recovered_from(a_commit(), OffsetRange(start=125, end=1000)).lost_count == 15
    assert recovered_from(a_commit(), OffsetRange(start=100, end=1000)).lost_count == 0


def test_without_metadata_everything_deleted_counts_as_lost() -> None:
    """It is unknown which of it was settled."""
    found = recovered_from(Commit(offset=100, metadata=""), OffsetRange(start=130, end=1000))

    assert (found.offset, found.lost_count, found.commit_outdated) == (130, 30, True)


def test_a_recreated_topic_is_read_from_its_start() -> None:
    """A committed offset beyond the log's end is about another log; the misleading commit is overwritten at once."""
    found = recovered_from(a_commit(), OffsetRange(start=0, end=10))

    assert (found.offset, found.settled, found.possibly_sent_until) == (0, (), 10)
    assert found.commit_outdated
    assert found.retry_read


def test_a_recreated_topic_is_recognised_by_its_id() -> None:
    """Offsets look alike: without the id, the new topic's first records would pass for settled ones."""
    found = recovered_from(a_commit(), OffsetRange(start=0, end=1000, topic_id="two"))

    assert (found.offset, found.settled, found.possibly_sent_until) == (0, (), 1000)
    assert (found.commit_outdated, found.retry_read, found.lost_count) == (True, False, 0)


@pytest.mark.parametrize(("recorded", "now"), [("", "one"), ("one", ""), ("", "")])
def test_without_topic_ids_topics_pass_for_the_same(recorded: str, now: str) -> None:
    """Brokers before 2.8 have none; what was written under them is believed afterwards too."""
    found = recovered_from(a_commit(topic_id=recorded), OffsetRange(start=0, end=1000, topic_id=now))

    assert (found.offset, found.settled) == (100, ((110, 120),))
