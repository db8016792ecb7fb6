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

from .samples import KEYS, ODD_KEYS, OTHER_KEYS, fast, unicode_text

OFFICIAL = Encoder.ESCAPE_DATA_STRING
TEXT = '{"Name":"Jo (2) ~!*"}'


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

    assert matching_encoder(made, text, encode(text, encoder), keys) == encoder.value


def test_texts_without_disputed_characters_count_as_official() -> None:
    """Where the encoders agree, the official one is named."""
    text = '{"A":1}'
    made = check_mac(encode(text, Encoder.PHP_URLENCODE), KEYS, Encoder.PHP_URLENCODE)

    assert matching_encoder(made, text, encode(text, OFFICIAL), KEYS) == OFFICIAL


def test_checksum_over_the_text_as_encrypted_is_believed() -> None:
    """A fifth encoder is explained by what it encrypted."""
    text = '{"Name":"a b-c"}'
    encoded = b"{%22Name%22:%22a b%2Dc%22}"
    made = hashlib.sha256((KEYS.hash_key.encode() + encoded + KEYS.hash_iv.encode()).lower()).hexdigest()

    assert decode(encoded) == text
    assert matching_encoder(made, text, encoded, KEYS) == AS_DECRYPTED
    assert matching_encoder(made, text, encode(text, OFFICIAL), KEYS) is None


def test_hex_case_of_the_checksum_does_not_matter() -> None:
    """Upper is documented, lower and mixed are believed."""
    made = check_mac(encode(TEXT, OFFICIAL), KEYS)

    assert made == made.upper()
    for received in (made, made.lower(), made.swapcase(), made[:7].lower() + made[7:]):
        assert matching_encoder(received, TEXT, encode(TEXT, OFFICIAL), KEYS) == OFFICIAL


@pytest.mark.parametrize(
    "received",
    ["", "0", "0" * 64, "F" * 63, "F" * 65, "王" * 64, "\ud800" * 64, "\x00" * 64, "ß" * 64, "ﬀ" * 32, " " * 64],
    ids=ascii,
)
def test_what_is_no_checksum_is_not_believed(received: str) -> None:
    """Also not when upper-casing would make it longer, or when no codec can write it."""
    assert matching_encoder(received, TEXT, encode(TEXT, OFFICIAL), KEYS) is None


def test_checksum_of_other_keys_is_not_believed() -> None:
    """Nor one with key and vector exchanged."""
    swapped = Credentials(hash_key=KEYS.hash_iv, hash_iv=KEYS.hash_key)

    for keys in (OTHER_KEYS, swapped):
        made = check_mac(encode(TEXT, OFFICIAL), keys)
        assert matching_encoder(made, TEXT, encode(TEXT, OFFICIAL), KEYS) is None


def test_formula_is_case_insensitive() -> None:
    """No defect of ours, and the reason why nothing relies on it."""
    assert check_mac(encode("ABC", OFFICIAL), KEYS) == check_mac(encode("abc", OFFICIAL), KEYS)
