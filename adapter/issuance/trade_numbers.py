"""Derive trade numbers for orders that bring none, so that the same order always gets the same number.

A stored number can be lost in a crash; a computed number cannot. The process that resumes the order queries ECTicket
for the number that was used. Does not decide when a number may be derived (see `plan.DeriveTradeNo`).

Frozen: a change here would give every unfinished order another number, and issue it again.
"""

from __future__ import annotations

import hashlib
import re

from adapter.errors import InvalidOrder

LENGTH = 20
"""Fits FreeTradeNo, String(20), the shorter of the two numbers."""
PREFIX_MAX_LENGTH = 4
_PREFIX = re.compile(rf"[A-Za-z0-9]{{0,{PREFIX_MAX_LENGTH}}}")
_AMBIGUOUS = re.compile("[\0\ud800-\udfff]")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def derive_trade_no(merchant_id: str, order_id: str, part: int, *, prefix: str = "", reissue: int = 0) -> str:
    """Return the number of the `part`-th part (from 1) of an order: 20 letters and digits, `prefix` first.

    SHA-256 over UTF-8 of merchant, NUL, order id, NUL, part and, for the n-th reissue, NUL, n; taken as a number,
    written in base 36, its last characters (docs/orders.md, "Calls and numbers").

    >>> derive_trade_no("3085676", "A-1001", 1)
    'Z3I7FVF5CMM5DFI7RFBK'

    Raises InvalidOrder for an order id that UTF-8 cannot write or that holds NUL (it could pass for another order's
    part), ValueError for a prefix of other characters, a part below 1 or a reissue below 0.
    """
    if not _PREFIX.fullmatch(prefix) or part < 1 or reissue < 0:
        raise ValueError(f"No trade number can be derived with prefix {prefix!r}, part {part} and reissue {reissue}.")
    counters = (str(part), str(reissue)) if reissue else (str(part),)
    digest = hashlib.sha256("\0".join((merchant_id, _checked(order_id), *counters)).encode()).digest()
    wanted = LENGTH - len(prefix)
    # Characters before the last ones are not used, so they are not converted.
    return prefix + _base_36(int.from_bytes(digest, "big") % 36**wanted).rjust(wanted, "0")


def _checked(order_id: str) -> str:
    """Return the order id if it can be distinguished from all others, else raise InvalidOrder."""
    if _AMBIGUOUS.search(order_id):
        raise InvalidOrder(
            "order_id holds a NUL or half a surrogate pair, so no trade number can be derived from it. "
            "Send an order_id of ordinary characters."
        )
    return order_id


def _base_36(number: int) -> str:
    """Return the number in upper-case base 36, without leading zeros."""
    digits = []
    while number:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
