"""Writing JSON on which all encoders agree, and reading JSON that tries to break the reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.protocol.checksum import check_mac
from adapter.protocol.encoding import Encoder, decode, encode
from adapter.protocol.json_text import DISPUTED, MAX_DEPTH, read_json, write_encoded_json

from .samples import KEYS, fast, json_values, payloads, unicode_text


def _written(payload: Mapping[str, object]) -> str:
    """The written text without its percent-encoding."""
    return decode(write_encoded_json(payload)).text


def _step_by_step(payload: Mapping[str, object]) -> bytes:
    """The witness: write the JSON, escape each disputed character, percent-encode the whole text."""
    text = json.dumps(payload, separators=(",", ":"))
    for character in DISPUTED:
        text = text.replace(character, f"\\u{ord(character):04X}")
    return quote(text, safe="-_.~").encode()


@fast
@given(st.dictionaries(st.text(st.characters()), json_values | st.text(st.characters()), max_size=4))
def test_payload_is_written_as_step_by_step(payload: dict[str, object]) -> None:
    """Byte for byte, also where a key or a value holds half a surrogate pair."""
    assert write_encoded_json(payload) == _step_by_step(payload)


def test_every_character_is_written_as_step_by_step() -> None:
    """The whole of the BMP with its control characters and surrogates, each of ASCII alone, and some of each plane."""
    characters = [chr(code) for code in (*range(0x10000), *range(0x10000, 0x110000, 0x101), 0x10FFFF)]

    for ascii_character in characters[:128]:
        payload = {ascii_character: ascii_character}
        assert write_encoded_json(payload) == _step_by_step(payload)
    payload = {"all": "".join(characters)}
    assert write_encoded_json(payload) == _step_by_step(payload)


@fast
@given(payloads)
def test_written_payload_gets_the_same_checksum_from_every_encoder(payload: dict[str, object]) -> None:
    """No encoder that ECPay or anyone else uses can disagree about what we send."""
    written = write_encoded_json(payload)

    assert {encode(_written(payload), encoder) for encoder in Encoder} == {written}
    assert len({check_mac(written, KEYS, encoder) for encoder in Encoder}) == 1


@fast
@given(payloads)
def test_written_payload_is_ascii_without_a_disputed_character(payload: dict[str, object]) -> None:
    """The text needs no agreement on charset or on the seven characters."""
    text = _written(payload)

    assert text.isascii()
    assert text.isprintable() or "\x7f" in text
    assert not set(DISPUTED) & set(text)


@fast
@given(payloads)
def test_written_payload_reads_back_the_same(payload: dict[str, object]) -> None:
    """Escaping changes the spelling and never the meaning, for our reader and for the standard library."""
    assert read_json(_written(payload)) == payload
    assert json.loads(_written(payload)) == payload


def test_written_payload_is_compact_and_spells_the_disputed_characters_out() -> None:
    """Exactly this spelling."""
    assert _written({"a b": "!*'()~", "n": [1, None, True]}) == (
        r'{"a\u0020b":"\u0021\u002A\u0027\u0028\u0029\u007E","n":[1,null,true]}'
    )


def test_backslash_before_a_disputed_character_keeps_its_meaning() -> None:
    """An escaped backslash followed by a space must not become an escape of something else."""
    payload: dict[str, object] = {"path": "C:\\ (x)", "quote": '\\" ~', "percent": "%20 %"}

    assert json.loads(_written(payload)) == payload


def test_any_mapping_can_be_written() -> None:
    """A read-only mapping is as good as a dict."""
    assert write_encoded_json(MappingProxyType({"A": 1})) == b"%7B%22A%22%3A1%7D"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_know_are_not_written(value: float) -> None:
    """A programming error shows where it is made."""
    with pytest.raises(ValueError, match="JSON"):
        write_encoded_json({"A": value})


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "}", "nul", "null", "{'A':1}", '{"A":1,}', '{"A":1}x', '{"A":}', "[1", '"', '"\n"', "\ufeff{}",
        "NaN", "Infinity", "-Infinity", '{"A":NaN}', "1e999", "-1e999", "9" * 5000, '{"A":' + "9" * 5000 + "}",
        "[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"A":' * 50_000, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    ],
)  # fmt: skip
def test_what_no_honest_sender_writes_is_not_read(text: str) -> None:
    """Broken syntax, numbers beyond bounds, nesting beyond bounds: None, and no exception of any kind."""
    assert read_json(text) is None


def test_nesting_is_read_up_to_its_bound() -> None:
    """The bound counts depth and not how many arrays there are."""
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    wide = "[" + ",".join(['[1,"a",{}]'] * 1000) + "]"

    assert read_json(deep) is not None
    assert read_json(wide) == [[1, "a", {}]] * 1000


def test_last_of_equal_keys_counts() -> None:
    """As in every common parser, ECPay's included."""
    assert read_json('{"A":1,"A":2}') == {"A": 2}


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    """A server that cuts a remark to length may leave one; no UTF-8 could carry it on."""
    value = read_json(r'{"Remark":"ab\ud83d","\uDE00":["\ud83d\ude00","x\ude00"]}')

    assert value == {"Remark": "ab\ufffd", "\ufffd": ["😀", "x\ufffd"]}


@fast
@given(st.text() | st.text('[]{}":,\\ud8e0123nultrfas-.+E '))
def test_any_text_is_read_or_refused_without_an_error(text: str) -> None:
    """Whatever comes, the reader answers; and what it answers can be written as UTF-8."""
    value = read_json(text)

    json.dumps(value, ensure_ascii=False).encode()


@fast
@given(json_values, unicode_text)
def test_reading_agrees_with_the_standard_library(value: object, key: str) -> None:
    """Nothing that is JSON is refused."""
    text = json.dumps({key: value}, ensure_ascii=False)

    assert read_json(text) == json.loads(text)
