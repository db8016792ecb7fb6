"""Writes JSON that every percent-encoder encodes in the same way, and reads any JSON without failing.

The checksum is taken over percent-encoded JSON, and the encoders in use disagree on seven characters (`encoding` has
their tables).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from adapter.strict_json import parse_json

DISPUTED = " !*'()~"
"""The characters that percent-encoders treat differently; they treat all other ASCII characters alike."""

MAX_DEPTH = 32
"""Arrays and objects that are nested more deeply are rejected; the protocol's own depth is 4."""

_ESCAPES = tuple((character, f"\\u{ord(character):04X}") for character in DISPUTED)
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

    Nesting beyond `MAX_DEPTH` could exhaust the stack of code that writes the value again; `strict_json` has the rest.
    """
    try:
        return parse_json(text, max_depth=MAX_DEPTH)
    except ValueError:
        return None
