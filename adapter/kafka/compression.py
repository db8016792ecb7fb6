"""Decompresses record batches in every codec of Kafka, up to a limit, and checks which codecs this installation reads.

aiokafka needs the library cramjam for all codecs but gzip. It is a hard dependency: producers of other languages
compress by default or with one setting, so a shop's topic can hold any of the four codecs.

A batch of a few kilobytes can inflate to gigabytes, and Kafka's brokers accept it. So the size is limited before and
while a payload is inflated, in each codec. A payload's own claim about its size is never trusted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import cramjam
from aiokafka import codec

CODECS = ("gzip", "snappy", "lz4", "zstd")
"""Every codec of Kafka's message format 2 (KIP-110 added zstd, the last one)."""

REPAIR_CODECS = "Install the adapter again with its dependencies (cramjam reads all but gzip)."

_SAMPLE = b"a batch that is written and read again" * 8

_ROUND_TRIPS: Mapping[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "gzip": (codec.gzip_encode, codec.gzip_decode),
    "snappy": (codec.snappy_encode, codec.snappy_decode),
    "lz4": (codec.lz4_encode, codec.lz4_decode),
    "zstd": (codec.zstd_encode, codec.zstd_decode),
}


def unreadable_codecs() -> Mapping[str, str]:
    """Return the codecs that this installation cannot read, each with the cause; empty if it reads all."""
    causes: dict[str, str] = {}
    for name, (encode, decode) in _ROUND_TRIPS.items():
        try:
            if bytes(decode(encode(_SAMPLE))) != _SAMPLE:
                causes[name] = "decompression does not restore the content"
        except Exception as error:  # noqa: BLE001  # a missing or broken library may raise anything
            causes[name] = f"{type(error).__name__}: {error}"
    return causes


MAX_INFLATED_BYTES = 32 * 1024 * 1024
"""The most bytes to which one batch may inflate.

By default, a topic accepts batches of 1 MiB, compressed. Java's producer fills a batch until its *compressed* size is
expected to reach `batch.size`, and orders shrink to a twentieth (docs/performance.md). So even a producer that is set
to the largest batches stays below this limit, and the limit is still small for a pod.
"""

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
"""The codecs as a batch's attributes number them."""

_GZIP_FORMAT = 31
"""zlib's number for "gzip, with the largest window"."""
_GZIP_CHUNK_BYTES = 16 * 1024
"""Input of one call. zlib copies what follows a gzip member, so many small members in one piece would take quadratic
time.
"""
_MIN_BUFFER_BYTES = 64 * 1024
_GROWTH = 8
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_XERIAL_MAX_BLOCKS = 65_536
"""Java's writer fills blocks of 32 KiB, so 1,024 of them reach the limit."""
_BUFFER_FULL = "failed to write whole buffer"
_WINDOW_TOO_LARGE = "too much memory"
"""Texts of the library's errors; a test checks both."""


class CannotInflate(Exception):
    """The payload is no valid data of its codec, or the codec is unknown."""


class InflatesTooLarge(Exception):
    """The payload inflates to more than the limit. What was inflated so far is discarded."""


def inflate(codec: int, payload: bytes | memoryview, *, limit: int = MAX_INFLATED_BYTES) -> bytes:
    """Return the inflated payload. Uses memory in proportion to `limit` and to the payload, whatever its content.

    Raises CannotInflate and InflatesTooLarge.
    """
    inflate_codec = _INFLATERS.get(codec)
    if inflate_codec is None:
        raise CannotInflate(f"compression codec {codec} is not known")
    try:
        return inflate_codec(payload, limit)
    except (cramjam.DecompressionError, zlib.error, struct.error, ValueError) as error:
        raise CannotInflate(f"its {_NAMES[codec]} data is corrupt ({error})") from error


def _gzip(payload: bytes | memoryview, limit: int) -> bytes:
    """Inflate one member after another; zero bytes may follow the last one."""
    inflated = bytearray()
    position, end = 0, len(payload)
    while position < end:
        member = zlib.decompressobj(_GZIP_FORMAT)
        while not member.eof and position < end:
            chunk = payload[position : position + _GZIP_CHUNK_BYTES]
            inflated += member.decompress(chunk, limit + 1 - len(inflated))
            if len(inflated) > limit:
                raise InflatesTooLarge
            position += len(chunk) - len(member.unused_data)
        if not member.eof:
            raise CannotInflate("its gzip data is cut off")
        if not any(payload[position : position + 1]) and not any(payload[position:]):
            break
    return bytes(inflated)


def _snappy(payload: bytes | memoryview, limit: int) -> bytes:
    """Inflate raw snappy, or blocks of it in Java's (xerial's) framing."""
    data = bytes(payload)
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC or len(data) < _XERIAL_HEADER_BYTES:
        return _snappy_block(data, limit)
    inflated = bytearray()
    position = _XERIAL_HEADER_BYTES
    for _ in range(_XERIAL_MAX_BLOCKS):
        if position >= len(data):
            return bytes(inflated)
        (size,) = struct.unpack_from(">i", data, position)
        position += 4
        if not 0 <= size <= len(data) - position:
            raise CannotInflate("a block of its snappy data is cut off")
        inflated += _snappy_block(data[position : position + size], limit - len(inflated))
        position += size
    raise InflatesTooLarge


def _snappy_block(block: bytes, limit: int) -> bytes:
    """Inflate one block: its preamble has the inflated size, and the library allocates just that."""
    if cramjam.snappy.decompress_raw_len(block) > limit:
        raise InflatesTooLarge
    return bytes(cramjam.snappy.decompress_raw(block))


def _lz4(payload: bytes | memoryview, limit: int) -> bytes:
    return _into_a_buffer(cramjam.lz4.decompress_into, payload, limit)


def _zstd(payload: bytes | memoryview, limit: int) -> bytes:
    return _into_a_buffer(cramjam.zstd.decompress_into, payload, limit)


def _into_a_buffer(
    decompress_into: Callable[[bytes, bytearray], int], payload: bytes | memoryview, limit: int
) -> bytes:
    """Inflate into a buffer that grows up to the limit; most batches fit into the first one."""
    data = bytes(payload)
    size = min(max(_GROWTH * len(data), _MIN_BUFFER_BYTES), limit)
    while True:
        buffer = bytearray(size)
        try:
            written = decompress_into(data, buffer)
        except cramjam.DecompressionError as error:
            if _WINDOW_TOO_LARGE in str(error):
                raise InflatesTooLarge from error
            if _BUFFER_FULL not in str(error):
                raise
            if size >= limit:
                raise InflatesTooLarge from error
            size = min(_GROWTH * size, limit)
        else:
            del buffer[written:]
            return bytes(buffer)


_INFLATERS: Mapping[int, Callable[[bytes | memoryview, int], bytes]] = {
    GZIP: _gzip,
    SNAPPY: _snappy,
    LZ4: _lz4,
    ZSTD: _zstd,
}
_NAMES: Mapping[int, str] = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
