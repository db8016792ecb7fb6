"""Writes JSON that every percent-encoder encodes in the same way, and reads any JSON without failing.

The checksum is taken over percent-encoded JSON, and the encoders in use disagree on seven characters (`encoding` has
their tables).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NoReturn

DISPUTED = " !*'()~"
"""The characters that percent-encoders treat differently; they treat all other ASCII characters alike."""

MAX_DEPTH = 32
"""Arrays and objects that are nested more deeply are rejected; the protocol's own depth is 4."""

_ESCAPES = tuple((character, f"\\u{ord(character):04X}") for character in DISPUTED)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_WRITER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def write_json(payload: Mapping[str, object]) -> str:
    """Write compact ASCII JSON in which no disputed character occurs.

    Compact JSON has the disputed characters only inside strings, where JSON allows any character to be written as
    \\uXXXX, so replacing them in the whole text keeps its meaning.

    >>> write_json({"Name": "Jo (2)"})
    '{"Name":"Jo\\\\u0020\\\\u00282\\\\u0029"}'

    Raises: ValueError: the payload holds NaN, an infinity or itself. TypeError: it holds a value that JSON cannot
        represent.
    """
    text = write_plain_json(payload)
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text


def write_plain_json(payload: Mapping[str, object]) -> str:
    """Write compact ASCII JSON, for texts without a checksum. Raises as `write_json` does."""
    return _WRITER.encode(dict(payload))


def read_json(text: str) -> object:
    """Read JSON; None if the text is not JSON, is null, or contains what no honest sender writes.

    It rejects NaN, infinities (also 1e999), numbers of thousands of digits, and nesting beyond `MAX_DEPTH`, which could
    exhaust the stack of code that writes the value again. Of equal keys the last counts. Half a surrogate pair, as a
    server leaves when it truncates a text, becomes U+FFFD.
    """
    try:
        value = _READER.decode(text)
    except (ValueError, RecursionError):
        return None
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(MAX_DEPTH, value):
        return None
    return _repair(value) if "\\ud" in text or "\\uD" in text else value


def _refuse_constant(word: str) -> NoReturn:
    """Reject NaN, Infinity and -Infinity, which Python reads and JSON does not define."""
    raise ValueError(word)


def _finite(digits: str) -> float:
    """Read a number with a fraction or an exponent, unless it is too large for a float."""
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return number


def _deeper_than(depth: int, value: object) -> bool:
    """Whether arrays and objects are nested more deeply than `depth`."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if entries is None:
        return False
    return depth == 0 or any(_deeper_than(depth - 1, entry) for entry in entries)


def _repair(value: object) -> object:
    """Replace lone surrogates, which UTF-8 cannot encode, in all texts of a JSON value."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_repair(entry) for entry in value]
    if isinstance(value, dict):
        return {_LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", key): _repair(entry) for key, entry in value.items()}
    return value


_READER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
