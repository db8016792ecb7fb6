"""The four percent-encoders and the one decoder, against Python's own as an independent witness."""

from __future__ import annotations

from urllib.parse import quote, quote_plus, unquote_plus, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.protocol.encoding import Encoder, decode, encode

from .samples import encoded_texts, fast, unicode_text

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


def _text(encoded: bytes) -> str | None:
    """The decoded text; None if it is not UTF-8."""
    decoded = decode(encoded)
    return decoded.text if decoded.whole else None


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

    assert decode(encoded).text == text


@fast
@given(st.text(st.characters(max_codepoint=127)))
def test_decoding_is_lenient_as_a_web_server_is(text: str) -> None:
    """Escapes that are none stand for themselves, as the standard library has it."""
    try:
        expected: str | None = unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        expected = None

    assert _text(text.encode()) == expected


@fast
@given(encoded_texts)
def test_any_bytes_are_decoded_as_the_standard_library_does(encoded: bytes) -> None:
    """Escapes of any kind among bytes of any kind; what is not UTF-8 is replaced."""
    data = unquote_to_bytes(encoded.replace(b"+", b" "))

    assert decode(encoded).text == data.decode(errors="replace")
    assert decode(encoded).whole == (data.decode(errors="ignore").encode() == data)


@fast
@given(encoded_texts | unicode_text.map(lambda text: encode(text, Encoder.ESCAPE_DATA_STRING)))
def test_official_is_what_the_official_encoder_writes(encoded: bytes) -> None:
    """But for the case of hex digits, which no checksum sees. Of what is not UTF-8, no encoder writes anything."""
    decoded = decode(encoded)

    written = _witness(decoded.text, Encoder.ESCAPE_DATA_STRING).encode()
    assert decoded.official == (decoded.whole and written.lower() == encoded.lower())


@pytest.mark.parametrize(
    ("encoded", "official"),
    [
        (b"", True),
        (b"Az09-_.~%20%2b%2B%3D%0A%C3%a9", True),
        (b"a+b", False),
        (b"a=b", False),
        (b"a\nb", False),
        (b"(", False),
        (b"%41", False),
        (b"%7E", False),
        (b"%", False),
        (b"%2", False),
        (b"%%41", False),
        (b"%FF", False),
        (b"%F0%9F%98", False),
    ],
)
def test_official_form_of(encoded: bytes, official: bool) -> None:
    """A bare character, a needless escape, a broken one, two faults whose lengths cancel, and what is not UTF-8."""
    assert decode(encoded).official is official


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
        (b"%%%41%%", "%%A%%"),
        (b"a=3Db=%3D=", "a=3Db==="),
        (b"a%\nb=\n%0D=\rc ", "a%\nb=\n\r=\rc "),
        (b"", ""),
        ('{"名":1}'.encode(), '{"名":1}'),
        (b"%E7%8E%8B", "王"),
        (b"%e7%8e%8b", "王"),
    ],
)
def test_decoding_of(encoded: bytes, text: str) -> None:
    """Cases that a careless decoder gets wrong; a percent sign is never decoded twice."""
    assert decode(encoded).text == text


@pytest.mark.parametrize("encoded", [b"%FF", b"\xff", b"%E7%8E", b"%ED%A0%80", b"%C0%80", b"\xe7\x8e"])
def test_what_is_no_utf8_is_not_decoded(encoded: bytes) -> None:
    """Stray bytes, cut characters, surrogates and overlong forms."""
    assert _text(encoded) is None
