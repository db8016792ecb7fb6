"""Record batches as bytes on the wire, written without aiokafka, so that everything odd can be written."""

from __future__ import annotations

import gzip
import struct
from binascii import crc32
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cramjam
from aiokafka.codec import lz4_encode
from aiokafka.record.util import calc_crc32c

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CODECS = (GZIP, SNAPPY, LZ4, ZSTD)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A record as a producer writes it; `attributes` are ignored by every reader."""

    key: bytes | None = None
    value: bytes | None = b"{}"
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    timestamp_ms: int = 0
    attributes: int = 0


def xerial(data: bytes, block_bytes: int = 32 * 1024) -> bytes:
    """Snappy as Java's library frames it."""
    blocks = [
        bytes(cramjam.snappy.compress_raw(data[at : at + block_bytes])) for at in range(0, len(data), block_bytes)
    ]
    return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + b"".join(struct.pack(">i", len(one)) + one for one in blocks)


COMPRESS: Mapping[int, Callable[[bytes], bytes]] = {
    0: bytes,
    GZIP: gzip.compress,
    SNAPPY: xerial,
    LZ4: lz4_encode,
    ZSTD: lambda data: bytes(cramjam.zstd.compress(data)),
}


def varint(number: int) -> bytes:
    number = ((number << 1) ^ (number >> 63)) & (2**64 - 1)
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def sized(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def record_bytes(record: Written, *, delta: int, first_ms: int) -> bytes:
    headers = b"".join(sized(name) + sized(value) for name, value in record.headers)
    delta_ms = (record.timestamp_ms - first_ms + 2**63) % 2**64 - 2**63
    body = bytes([record.attributes]) + varint(delta_ms) + varint(delta)
    body += sized(record.key) + sized(record.value) + varint(len(record.headers)) + headers
    return varint(len(body)) + body


def batch(
    *records: Written,
    base: int = 0,
    codec: int = 0,
    attributes: int = 0,
    producer: int = -1,
    last_delta: int | None = None,
    count: int | None = None,
    content: bytes | None = None,
    payload: bytes | None = None,
    magic: int = 2,
) -> bytes:
    """A batch of format 2. `content` replaces the records, `payload` what the codec makes of them."""
    first_ms = records[0].timestamp_ms if records else 0
    if content is None:
        content = b"".join(record_bytes(one, delta=at, first_ms=first_ms) for at, one in enumerate(records))
    payload = COMPRESS.get(codec, bytes)(content) if payload is None else payload
    count = len(records) if count is None else count
    last_delta = max(count - 1, 0) if last_delta is None else last_delta
    latest_ms = max((one.timestamp_ms for one in records), default=0)
    tail = (
        struct.pack(">hiqqqhii", attributes | codec, last_delta, first_ms, latest_ms, producer, 0, 0, count) + payload
    )
    head = struct.pack(">iBI", 0, magic, calc_crc32c(tail))
    return struct.pack(">qi", base, len(head) + len(tail)) + head + tail


def marker(*, base: int, producer: int, commit: bool) -> bytes:
    """The end of a transaction."""
    return batch(
        Written(key=struct.pack(">hh", 0, int(commit)), value=b"\0" * 6), base=base, attributes=0x30, producer=producer
    )


def message(
    *, offset: int, magic: int = 1, attributes: int = 0, timestamp_ms: int = 0, key: bytes | None, value: bytes | None
) -> bytes:
    """A message of format 0 or 1."""
    body = struct.pack(">bb", magic, attributes) + (struct.pack(">q", timestamp_ms) if magic else b"")
    for content in (key, value):
        body += struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content
    body = struct.pack(">I", crc32(body)) + body
    return struct.pack(">qi", offset, len(body)) + body
