"""How much of one partition may be in hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from adapter.errors import LeaseLost
from adapter.stream import owned_partition as owned_partition_module
from adapter.stream.owned_partition import OwnedPartition, WorkItem
from adapter.stream.partition_state import PartitionState
from adapter.stream.port import TopicPartition, TransactionalProducer
from adapter.stream.records import ProducerRecord, Record
from adapter.stream.recovery import RecoveredState
from adapter.stream.stage import Outcome
from stream.fake_kafka import FakeLease

PARTITION = TopicPartition("t", 0)


def owned_partition() -> OwnedPartition[str]:
    state = PartitionState(str(PARTITION), RecoveredState(offset=0), cluster_id="c", fingerprint="f", ahead=0)
    return OwnedPartition(
        PARTITION,
        state,
        cast(TransactionalProducer, None),  # nothing is published here
        FakeLease(),
        topic_id="",
        generation=1,
        fenced_at=datetime(2026, 1, 1, tzinfo=UTC),
        sends=False,
        max_open=100,
    )


def a_work(
    owned: OwnedPartition[str],
    offset: int,
    *,
    key: bytes | None = None,
    value: bytes | None = None,
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> WorkItem[str]:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    record = Record(topic="t", partition=0, offset=offset, timestamp=when, key=key, value=value, headers=headers)
    return WorkItem(record, owned)


@pytest.mark.parametrize(
    "part",
    [
        {"value": b"x" * 600},
        {"key": b"x" * 600},
        {"headers": (("plan", b"x" * 600),)},
        {"headers": (("x" * 600, None),)},
    ],
    ids=["value", "key", "header", "header-name"],
)
def test_whatever_a_record_is_large_by_counts(part: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A deferred order's plan travels in a header and can be far larger than its value."""
    monkeypatch.setattr(owned_partition_module, "MAX_BYTES", 1000)
    owned = owned_partition()
    items = [a_work(owned, offset, **part) for offset in range(2)]

    owned.add_item(items[0])
    assert not owned.memory_full
    owned.add_item(items[1])
    assert owned.memory_full
    owned.remove_item(items[0])
    assert not owned.memory_full


def sending_partition() -> tuple[OwnedPartition[str], FakeLease, WorkItem[str]]:
    """A partition of which offset 0 is open and reserved, and that may send."""
    lease = FakeLease()
    lease.generation = 1
    state = PartitionState(str(PARTITION), RecoveredState(offset=0), cluster_id="c", fingerprint="f", ahead=4)
    owned: OwnedPartition[str] = OwnedPartition(
        PARTITION,
        state,
        cast(TransactionalProducer, None),  # nothing is published here
        lease,
        topic_id="",
        generation=1,
        fenced_at=datetime(2026, 1, 1, tzinfo=UTC),
        sends=True,
        max_open=100,
    )
    state.open(0)
    return owned, lease, a_work(owned, 0)


def reserve(owned: OwnedPartition[str]) -> None:
    assert not owned.state.request_send(0)
    batch = owned.state.next_commit_that_fits()
    assert batch is not None
    owned.state.settle(batch)


def test_a_send_that_no_commit_reserves_is_refused() -> None:
    """A successor would take it for one that was never sent; the engine asks before, and this is the last gate."""
    owned, _, item = sending_partition()

    with pytest.raises(LeaseLost, match="offset 0"):
        item.authorize_send()
    assert not item.send_began

    reserve(owned)
    item.authorize_send()
    assert item.send_began


def test_outcomes_that_wait_for_their_commit_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One order can become twenty parts, and a broker can be away: what is kept to be published does not grow on."""
    monkeypatch.setattr(owned_partition_module, "MAX_BYTES", 1000)
    owned = owned_partition()
    for offset in range(2):
        owned.add_item(a_work(owned, offset))
        owned.state.open(offset)
    owned.state.finish(0, Outcome(records=(ProducerRecord(topic="out", key=None, value=b"x" * 1000),)))

    assert owned.busy
    batch = owned.state.next_commit()
    assert batch is not None
    owned.state.settle(batch)
    assert not owned.busy


@pytest.mark.parametrize("what", ["silence", "another generation", "given up"])
def test_a_send_is_refused_once_the_partition_may_have_another_owner(what: str) -> None:
    """Reserved or not: who owns it now may be sending the same order."""
    owned, lease, item = sending_partition()
    reserve(owned)
    if what == "silence":
        lease.answers = False
    elif what == "another generation":
        lease.generation = 2
    else:
        owned.stop_new_work()

    with pytest.raises(LeaseLost):
        item.authorize_send()
    assert not item.send_began
    assert not owned.may_send
