"""Decodes a text in every form in which a program may have written what is in it.

What a decoder yields is decoded once more (base64 in JSON, for example). A decoder finds a text of which only some
characters are escaped, or that stands in the middle of a longer one.
"""

from __future__ import annotations

import binascii
import html
import re
import urllib.parse
from collections.abc import Iterator
from typing import Final

DEPTH: Final = 2
"""How many encodings may be one in another."""

_ESCAPE = re.compile(rb"\\+u([0-9a-fA-F]{4})(?:\\+u([dD][c-fC-F][0-9a-fA-F]{2}))?|\\+x([0-9a-fA-F]{2})")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}[ :,-]?){8,}")
_SEPARATORS = re.compile(rb"(?<=\d)[-\s().]+(?=\d)")


def decoded(content: bytes, depth: int = DEPTH) -> Iterator[tuple[str, bytes]]:
    """Yield the content and all that it may be an encoding of, each with the names of the decoders."""
    seen: set[bytes] = set()
    level = [("", content)]
    for _ in range(depth + 1):
        level = [(form, text) for form, text in level if text and text not in seen]
        yield from level
        seen |= {text for _, text in level}
        level = [(f"{form} {name}".strip(), text) for form, before in level for name, text in _decoders(before)]


def _decoders(content: bytes) -> Iterator[tuple[str, bytes]]:
    yield "escapes", _ESCAPE.sub(_unescaped, content)
    yield "URL", urllib.parse.unquote_to_bytes(content.replace(b"+", b" ")) if b"%" in content else b""
    yield "HTML", html.unescape(content.decode("utf-8", "replace")).encode() if b"&" in content else b""
    yield "UTF-16", content.replace(b"\0", b"") if b"\0" in content else b""
    yield "digits", _SEPARATORS.sub(b"", content)
    yield "hex", b"\n".join(_of_hex(content))
    yield "base64", b"\n".join(_of_base64(content))


def _unescaped(match: re.Match[bytes]) -> bytes:
    first, second, byte = match.groups()
    if byte:
        return bytes.fromhex(byte.decode())
    units = bytes.fromhex((first + (second or b"")).decode())
    return units.decode("utf-16-be", "replace").encode()


def _of_hex(content: bytes) -> Iterator[bytes]:
    for run in _HEX.finditer(content):
        digits = re.sub(rb"[^0-9a-fA-F]", b"", run[0]).decode()
        for start in (0, 1):
            usable = digits[start : start + (len(digits) - start) // 2 * 2]
            yield bytes.fromhex(usable)


def _of_base64(content: bytes) -> Iterator[bytes]:
    for run in _BASE64.finditer(content):
        text = run[0].translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):
            usable = text[start:]
            usable += b"A" * (-len(usable) % 4)
            yield binascii.a2b_base64(usable)
