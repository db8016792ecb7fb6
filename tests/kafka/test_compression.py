"""Every codec of Kafka is read, and a codec that is not is named with its cause."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from contextlib import suppress

import cramjam
import pytest
from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st
from stream.batch_bytes import CODECS as CODEC_NUMBERS
from stream.batch_bytes import COMPRESS, GZIP, LZ4, SNAPPY, ZSTD, xerial

from adapter.errors import SettingsError
from adapter.kafka.compression import (
    CODECS,
    MAX_INFLATED_BYTES,
    CannotInflate,
    InflatesTooLarge,
    inflate,
    unreadable_codecs,
)
from adapter.kafka.connection import KafkaConnection


@pytest.mark.parametrize(("number", "name"), list(enumerate(CODECS, 1)))
def test_a_batch_in_each_codec_is_read(number: int, name: str) -> None:
    """What the client writes in a codec, the client reads: value, key and headers."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=number,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**20,
    )
    for offset in range(50):
        builder.append(offset, 0, b"key %d" % offset, b"paid " * 50, [(name, b"header")])
    packed = bytes(builder.build())
    records = list(MemoryRecords(packed).next_batch())

    assert len(packed) < 50 * len(b"paid " * 50)
    assert [(each.key, each.value) for each in records] == [(b"key %d" % n, b"paid " * 50) for n in range(50)]
    assert all(list(each.headers) == [(name, b"header")] for each in records)


def test_this_installation_reads_every_codec() -> None:
    """No codec is missing where the adapter is installed with its dependencies."""
    assert unreadable_codecs() == {}


def test_a_missing_library_is_named_by_its_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cramjam three codecs cannot be read, and each has its cause."""
    monkeypatch.setattr(codec, "cramjam", None)

    missing = unreadable_codecs()

    assert set(missing) == {"snappy", "lz4", "zstd"}
    assert all(cause.startswith("NotImplementedError") for cause in missing.values())


def test_a_codec_that_reads_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that returns other bytes is broken, although it raises nothing."""

    class Wrong:
        @staticmethod
        def compress(payload: bytes, level: int) -> bytes:
            return bytes(cramjam.zstd.compress(payload, level=level))

        @staticmethod
        def decompress(payload: bytes) -> bytes:
            return b"something else"

    monkeypatch.setattr(codec.cramjam, "zstd", Wrong)

    assert set(unreadable_codecs()) == {"zstd"}


@pytest.mark.parametrize("name", CODECS)
def test_the_client_is_handed_the_codec_to_write(name: str) -> None:
    """The setting's names are those of aiokafka; `none` is its None."""
    assert KafkaConnection(bootstrap_servers="a:9092", compression=name).compression_type == name
    assert KafkaConnection(bootstrap_servers="a:9092").compression_type is None


def test_an_unknown_codec_is_refused() -> None:
    """The message names the setting and what it can be."""
    with pytest.raises(SettingsError, match=r"kafka\.compression.*brotli.*zstd"):
        KafkaConnection(bootstrap_servers="a:9092", compression="brotli")


LIMIT = 100_000


def zstd_frame(*, content_size: int) -> bytes:
    """The start of a frame that claims this size, and an empty last block."""
    return b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + struct.pack("<Q", content_size) + b"\x01\x00\x00"


@pytest.mark.parametrize("codec", CODEC_NUMBERS)
@given(data=st.binary(max_size=5000) | st.integers(0, LIMIT).map(bytes))
def test_what_a_producer_compressed_comes_back(codec: int, data: bytes) -> None:
    """Each codec, with any content up to the limit, the limit included."""
    assert inflate(codec, COMPRESS[codec](data), limit=LIMIT) == data


@pytest.mark.parametrize("codec", CODEC_NUMBERS)
def test_random_content_of_exactly_the_limit_comes_back(codec: int) -> None:
    """Content that does not compress, as large as allowed."""
    data = os.urandom(LIMIT)

    assert inflate(codec, COMPRESS[codec](data), limit=LIMIT) == data


BOMBS = {
    "gzip": (GZIP, gzip.compress(bytes(LIMIT + 1))),
    "gzip in many members": (GZIP, gzip.compress(bytes(1000)) * 200),
    "snappy": (SNAPPY, bytes(cramjam.snappy.compress_raw(bytes(LIMIT + 1)))),
    "snappy in java's blocks": (SNAPPY, xerial(bytes(LIMIT + 1))),
    "snappy in endless empty blocks": (SNAPPY, xerial(b"") + struct.pack(">ib", 1, 0) * 70_000),
    "lz4": (LZ4, bytes(cramjam.lz4.compress(bytes(LIMIT + 1)))),
    "lz4 in many frames": (LZ4, bytes(cramjam.lz4.compress(bytes(1000))) * 200),
    "zstd": (ZSTD, bytes(cramjam.zstd.compress(bytes(LIMIT + 1)))),
    "zstd in many frames": (ZSTD, bytes(cramjam.zstd.compress(bytes(1000))) * 200),
    "zstd with a window of a petabyte": (ZSTD, zstd_frame(content_size=2**50)),
}


@pytest.mark.parametrize(("codec", "payload"), BOMBS.values(), ids=BOMBS.keys())
def test_more_than_the_limit_is_too_large(codec: int, payload: bytes) -> None:
    """In one piece or in many: the sum counts."""
    with pytest.raises(InflatesTooLarge):
        inflate(codec, payload, limit=LIMIT)


@pytest.mark.parametrize("codec", CODEC_NUMBERS)
def test_a_bomb_takes_memory_in_proportion_to_the_limit(codec: int) -> None:
    """48 MB in one payload; what Python allocates stays below three times the limit."""
    bomb = COMPRESS[codec](bytes(3 * MAX_INFLATED_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(InflatesTooLarge):
            inflate(codec, bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * MAX_INFLATED_BYTES


def test_a_payload_that_lies_about_its_size_is_corrupt() -> None:
    """A zstd frame that claims ten bytes and holds a hundred thousand."""
    honest = bytes(cramjam.zstd.compress(bytes(LIMIT)))
    lying = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + struct.pack("<I", 10) + honest[6:]

    with pytest.raises(CannotInflate):
        inflate(ZSTD, lying, limit=LIMIT)


@pytest.mark.parametrize("codec", [*CODEC_NUMBERS, 5, 6, 7])
@given(payload=st.binary(max_size=300))
def test_any_bytes_inflate_or_are_refused(codec: int, payload: bytes) -> None:
    """Garbage, cut-off payloads and codecs that are not known raise one of two errors."""
    for each in (payload, COMPRESS.get(codec, bytes)(payload)[:-1]):
        with suppress(CannotInflate, InflatesTooLarge):
            assert len(inflate(codec, each, limit=LIMIT)) <= LIMIT


@pytest.mark.parametrize("codec", CODEC_NUMBERS)
def test_a_payload_that_is_cut_off_is_refused(codec: int) -> None:
    """Nothing of it may be taken for the whole."""
    with pytest.raises(CannotInflate):
        inflate(codec, COMPRESS[codec](os.urandom(5000))[:-20], limit=LIMIT)
