"""The keys that sign records: which one signs now, and which ones are still accepted.

Own keys (`keys.signing_key`, or the file `signing_key` in `secrets_dir`) sign everything. Without one, each merchant's
records are signed under a key that is derived from that merchant's HashKey and HashIV, so a deployment without the
setting is protected too. Signatures under any of these keys are accepted.

Keys change while processes run, and not in all of them at the same moment. So a new key signs only after every process
has had time to read it (`SETTLE_SECONDS`), and an old one is accepted for as long as `keys.accept_old_seconds` says.
A process that starts knows only the keys that are set then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from adapter.flows.messages.signatures import SigningKey, signing_key
from adapter.protocol.credentials import Merchant

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
    """The signing keys of this process.

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
        self._derived: dict[tuple[str, str | None], SigningKey] = {}
        self._refreshed_at: float | None = None

    def signing(self, merchant_id: str | None) -> SigningKey | None:
        """The key that signs a record of this merchant.

        Without an own key, the first merchant's key signs a record whose merchant is unknown.
        """
        self._refresh()
        merchants = sorted(owner for owner in self._signing if owner is not None)
        owners = (None, *([merchant_id] if merchant_id is not None else []), *merchants)
        return next((self._known[self._signing[owner]].key for owner in owners if owner in self._signing), None)

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
        if (secret, merchant_id) not in self._derived:
            self._derived[secret, merchant_id] = signing_key(secret, merchant_id=merchant_id)
        return self._derived[secret, merchant_id]
