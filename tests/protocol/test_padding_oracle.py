"""A server that opens forged texts reveals nothing about their padding: not by its answer, and not by its work.

The attack (Vaudenay, 2002): an attacker who learns for each forged text whether its padding is right can decrypt a
recorded one without the keys. A difference in time serves as well as one in the answer; so the work is counted here.
"""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from adapter.errors import WrongChecksum
from adapter.protocol import envelope
from adapter.protocol.checksum import check_mac, matching_encoder
from adapter.protocol.cipher import decrypt
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Decoded, Encoder, encode
from adapter.protocol.envelope import open_request, seal_request

from .samples import KEYS, MERCHANT, NOW, PLATFORM_MERCHANT

BLOCK = 16
OFFICIAL = Encoder.ESCAPE_DATA_STRING
RECORDED = json.loads(
    seal_request({"MerchantID": "3085676", "Names": "王小明" * 300, "UseStatus": 2}, MERCHANT, timestamp=NOW)
)


def _forged(byte: int, *, blocks: int | None = None) -> bytes:
    """The recorded text, all of it or its first blocks, with another last byte of its block before last."""
    data = bytearray(base64.b64decode(RECORDED["Data"]))
    if blocks is not None:
        del data[blocks * BLOCK :]
    data[-BLOCK - 1] = byte
    return json.dumps(RECORDED | {"Data": base64.b64encode(data).decode(), "CheckMacValue": "0" * 64}).encode()


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of each text whose checksum is computed."""
    lengths: list[int] = []

    def counting(received: str, decoded: Decoded, encoded: bytes, credentials: Credentials) -> str | None:
        lengths.append(len(encoded))
        return matching_encoder(received, decoded, encoded, credentials)

    monkeypatch.setattr(envelope, "matching_encoder", counting)
    return lengths


@pytest.mark.parametrize("merchant", [MERCHANT, PLATFORM_MERCHANT], ids=["alone", "of a platform"])
@pytest.mark.parametrize("blocks", [None, 2, 7], ids=["long", "two blocks", "seven blocks"])
def test_right_and_wrong_padding_cost_and_answer_the_same(
    merchant: Merchant, blocks: int | None, work: list[int]
) -> None:
    """All 256 values of one byte, of which one or two give a right padding."""
    rightly_padded = 0
    for byte in range(256):
        body = _forged(byte, blocks=blocks)
        rightly_padded += decrypt(json.loads(body)["Data"], KEYS) is not None
        before = len(work)
        with pytest.raises(WrongChecksum):
            open_request(body, lambda merchant_id, platform_id: merchant)
        assert len(work) - before == len(merchant.accepted)

    assert 1 <= rightly_padded < 256
    assert max(work) - min(work) < BLOCK


def test_a_text_that_is_not_utf8_costs_and_answers_the_same(work: list[int]) -> None:
    """Its first block decrypts to noise, or to text."""
    data = bytearray(base64.b64decode(RECORDED["Data"]))
    for byte in range(64):
        data[0] = byte
        body = json.dumps(RECORDED | {"Data": base64.b64encode(data).decode()}).encode()
        with pytest.raises(WrongChecksum):
            open_request(body, lambda merchant_id, platform_id: MERCHANT)

    assert len(work) == 64
    assert len(set(work)) == 1


def test_a_text_with_wrong_padding_is_not_believed_whatever_its_checksum() -> None:
    """Its last byte is no part of the text, so no sender means such a text."""
    text = b'{"UseStatus":1}!'
    sealed = json.loads(seal_request({"UseStatus": 1}, MERCHANT, timestamp=NOW))
    encryptor = Cipher(AES(KEYS.hash_key.encode()), CBC(KEYS.hash_iv.encode())).encryptor()
    data = base64.b64encode(encryptor.update(text) + encryptor.finalize()).decode()
    changed = sealed | {"Data": data, "CheckMacValue": check_mac(encode(text[:-1].decode(), OFFICIAL), KEYS)}

    with pytest.raises(WrongChecksum):
        open_request(json.dumps(changed).encode(), lambda merchant_id, platform_id: MERCHANT)
