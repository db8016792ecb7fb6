"""The keys of a merchant and of its platform, if it has one.

These objects never show a key: not in `repr`, not in an error, not in a pickle.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NoReturn, Self

from msgspec import Struct

from adapter.errors import SettingsError
from adapter.secret import Secret

KEY_LENGTH = 16


class _Keys:
    """The two keys in clear text. Every message reads them, and an attrgetter needs no call of Python.

    A base class has them, because in Python 3.14 the properties of a dataclass with slots must be functions.
    """

    __slots__ = ()
    hash_key = property(attrgetter("_hash_key._value"))
    hash_iv = property(attrgetter("_hash_iv._value"))


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Credentials(_Keys):
    """A HashKey and a HashIV, each 16 visible ASCII characters: used as text, although ECPay's look like hex.

    Raises:
        SettingsError: one of the two has another form; the message has its length, never the key.
    """

    _hash_key: Secret[str] = field(compare=False)
    _hash_iv: Secret[str] = field(compare=False)
    _digest: bytes
    """By which pairs are compared: caches look a pair up for every message, so it is computed once."""

    def __init__(self, *, hash_key: str, hash_iv: str) -> None:
        """Reject keys that AES-128 or the checksum could not use."""
        problems = [*key_problems("hash_key", hash_key), *key_problems("hash_iv", hash_iv)]
        if problems:
            raise SettingsError(*problems)
        object.__setattr__(self, "_hash_key", Secret(hash_key))
        object.__setattr__(self, "_hash_iv", Secret(hash_iv))
        object.__setattr__(self, "_digest", hashlib.sha256((hash_key + hash_iv).encode()).digest())

    def __repr__(self) -> str:
        """Show that there are keys, and nothing about them."""
        return "Credentials(hidden)"

    def __copy__(self) -> Self:
        """Return itself: a value needs no copy."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself, as `__copy__` does."""
        return self

    def __reduce__(self) -> NoReturn:
        """Raise TypeError, because a pickle would contain the keys in clear text."""
        raise TypeError("Credentials cannot be pickled, because the keys would be readable in the pickle.")


class Merchant(Struct, frozen=True, kw_only=True):
    """A merchant as ECPay knows it: its number, its keys, and its platform, if any.

    Platform merchants sign with the platform's keys (page 32155); which pair signs answers and notifications is not
    documented, so both are accepted. `retired` are pairs of either that were replaced not long ago: what ECTicket has
    sealed with one of them may still arrive. `known_trade_no` is a number of either kind of which the operator knows
    that ECTicket has it.
    """

    merchant_id: str
    credentials: Credentials
    platform_id: str | None = None
    platform_credentials: Credentials | None = None
    known_trade_no: str | None = None
    retired: tuple[Credentials, ...] = ()

    def __post_init__(self) -> None:
        """Reject a platform without number or without keys."""
        if (self.platform_id is None) != (self.platform_credentials is None):
            raise SettingsError(f"Merchant {self.merchant_id}: a platform needs both its number and its keys.")

    @property
    def signing(self) -> Credentials:
        """The keys that encrypt and sign requests: the platform's if there is one."""
        return self.platform_credentials or self.credentials

    @property
    def accepted(self) -> tuple[Credentials, ...]:
        """The keys under which received messages are accepted, the signing ones first, the retired ones last."""
        return (*self.current, *self.retired)

    @property
    def current(self) -> tuple[Credentials, ...]:
        """The merchant's keys and its platform's as they are now, the signing ones first."""
        if self.platform_credentials is None:
            return (self.credentials,)
        return (self.platform_credentials, self.credentials)


def key_problems(name: str, value: object) -> list[str]:
    """What is wrong with a HashKey or HashIV, without a character of it; empty if nothing is."""
    if not isinstance(value, str):
        return [f"{name} must be text of {KEY_LENGTH} ASCII characters, and it is no text."]
    if len(value) != KEY_LENGTH:
        return [f"{name} must be {KEY_LENGTH} ASCII characters, and it has {len(value)}."]
    if not (value.isascii() and value.isprintable() and " " not in value):
        return [f"{name} must be {KEY_LENGTH} visible ASCII characters, and it holds others."]
    return []
