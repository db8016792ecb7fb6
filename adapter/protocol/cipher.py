"""AES-128-CBC with PKCS#7 padding and base64, as the field `Data` uses it (page 32235).

All failures of decryption look alike: the reason is not reported.
"""

from __future__ import annotations

import binascii
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from msgspec import Struct

from adapter.protocol.credentials import Credentials

_BLOCK = 16


def encrypt(plain: bytes, credentials: Credentials) -> str:
    """Encrypt to standard base64."""
    missing = _BLOCK - len(plain) % _BLOCK
    padded = plain + bytes((missing,)) * missing
    encryptor = _cipher(credentials).encryptor()
    data = encryptor.update(padded) + encryptor.finalize()
    return binascii.b2a_base64(data, newline=False).decode()


class Decrypted(Struct, frozen=True):
    """A decrypted text. If its padding is wrong (`padded` is false), the text is everything but the last byte."""

    text: bytes
    padded: bool


def decrypt(data: str, credentials: Credentials) -> bytes | None:
    """Decrypt standard base64; None if it is not canonical base64, not whole blocks, or not padded.

    Only the canonical form is accepted (no white space, no extra bits after the last byte), so that each ciphertext has
    one text and a changed bit is always noticed.
    """
    decrypted = decrypt_blocks(data, credentials)
    return decrypted.text if decrypted is not None and decrypted.padded else None


def decrypt_blocks(data: str, credentials: Credentials) -> Decrypted | None:
    """As `decrypt`, but it returns a text too if only the padding is wrong.

    So a server can go on with the same work and hide from the sender whether the padding was right.
    """
    ciphertext = _canonical_base64(data)
    if not ciphertext or len(ciphertext) % _BLOCK:
        return None
    decryptor = _cipher(credentials).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    length = padded[-1]
    right = 1 <= length <= _BLOCK and padded[-length:] == padded[-1:] * length
    return Decrypted(padded[: -length if right else -1], right)


def _canonical_base64(data: str) -> bytes | None:
    """Decode base64 in its canonical form."""
    try:
        decoded = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        return None
    return decoded if binascii.b2a_base64(decoded, newline=False).decode() == data else None


@lru_cache(maxsize=256)
def _cipher(credentials: Credentials) -> Cipher[CBC]:
    """Create the cipher, once for each pair of keys; HashKey and HashIV are used as text, not as hex."""
    return Cipher(AES(credentials.hash_key.encode()), CBC(credentials.hash_iv.encode()))
