"""Writes JSON that every percent-encoder encodes in the same way, and reads any JSON without failing.

The checksum is taken over percent-encoded JSON, and the encoders in use disagree on seven characters (`encoding` has
their tables). So the text that is sent is written percent-encoded at once.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping

from adapter.strict_json import parse_json

DISPUTED = " !*'()~"
"""The characters that percent-encoders treat differently; they treat all other ASCII characters alike."""

MAX_DEPTH = 32
"""Arrays and objects that are nested more deeply are rejected; the protocol's own depth is 4."""

_BARE = (string.ascii_letters + string.digits + "-_.").encode()
_WRITTEN = {
    byte: (b"%%5Cu%04X" if chr(byte) in DISPUTED else b"%%%02X") % byte for byte in range(128) if byte not in _BARE
}
# In all that is sent, or in much of it. All that is written for a byte has a percent sign, so this goes first.
_USUAL = tuple((bytes((byte,)), _WRITTEN[byte]) for byte in b'%"{}[]:,\\ @')
_WRITER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def write_encoded_json(payload: Mapping[str, object]) -> bytes:
    """Write compact ASCII JSON in which no disputed character occurs, percent-encoded.

    Compact JSON has the disputed characters only inside strings, where JSON allows any character to be written as
    \\uXXXX, so replacing them in the whole text keeps its meaning.

    >>> write_encoded_json({"Name": "Jo (2)"})
    b'%7B%22Name%22%3A%22Jo%5Cu0020%5Cu00282%5Cu0029%22%7D'

    Raises: ValueError: the payload holds NaN, an infinity or itself. TypeError: it holds a value that JSON cannot
        represent.
    """
    data = _WRITER.encode(dict(payload)).encode()
    for found, written in _USUAL:
        data = data.replace(found, written)
    for byte in set(data.translate(None, _BARE + b"%")):
        data = data.replace(bytes((byte,)), _WRITTEN[byte])
    return data


def write_string(text: str) -> str:
    """Write a text as a JSON string in ASCII."""
    return json.dumps(text)


def read_json(text: str) -> object:
    """Read JSON; None if the text is not JSON, is null, or contains what no honest sender writes.

    Nesting beyond `MAX_DEPTH` could exhaust the stack of code that writes the value again; `strict_json` has the rest.
    """
    try:
        return parse_json(text, max_depth=MAX_DEPTH)
    except ValueError:
        return None
