"""A bounded read ends: at the end, behind holes, and not before."""

from __future__ import annotations

from adapter.kafka.read_progress import QUIET_LOOKS, PartitionPosition, ReadProgress


def reading(*, begin: int = 0, end: int = 10) -> ReadProgress[str]:
    return ReadProgress({"p": begin}, {"p": end})


def test_an_empty_partition_is_done_before_the_first_look() -> None:
    """Where beginning and end are one there is nothing to wait for."""
    assert reading(begin=7, end=7).partitions == ()


def test_a_partition_is_done_when_the_position_is_at_its_end() -> None:
    """Trailing markers move the position and bring no record."""
    remaining = reading()

    remaining.update({"p": PartitionPosition(position=9, answered_ms=1, stable_end=10)})
    assert "p" in remaining.partitions
    remaining.update({"p": PartitionPosition(position=10, answered_ms=2, stable_end=10)})
    assert remaining.partitions == ()


def test_later_records_do_not_belong() -> None:
    """What came after the beginning of the read is left out, even when it came along."""
    remaining = reading(end=10)

    assert remaining.includes("p", 9)
    assert not remaining.includes("p", 10)


def test_a_hole_at_the_end_ends_the_read() -> None:
    """Brokers that know the end and have nothing before it, again and again, will never have anything."""
    remaining = reading()
    for answered in range(QUIET_LOOKS):
        assert remaining.partitions == ("p",)
        remaining.update({"p": PartitionPosition(position=0, answered_ms=answered, stable_end=10)})

    assert remaining.partitions == ()


def test_silence_is_not_a_hole() -> None:
    """No new answer proves nothing, however often one looks; and it shows that nobody answers."""
    remaining = reading()
    remaining.update({"p": PartitionPosition(position=0, answered_ms=1, stable_end=10)})

    heard = [remaining.update({"p": PartitionPosition(position=0, answered_ms=1, stable_end=10)}) for _ in range(9)]

    assert remaining.partitions == ("p",)
    assert heard == [False] * 9


def test_an_answer_from_a_broker_that_lags_is_not_a_hole() -> None:
    """A new leader that does not know the end yet may have nothing yet."""
    remaining = reading()
    for answered in range(9):
        assert remaining.update({"p": PartitionPosition(position=0, answered_ms=answered, stable_end=4)})

    assert remaining.partitions == ("p",)


def test_an_answer_is_not_counted_as_empty_while_another_partition_moves() -> None:
    """One answer has a size; a partition may have gone without because another filled it."""
    remaining = ReadProgress({"p": 0, "q": 0}, {"p": 10, "q": 1000})
    for step in range(1, 9):
        remaining.update(
            {
                "p": PartitionPosition(position=0, answered_ms=step, stable_end=10),
                "q": PartitionPosition(position=step, answered_ms=step, stable_end=1000),
            }
        )

    assert remaining.partitions == ("p", "q")
