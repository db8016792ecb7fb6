"""What a broker answers becomes records, whatever bytes it holds: nothing raises but UnreadableBatch."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions
from stream.batch_bytes import CODECS, COMPRESS, GZIP, LZ4, ZSTD, Written, batch, marker, message, varint

from adapter.kafka import record_batches
from adapter.kafka.compression import MAX_INFLATED_BYTES
from adapter.kafka.record_batches import MAX_HEADERS, ReadBudget, RecordReader
from adapter.stream.port import TopicPartition, UnreadableBatch
from adapter.stream.records import Record, moment_of

PARTITION = TopicPartition("orders.paid", 3)
AFTER_ALL = 10_000
INT64 = st.integers(-(2**63), 2**63 - 1)
ODD_BYTES = st.none() | st.binary(max_size=40)
WRITTEN = st.builds(
    Written,
    key=ODD_BYTES,
    value=ODD_BYTES,
    headers=st.lists(st.tuples(st.binary(max_size=12), ODD_BYTES), max_size=4),
    timestamp_ms=INT64,
    attributes=st.integers(0, 255),
)


def reader(
    data: bytes, *, position: int = 0, aborted: tuple[tuple[int, int], ...] = (), limit: int = 2**30
) -> RecordReader:
    return RecordReader(data, PARTITION, position=position, aborted=aborted, budget=ReadBudget(limit))


def read(data: bytes, *, position: int = 0, aborted: tuple[tuple[int, int], ...] = ()) -> list[Record]:
    return reader(data, position=position, aborted=aborted).take(AFTER_ALL)


def problem(data: bytes, *, position: int = 0) -> UnreadableBatch:
    """Why the very next batch cannot be read."""
    with pytest.raises(UnreadableBatch) as raised:
        read(data, position=position)
    return raised.value


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


@given(
    records=st.lists(WRITTEN, min_size=1, max_size=5), codec=st.sampled_from((0, *CODECS)), base=st.integers(0, 2**62)
)
def test_every_record_that_a_producer_can_write_is_returned(records: list[Written], codec: int, base: int) -> None:
    """Arbitrary keys, values, header names, timestamps and attributes: each record comes back, its odd parts too."""
    found = read(batch(*records, codec=codec, base=base), position=base)

    assert [record.offset for record in found] == [base + at for at in range(len(records))]
    for record, written in zip(found, records, strict=True):
        assert (record.key, record.value) == (written.key, written.value)
        assert [value for _, value in record.headers] == [value for _, value in written.headers]
        assert [name for name, _ in record.headers] == [
            name.decode("utf-8", "backslashreplace") for name, _ in written.headers
        ]
        assert (record.timestamp, record.raw_timestamp_ms) == moment_of(written.timestamp_ms)


@given(data=st.binary(max_size=400), position=st.integers(0, 10))
def test_any_bytes_are_records_or_an_unreadable_batch(data: bytes, position: int) -> None:
    """Garbage raises nothing else, and never moves the position backwards."""
    one = reader(data, position=position)
    with suppress(UnreadableBatch):
        one.take(AFTER_ALL)

    assert one.position >= position


@given(
    content=st.binary(max_size=200),
    count=st.integers(-5, 20),
    last_delta=st.integers(-(2**31), 2**31 - 1),
    attributes=st.integers(-(2**15), 2**15 - 1),
    base=st.integers(0, 100),
)
def test_garbage_in_a_batch_with_a_good_checksum_raises_nothing_else(
    content: bytes, count: int, last_delta: int, attributes: int, base: int
) -> None:
    """What a hostile producer sends, past a broker that does not look inside."""
    data = batch(content=content, count=count, last_delta=last_delta, attributes=attributes & ~7, base=base)
    found: list[Record] = []
    with suppress(UnreadableBatch):
        found = read(data, position=base)

    assert all(base <= record.offset <= base + max(last_delta, 0) for record in found)


@given(st.data())
def test_a_flipped_bit_is_noticed(data: st.DataObject) -> None:
    """The checksum covers all that matters of a batch; what it does not cover is not believed."""
    whole = batch(Written(value=b"first"), Written(value=b"second"), base=5)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read(bytes(flipped), position=5)
    except UnreadableBatch:
        return
    # Base offset and leader epoch lie outside of the checksum.
    assert at < 8 or 12 <= at < 16
    assert values(found) in ([b"first", b"second"], [b"second"], [])


@pytest.mark.parametrize(
    ("timestamp_ms", "moment", "odd"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC), None),
        (1_764_400_000_123, datetime(2025, 11, 29, 7, 6, 40, 123_000, tzinfo=UTC), None),
        (-1, datetime(1970, 1, 1, tzinfo=UTC), -1),
        (-62_135_596_800_000, datetime(1970, 1, 1, tzinfo=UTC), -62_135_596_800_000),
        (1_764_400_000_000_000, datetime(8999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), 1_764_400_000_000_000),
        (2**63 - 1, datetime(8999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), 2**63 - 1),
    ],
)
def test_an_odd_timestamp_is_kept_beside_the_nearest_moment(
    timestamp_ms: int, moment: datetime, odd: int | None
) -> None:
    """Microseconds, .NET's first year, "none": the record has a moment to reckon with, and the number as it was."""
    (record,) = read(batch(Written(timestamp_ms=timestamp_ms)))

    assert (record.timestamp, record.raw_timestamp_ms) == (moment, odd)


def test_log_append_time_is_the_batchs() -> None:
    """Where the broker sets the time, each record has that of its batch."""
    records = read(batch(Written(timestamp_ms=5), Written(timestamp_ms=9), attributes=0x08))

    assert [record.timestamp.microsecond for record in records] == [9000, 9000]


def test_reading_begins_at_the_position_and_follows_the_batches() -> None:
    """A fetch answers with whole batches: what lies before the position was read before."""
    data = batch(*[Written(value=b"%d" % at) for at in range(3)]) + batch(Written(value=b"7"), base=7)

    one = reader(data, position=1)

    assert values(one.take(AFTER_ALL)) == [b"1", b"2", b"7"]
    assert one.position == 8


def test_a_batch_that_is_cut_off_at_the_end_of_a_fetch_is_fetched_again() -> None:
    """Brokers cut the last batch; the position stays in front of it."""
    one = reader(batch(Written()) + batch(Written(), base=1)[:-4])

    assert len(one.take(AFTER_ALL)) == 1
    assert one.position == 1


def test_aborted_transactions_and_markers_are_passed_over() -> None:
    """Committed ones of the same producer count, before and after."""
    data = b"".join(
        (
            batch(Written(value=b"committed"), base=0, producer=7, attributes=0x10),
            marker(base=1, producer=7, commit=True),
            batch(Written(value=b"aborted"), base=2, producer=7, attributes=0x10),
            batch(Written(value=b"another's"), base=3, producer=8, attributes=0x10),
            marker(base=4, producer=7, commit=False),
            batch(Written(value=b"later"), base=5, producer=7, attributes=0x10),
        )
    )

    assert values(read(data, aborted=((7, 2),))) == [b"committed", b"another's", b"later"]


def test_an_empty_batch_that_the_log_cleaner_keeps_is_passed_over() -> None:
    """A compacted topic keeps the last batch of a producer without its records, also where it was a marker."""
    data = (
        batch(base=5, attributes=0x30, producer=7) + batch(base=6, producer=7, last_delta=2) + batch(Written(), base=9)
    )
    one = reader(data, position=5)

    assert len(one.take(AFTER_ALL)) == 1
    assert one.position == 10


def test_an_aborted_batch_is_not_even_inflated() -> None:
    """What is not read cannot be too large, nor corrupt inside."""
    data = batch(Written(), producer=7, attributes=0x10, codec=GZIP, payload=b"no gzip")

    assert read(data, aborted=((7, 0),)) == []


UNREADABLE = {
    "codec that is not known": batch(Written(), base=5, codec=7),
    "corrupt zstd data": batch(Written(), base=5, codec=ZSTD, payload=b"no frame"),
    "future format": batch(Written(), base=5, magic=3),
    "length of nothing": struct.pack(">qi", 5, 0) + b"x" * 100,
    "negative length": struct.pack(">qi", 5, -12) + b"x" * 100,
    "too few bytes for a header": struct.pack(">qi", 5, 20) + bytes(4) + b"\x02" + bytes(15),
    "a wrong checksum": batch(Written(value=b"a"), base=5)[:-2] + b"zz",
    "bytes after its records": batch(base=5, content=varint(0), count=0),
    "a double-compressed message": message(
        offset=5,
        attributes=GZIP,
        key=None,
        value=COMPRESS[GZIP](message(offset=5, attributes=GZIP, key=None, value=b"")),
    ),
    "lz4 in the oldest format": message(offset=5, magic=0, attributes=LZ4, key=None, value=b"x"),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_batch_names_its_location_and_reason(data: bytes) -> None:
    """Nothing of it is read, and the position stays in front of it."""
    one = reader(data, position=5)
    with pytest.raises(UnreadableBatch) as raised:
        one.take(AFTER_ALL)

    assert (raised.value.partition, raised.value.first, one.position) == (PARTITION, 5, 5)
    assert "orders.paid/3/5" in str(raised.value)
    with pytest.raises(UnreadableBatch):
        one.take(AFTER_ALL)


def test_records_before_an_unreadable_batch_are_returned_first() -> None:
    """They must not get lost with the call that meets the batch."""
    one = reader(batch(Written(value=b"good")) + batch(Written(), Written(), base=1, codec=6))

    assert values(one.take(AFTER_ALL)) == [b"good"]
    with pytest.raises(UnreadableBatch) as raised:
        one.take(AFTER_ALL)
    assert (raised.value.first, raised.value.last) == (1, 2)


def test_records_before_the_corrupt_one_in_a_batch_are_returned_first() -> None:
    """The position stays in front of the first that cannot be decoded; the batch ends with its last offset."""
    good = Written(value=b"good")
    data = batch(good, content=b"\x0e\x00\x00\x00\x01\x02a\x00" + b"\x7f", count=4, base=10)

    one = reader(data, position=10)

    assert [record.offset for record in one.take(AFTER_ALL)] == [10]
    with pytest.raises(UnreadableBatch) as raised:
        one.take(AFTER_ALL)
    assert (raised.value.first, raised.value.last) == (11, 13)


def test_a_corrupt_header_does_not_claim_the_offsets_of_the_next_batch() -> None:
    """A skip to the end of an unreadable batch must not skip the orders behind it."""
    corrupt = bytearray(batch(Written(), base=5))
    corrupt[23:27] = struct.pack(">i", 2_000_000)

    assert problem(bytes(corrupt) + batch(Written(), base=6), position=5).last == 5


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_inflates_too_far_is_returned_by_its_offsets(codec: int) -> None:
    """Each of its records is there, without content, and reading goes on behind."""
    bomb = batch(Written(value=bytes(MAX_INFLATED_BYTES)), Written(value=b"small"), base=5, codec=codec)

    first, second, after = read(bomb + batch(Written(value=b"after"), base=7), position=5)

    assert (first.offset, first.value, first.key, first.headers) == (5, None, None, ())
    assert first.not_read is not None
    assert (first.not_read.first, first.not_read.last) == (5, 5)
    assert "smaller batches" in first.not_read.cure
    assert second.not_read is not None
    assert (after.offset, after.value, after.not_read) == (7, b"after", None)


def test_an_honest_batch_of_the_largest_records_is_read() -> None:
    """Seven records of 2 MiB, which is what the adapter's own topics take."""
    large = [Written(value=bytes(2 * 1024 * 1024)) for _ in range(7)]

    assert len(read(batch(*large, codec=ZSTD))) == 7


def test_a_record_with_too_many_headers_costs_only_itself() -> None:
    """Two bytes on the wire are a hundred in memory; the batch's other records are read."""
    many = Written(headers=[(b"", None)] * (MAX_HEADERS + 1))
    first, second = read(batch(many, Written(value=b"fine")))

    assert first.not_read is not None
    assert (first.not_read.first, first.not_read.last) == (0, 0)
    assert mentions(first.not_read.why, f"{MAX_HEADERS} headers")
    assert mentions(first.not_read.cure, f"{MAX_HEADERS} headers")
    assert "batch" not in first.not_read.cure
    assert second.value == b"fine"


@pytest.mark.parametrize("magic", [0, 1])
def test_old_message_formats_are_read(magic: int) -> None:
    """Logs that an old cluster wrote are still on disk after its upgrade; there were no headers then."""
    data = message(offset=4, magic=magic, timestamp_ms=1500, key=b"k", value=None) + message(
        offset=6, magic=magic, timestamp_ms=2500, key=None, value=b"v"
    )

    first, second = read(data, position=4)

    assert (first.offset, first.key, first.value, first.headers) == (4, b"k", None, ())
    assert (second.offset, second.key, second.value) == (6, None, b"v")
    assert (first.raw_timestamp_ms, first.timestamp.microsecond) == ((-1, 0) if magic == 0 else (None, 500_000))


@pytest.mark.parametrize(("magic", "codec"), [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)])
def test_compressed_messages_of_old_formats_are_read(magic: int, codec: int) -> None:
    """As aiokafka writes them; offsets inside are relative in format 1, absolute in format 0."""
    builder = LegacyRecordBatchBuilder(magic, codec, 10_000)
    for at in range(3):
        builder.append(at, timestamp=1000 + at, key=b"k", value=b"%d" % at)
    data = bytearray(builder.build())
    data[:8] = struct.pack(">q", 12 if magic == 1 else 2)  # as a broker does: the last offset inside

    records = read(bytes(data), position=0)

    assert values(records) == [b"0", b"1", b"2"]
    assert [record.offset for record in records] == ([10, 11, 12] if magic == 1 else [0, 1, 2])


def test_a_compressed_message_that_inflates_too_far_is_returned_by_its_range() -> None:
    """The offsets inside are unknown without inflating: from the position to the wrapper's own."""
    bomb = message(offset=9, attributes=GZIP, key=None, value=COMPRESS[GZIP](bytes(MAX_INFLATED_BYTES + 1)))

    (record,) = read(bomb, position=5)

    assert record.offset == 9
    assert record.not_read is not None
    assert (record.not_read.first, record.not_read.last) == (5, 9)


def test_a_poll_ends_when_its_budget_is_spent_and_the_next_goes_on() -> None:
    """However small the batches on the wire are: memory and time of one poll are bounded."""
    budget = ReadBudget(1000)
    data = b"".join(batch(Written(value=bytes(600)), base=at, codec=GZIP) for at in range(4))
    one = RecordReader(data, PARTITION, position=0, aborted=(), budget=budget)

    polls = []
    while not one.ended:
        budget.renew()
        polls.append([record.offset for record in one.take(AFTER_ALL)])

    assert polls[:2] == [[0, 1], [2, 3]]


def test_a_bomb_spends_the_whole_budget() -> None:
    """So that many of them in one fetch are inflated in as many turns of the loop."""
    bomb = bytes(COMPRESS[ZSTD](bytes(MAX_INFLATED_BYTES + 1)))
    data = b"".join(batch(Written(), base=at, codec=ZSTD, payload=bomb) for at in range(3))
    budget = ReadBudget(record_batches.MAX_POLL_BYTES)
    one = RecordReader(data, PARTITION, position=0, aborted=(), budget=budget)

    assert len(one.take(AFTER_ALL)) == 1
    assert len(one.take(AFTER_ALL)) == 0
    budget.renew()
    assert len(one.take(AFTER_ALL)) == 1
