"""Finds merchants and their keys, which may change while the adapter runs.

Keys come from the settings or from files `{secrets_dir}/merchants/{merchant_id}/hash_key` and `hash_iv` (likewise
`platforms/`; an optional `platform_id` file binds a merchant to a platform, an optional `known_trade_no` file names a
number that ECTicket has). The settings can name a merchant, with its `known_trade_no`, whose keys are in files.
Kubernetes swaps such files in place, so they are read again when a call needs them, at most once every few seconds.
Command line and environment take precedence over these files, and these files over the settings file
(docs/settings.md).

A changed pair of keys seals from the next call on. The pair before it is still accepted on receipt for a time
(`keys.accept_old_seconds`), because ECPay may have sealed a notification or an answer with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path

from msgspec import Struct

from adapter.errors import SettingsError
from adapter.protocol.credentials import Credentials, Merchant, key_problems
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no
from adapter.protocol.value_descriptions import quoted
from adapter.settings.groups import MerchantSettings
from adapter.settings.secret_files import read_secret, reading_problem
from adapter.values import replace

RELOAD_SECONDS = 5.0


class _Reading(Struct, frozen=True, kw_only=True):
    """The result of one reading; `unread` are merchants whose keys exist and cannot be used now."""

    known: Mapping[str, Merchant]
    unread: frozenset[str]
    problems: tuple[str, ...]


class MerchantBook:
    """Finds a merchant's keys by its id.

    `overriding_ids` has the ids (by `merchants` and `platforms`) whose settings take precedence over files.
    `accept_old_seconds` is how long a replaced pair is accepted; a new process knows only the pair that is set then.
    """

    def __init__(
        self,
        merchants: Mapping[str, MerchantSettings],
        platforms: Mapping[str, MerchantSettings],
        secrets_dir: Path | None = None,
        *,
        overriding_ids: Mapping[str, Collection[str]] | None = None,
        accept_old_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = {"merchants": dict(merchants), "platforms": dict(platforms)}
        self._secrets_dir = secrets_dir
        self._overriding_ids = overriding_ids or {}
        self._accept_old_seconds = accept_old_seconds
        self._retired: dict[str, dict[Credentials, float]] = {}
        self._monotonic = monotonic
        self._loaded_at = float("-inf")
        self._known: Mapping[str, Merchant] = {}
        self._ids: tuple[str, ...] = ()
        self._problems: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """All merchants for which the adapter can issue, sorted."""
        self._current()
        return self._ids

    def find(self, merchant_id: str) -> Merchant | None:
        """The merchant with its current keys, or None if there is none of that id."""
        return self._current().get(merchant_id)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong with the keys when they were last read, one sentence each."""
        self._current()
        return self._problems

    def check(self) -> None:
        """Read everything once, so that a missing or malformed key stops the start and not an order.

        Raises SettingsError with one sentence for each error, never with a key.
        """
        self._loaded_at = float("-inf")
        self._current()
        if self._problems:
            raise SettingsError(*self._problems)

    @property
    def if_none(self) -> str:
        """The sentence for a start without any merchant."""
        if self._secrets_dir is None:
            return "No merchant is configured. Set ECTICKET_MERCHANTS, or mount key files and set ECTICKET_SECRETS_DIR."
        return (
            f"No merchant is configured: {self._secrets_dir} (secrets_dir) has no folder merchants/ID with hash_key "
            "and hash_iv. Mount the key files, or set ECTICKET_MERCHANTS."
        )

    def _current(self) -> Mapping[str, Merchant]:
        now = self._monotonic()
        if now - self._loaded_at >= RELOAD_SECONDS:
            self._loaded_at = now
            reading = self._read()
            # The files may be half-written now: for these merchants the keys that were read last are used.
            kept = {key: merchant for key, merchant in self._known.items() if key in reading.unread}
            self._known = self._with_retired({**kept, **reading.known}, now)
            self._ids = tuple(sorted(self._known))
            self._problems = reading.problems
        return self._known

    def _with_retired(self, known: Mapping[str, Merchant], now: float) -> dict[str, Merchant]:
        """Each merchant with the pairs that were replaced not too long ago, the newest first."""
        for merchant_id, before in self._known.items():
            self._retired.setdefault(merchant_id, {}).update(dict.fromkeys(before.current, now))
        merchants = {}
        for merchant_id, merchant in known.items():
            replaced = self._retired.get(merchant_id, {})
            kept = {
                keys: last
                for keys, last in replaced.items()
                if keys not in merchant.current and now - last < self._accept_old_seconds
            }
            newest_first = sorted(kept, key=kept.__getitem__, reverse=True)
            merchants[merchant_id] = replace(merchant, retired=tuple(newest_first))
            self._retired[merchant_id] = kept
        self._retired = {merchant_id: kept for merchant_id, kept in self._retired.items() if merchant_id in merchants}
        return merchants

    def _read(self) -> _Reading:
        merchants, unread, problems = self._keys("merchants")
        platforms, _, platform_problems = self._keys("platforms")
        problems += platform_problems
        for number, keys in platforms.items():
            problems += tuple(_value_problems("platforms", number, _texts(keys)))
        known = {}
        for merchant_id, keys in merchants.items():
            try:
                known[merchant_id] = _merchant(merchant_id, keys, platforms)
            except SettingsError as error:
                problems += error.problems
                unread |= {merchant_id}
        return _Reading(known=known, unread=unread, problems=tuple(dict.fromkeys(problems)))

    def _keys(self, kind: str) -> tuple[dict[str, MerchantSettings], frozenset[str], tuple[str, ...]]:
        """Keys by id, ids whose files cannot be read, and why."""
        configured, in_files = self._configured[kind], self._from_files(kind)
        overriding = self._overriding_ids.get(kind, ())
        found = {
            key: _combined(configured.get(key), in_files.get(key), configured_first=key in overriding)
            for key in {**configured, **in_files}
        }
        keys = {key: value for key, value in found.items() if not isinstance(value, SettingsError)}
        errors = {key: value for key, value in found.items() if isinstance(value, SettingsError)}
        problems = dict.fromkeys(chain.from_iterable(error.problems for error in errors.values()))
        return keys, frozenset(errors), tuple(problems)

    def _from_files(self, kind: str) -> dict[str, MerchantSettings | SettingsError]:
        if self._secrets_dir is None:
            return {}
        try:
            return _read_files(self._secrets_dir, kind)
        except SettingsError as problem:
            return {**dict.fromkeys(self._known, problem), kind: problem}


def file_problems(secrets_dir: Path) -> Iterator[str]:
    """What is wrong with the files of merchants and platforms, each taken alone; the settings may complete them."""
    for kind in ("merchants", "platforms"):
        try:
            found = _read_files(secrets_dir, kind)
        except SettingsError as error:
            yield from error.problems
            continue
        for number, keys in found.items():
            if isinstance(keys, SettingsError):
                yield from keys.problems
            else:
                yield from _value_problems(kind, number, _texts(keys))


def _read_files(secrets_dir: Path, kind: str) -> dict[str, MerchantSettings | SettingsError]:
    """The values of each folder, or what is wrong with it. Raises SettingsError if there are no folders to read."""
    parent = secrets_dir / kind
    try:
        folders = sorted(path for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir())
    except FileNotFoundError:
        if secrets_dir.is_dir():
            return {}
        raise SettingsError(
            f"The folder {secrets_dir} (secrets_dir) does not exist. Mount the Secret there, or correct secrets_dir."
        ) from None
    except OSError as error:
        raise SettingsError(f"The secrets folder {parent} cannot be read: {reading_problem(error)}") from None
    return {folder.name: _from_folder(folder) for folder in folders}


_FILES: Mapping[str, bool] = {"hash_key": False, "hash_iv": False, "platform_id": True, "known_trade_no": True}
"""The files of a merchant or platform, and whether one may be absent or empty."""


def _from_folder(folder: Path) -> MerchantSettings | SettingsError:
    """The values in the files; if one cannot be read, all that is wrong with any of them."""
    texts: dict[str, str | None] = dict.fromkeys(_FILES)
    problems: list[str] = []
    for name, optional in _FILES.items():
        try:
            texts[name] = read_secret(folder / name, optional=optional, may_be_empty=optional)
        except SettingsError as error:
            problems += error.problems
    if problems:
        return SettingsError(*problems, *_value_problems(folder.parent.name, folder.name, texts))
    return MerchantSettings.model_validate(texts)


def _texts(keys: MerchantSettings) -> dict[str, str | None]:
    """The values as texts, as they are in files."""
    secrets = {"hash_key": keys.hash_key, "hash_iv": keys.hash_iv}
    return {
        **{name: None if secret is None else secret.get_secret_value() for name, secret in secrets.items()},
        "platform_id": keys.platform_id,
        "known_trade_no": keys.known_trade_no,
    }


def _value_problems(kind: str, number: str, texts: Mapping[str, str | None]) -> Iterator[str]:
    """What is wrong with the number and with each value that is there; never a value."""
    if wrong := _number_problem(f"{kind}.{number}", number):
        yield wrong
    owner = f"{kind.removesuffix('s')} {number}"
    for name in ("hash_key", "hash_iv"):
        if texts[name] is not None:
            for problem in key_problems(name, texts[name]):
                yield f"The keys of {owner} are not usable: {problem}"
    known_trade_no = texts["known_trade_no"]
    if known_trade_no and not is_trade_no(TradeNo(kind=TradeNoKind.MERCHANT, value=known_trade_no)):
        yield (
            f"{owner.capitalize()}: known_trade_no must be 1 to 25 letters or digits, and it is not. "
            "Give a trade number of this merchant that ECTicket has, or leave it out."
        )


def _combined(
    configured: MerchantSettings | None, in_files: MerchantSettings | SettingsError | None, *, configured_first: bool
) -> MerchantSettings | SettingsError:
    """One merchant from both sources; `hash_key` and `hash_iv` always come from the same one."""
    if configured is None or in_files is None:
        return configured or in_files or MerchantSettings()
    if isinstance(in_files, SettingsError):
        return configured if configured_first and configured.hash_key is not None else in_files
    first, second = (configured, in_files) if configured_first else (in_files, configured)
    keys = first if first.hash_key is not None else second
    return MerchantSettings(
        hash_key=keys.hash_key,
        hash_iv=keys.hash_iv,
        platform_id=first.platform_id or second.platform_id,
        known_trade_no=first.known_trade_no or second.known_trade_no,
    )


def _merchant(merchant_id: str, keys: MerchantSettings, platforms: Mapping[str, MerchantSettings]) -> Merchant:
    """The merchant. Raises SettingsError with all that is wrong with its values, and with those of its platform."""
    platform_id = keys.platform_id or None
    problems = [
        *_value_problems("merchants", merchant_id, _texts(keys)),
        *_missing_keys("merchants", merchant_id, keys),
        *(_platform_problems(merchant_id, platform_id, platforms) if platform_id else ()),
    ]
    if problems:
        raise SettingsError(*problems)
    return Merchant(
        merchant_id=merchant_id,
        credentials=_credentials(keys),
        platform_id=platform_id,
        platform_credentials=_credentials(platforms[platform_id]) if platform_id else None,
        known_trade_no=keys.known_trade_no or None,
    )


def _number_problem(where: str, number: str) -> str | None:
    """What is wrong with a MerchantID or PlatformID: each is String(10) on all pages, and ECPay gives out digits."""
    if re.fullmatch("[0-9]{1,10}", number):
        return None
    return f"{where}: a MerchantID or PlatformID has 1 to 10 digits, and {quoted(number)} does not. Correct the number."


def _platform_problems(merchant_id: str, platform_id: str, platforms: Mapping[str, MerchantSettings]) -> Iterator[str]:
    wrong = _number_problem(f"merchants.{merchant_id}.platform_id", platform_id)
    if platform_id not in platforms:
        yield (
            f"Merchant {merchant_id} names platform {platform_id}, for which no keys are set; "
            + (wrong or f"set platforms.{platform_id}.hash_key and hash_iv.")
        )
    elif wrong:
        yield wrong
    else:
        yield from _missing_keys("platforms", platform_id, platforms[platform_id])
        yield from _value_problems("platforms", platform_id, _texts(platforms[platform_id]))


def _missing_keys(kind: str, number: str, keys: MerchantSettings) -> Iterator[str]:
    if keys.hash_key is None or keys.hash_iv is None:
        yield f"{kind}.{number}.hash_key is missing. Put hash_key and hash_iv into secret files, or set both."


def _credentials(keys: MerchantSettings) -> Credentials:
    texts = _texts(keys)
    return Credentials(hash_key=texts["hash_key"] or "", hash_iv=texts["hash_iv"] or "")
