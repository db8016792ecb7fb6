"""The note that goes into a commit's metadata: what the committed offset alone cannot say.

It exists because a process may die at any time, and the next owner of the partition must know three things: what was
settled beyond the committed offset (never to be done again), what could have been sent (to be asked for before anything
else is done with it), and under which fingerprint. It is pure, and it refuses to guess: a note that is absent, foreign,
older than the commit it hangs on, or damaged reads as `NoMetadata`, never as something else.

The text: ten fields, separated by spaces, all ASCII. The settled runs are alternating lengths (open, settled, open,
...) as varints, deflated with Huffman codes, in base85; the last field is a CRC-32 over the others. Kafka's brokers
accept 4,096 bytes (`offset.metadata.max.bytes`).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

from adapter.stream.ledger import Run

LIMIT = 4096
"""What a broker accepts, in bytes, with its default `offset.metadata.max.bytes`."""

_VERSION = "ea1"
_NO_RUNS = "-"
_FIELDS = 10
_MOST_INFLATED = 1 << 20
_CONTINUED = 0x80  # set in every byte of a varint but its last
_LONGEST_VARINT = 70
_FINGERPRINT_LENGTH = 12
_OWNER_BYTES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitMetadata:
    """What one commit of a partition says beyond its offset.

    `topic_id`: the log it is about, see `port.OffsetRange`. `committed`: the offset it was written for.
    `reserved_until`: no record at or beyond it was ever sent. `other_fingerprint_until`: records below it may have been
    sent under another fingerprint than `fingerprint`. `owner`: the process that committed it, see `recovered`.
    `settled`: runs beyond `committed`.
    """

    cluster_id: str
    topic_id: str = ""
    committed: int
    reserved_until: int
    other_fingerprint_until: int
    fingerprint: str
    owner: str = ""
    settled: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMetadata:
    """There is a commit, but no note that can be believed: nothing is settled, and anything may have been sent."""

    why: str


def short_fingerprint(fingerprint: str) -> str:
    """A fingerprint as the note keeps it: the beginning of its SHA-256."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:_FINGERPRINT_LENGTH]


def new_owner() -> str:
    """A name for one process's ownership of partitions that no other one has ever had."""
    return secrets.token_urlsafe(_OWNER_BYTES)


def encode(metadata: CommitMetadata) -> str:
    """The note as metadata; ASCII, so its length is its size in bytes. Longer than `LIMIT` it cannot be committed."""
    fields = (
        _VERSION,
        quote(metadata.cluster_id, safe=""),
        quote(metadata.topic_id, safe=""),
        str(metadata.committed),
        str(metadata.reserved_until),
        str(metadata.other_fingerprint_until),
        metadata.fingerprint,
        quote(metadata.owner, safe=""),
        _pack(metadata.settled, metadata.committed),
    )
    text = " ".join(fields)
    return f"{text} {_checksum(text)}"


def decode(text: str | None, *, cluster_id: str, committed: int) -> CommitMetadata | NoMetadata:
    """The note that hangs on the commit of `committed` in this cluster; total: whatever the text, it never raises."""
    fields = (text or "").split(" ")
    if len(fields) != _FIELDS or fields[0] != _VERSION:
        return NoMetadata(why="the commit carries no note of this format")
    body, _, checksum = (text or "").rpartition(" ")
    if checksum != _checksum(body):
        return NoMetadata(why="the note is damaged")
    try:
        metadata = _parse(fields, cluster_id)
    except (ValueError, zlib.error) as error:
        return NoMetadata(why=f"the note does not parse ({type(error).__name__})")
    if fields[1] != quote(cluster_id, safe=""):
        return NoMetadata(why="the note was written for another cluster")
    if metadata.committed != committed:
        return NoMetadata(why="the offset was moved after the note was written")
    return metadata


def _parse(fields: list[str], cluster_id: str) -> CommitMetadata:
    committed = int(fields[3])
    return CommitMetadata(
        cluster_id=cluster_id,
        topic_id=unquote(fields[2]),
        committed=committed,
        reserved_until=int(fields[4]),
        other_fingerprint_until=int(fields[5]),
        fingerprint=fields[6],
        owner=unquote(fields[7]),
        settled=tuple(_unpack(fields[8], committed)),
    )


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"


def _pack(runs: Iterable[Run], committed: int) -> str:
    lengths: list[int] = []
    reached = committed
    for first, past in runs:
        lengths += (first - reached, past - first)
        reached = past
    if not lengths:
        return _NO_RUNS
    packed = bytes(lengths) if max(lengths) < _CONTINUED else b"".join(map(_varint, lengths))
    # Huffman codes come within a few per cent of the entropy of such lengths; looking for repetitions finds none and
    # costs time. Measured: 2 % open of 100,000 offsets, and 50 % of 20,000, both fit; see the tests.
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return base64.b85encode(deflate.compress(packed) + deflate.flush()).decode()


def _unpack(text: str, committed: int) -> Iterator[Run]:
    if text == _NO_RUNS:
        return
    inflate = zlib.decompressobj(-15)
    packed = inflate.decompress(base64.b85decode(text), _MOST_INFLATED)
    if not inflate.eof:
        raise ValueError("the settled runs are cut off")
    lengths = list(_varints(packed))
    if len(lengths) % 2 or 0 in lengths:
        raise ValueError("the settled runs do not come in pairs")
    reached = committed
    for is_open, is_settled in zip(lengths[::2], lengths[1::2], strict=True):
        first = reached + is_open
        reached = first + is_settled
        yield first, reached


def _varint(number: int) -> bytes:
    varint = bytearray()
    while number >= _CONTINUED:
        varint.append(number & 0x7F | _CONTINUED)
        number >>= 7
    varint.append(number)
    return bytes(varint)


def _varints(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > _LONGEST_VARINT:
            raise ValueError("a length is longer than any offset")
        if byte < _CONTINUED:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("the last length is cut off")
