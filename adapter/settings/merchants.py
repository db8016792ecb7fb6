"""Finds merchants and their keys, which may change while the adapter runs.

Keys come from the settings or from files `{secrets_dir}/merchants/{merchant_id}/hash_key` and `hash_iv` (likewise
`platforms/`; an optional `platform_id` file binds a merchant to a platform, an optional `known_trade_no` file names a
number that ECTicket has). The settings can name a merchant, with its `known_trade_no`, whose keys are in files.
Kubernetes swaps such files in place, so they are read again when a call needs them, at most once every few seconds.
Command line and environment take precedence over these files, and these files over the settings file
(docs/settings.md).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from adapter.errors import SettingsError
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.rules import is_trade_no
from adapter.protocol.value_descriptions import quoted
from adapter.settings.groups import MerchantSettings
from adapter.settings.secret_files import read_secret, reading_problem

RELOAD_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """The result of one reading; `unread` are merchants whose keys exist and cannot be used now."""

    known: Mapping[str, Merchant]
    unread: frozenset[str]
    problems: tuple[str, ...]


class MerchantBook:
    """Finds a merchant's keys by its id.

    `overriding_ids` has the ids (by `merchants` and `platforms`) whose settings take precedence over files.
    """

    def __init__(
        self,
        merchants: Mapping[str, MerchantSettings],
        platforms: Mapping[str, MerchantSettings],
        secrets_dir: Path | None = None,
        *,
        overriding_ids: Mapping[str, Collection[str]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = {"merchants": dict(merchants), "platforms": dict(platforms)}
        self._secrets_dir = secrets_dir
        self._overriding_ids = overriding_ids or {}
        self._monotonic = monotonic
        self._loaded_at = float("-inf")
        self._known: Mapping[str, Merchant] = {}
        self._problems: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """All merchants for which the adapter can issue, sorted."""
        return tuple(sorted(self._current()))

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
            self._known = {**kept, **reading.known}
            self._problems = reading.problems
        return self._known

    def _read(self) -> _Reading:
        merchants, unread, problems = self._keys("merchants")
        platforms, _, platform_problems = self._keys("platforms")
        problems += platform_problems
        problems += tuple(
            problem for number in platforms if (problem := _number_problem(f"platforms.{number}", number))
        )
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
        parent = self._secrets_dir / kind
        try:
            folders = sorted(path for path in parent.iterdir() if not path.name.startswith(".") and path.is_dir())
        except FileNotFoundError:
            if self._secrets_dir.is_dir():
                return {}
            problem = SettingsError(
                f"The folder {self._secrets_dir} (secrets_dir) does not exist. Mount the Secret there, or correct "
                "secrets_dir."
            )
            return {**dict.fromkeys(self._known, problem), parent.name: problem}
        except OSError as error:
            problem = SettingsError(f"The secrets folder {parent} cannot be read: {reading_problem(error)}")
            return {**dict.fromkeys(self._known, problem), parent.name: problem}
        return {folder.name: _from_folder(folder) for folder in folders}


def _from_folder(folder: Path) -> MerchantSettings | SettingsError:
    try:
        return MerchantSettings.model_validate(
            {
                "hash_key": read_secret(folder / "hash_key"),
                "hash_iv": read_secret(folder / "hash_iv"),
                "platform_id": read_secret(folder / "platform_id", optional=True, may_be_empty=True),
                "known_trade_no": read_secret(folder / "known_trade_no", optional=True, may_be_empty=True),
            }
        )
    except SettingsError as error:
        return error


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
    platform_id = keys.platform_id or None
    if wrong := _number_problem(f"merchants.{merchant_id}", merchant_id):
        raise SettingsError(wrong)
    known_trade_no = keys.known_trade_no or None
    if known_trade_no is not None and not is_trade_no(TradeNo(kind=TradeNoKind.MERCHANT, value=known_trade_no)):
        raise SettingsError(
            f"Merchant {merchant_id}: known_trade_no must be 1 to 25 letters or digits, and it is not. "
            "Give a trade number of this merchant that ECTicket has, or leave it out."
        )
    return Merchant(
        merchant_id=merchant_id,
        credentials=_credentials("merchants", merchant_id, keys),
        platform_id=platform_id,
        platform_credentials=_platform(merchant_id, platform_id, platforms) if platform_id else None,
        known_trade_no=known_trade_no,
    )


def _number_problem(where: str, number: str) -> str | None:
    """What is wrong with a MerchantID or PlatformID: each is String(10) on all pages, and ECPay gives out digits."""
    if re.fullmatch("[0-9]{1,10}", number):
        return None
    return f"{where}: a MerchantID or PlatformID has 1 to 10 digits, and {quoted(number)} does not. Correct the number."


def _platform(merchant_id: str, platform_id: str, platforms: Mapping[str, MerchantSettings]) -> Credentials:
    wrong = _number_problem(f"merchants.{merchant_id}.platform_id", platform_id)
    if platform_id not in platforms:
        raise SettingsError(
            f"Merchant {merchant_id} names platform {platform_id}, for which no keys are set; "
            + (wrong or f"set platforms.{platform_id}.hash_key and hash_iv.")
        )
    if wrong:
        raise SettingsError(wrong)
    return _credentials("platforms", platform_id, platforms[platform_id])


def _credentials(kind: str, number: str, keys: MerchantSettings) -> Credentials:
    if keys.hash_key is None or keys.hash_iv is None:
        raise SettingsError(
            f"{kind}.{number}.hash_key is missing. Put hash_key and hash_iv into secret files, or set both."
        )
    owner = f"{kind.removesuffix('s')} {number}"
    try:
        return Credentials(hash_key=keys.hash_key.get_secret_value(), hash_iv=keys.hash_iv.get_secret_value())
    except SettingsError as error:
        raise SettingsError(*(f"The keys of {owner} are not usable: {problem}" for problem in error.problems)) from None
