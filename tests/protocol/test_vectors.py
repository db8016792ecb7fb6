"""ECPay's and others' published test vectors, each reproduced with two independent crypto libraries beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest

from adapter.protocol.checksum import check_mac, matching_encoder
from adapter.protocol.cipher import decrypt, encrypt
from adapter.protocol.credentials import Credentials
from adapter.protocol.encoding import Encoder, decode, encode


class Vector(TypedDict):
    """One entry of vectors.json."""

    name: str
    kind: str
    key: str
    iv: str
    plaintext: str
    urlencoded: str
    expected: str
    encoder: NotRequired[str]
    direction: NotRequired[str]
    variant: NotRequired[str]
    lowercased: NotRequired[str]
    discriminates: NotRequired[list[str]]


VECTORS: list[Vector] = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))
OFFICIAL = Encoder.ESCAPE_DATA_STRING


def _of(kind: str, **wanted: str) -> list[object]:
    """Select vectors as test parameters named after them."""
    return [
        pytest.param(vector, id=vector["name"])
        for vector in VECTORS
        if vector["kind"] == kind and all(vector.get(name) == value for name, value in wanted.items())
    ]


def _keys(vector: Vector) -> Credentials:
    return Credentials(hash_key=vector["key"], hash_iv=vector["iv"])


def test_all_vectors_are_here() -> None:
    """A vector that got lost would pass unnoticed."""
    assert len(VECTORS) == 41
    assert len(_of("aes")) + len(_of("checkmac")) == 41
    assert len(_of("aes", direction="both")) == 19
    assert [v["name"] for v in VECTORS if v.get("variant", OFFICIAL) != OFFICIAL] == [
        "peer-livestream-legacy-httputility"
    ]


@pytest.mark.parametrize("vector", _of("aes", direction="both"))
def test_ciphertext_is_reproduced(vector: Vector) -> None:
    """Sealing as the official encoder does brings the published base64, byte for byte."""
    encoded = encode(vector["plaintext"], OFFICIAL)

    assert encoded.decode() == vector["urlencoded"]
    assert encrypt(encoded, _keys(vector)) == vector["expected"]


@pytest.mark.parametrize("vector", _of("aes"))
def test_ciphertext_of_every_encoder_is_read(vector: Vector) -> None:
    """For every encoder and both hex cases, the plaintext comes out."""
    decrypted = decrypt(vector["expected"], _keys(vector))

    assert decrypted is not None
    assert decrypted.decode() == vector["urlencoded"]
    assert decode(decrypted).text == vector["plaintext"]


@pytest.mark.parametrize("vector", _of("checkmac", variant="escape_data_string"))
def test_checksum_is_reproduced(vector: Vector) -> None:
    """Each step of the official formula, and its result."""
    encoded = encode(vector["plaintext"], OFFICIAL)

    assert (vector["key"].encode() + encoded + vector["iv"].encode()).lower().decode() == vector["lowercased"]
    assert check_mac(encoded, _keys(vector)) == vector["expected"]


@pytest.mark.parametrize("vector", _of("checkmac"))
def test_checksum_of_every_variant_is_believed_on_receipt(vector: Vector) -> None:
    """The receiver says under which encoder it was made; where several agree, the official one."""
    encoded = encode(vector["plaintext"], OFFICIAL)

    assert matching_encoder(vector["expected"], decode(encoded), encoded, _keys(vector)) == vector["variant"]


@pytest.mark.parametrize("vector", _of("checkmac"))
def test_checksum_distinguishes_the_encoders_that_the_vector_names(vector: Vector) -> None:
    """`discriminates` names exactly the encoders that come to another checksum."""
    made = {encoder: check_mac(encode(vector["plaintext"], encoder), _keys(vector), encoder) for encoder in Encoder}

    different = {encoder.value for encoder, checksum in made.items() if checksum != vector["expected"]}
    assert different == set(vector.get("discriminates", []))


def test_legacy_checksum_is_never_produced() -> None:
    """The one vector of the old encoder is believed, and what we would send for the same text is another."""
    (vector,) = (v for v in VECTORS if v.get("variant") == Encoder.DOTNET_HTTP_UTILITY)
    encoded = encode(vector["plaintext"], OFFICIAL)

    assert matching_encoder(vector["expected"], decode(encoded), encoded, _keys(vector)) is not None
    assert check_mac(encoded, _keys(vector)) != vector["expected"]
