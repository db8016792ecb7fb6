"""Changes inputs at random: bytes, pieces of JSON, and pieces of other inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

MAX_BYTES = 4096
PIECES: Sequence[bytes] = (
    *(b"null", b"true", b"-1", b"1e999", b"NaN", b"9" * 400, b"2.0", b"1e5", b"-0", b"18446744073709551616", b'""'),
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\ud800", b"\\udfff\\ud800", b"\\u0000", b"\\u202e"),
    *(
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\x1b[2J",
        b"\r\n",
        b"\xe2\x80\xa8",
        "王".encode(),
        b"%",
        b"+",
    ),
    *(b'{"a":' * 40, b"[" * 40, b'"a":1,"a":2', b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:60Z", b"2026-02-30"),
    *(b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x01"),
)
"""What readers of JSON, text, times and binary lengths get wrong."""


def mutated(data: bytes, corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """Return the input with one to five changes, at most `MAX_BYTES` long."""
    for _ in range(chance.randint(1, 5)):
        data = chance.choice(_CHANGES)(data, corpus, chance)
    return data[:MAX_BYTES]


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    begin = chance.randint(0, len(data))
    return begin, min(len(data), begin + int(2 ** chance.uniform(0, 8)))


def _flip(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _insert(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + chance.choice(PIECES) + data[at:]


def _replace(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:begin] + chance.choice(PIECES) + data[end:]


def _remove(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:begin] + data[end:]


def _repeat(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:end] + data[begin:end] * chance.randint(1, 20) + data[end:]


def _splice(data: bytes, corpus: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(corpus)
    begin, end = _span(other, chance)
    at = chance.randint(0, len(data))
    return data[:at] + other[begin:end] + data[chance.randint(at, len(data)) :]


def _replace_value(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Replace what stands between a colon and the next comma or brace."""
    colons = [at for at, byte in enumerate(data) if byte == ord(":")]
    if not colons:
        return data
    begin = chance.choice(colons) + 1
    ends = [at for at in (data.find(b",", begin), data.find(b"}", begin)) if at >= 0]
    return data[:begin] + chance.choice(PIECES) + data[min(ends, default=len(data)) :]


_CHANGES: Sequence[Callable[[bytes, Sequence[bytes], random.Random], bytes]] = (
    _flip,
    _insert,
    _replace,
    _remove,
    _repeat,
    _splice,
    _replace_value,
    _replace_value,
)
