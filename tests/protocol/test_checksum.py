"""CheckMacValue: the formula in words of its own, and what is believed on receipt."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.protocol.checksum import AS_DECRYPTED, check_mac, matching_encoder
from adapter.protocol.credentials import Credentials
from adapter.protocol.encoding import Encoder, decode, encode

from .samples import KEYS, ODD_KEYS, OTHER_KEYS, encoded_texts, fast, unicode_text

OFFICIAL = Encoder.ESCAPE_DATA_STRING
TEXT = '{"Name":"Jo (2) ~!*"}'


def _matching(received: str, encoded: bytes, keys: Credentials = KEYS) -> str | None:
    return matching_encoder(received, decode(encoded), encoded, keys)


def _as_decrypted(encoded: bytes, keys: Credentials) -> str:
    return hashlib.sha256((keys.hash_key.encode() + encoded + keys.hash_iv.encode()).lower()).hexdigest()


@fast
@given(unicode_text, st.sampled_from([KEYS, ODD_KEYS]))
def test_checksum_is_the_official_formula(text: str, keys: Credentials) -> None:
    """upper(SHA-256(lower(UrlEncode(HashKey + text + HashIV)))), encoded as one, whatever the keys hold."""
    whole = quote(keys.hash_key + text + keys.hash_iv, safe="-_.~")

    assert check_mac(encode(text, OFFICIAL), keys) == hashlib.sha256(whole.lower().encode()).hexdigest().upper()


@pytest.mark.parametrize("encoder", Encoder)
@pytest.mark.parametrize("keys", [KEYS, ODD_KEYS])
def test_checksum_of_every_encoder_is_believed_and_named(encoder: Encoder, keys: Credentials) -> None:
    """Four encoders have been seen, and all of them are accepted."""
    text = TEXT + "'"
    made = check_mac(encode(text, encoder), keys, encoder)

    assert _matching(made, encode(text, encoder), keys) == encoder.value


def test_texts_without_disputed_characters_count_as_official() -> None:
    """Where the encoders agree, the official one is named."""
    text = '{"A":1}'
    made = check_mac(encode(text, Encoder.PHP_URLENCODE), KEYS, Encoder.PHP_URLENCODE)

    assert _matching(made, encode(text, OFFICIAL)) == OFFICIAL


def test_checksum_over_the_text_as_encrypted_is_believed() -> None:
    """A fifth encoder is explained by what it encrypted."""
    text = '{"Name":"a b-c"}'
    encoded = b"{%22Name%22:%22a b%2Dc%22}"
    made = _as_decrypted(encoded, KEYS)

    assert decode(encoded).text == text
    assert _matching(made, encoded) == AS_DECRYPTED
    assert _matching(made, encode(text, OFFICIAL)) is None


def test_hex_case_of_the_checksum_does_not_matter() -> None:
    """Upper is documented, lower and mixed are believed."""
    made = check_mac(encode(TEXT, OFFICIAL), KEYS)

    assert made == made.upper()
    for received in (made, made.lower(), made.swapcase(), made[:7].lower() + made[7:]):
        assert _matching(received, encode(TEXT, OFFICIAL)) == OFFICIAL


@pytest.mark.parametrize(
    "received",
    ["", "0", "0" * 64, "F" * 63, "F" * 65, "王" * 64, "\ud800" * 64, "\x00" * 64, "ß" * 64, "ﬀ" * 32, " " * 64],
    ids=ascii,
)
def test_what_is_no_checksum_is_not_believed(received: str) -> None:
    """Also not when upper-casing would make it longer, or when no codec can write it."""
    assert _matching(received, encode(TEXT, OFFICIAL)) is None


def test_checksum_of_other_keys_is_not_believed() -> None:
    """Nor one with key and vector exchanged."""
    swapped = Credentials(hash_key=KEYS.hash_iv, hash_iv=KEYS.hash_key)

    for keys in (OTHER_KEYS, swapped):
        made = check_mac(encode(TEXT, OFFICIAL), keys)
        assert _matching(made, encode(TEXT, OFFICIAL)) is None


def test_formula_is_case_insensitive() -> None:
    """No defect of ours, and the reason why nothing relies on it."""
    assert check_mac(encode("ABC", OFFICIAL), KEYS) == check_mac(encode("abc", OFFICIAL), KEYS)


@fast
@given(
    st.one_of(encoded_texts, st.builds(encode, unicode_text, st.sampled_from(Encoder))),
    st.sampled_from([KEYS, ODD_KEYS]),
    st.sampled_from([*Encoder, AS_DECRYPTED, None]),
    st.booleans(),
)
def test_every_checksum_counts_as_if_the_text_were_encoded_again(
    encoded: bytes, keys: Credentials, signed: Encoder | str | None, lower: bool
) -> None:
    """A text that is not encoded again is believed, named and refused exactly as one that is."""
    text = decode(encoded).text
    by_encoder: dict[str | None, str] = {
        encoder.value: check_mac(encode(text, encoder), keys, encoder) for encoder in Encoder
    }
    as_decrypted = _as_decrypted(encoded, keys).upper()
    every = {None: check_mac(encoded, keys), AS_DECRYPTED: as_decrypted, **by_encoder}
    made = every[signed]
    expected = next((encoder for encoder in by_encoder if by_encoder[encoder] == made), None)
    if expected is None and made == as_decrypted:
        expected = AS_DECRYPTED

    assert _matching(made.lower() if lower else made, encoded, keys) == expected


@fast
@given(encoded_texts, st.integers(0, 63), st.sampled_from("0123456789ABCDEF"))
def test_a_checksum_with_one_wrong_digit_is_refused(encoded: bytes, at: int, digit: str) -> None:
    """Of a text in whatever form."""
    made = check_mac(encode(decode(encoded).text, OFFICIAL), KEYS)
    wrong = made[:at] + digit + made[at + 1 :]

    assert _matching(wrong, encoded) == (OFFICIAL if wrong == made else None)
