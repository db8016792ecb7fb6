"""Decodes what a broker answers to a fetch: record batches of every message format, whatever bytes they hold.

aiokafka's decoder is not used, for three reasons. It raises for a header name that is not UTF-8. It inflates a batch
without a limit. And if a batch cannot be decoded, it drops the records that it decoded before in the same call.

The rules: Every record that can be decoded is returned, however unusual. A batch that would use too much memory is not
decoded, and each of its offsets is returned as a record without content. A batch that cannot be decoded raises
UnreadableBatch after all records before it have been returned, and the position stays before it.

Formats: https://kafka.apache.org/documentation/#messageformat; 0 and 1 are the "message sets" before Kafka 0.11.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from aiokafka.record.util import calc_crc32c

from adapter.kafka.compression import MAX_INFLATED_BYTES, CannotInflate, InflatesTooLarge, inflate
from adapter.stream.port import TopicPartition, UnreadableBatch
from adapter.stream.records import NotRead, Record, header_name, moment_of

MAX_HEADERS = 1000
"""The most headers of one record; each uses a hundred times its two bytes on the wire. Normal records have some tens.
"""

MAX_POLL_BYTES = 8 * 1024 * 1024
"""The most content that one poll decodes, in all partitions: then the event loop runs, and the next poll continues."""

_HEADER_OVERHEAD_BYTES = 160
"""What Python needs for a tuple, a string and bytes."""

_LOG_OVERHEAD = struct.Struct(">qi")  # base offset, length of what follows
_MAGIC_AT = 16
_SHORTEST = 14  # bytes after the length, of an empty message of format 0
_V2 = struct.Struct(">qiibIhiqqqhii")
_V2_CRC_FROM = 21
_V2_LAST_DELTA_AT = 23
_V2_MAX_TIMESTAMP_AT = 35
_V0 = struct.Struct(">qiIbb")
_V1 = struct.Struct(">qiIbbq")
_INT32 = struct.Struct(">i")
_CODEC_MASK, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_NO_TIMESTAMP = -1
_LZ4 = 3
_ABORT = 0
_CONTROL_KEY = struct.Struct(">hh")
_MAX_OFFSETS = 2**31 - 1
_WRONG_STRUCTURE = (ValueError, IndexError, struct.error)


class ReadBudget:
    """How many bytes one poll may decode, shared by all partitions of a reader."""

    def __init__(self, limit: int = MAX_POLL_BYTES) -> None:
        self._limit = limit
        self._used = 0

    @property
    def spent(self) -> bool:
        """Whether this poll must not decode more."""
        return self._used >= self._limit

    def renew(self) -> None:
        """Start a poll."""
        self._used = 0

    def use(self, count: int) -> None:
        """Count decoded bytes."""
        self._used += count


class _TooManyHeaders(Exception):
    """The headers of this record would use more memory than is allowed."""


class _Batch(NamedTuple):
    """One batch on the wire; `last` is its last offset."""

    data: memoryview
    base: int
    last: int
    magic: int


class RecordReader:
    """The records of one fetch of one partition, from `position` on.

    `aborted` are the producer ids and first offsets of transactions that the broker reports as aborted.
    """

    def __init__(
        self,
        data: bytes,
        partition: TopicPartition,
        *,
        position: int,
        aborted: Iterable[tuple[int, int]],
        budget: ReadBudget,
    ) -> None:
        self._data = memoryview(data)
        self._partition = partition
        self._budget = budget
        self._aborted = deque(sorted(aborted, key=lambda each: each[1]))
        self._aborted_producers: set[int] = set()
        self._at = 0
        self._records = self._read()
        self._problem: UnreadableBatch | None = None
        self.ended = False
        self.position = position
        """The next offset to fetch."""

    def take(self, count: int) -> list[Record]:
        """Return the next records: up to `count`, and as many as the budget of this poll allows.

        Raises UnreadableBatch if the very next batch cannot be decoded. Records before it are returned first, so none
        gets lost with the exception.
        """
        if self._problem is not None:
            raise self._problem
        taken: list[Record] = []
        while len(taken) < count and not self._budget.spent and not self.ended:
            try:
                record = next(self._records)
            except StopIteration:
                self.ended = True
            except UnreadableBatch as problem:
                self._problem = problem
                if not taken:
                    raise
                break
            else:
                taken.append(record)
                self.position = record.offset + 1
                self._budget.use(record.size + _HEADER_OVERHEAD_BYTES * len(record.headers))
        return taken

    # --- batch by batch ----------------------------------------------------------------------------------------------

    def _read(self) -> Iterator[Record]:
        while (batch := self._next_batch()) is not None:
            if batch.last >= self.position:
                yield from self._records_of(batch)
            self.position = max(self.position, batch.last + 1)

    def _next_batch(self) -> _Batch | None:
        """Return the next whole batch; a fetch may end in the middle of a batch, unless it is the first."""
        rest = len(self._data) - self._at
        if not rest:
            return None
        if rest >= _LOG_OVERHEAD.size:
            base, length = _LOG_OVERHEAD.unpack_from(self._data, self._at)
            size = _LOG_OVERHEAD.size + length
            if length >= _SHORTEST and size <= rest:
                data = self._data[self._at : self._at + size]
                self._at += size
                return self._framed(data, base)
            if length < _SHORTEST:
                raise self._unreadable(f"its length of {length} bytes is impossible")
        if self._at:
            return None
        raise self._unreadable("it is cut off, or its length is corrupt")

    def _framed(self, data: memoryview, base: int) -> _Batch:
        magic = struct.unpack_from("b", data, _MAGIC_AT)[0]
        if magic in (0, 1):
            return _Batch(data, base, base, magic)
        if len(data) < _V2.size:
            raise self._unreadable(f"its length of {len(data)} bytes is impossible")
        return _Batch(data, base, self._last_offset(data, base), magic)

    def _last_offset(self, data: memoryview, base: int) -> int:
        """Return the batch's last offset; a corrupt header must not claim offsets that belong to other batches."""
        (delta,) = struct.unpack_from(">i", data, _V2_LAST_DELTA_AT)
        last = base + delta if 0 <= delta <= _MAX_OFFSETS else base
        if len(self._data) - self._at >= _LOG_OVERHEAD.size:
            following, _ = _LOG_OVERHEAD.unpack_from(self._data, self._at)
            last = min(last, following - 1) if following > base else last
        return int(last)

    def _records_of(self, batch: _Batch) -> Iterator[Record]:
        if batch.magic > 2 or batch.magic < 0:
            raise self._unreadable(f"its message format {batch.magic} is not known", batch)
        try:
            records = self._decoded_v2(batch) if batch.magic == 2 else self._decoded_v0_v1(batch)
            for record in records:
                if record.offset >= self.position:
                    yield record
        except InflatesTooLarge:
            self._budget.use(MAX_INFLATED_BYTES)
            yield from self._withheld(batch)
        except CannotInflate as error:
            raise self._unreadable(str(error), batch) from error
        except _WRONG_STRUCTURE as error:
            raise self._unreadable(f"its content is corrupt ({error})", batch) from error

    def _withheld(self, batch: _Batch) -> Iterator[Record]:
        """Yield each offset of the batch as a record without content; a compressed message set is one record."""
        why = f"its batch inflates to more than {MAX_INFLATED_BYTES // 2**20} MiB"
        cure = "let its producer send the missing records again, in smaller batches"
        if batch.magic < 2:
            yield self._empty(self.position, batch.last, _NO_TIMESTAMP, why, cure)
            return
        (max_ms,) = struct.unpack_from(">q", batch.data, _V2_MAX_TIMESTAMP_AT)
        for offset in range(max(self.position, batch.base), batch.last + 1):
            yield self._empty(offset, offset, max_ms, why, cure)

    def _empty(self, first: int, last: int, timestamp_ms: int, why: str, cure: str) -> Record:
        not_read = NotRead(first=first, last=last, why=why, cure=cure)
        return self._record(last, timestamp_ms, None, None, (), not_read=not_read)

    def _record(
        self,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes | None], ...],
        *,
        not_read: NotRead | None = None,
    ) -> Record:
        timestamp, raw_timestamp_ms = moment_of(timestamp_ms)
        return Record(
            topic=self._partition.topic,
            partition=self._partition.partition,
            offset=offset,
            timestamp=timestamp,
            key=key,
            value=value,
            headers=headers,
            raw_timestamp_ms=raw_timestamp_ms,
            not_read=not_read,
        )

    def _unreadable(self, cause: str, batch: _Batch | None = None) -> UnreadableBatch:
        first = self.position if batch is None or batch.magic < 2 else max(self.position, batch.base)
        base = min(batch.base, first) if batch is not None else first
        last = max(batch.last, first) if batch is not None else first
        return UnreadableBatch(self._partition, base=base, first=first, last=last, cause=cause)

    # --- format 2 ----------------------------------------------------------------------------------------------------

    def _decoded_v2(self, batch: _Batch) -> Iterator[Record]:
        data = batch.data
        base, _, _, _, crc, attributes, _, first_ms, max_ms, producer, _, _, count = _V2.unpack_from(data)
        if calc_crc32c(bytes(data[_V2_CRC_FROM:])) != crc:
            raise ValueError("the checksum does not match")
        while self._aborted and self._aborted[0][1] <= base:
            self._aborted_producers.add(self._aborted.popleft()[0])
        if attributes & _CONTROL:
            self._read_marker(bytes(data[_V2.size :]), producer)
            return
        if attributes & _TRANSACTIONAL and producer in self._aborted_producers:
            return
        payload: bytes | memoryview = data[_V2.size :]
        codec = attributes & _CODEC_MASK
        content = inflate(codec, payload) if codec else bytes(payload)
        log_append_ms = max_ms if attributes & _LOG_APPEND_TIME else None
        yield from self._content_v2(content, base, batch.last, count, first_ms, log_append_ms)

    def _read_marker(self, content: bytes, producer: int) -> None:
        """Process the end of a transaction; its marker is no record.

        The log cleaner keeps an empty batch in place of a producer's last marker.
        """
        if not content:
            return
        _, key = _first_key(content)
        if key is not None and len(key) >= _CONTROL_KEY.size and _CONTROL_KEY.unpack_from(key)[1] == _ABORT:
            self._aborted_producers.discard(producer)

    def _content_v2(
        self, content: bytes, base: int, last: int, count: int, first_ms: int, log_append_ms: int | None
    ) -> Iterator[Record]:
        at, before = 0, base - 1
        for _ in range(count):
            size, at = _varint(content, at)
            end = at + size
            if size < 0 or end > len(content):
                raise ValueError("a record is cut off")
            delta_ms, at = _varint(content, at + 1)
            delta, at = _varint(content, at)
            offset = base + delta
            if not before < offset <= last:
                raise ValueError(f"offset {offset} is out of order")
            before = offset
            timestamp_ms = log_append_ms if log_append_ms is not None else _int64(first_ms + delta_ms)
            try:
                key, at = _bytes(content, at, end)
                value, at = _bytes(content, at, end)
                headers, at = _headers(content, at, end)
                if at != end:
                    raise ValueError("the length of a record is wrong")
            except _TooManyHeaders:
                self._budget.use(size)
                why = f"it has more than {MAX_HEADERS} headers"
                cure = f"let its producer send the record again, with at most {MAX_HEADERS} headers"
                yield self._empty(offset, offset, timestamp_ms, why, cure)
            else:
                yield self._record(offset, timestamp_ms, key, value, headers)
            at = end
        if at != len(content):
            raise ValueError("bytes are left over after the last record")

    # --- formats 0 and 1 ---------------------------------------------------------------------------------------------

    def _decoded_v0_v1(self, batch: _Batch) -> Iterator[Record]:
        wrapper = _message(batch.data)
        if not wrapper.codec:
            yield self._record(batch.base, wrapper.timestamp_ms, wrapper.key, wrapper.value, ())
            return
        if wrapper.codec == _LZ4 and batch.magic == 0:
            raise CannotInflate("LZ4 data of message format 0 has a frame of its own, which is not supported")
        content = memoryview(inflate(wrapper.codec, wrapper.value or b""))
        starts = list(_message_starts(content))
        if not starts:
            raise ValueError("a compressed message holds no messages")
        (last_relative,) = struct.unpack_from(">q", content, starts[-1][0])
        shift = batch.base - last_relative if batch.magic == 1 else 0
        for start, end in starts:
            message = _message(content[start:end])
            if message.codec:
                raise ValueError("a compressed message holds a compressed message")
            timestamp_ms = wrapper.timestamp_ms if wrapper.log_append_time else message.timestamp_ms
            offset = message.offset + shift
            if offset > batch.base:
                raise ValueError(f"offset {offset} is out of order")
            yield self._record(offset, timestamp_ms, message.key, message.value, ())


class _Message(NamedTuple):
    """A message of format 0 or 1."""

    offset: int
    codec: int
    log_append_time: bool
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


def _message(data: memoryview) -> _Message:
    """Decode one message, which fills `data`."""
    magic = struct.unpack_from("b", data, _MAGIC_AT)[0]
    timestamp_ms = _NO_TIMESTAMP
    if magic == 1:
        offset, _, crc, _, attributes, timestamp_ms = _V1.unpack_from(data)
        at = _V1.size
    elif magic == 0:
        offset, _, crc, _, attributes = _V0.unpack_from(data)
        at = _V0.size
    else:
        raise ValueError(f"a message of format {magic} is inside one of another format")
    if crc32(data[_MAGIC_AT:]) != crc:
        raise ValueError("the checksum does not match")
    key, at = _sized(data, at)
    value, at = _sized(data, at)
    if at != len(data):
        raise ValueError("the length of a message is wrong")
    return _Message(offset, attributes & _CODEC_MASK, bool(attributes & _LOG_APPEND_TIME), timestamp_ms, key, value)


def _message_starts(content: memoryview) -> Iterator[tuple[int, int]]:
    """Yield the begin and end of each message of a message set."""
    at = 0
    while at < len(content):
        _, length = _LOG_OVERHEAD.unpack_from(content, at)
        end = at + _LOG_OVERHEAD.size + length
        if length < _SHORTEST or end > len(content):
            raise ValueError("a message is cut off")
        yield at, end
        at = end


def _sized(data: memoryview, at: int) -> tuple[bytes | None, int]:
    (size,) = _INT32.unpack_from(data, at)
    at += _INT32.size
    if size < 0:
        return None, at
    if size > len(data) - at:
        raise ValueError("a key or value is cut off")
    return bytes(data[at : at + size]), at + size


# --- varints and fields of variable length ---------------------------------------------------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    number, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
    number &= 2**64 - 1
    return (number >> 1) ^ -(number & 1), at


def _int64(number: int) -> int:
    """Wrap the number to 64 bits, as Java's clients do."""
    return (number + 2**63) % 2**64 - 2**63


def _bytes(data: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    byte = data[at]
    if byte < 0x80 and not byte & 1:  # most sizes are small, and a call is what costs here
        size, at = byte >> 1, at + 1
    else:
        size, at = _varint(data, at)
        if size < 0:
            return None, at
    if size > end - at:
        raise ValueError("a key, value or header is cut off")
    return data[at : at + size], at + size


def _headers(data: bytes, at: int, end: int) -> tuple[tuple[tuple[str, bytes | None], ...], int]:
    count, at = _varint(data, at)
    if count < 0:
        raise ValueError("the number of headers is negative")
    if count > MAX_HEADERS:
        raise _TooManyHeaders
    if not count:
        return (), at
    headers = []
    for _ in range(count):
        name, at = _bytes(data, at, end)
        if name is None:
            raise ValueError("a header has no name")
        value, at = _bytes(data, at, end)
        headers.append((header_name(name), value))
    return tuple(headers), at


def _first_key(content: bytes) -> tuple[int, bytes | None]:
    """Return the key of the first record of a batch."""
    size, at = _varint(content, 0)
    _, at = _varint(content, at + 1)
    _, at = _varint(content, at)
    key, _ = _bytes(content, at, len(content))
    return size, key
