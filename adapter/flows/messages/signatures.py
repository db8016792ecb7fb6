"""Signatures of the headers that steer the adapter: who wrote a record's `ecticket-*` headers.

    signer.sign(publication, merchant_id)    adds the header `ecticket-signature`
    signer.verify(record)                    Verified: whether the headers are as an adapter wrote them

The signature is an HMAC-SHA-256 over the record's key, its value and every `ecticket-*` header. Each is written with
its length in front, so no two records have the same text; null differs from empty. The order of headers does not count,
nor do headers of others: a dead letter that a person copies to another topic stays valid (contract, section 2.3).

    ecticket-signature: v1.{key id}.{HMAC, base64url}

Does not decide what a record without a valid signature may still say (`record_history.unsigned_history`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum, unique
from typing import Final, Protocol

from adapter.stream.records import ProducerRecord, Record

PREFIX: Final = "ecticket-"
SIGNATURE: Final = "ecticket-signature"
VERSION: Final = "v1"
_LABEL: Final = b"ecticket-adapter record signature v1"
_KEY_ID_LABEL: Final = b"ecticket-adapter key id v1"
_KEY_ID_CHARACTERS: Final = 16

Header = tuple[str, bytes | None]


@unique
class Trust(StrEnum):
    """The result of verifying a record's headers."""

    NOTHING_TO_SIGN = "nothing-to-sign"
    """The record has no `ecticket-*` header: an order as written by a shop."""
    VALID = "valid"
    """The headers are as an adapter wrote them."""
    UNSIGNED = "unsigned"
    """There are `ecticket-*` headers, and no signature or one of an unknown form."""
    UNKNOWN_KEY = "unknown-key"
    """The signature names a key that is not accepted."""
    INVALID = "invalid"
    """The signature does not fit: key, value or a header was changed, removed or added."""
    OTHER_MERCHANT = "other-merchant"
    """The keys of one merchant signed the plan of another one."""


TRUSTED: Final = frozenset({Trust.VALID, Trust.NOTHING_TO_SIGN})
"""All headers of such a record are honoured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key. `merchant_id`: it is derived from this merchant's keys and signs no other merchant's plans."""

    key_id: str
    secret: bytes = field(repr=False)
    merchant_id: str | None = None


class SigningKeys(Protocol):
    """The keys as they are now; `signing_keys.KeyRing` is the real one."""

    def signing(self, merchant_id: str | None) -> SigningKey | None:
        """The key that signs a record of this merchant; None if there is no key at all."""

    def accepted(self, key_id: str) -> SigningKey | None:
        """The key of this id, if signatures under it are accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The result of verifying, and the key."""

    trust: Trust
    key: SigningKey | None = None

    @property
    def valid(self) -> bool:
        """Whether the headers are as an adapter wrote them."""
        return self.trust is Trust.VALID

    def of_merchant(self, merchant_id: str) -> Verified:
        """The same for a plan of this merchant: another merchant's keys do not sign it."""
        if not self.valid or self.key is None or self.key.merchant_id in (None, merchant_id):
            return self
        return Verified(trust=Trust.OTHER_MERCHANT, key=self.key)


class RecordSigner:
    """Signs the records that this process writes, and verifies those that it reads."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    def sign(self, producer_record: ProducerRecord, merchant_id: str | None = None) -> ProducerRecord:
        """The record with its signature; without one if there is no key.

        `merchant_id` is the record's merchant, if it is known.
        """
        headers = tuple(header for header in producer_record.headers if header[0] != SIGNATURE)
        key = self._keys.signing(merchant_id)
        if key is None:
            return replace(producer_record, headers=headers)
        mac = _mac(key.secret, producer_record.key, producer_record.value, headers)
        text = f"{VERSION}.{key.key_id}.{_text(mac)}"
        return replace(producer_record, headers=(*headers, (SIGNATURE, text.encode())))

    def verify(self, record: Record) -> Verified:
        """Whether the record's headers are as an adapter wrote them. Never raises, and compares in constant time."""
        signed = [header for header in record.headers if header[0] != SIGNATURE]
        given = [value or b"" for name, value in record.headers if name == SIGNATURE]
        if not given:
            has_headers = any(name.startswith(PREFIX) for name, _ in signed)
            return Verified(trust=Trust.UNSIGNED if has_headers else Trust.NOTHING_TO_SIGN)
        version, _, rest = given[0].partition(b".")
        key_id, _, text = rest.partition(b".")
        if len(given) > 1 or version != VERSION.encode():
            return Verified(trust=Trust.UNSIGNED)
        key = self._keys.accepted(key_id.decode("latin-1"))
        if key is None:
            return Verified(trust=Trust.UNKNOWN_KEY)
        mac = _mac(key.secret, record.key, record.value, signed)
        fits = hmac.compare_digest(_text(mac).encode(), text)
        return Verified(trust=Trust.VALID if fits else Trust.INVALID, key=key)


def signing_key(secret: str, *, merchant_id: str | None = None) -> SigningKey:
    """The key that is derived from a secret text: the setting, or the keys of a merchant.

    One label for each use keeps the derived key apart from everything else that the secret signs.
    """
    owner = _field(None if merchant_id is None else merchant_id.encode())
    derived = hmac.new(secret.encode(), _LABEL + owner, hashlib.sha256).digest()
    key_id = hmac.new(derived, _KEY_ID_LABEL, hashlib.sha256).hexdigest()[:_KEY_ID_CHARACTERS]
    return SigningKey(key_id=key_id, secret=derived, merchant_id=merchant_id)


def _mac(secret: bytes, key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> bytes:
    mac = hmac.new(secret, digestmod=hashlib.sha256)
    for each in _signed_text(key, value, headers):
        mac.update(each)
    return mac.digest()


def _signed_text(key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> Iterator[bytes]:
    """The signed text in pieces: version, key, value, the number of headers, and each header's name and value."""
    own = sorted(
        (_field(name.encode("utf-8", "surrogatepass")), _field(text))
        for name, text in headers
        if name.startswith(PREFIX)
    )
    yield _field(VERSION.encode())
    yield _field(key)
    yield _field(value)
    yield len(own).to_bytes(8, "big")
    for name, text in own:
        yield name
        yield text


def _field(content: bytes | None) -> bytes:
    """A field preceded by its length; null differs from the empty field."""
    return b"\0" if content is None else b"\1" + len(content).to_bytes(8, "big") + content


def _text(mac: bytes) -> str:
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")
