"""The one table of every number the sandbox answers with.

ECPay's own list of codes could not be read, so every value except 1 is ASSUMED: some number must be sent, a setting can
change it, and no client may act on it. The rule for each reason is in the module that checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from adapter.errors import SettingsError

SUCCESS: Final = 1
"""TransCode and RtnCode of an accepted call: the only official number."""

MESSAGE_LENGTH: Final = 200
"""RtnMsg and TransMsg are String(200)."""


class Reason(StrEnum):
    """Why a call is not answered with 1; the value is its name in the settings and in the statistics."""

    NOT_AN_ENVELOPE = "not_an_envelope"
    UNKNOWN_MERCHANT = "unknown_merchant"
    TIMESTAMP = "timestamp"
    UNDECRYPTABLE = "undecryptable"
    CHECKSUM = "checksum"
    FIELD = "field"
    MERCHANT_MISMATCH = "merchant_mismatch"
    REPEATED_TRADE_NO = "repeated_trade_no"
    ITEM_UNKNOWN = "item_unknown"
    ITEM_OFF_SHELF = "item_off_shelf"
    STORE = "store"
    NOT_OPEN = "not_open"
    UNKNOWN_TRADE_NO = "unknown_trade_no"
    REPORT_TOO_SOON = "report_too_soon"
    MAINTENANCE = "maintenance"
    ORDER_STORE_FULL = "order_store_full"


ASSUMED: Final[Mapping[Reason, int]] = MappingProxyType(
    {
        # TransCode. 0 and 999 are the values that ECPay's AI skill repository gives for sister services (unverified).
        Reason.NOT_AN_ENVELOPE: 0,
        Reason.UNKNOWN_MERCHANT: 0,
        Reason.TIMESTAMP: 0,
        Reason.UNDECRYPTABLE: 0,
        Reason.CHECKSUM: 999,
        # RtnCode. 10200047 is the payment service's number for a repeated MerchantTradeNo; the rest is invented here.
        Reason.REPEATED_TRADE_NO: 10200047,
        Reason.FIELD: 99900001,
        Reason.MERCHANT_MISMATCH: 99900002,
        Reason.ITEM_UNKNOWN: 99900003,
        Reason.ITEM_OFF_SHELF: 99900004,
        Reason.STORE: 99900005,
        Reason.NOT_OPEN: 99900006,
        Reason.UNKNOWN_TRADE_NO: 99900010,
        Reason.REPORT_TOO_SOON: 99900020,
        Reason.MAINTENANCE: 99900030,
        Reason.ORDER_STORE_FULL: 99900040,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRefusal:
    """A call that is not carried out: the reason decides the number, the message explains it."""

    reason: Reason
    message: str


def code_table(changes: Mapping[str, int]) -> Mapping[Reason, int]:
    """The assumed numbers, replaced by `changes` (by name of the reason).

    Raises:
        SettingsError: a name is not a `Reason`, or a number is 1, which would turn a refusal into a success.
    """
    problems = [problem for name, code in changes.items() if (problem := _problem(name, code))]
    if problems:
        raise SettingsError(*problems)
    return MappingProxyType({**ASSUMED, **{Reason(name): code for name, code in changes.items()}})


def _problem(name: str, code: int) -> str | None:
    names = [reason.value for reason in Reason]
    if name not in names:
        nearest = get_close_matches(name, names, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"allowed: {', '.join(names)}"
        return f"codes: {name!r} is not a reason for a refusal; {hint}"
    if code == SUCCESS:
        return f"codes.{name}: 1 means success and cannot stand for a refusal"
    return None
