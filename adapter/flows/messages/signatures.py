"""Signatures of the headers that steer the adapter: who wrote a record's `ecticket-*` headers.

    signer.sign(publication, merchant_id)    adds the header `ecticket-signature`
    signer.verify(record)                    Verified: whether the headers are as an adapter wrote them

The signature is an HMAC-SHA-256 over the record's key, its value and every `ecticket-*` header. Each is written with
its length in front, so no two records have the same text; null differs from empty. The order of headers does not count,
nor do headers of others: a dead letter that a person copies to another topic stays valid (docs/delivery.md, "Signed
headers").

    ecticket-signature: v1.{key id}.{HMAC, base64url}

Does not decide what a record without a valid signature may still say (`record_history.unsigned_history`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Final, Protocol

from msgspec import Struct

from adapter.protocol.credentials import Merchant
from adapter.stream.records import ProducerRecord, Record
from adapter.values import replace

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
    merchant_id: str | None = None
    keyed: hmac.HMAC = field(compare=False, repr=False)
    """Begins every MAC under this key. It holds the key in a form in which nothing shows it."""


class SigningKeys(Protocol):
    """The keys as they are now; `KeyRing` is the real one."""

    def signing(self, merchant_id: str | None) -> SigningKey | None:
        """The key that signs a record of this merchant; None if there is no key at all."""

    def accepted(self, key_id: str) -> SigningKey | None:
        """The key of this id, if signatures under it are accepted."""


class Verified(Struct, frozen=True, kw_only=True):
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


_NOTHING_TO_SIGN: Final = Verified(trust=Trust.NOTHING_TO_SIGN)


class RecordSigner:
    """Signs the records that this process writes, and verifies those that it reads."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    def sign(self, producer_record: ProducerRecord, merchant_id: str | None = None) -> ProducerRecord:
        """The record with its signature; without one if there is no key.

        `merchant_id` is the record's merchant, if it is known.
        """
        headers = tuple([header for header in producer_record.headers if header[0] != SIGNATURE])
        key = self._keys.signing(merchant_id)
        if key is None:
            return replace(producer_record, headers=headers)
        mac = _mac(key.keyed, producer_record.key, producer_record.value, headers)
        text = f"{VERSION}.{key.key_id}.{_text(mac)}"
        return replace(producer_record, headers=(*headers, (SIGNATURE, text.encode())))

    def verify(self, record: Record) -> Verified:
        """Whether the record's headers are as an adapter wrote them. Never raises, and compares in constant time."""
        own = [header for header in record.headers if header[0].startswith(PREFIX)]
        if not own:
            return _NOTHING_TO_SIGN
        signed = [header for header in own if header[0] != SIGNATURE]
        given = [value or b"" for name, value in own if name == SIGNATURE]
        if not given:
            return Verified(trust=Trust.UNSIGNED)
        version, _, rest = given[0].partition(b".")
        key_id, _, text = rest.partition(b".")
        if len(given) > 1 or version != VERSION.encode():
            return Verified(trust=Trust.UNSIGNED)
        key = self._keys.accepted(key_id.decode("latin-1"))
        if key is None:
            return Verified(trust=Trust.UNKNOWN_KEY)
        mac = _mac(key.keyed, record.key, record.value, signed)
        fits = hmac.compare_digest(_text(mac).encode(), text)
        return Verified(trust=Trust.VALID if fits else Trust.INVALID, key=key)


def signing_key(secret: str, *, merchant_id: str | None = None) -> SigningKey:
    """The key that is derived from a secret text: the setting, or the keys of a merchant.

    One label for each use keeps the derived key apart from everything else that the secret signs.
    """
    owner = _field(None if merchant_id is None else merchant_id.encode())
    derived = hmac.new(secret.encode(), _LABEL + owner, hashlib.sha256).digest()
    key_id = hmac.new(derived, _KEY_ID_LABEL, hashlib.sha256).hexdigest()[:_KEY_ID_CHARACTERS]
    return SigningKey(key_id=key_id, merchant_id=merchant_id, keyed=hmac.new(derived, digestmod=hashlib.sha256))


def _mac(keyed: hmac.HMAC, key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> bytes:
    mac = keyed.copy()
    mac.update(_signed_text(key, value, headers))
    return mac.digest()


def _signed_text(key: bytes | None, value: bytes | None, headers: Iterable[Header]) -> bytes:
    """The signed text: version, key, value, the number of headers, and each header's name and value."""
    own = sorted(
        [
            (_field(name.encode("utf-8", "surrogatepass")), _field(text))
            for name, text in headers
            if name.startswith(PREFIX)
        ]
    )
    named = b"".join([name + text for name, text in own])
    return _VERSION_FIELD + _field(key) + _field(value) + len(own).to_bytes(8, "big") + named


def _field(content: bytes | None) -> bytes:
    """A field preceded by its length; null differs from the empty field."""
    return b"\0" if content is None else b"\1" + len(content).to_bytes(8, "big") + content


_VERSION_FIELD: Final = _field(VERSION.encode())


def _text(mac: bytes) -> str:
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")


SETTLE_SECONDS: Final = 300.0
"""How long a changed key only verifies before it signs. Kubernetes takes up to two minutes to update mounted files."""
ACCEPT_OLD_SECONDS: Final = 604_800.0
REFRESH_SECONDS: Final = 1.0


class _Merchants(Protocol):
    @property
    def ids(self) -> tuple[str, ...]: ...

    def find(self, merchant_id: str) -> Merchant | None: ...


@dataclass(slots=True)
class _Known:
    """A key with the times (monotonic) at which it was first and last found among the settings."""

    key: SigningKey
    since: float
    last: float


class KeyRing:
    """The signing keys of this process: which one signs now, and which ones are still accepted.

    Own keys (`keys.signing_key`, or the file `signing_key` in `secrets_dir`) sign everything. Without one, each
    merchant's records are signed under a key that is derived from that merchant's HashKey and HashIV, so a deployment
    without the setting is protected too. Signatures under any of these keys are accepted.

    Keys change while processes run, and not in all of them at the same moment. So a new key signs only after every
    process has had time to read it (`SETTLE_SECONDS`), and an old one is accepted for as long as
    `keys.accept_old_seconds` says. A process that starts knows only the keys that are set then.

    `own` returns the texts of the own keys: the first one signs, every one is accepted.
    """

    def __init__(
        self,
        merchants: _Merchants,
        *,
        own: Callable[[], Sequence[str]] = tuple,
        accept_old_seconds: float = ACCEPT_OLD_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._merchants = merchants
        self._own = own
        self._accept_old_seconds = accept_old_seconds
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._signing: dict[str | None, str] = {}
        self._derived: dict[tuple[bytes, str | None], SigningKey] = {}
        self._refreshed_at: float | None = None

    def signing(self, merchant_id: str | None) -> SigningKey | None:
        """The key that signs a record of this merchant.

        Without an own key, the first merchant's key signs a record whose merchant is unknown. A merchant whose files
        are new is known at once: signed with another's key, its records would not be trusted.
        """
        self._refresh()
        if self._signing.keys().isdisjoint((None, merchant_id)) and merchant_id in self._merchants.ids:
            self._refreshed_at = -math.inf
            self._refresh()
        key_id = self._signing.get(None) or self._signing.get(merchant_id)
        if key_id is None and self._signing:
            key_id = self._signing[min(owner for owner in self._signing if owner is not None)]
        return None if key_id is None else self._known[key_id].key

    def accepted(self, key_id: str) -> SigningKey | None:
        """The key of this id, if it is among the settings or was until not too long ago."""
        self._refresh()
        known = self._known.get(key_id)
        return None if known is None else known.key

    def _refresh(self) -> None:
        now = self._monotonic()
        if self._refreshed_at is not None and now - self._refreshed_at < REFRESH_SECONDS:
            return
        started = self._refreshed_at is None
        self._refreshed_at = now
        own = [self._key(text, None) for text in self._own()]
        of_merchants = [key for merchant_id in self._merchants.ids for key in self._of_merchant(merchant_id)]
        for key in (*own, *of_merchants):
            known = self._known.setdefault(key.key_id, _Known(key=key, since=now, last=now))
            known.last = now
        for key in (*own[:1], *of_merchants):
            self._allow_signing(key, now, started=started)
        self._forget(now, has_own=bool(own))

    def _allow_signing(self, key: SigningKey, now: float, *, started: bool) -> None:
        """Let a key sign that every process knows by now, or that replaces nothing."""
        replaces = key.merchant_id in self._signing or (key.merchant_id is None and not started)
        if started or not replaces or now - self._known[key.key_id].since >= SETTLE_SECONDS:
            self._signing[key.merchant_id] = key.key_id

    def _forget(self, now: float, *, has_own: bool) -> None:
        """Forget keys that are no longer set, once they are too old. An own key that is no longer set signs nothing."""
        # A key that still signs here is accepted here, however short old keys are: its successor is not settled yet.
        signing = set(self._signing.values())
        too_old = [
            each
            for each, known in self._known.items()
            if now - known.last > self._accept_old_seconds and each not in signing
        ]
        for key_id in too_old:
            del self._known[key_id]
        self._signing = {
            owner: key_id
            for owner, key_id in self._signing.items()
            if key_id in self._known and (owner is not None or has_own)
        }

    def _of_merchant(self, merchant_id: str) -> list[SigningKey]:
        merchant = self._merchants.find(merchant_id)
        if merchant is None:
            return []
        keys = merchant.credentials
        return [self._key(keys.hash_key + keys.hash_iv, merchant_id)]

    def _key(self, secret: str, merchant_id: str | None) -> SigningKey:
        """Derived once; the settings are looked at every second."""
        known = (hashlib.sha256(secret.encode()).digest(), merchant_id)  # a dict must not have the secret in clear
        if known not in self._derived:
            self._derived[known] = signing_key(secret, merchant_id=merchant_id)
        return self._derived[known]
