"""Keys: what forms they may have, which ones sign, and that they show nowhere."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions

from adapter.errors import EnvelopeError, SettingsError
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.envelope import open_response, seal_request, seal_response

from .samples import (
    ELECTRONIC,
    KEYS,
    MERCHANT,
    NOW,
    ODD_KEYS,
    OTHER_KEYS,
    OTHER_MERCHANT,
    PLATFORM_KEYS,
    PLATFORM_MERCHANT,
    SECRETS,
    chain_of,
    fast,
    raised_by,
)


@pytest.mark.parametrize("show", [repr, str, ascii, "{}".format, "{!r:>100}".format, lambda value: f"{value!s}"])
@pytest.mark.parametrize("value", [KEYS, ODD_KEYS, MERCHANT, PLATFORM_MERCHANT, [KEYS], {"keys": KEYS}])
def test_keys_show_in_no_text(value: object, show: object) -> None:
    """However a value is turned into text, alone or inside others."""
    assert callable(show)
    text = str(show(value))

    assert not [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [KEYS, MERCHANT, PLATFORM_MERCHANT])
def test_keys_are_not_pickled(value: object, protocol: int) -> None:
    """A pickle would carry them in clear; the refusal does not name them either."""
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(value, protocol)

    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_keys_can_be_copied_and_compared() -> None:
    """They are values: equal when their texts are, usable as keys of a dict, and a copy is the same thing."""
    twin = Credentials(hash_key=KEYS.hash_key, hash_iv=KEYS.hash_iv)

    assert twin == KEYS != OTHER_KEYS
    assert len({twin, KEYS}) == 1
    assert copy.copy(KEYS) is KEYS
    assert copy.deepcopy(MERCHANT) == MERCHANT


@pytest.mark.parametrize(
    ("hash_key", "words"),
    [
        ("", "0"),
        ("7b53896b742849d", "15"),
        ("7b53896b742849d34", "17"),
        ("7b53896b742849d3\n", "17"),
        ("7b53896b742849d王", "others"),
        ("7b53896b 42849d3", "others"),
        ("7b53896b742849d\n", "others"),
        (7, "no text"),
        (None, "no text"),
    ],
)
def test_keys_of_another_form_are_refused(hash_key: str, words: str) -> None:
    """The message says which key and what about it, and repeats no character of it."""
    with pytest.raises(SettingsError) as caught:
        Credentials(hash_key=hash_key, hash_iv="37a0ad3c6ffa428b")

    assert caught.value.problems == (str(caught.value),)
    assert mentions(str(caught.value), f"hash_key {words}")
    assert "7b53896b" not in str(caught.value)


def test_every_wrong_key_is_reported_at_once() -> None:
    """Two mistakes, two sentences."""
    with pytest.raises(SettingsError) as caught:
        Credentials(hash_key="short", hash_iv="too")

    assert [problem.split()[0] for problem in caught.value.problems] == ["hash_key", "hash_iv"]


@fast
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=16))
def test_any_sixteen_visible_characters_are_keys(text: str) -> None:
    """ECPay's keys look like hex, and nothing says that they must; what they seal, they open."""
    merchant = Merchant(merchant_id="1", credentials=Credentials(hash_key=text, hash_iv=text[::-1]))

    opened = open_response(seal_response({"RtnCode": 1, "RtnMsg": text}, merchant, timestamp=NOW), merchant)
    assert opened.payload == {"RtnCode": 1, "RtnMsg": text}


def test_platform_signs_for_its_merchants() -> None:
    """The platform's keys sign; on receipt both pairs are believed, the signing one first."""
    assert MERCHANT.signing is KEYS
    assert MERCHANT.accepted == (KEYS,)
    assert PLATFORM_MERCHANT.signing is PLATFORM_KEYS
    assert PLATFORM_MERCHANT.accepted == (PLATFORM_KEYS, KEYS)


@pytest.mark.parametrize("half", [{"platform_id": "3085672"}, {"platform_credentials": PLATFORM_KEYS}])
def test_half_a_platform_is_refused(half: dict[str, object]) -> None:
    """A number without keys could not sign, keys without a number would belong to no platform."""
    with pytest.raises(SettingsError, match="3085676"):
        Merchant(merchant_id="3085676", credentials=KEYS, **half)  # type: ignore[arg-type]  # half of it on purpose


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{}",
        b'{"TransCode":1,"Data":"AAAA","CheckMacValue":"x"}',
        b'{"TransCode":1,"Data":{"a":"0912345678"},"CheckMacValue":[]}',
        seal_response({"RtnMsg": "0912345678"}, OTHER_MERCHANT, timestamp=NOW),
        seal_response({"RtnMsg": "0912345678"}, MERCHANT, timestamp=NOW).replace(
            b'"CheckMacValue":"', b'"CheckMacValue":"0'
        ),
    ],
)
def test_no_error_on_receipt_shows_a_key_or_the_payload(body: bytes) -> None:
    """Neither its text nor its arguments, nor anything chained to it."""
    error = raised_by(lambda: open_response(body, MERCHANT))

    assert isinstance(error, EnvelopeError)
    expected_text = " ".join(f"{one} {one!r} {vars(one)}" for one in chain_of(error))
    assert not [secret for secret in (*SECRETS, "0912345678") if secret in expected_text]


def test_requests_and_replies_hide_the_customer() -> None:
    """What the customer typed stays out of `repr`; number and items stay in it."""
    opened = open_response(seal_response(ELECTRONIC.to_payload(), MERCHANT, timestamp=NOW), MERCHANT)

    for text in (repr(ELECTRONIC), repr(opened)):
        assert "0912345678" not in text
        assert "王珊珊" not in text
        assert "abc@gmail.com" not in text
    assert "CBX20220302153064851" in repr(ELECTRONIC)


def test_sealed_request_shows_no_key_and_no_customer() -> None:
    """What goes over the wire is encrypted where it matters."""
    body = seal_request(ELECTRONIC.to_payload(), MERCHANT, timestamp=NOW).decode()

    assert not [secret for secret in (*SECRETS, "0912345678", "AngelaChan") if secret in body]
