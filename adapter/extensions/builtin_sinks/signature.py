"""Signs messages as Standard Webhooks specifies: the receiver can verify the sender and the time of a message.

`{id}.{timestamp}.{body}` is signed by HMAC-SHA256. While a secret is being rotated, a message has one signature for
each, so the receiver can change at any time. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping

PREFIX = "whsec_"
SECRET_BYTES = (24, 64)
"""Minimum and maximum, as Standard Webhooks requires."""


def read_secret(text: str) -> bytes:
    """Return the key in `whsec_` plus base64.

    Raises ValueError; its text does not quote the secret.
    """
    minimum, maximum = SECRET_BYTES
    wrong = (
        f"A secret is {PREFIX} followed by {minimum} to {maximum} random bytes in base64. "
        "Make one: openssl rand -base64 32."
    )
    if not text.startswith(PREFIX):
        raise ValueError(wrong)
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(wrong) from None
    if not minimum <= len(key) <= maximum:
        raise ValueError(wrong)
    return key


def signed_headers(body: bytes, *, message_id: str, timestamp: int, secrets: Iterable[bytes]) -> Mapping[str, str]:
    """Return the three headers; one signature for each secret, in their order."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
