"""CheckMacValue: computed with the official encoder, accepted under any that ECTicket has been seen using.

Formula (page 32236): SHA-256 over lower(UrlEncode(HashKey + JSON text + HashIV)), in upper-case hex. The text is the
one that was encrypted, byte for byte, never JSON written again.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from adapter.protocol.credentials import Credentials
from adapter.protocol.encoding import Decoded, Encoder, encode

AS_DECRYPTED = "as_decrypted"
"""In place of an encoder's name: the checksum matches the decrypted text as its sender had encoded it."""

_LENGTH = 2 * hashlib.sha256().digest_size
_ENCODERS = tuple(Encoder)


def check_mac(encoded: bytes, credentials: Credentials, encoder: Encoder = Encoder.ESCAPE_DATA_STRING) -> str:
    """Sign a text that `encoder` has encoded; the keys are encoded in the same way, as the formula requires."""
    key, iv = _encoded_keys(credentials, encoder)
    return _digest(key, encoded, iv)


def matching_encoder(received: str, decoded: Decoded, encoded: bytes, credentials: Credentials) -> str | None:
    """Return the encoder under which `received` is the checksum of the `decoded` text; None if there is none.

    `encoded` is the result of decryption, before it was decoded. If none of the four encoders matches, `encoded` itself
    is tried: a sender with a fifth encoder signs what it encrypts.

    Compared in constant time and without regard to the case of the hex digits.
    """
    if len(received) != _LENGTH or not received.isascii():
        return None
    candidate = received.upper()
    for encoder in _ENCODERS:
        # Nearly every text arrives in the official encoding, and need not be encoded again.
        is_encoded = decoded.official and encoder is Encoder.ESCAPE_DATA_STRING
        signed = encoded if is_encoded else encode(decoded.text, encoder)
        if hmac.compare_digest(check_mac(signed, credentials, encoder), candidate):
            return encoder.value
    as_decrypted = _digest(credentials.hash_key.encode(), encoded, credentials.hash_iv.encode())
    return AS_DECRYPTED if hmac.compare_digest(as_decrypted, candidate) else None


@lru_cache(maxsize=1024)
def _encoded_keys(credentials: Credentials, encoder: Encoder) -> tuple[bytes, bytes]:
    """HashKey and HashIV, encoded once for each encoder and not for each message."""
    return encode(credentials.hash_key, encoder), encode(credentials.hash_iv, encoder)


def _digest(key: bytes, encoded: bytes, iv: bytes) -> str:
    """Lower-case, hash, and write as upper-case hex."""
    return hashlib.sha256((key + encoded + iv).lower()).hexdigest().upper()
