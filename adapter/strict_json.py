"""Reads JSON from outside: topics, HTTP, files. Everything that Python reads beyond RFC 8259 is an error here.

The standard library accepts NaN and infinities, and fails in four ways: on text that is not JSON, on numbers of
thousands of digits, on deep nesting, and on bytes that are not UTF-8. What it accepts may fail later, when it is
written again or encoded. This module has one error for all of them. `tests/test_strict_json.py` keeps other readers
out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NoReturn

MAX_DEPTH = 100
"""Arrays and objects that are nested more deeply are rejected: an order's `reference` has at most 64 levels, and an
event around it few."""

_WHITE_SPACE = " \t\n\r"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(
    text: str | bytes, *, max_depth: int = MAX_DEPTH, pairs: Callable[[list[tuple[str, object]]], object] = dict
) -> object:
    """Read one JSON text; bytes are UTF-8, with or without a byte order mark.

    `pairs` makes an object of its keys and values; of equal keys the last counts by default. Half a surrogate pair, as
    a program leaves when it cuts a text, becomes U+FFFD, because no text with it can be encoded.

    Raises ValueError: it is not JSON, has an infinite number or one of thousands of digits, or is nested more deeply
        than `max_depth`. The message may quote the text.
    """
    whole = (text if isinstance(text, str) else text.decode("utf-8-sig")).strip(_WHITE_SPACE)
    try:
        value, end = (_READER if pairs is dict else _reader(pairs)).raw_decode(whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(whole):
        raise ValueError("more than one JSON text")
    if whole.count("[") + whole.count("{") > max_depth and _is_deeper(max_depth, value):
        raise ValueError("nested too deeply")
    return _repaired(value) if "\\ud" in whole or "\\uD" in whole else value


def _refuse_constant(word: str) -> NoReturn:
    """Reject NaN, Infinity and -Infinity."""
    raise ValueError(word)


def _finite(digits: str) -> float:
    """Read a number with a fraction or an exponent, unless it is too large for a float."""
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return number


def _is_deeper(depth: int, value: object) -> bool:
    """Whether arrays and objects are nested more deeply than `depth`."""
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if entries is None:
        return False
    return depth == 0 or any(_is_deeper(depth - 1, entry) for entry in entries)


def _repaired(value: object) -> object:
    """Replace lone surrogates in all texts of a JSON value."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, list):
        return [_repaired(entry) for entry in value]
    if isinstance(value, dict):
        return {_LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", key): _repaired(entry) for key, entry in value.items()}
    return value


def _reader(pairs: Callable[[list[tuple[str, object]]], object] | None) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=pairs)


_READER = _reader(None)
