"""Compressed payloads inflate as far as the limit, and no further, whatever they claim."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from contextlib import suppress

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream.batch_bytes import CODECS, COMPRESS, GZIP, LZ4, SNAPPY, ZSTD, xerial

from adapter.kafka.inflation import MOST_INFLATED_BYTES, CannotInflate, InflatesTooLarge, inflate

LIMIT = 100_000


def zstd_frame(*, content_size: int) -> bytes:
    """The start of a frame that claims this size, and an empty last block."""
    return b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + struct.pack("<Q", content_size) + b"\x01\x00\x00"


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=5000) | st.integers(0, LIMIT).map(bytes))
def test_what_a_producer_compressed_comes_back(codec: int, data: bytes) -> None:
    """Each codec, with any content up to the limit, the limit included."""
    assert inflate(codec, COMPRESS[codec](data), limit=LIMIT) == data


@pytest.mark.parametrize("codec", CODECS)
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


@pytest.mark.parametrize("codec", CODECS)
def test_a_bomb_takes_memory_in_proportion_to_the_limit(codec: int) -> None:
    """48 MB in one payload; what Python allocates stays below three times the limit."""
    bomb = COMPRESS[codec](bytes(3 * MOST_INFLATED_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(InflatesTooLarge):
            inflate(codec, bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * MOST_INFLATED_BYTES


def test_a_payload_that_lies_about_its_size_is_corrupt() -> None:
    """A zstd frame that claims ten bytes and holds a hundred thousand."""
    honest = bytes(cramjam.zstd.compress(bytes(LIMIT)))
    lying = b"\x28\xb5\x2f\xfd" + bytes([0b10100000]) + struct.pack("<I", 10) + honest[6:]

    with pytest.raises(CannotInflate):
        inflate(ZSTD, lying, limit=LIMIT)


@pytest.mark.parametrize("codec", [*CODECS, 5, 6, 7])
@given(payload=st.binary(max_size=300))
def test_any_bytes_inflate_or_are_refused(codec: int, payload: bytes) -> None:
    """Garbage, cut-off payloads and codecs that are not known raise one of two errors."""
    for each in (payload, COMPRESS.get(codec, bytes)(payload)[:-1]):
        with suppress(CannotInflate, InflatesTooLarge):
            assert len(inflate(codec, each, limit=LIMIT)) <= LIMIT


@pytest.mark.parametrize("codec", CODECS)
def test_a_payload_that_is_cut_off_is_refused(codec: int) -> None:
    """Nothing of it may be taken for the whole."""
    with pytest.raises(CannotInflate):
        inflate(codec, COMPRESS[codec](os.urandom(5000))[:-20], limit=LIMIT)
