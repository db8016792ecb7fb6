"""Describes the shape of a value without its content.

So a message about a customer's data can be useful and still be shown to anyone.
"""

from __future__ import annotations

import re
from datetime import date
from enum import Enum

CHINESE = "〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
"""The Chinese ideographs of all planes, for use within a character class."""

_SHOWN = 40
_LARGEST_SHOWN = 10**18
_KINDS = {
    "Chinese": re.compile(f"[{CHINESE}]"),
    "letters": re.compile("[A-Za-z]"),
    "digits": re.compile("[0-9]"),
    "white space": re.compile(r"\s"),
    "full-width": re.compile("[\uff01-\uff60\uffe0-\uffe6]"),
}


def describe_shape(value: object) -> str:
    """Describe a value by its length and kinds of characters.

    >>> describe_shape("09-1234 abc")
    '11 characters: 3 letters, 6 digits, 1 white space, 1 other'
    >>> describe_shape("王小明"), describe_shape(""), describe_shape(None)
    ('3 characters: 3 Chinese', 'empty', 'missing')
    """
    if value is None:
        return "missing"
    if not isinstance(value, str):
        return "no text"
    if not value:
        return "empty"
    counts = {kind: len(pattern.findall(value)) for kind, pattern in _KINDS.items()}
    counts["other"] = len(value) - sum(counts.values())
    return f"{len(value)} characters: " + ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def quoted(value: object) -> str:
    """Show a value that is neither personal nor secret, shortened for a log line.

    >>> quoted("A B"), quoted(None), quoted(9), quoted(date(2024, 1, 2)), quoted(())
    ("'A B'", 'missing', '9', '2024-01-02', 'empty')
    >>> quoted("x" * 50)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'... (50 characters)"
    """
    if value is None:
        return "missing"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str):
        return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}... ({len(value)} characters)"
    if isinstance(value, date) or (isinstance(value, int) and abs(value) < _LARGEST_SHOWN):
        return str(value)
    if isinstance(value, int):
        return f"a number of {value.bit_length()} bits"
    return "empty" if value in ((), []) else f"of type {type(value).__name__}"
