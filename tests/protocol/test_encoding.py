"""The four percent-encoders and the one decoder, against Python's own as an independent witness."""

from __future__ import annotations

from urllib.parse import quote, quote_plus, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.protocol.encoding import Encoder, decode, encode

from .samples import fast, unicode_text

DISPUTED = "a !*'()~-_.+/:{}\"%王b"


def _witness(text: str, encoder: Encoder) -> str:
    """Encode by the standard library, whose quote never encodes a tilde."""
    if encoder is Encoder.ESCAPE_DATA_STRING:
        return quote(text, safe="-_.~")
    if encoder is Encoder.DOTNET_HTTP_UTILITY:
        return quote_plus(text, safe="-_.!*()").replace("~", "%7E")
    if encoder is Encoder.PHP_URLENCODE:
        return quote_plus(text, safe="-_.").replace("~", "%7E")
    return quote(text, safe="-_.!~*'()")


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (Encoder.ESCAPE_DATA_STRING, "a%20%21%2A%27%28%29~-_.%2B%2F%3A%7B%7D%22%25%E7%8E%8Bb"),
        (Encoder.DOTNET_HTTP_UTILITY, "a+!*%27()%7E-_.%2B%2F%3A%7B%7D%22%25%E7%8E%8Bb"),
        (Encoder.PHP_URLENCODE, "a+%21%2A%27%28%29%7E-_.%2B%2F%3A%7B%7D%22%25%E7%8E%8Bb"),
        (Encoder.ENCODE_URI_COMPONENT, "a%20!*'()~-_.%2B%2F%3A%7B%7D%22%25%E7%8E%8Bb"),
    ],
)
def test_encoders_differ_on_seven_characters_only(encoder: Encoder, expected: str) -> None:
    """Space ! * ' ( ) ~: who leaves them bare, and who does not."""
    assert encode(DISPUTED, encoder).decode() == expected


@pytest.mark.parametrize("encoder", Encoder)
def test_every_byte_is_encoded_as_the_witness_does(encoder: Encoder) -> None:
    """All of ASCII, and enough beyond it to meet every byte that UTF-8 uses."""
    text = "".join(map(chr, [*range(0x250), *range(0x3000, 0x10000, 0x101), *range(0x10000, 0x110000, 0x1001)]))
    text = "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)

    assert encode(text, encoder).decode() == _witness(text, encoder)
    for character in text[:0x250]:
        assert encode(character, encoder).decode() == _witness(character, encoder)


@fast
@given(unicode_text, st.sampled_from(Encoder))
def test_any_text_is_encoded_as_the_witness_does(text: str, encoder: Encoder) -> None:
    """Few distinct characters or many: two ways inside, one result outside."""
    assert encode(text, encoder).decode() == _witness(text, encoder)


@fast
@given(unicode_text, st.sampled_from(Encoder), st.booleans())
def test_decoding_undoes_every_encoder(text: str, encoder: Encoder, lower: bool) -> None:
    """For every encoder, and in both hex cases."""
    encoded = encode(text, encoder)
    if lower:
        escapes = [b"%" + part[:2].lower() + part[2:] for part in encoded.split(b"%")[1:]]
        encoded = b"".join([encoded.split(b"%")[0], *escapes])

    assert decode(encoded) == text


@fast
@given(st.text(st.characters(max_codepoint=127)))
def test_decoding_is_lenient_as_a_web_server_is(text: str) -> None:
    """Escapes that are none stand for themselves, as the standard library has it."""
    try:
        expected: str | None = unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        expected = None

    assert decode(text.encode()) == expected


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"a+b%20c", "a b c"),
        (b"%2b%2B", "++"),
        (b"%7b%22A%22%3a1%7D", '{"A":1}'),
        (b"%2522", "%22"),
        (b"%25%32%32", "%22"),
        (b"100%", "100%"),
        (b"%", "%"),
        (b"%2", "%2"),
        (b"%zz%2", "%zz%2"),
        (b"%%22", '%"'),
        (b"", ""),
        ('{"名":1}'.encode(), '{"名":1}'),
        (b"%E7%8E%8B", "王"),
        (b"%e7%8e%8b", "王"),
    ],
)
def test_decoding_of(encoded: bytes, text: str) -> None:
    """Cases that a careless decoder gets wrong; a percent sign is never decoded twice."""
    assert decode(encoded) == text


@pytest.mark.parametrize("encoded", [b"%FF", b"\xff", b"%E7%8E", b"%ED%A0%80", b"%C0%80", b"\xe7\x8e"])
def test_what_is_no_utf8_is_not_decoded(encoded: bytes) -> None:
    """Stray bytes, cut characters, surrogates and overlong forms."""
    assert decode(encoded) is None
