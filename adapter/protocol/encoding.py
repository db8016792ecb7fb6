"""Percent-encoding: the four encoders in use, and one decoder that reads them all.

AES and the checksum both work on percent-encoded text, and "URL-encode" means four different things to .NET, PHP,
JavaScript and ECPay's page (32236).
"""

from __future__ import annotations

import string
from binascii import a2b_qp
from enum import StrEnum, unique
from urllib.parse import unquote_to_bytes

from msgspec import Struct


@unique
class Encoder(StrEnum):
    """Names of the encoders, as the vectors and the logs use them."""

    ESCAPE_DATA_STRING = "escape_data_string"
    """.NET's Uri.EscapeDataString, RFC 3986: the official one (page 32236), and the only one that is sent."""
    DOTNET_HTTP_UTILITY = "dotnet_http_utility"
    """.NET's HttpUtility.UrlEncode: seen from ECPay's production until September 2026."""
    PHP_URLENCODE = "php_urlencode"
    """PHP's urlencode: what ECPay's AI guides teach."""
    ENCODE_URI_COMPONENT = "encodeURIComponent"
    """JavaScript's: what the Rytass client uses."""


def _table(bare: str, **others: str) -> tuple[bytes, ...]:
    """Return the 256 entries of an encoder: `bare` characters stay as they are, all others become %XX."""
    kept = frozenset((string.ascii_letters + string.digits + bare).encode())
    table = [bytes((byte,)) if byte in kept else b"%%%02X" % byte for byte in range(256)]
    if "space" in others:
        table[0x20] = others["space"].encode()
    return tuple(table)


_TABLES = {
    Encoder.ESCAPE_DATA_STRING: _table("-_.~"),
    Encoder.DOTNET_HTTP_UTILITY: _table("-_.!*()", space="+"),
    Encoder.PHP_URLENCODE: _table("-_.", space="+"),
    Encoder.ENCODE_URI_COMPONENT: _table("-_.!~*'()"),
}
_KEPT = {
    encoder: bytes(byte for byte in range(256) if table[byte] == bytes((byte,))) for encoder, table in _TABLES.items()
}
_FEW = 24
# A replacement must not be replaced again. So the percent sign, which all replacements contain, goes first, and the
# space, which may become a plus sign, last.
_REPLACE_ORDER = [{0x25: 0, 0x20: 2}.get(byte, 1) for byte in range(256)]


def encode(text: str, encoder: Encoder) -> bytes:
    """Percent-encode the UTF-8 of a text, with upper-case hex.

    >>> encode("a b!", Encoder.ESCAPE_DATA_STRING), encode("a b!", Encoder.DOTNET_HTTP_UTILITY)
    (b'a%20b%21', b'a+b!')
    """
    data = text.encode()
    table = _TABLES[encoder]
    changing = set(data.translate(None, _KEPT[encoder]))
    if len(changing) > _FEW:
        return b"".join([table[byte] for byte in data])
    # JSON has few distinct characters that change. Replacing them one after another takes a third of the time of
    # looking up every byte.
    for byte in sorted(changing, key=_REPLACE_ORDER.__getitem__):
        data = data.replace(bytes((byte,)), table[byte])
    return data


_UNRESERVED = _KEPT[Encoder.ESCAPE_DATA_STRING]


class Decoded(Struct, frozen=True):
    """A percent-decoded text."""

    text: str
    whole: bool
    """False if bytes were not UTF-8; each became U+FFFD."""
    official: bool
    """Whether the official encoder makes the decoded bytes of `text`, but for the case of hex digits."""


def decode(encoded: bytes) -> Decoded:
    """Undo any of the encoders: hex in either case, + and %20 both a space.

    A percent sign without two hex digits after it stays a percent sign, as everywhere on the web.

    >>> decode(b"a%20b%2c"), decode(b"a+b")
    (Decoded(text='a b,', whole=True, official=True), Decoded(text='a b', whole=True, official=False))
    """
    # Quoted-printable has = for %, and its decoder is C. Escape what else it gives a meaning to.
    escaped = encoded.replace(b"=", b"%3D").replace(b"\n", b"%0A").replace(b"\r", b"%0D").replace(b"+", b" ")
    escapes = escaped.count(b"%")
    data = a2b_qp(escaped.replace(b"%", b"="))
    official = False
    if len(escaped) - len(data) != 2 * escapes:  # a percent sign begins no escape: here the two decoders differ
        data = unquote_to_bytes(escaped)
    elif not encoded.translate(None, _UNRESERVED + b"%"):
        official = len(data.translate(None, _UNRESERVED)) == escapes  # an escape for each byte that needs one
    try:
        return Decoded(data.decode(), True, official)
    except UnicodeDecodeError:
        return Decoded(data.decode(errors="replace"), False, False)
