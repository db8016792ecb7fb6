"""Answers to Issue calls, sealed as ECTicket seals them, at a fraction of what `adapter.protocol` takes.

The stub must not be the bottleneck, and all answers are alike but for the number they echo: so of a request only the
blocks that hold the number are decrypted, and of an answer only what follows the common part is encrypted and hashed.
Does not check requests; the sandbox does.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import time

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.encoding import Encoder, encode

MERCHANT = Merchant(
    merchant_id="3085676", credentials=Credentials(hash_key="7b53896b742849d3", hash_iv="37a0ad3c6ffa428b")
)
"""ECPay's public test merchant; its keys are on ECPay's own page 29911."""

_BLOCK = 16
_WHOLE = 48
"""Bytes that are whole blocks of AES and whole groups of base64."""
_HEAD_BASE64 = 172
_HEAD_BYTES = 128
"""The first blocks of a request: MerchantID and the trade number are its first fields."""

_FIELD = encode('"MerchantTradeNo":"', Encoder.ESCAPE_DATA_STRING)
_END = encode('"', Encoder.ESCAPE_DATA_STRING)
_SAMPLE = {
    "RtnCode": 1,
    "RtnMsg": "success",
    "MerchantID": MERCHANT.merchant_id,
    "TicketTradeNo": "2026030200000001",
    "TicketData": [],  # the same for every order, so it must name no tickets: a difference is an alarm in the log
    "MerchantTradeNo": "",
}


class UnknownRequestError(Exception):
    """No Issue request under a MerchantTradeNo of the merchant's."""


class Sealer:
    """Finds the number in a sealed request, and makes the sealed answer that echoes it."""

    def __init__(self, merchant: Merchant = MERCHANT) -> None:
        key, iv = merchant.credentials.hash_key, merchant.credentials.hash_iv
        self._aes = AES(key.encode())
        self._iv = iv.encode()
        text = encode(json.dumps(_SAMPLE, separators=(",", ":")), Encoder.ESCAPE_DATA_STRING)
        common, self._suffix = text[: -len(_END) - 3], text[-len(_END) - 3 :]  # `"}` is %22%7D
        split = len(common) // _WHOLE * _WHOLE
        encrypted = self._encrypt(common[:split], self._iv)
        self._common_base64 = binascii.b2a_base64(encrypted, newline=False)
        self._next_iv = encrypted[-_BLOCK:]
        self._rest_of_common = common[split:]
        self._hash = hashlib.sha256((key.encode() + common).lower())
        address = f'{{"PlatformID":"","MerchantID":"{merchant.merchant_id}","RpHeader":{{"Timestamp":'
        self._opening = address.encode()

    def number(self, body: bytes) -> bytes:
        """The MerchantTradeNo of an Issue request. Raises UnknownRequestError."""
        data = body.partition(b'"Data":"')[2][:_HEAD_BASE64]
        try:
            head = binascii.a2b_base64(data)[:_HEAD_BYTES]
            decryptor = Cipher(self._aes, CBC(self._iv)).decryptor()
            text = decryptor.update(head)
        except ValueError as error:
            raise UnknownRequestError from error
        number, end, _ = text.partition(_FIELD)[2].partition(_END)
        if not (number and end):
            raise UnknownRequestError
        return number

    def answer(self, number: bytes) -> bytes:
        """The whole HTTP body that says: received, under this number."""
        tail = self._rest_of_common + number + self._suffix
        missing = _BLOCK - len(tail) % _BLOCK
        data = binascii.b2a_base64(self._encrypt(tail + bytes((missing,)) * missing, self._next_iv), newline=False)
        digest = self._hash.copy()
        digest.update((number + self._suffix + self._iv).lower())
        return b'%s%d},"TransCode":1,"TransMsg":"","Data":"%s%s","CheckMacValue":"%s"}' % (
            self._opening,
            int(time.time()),
            self._common_base64,
            data,
            digest.hexdigest().upper().encode(),
        )

    def _encrypt(self, blocks: bytes, iv: bytes) -> bytes:
        return Cipher(self._aes, CBC(iv)).encryptor().update(blocks)
