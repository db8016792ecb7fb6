"""Reads single fields of a decrypted payload: lenient in form, strict in meaning.

All replies accept the same forms: absent, null and "" are equal; a number may come as decimal text and text as a
number. Any other type raises `UnreadableReply`, which names the field and the type found, never the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from adapter.errors import UnreadableReply

Payload = Mapping[str, object]

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_LARGEST = 10**18
_LARGEST_EXACT_FLOAT = 2.0**53


def optional_text(payload: Payload, name: str) -> str | None:
    """Read a text field; None if it is absent, null or empty.

    Raises:
        UnreadableReply: it is neither text nor a whole number.
    """
    value = payload.get(name)
    if value is None or isinstance(value, str):
        return value or None
    number = _whole(value)
    if number is None:
        raise UnreadableReply(f"{name} must be text, and it is {kind_of(value)}.")
    return str(number)


def optional_integer(payload: Payload, name: str) -> int | None:
    """Read a whole number, given as number or as decimal text of at most 18 digits; None if absent, null or empty.

    Raises:
        UnreadableReply: it is anything else.
    """
    value = payload.get(name)
    if value is None or value == "":
        return None
    number = _decimal(value) if isinstance(value, str) else _whole(value)
    if number is None:
        raise UnreadableReply(f"{name} must be a whole number, and it is {kind_of(value)}.")
    return number


def integer(payload: Payload, name: str) -> int:
    """Read a required whole number.

    Raises:
        UnreadableReply: it is missing or no whole number.
    """
    value = optional_integer(payload, name)
    if value is None:
        raise UnreadableReply(f"{name} is missing.")
    return value


def objects(payload: Payload, name: str) -> tuple[Payload, ...]:
    """Read an array of objects; empty if the field is absent, null or empty.

    Raises:
        UnreadableReply: it is no array, or an entry is no object.
    """
    return as_objects(payload.get(name), name)


def as_objects(value: object, name: str) -> tuple[Payload, ...]:
    """Read a value as the array of objects of the field `name`; see `objects`."""
    if value is None or value == "":
        return ()
    if not isinstance(value, list):
        raise UnreadableReply(f"{name} must be an array of objects, and it is {kind_of(value)}.")
    for entry in value:
        if not isinstance(entry, dict):
            raise UnreadableReply(f"{name} must be an array of objects, and it holds {kind_of(entry)}.")
    return tuple(value)


def kind_of(value: object) -> str:
    """Name the JSON type of a value, for messages."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number of another form"
    if isinstance(value, str):
        return f"text of {len(value)} characters"
    if isinstance(value, list):
        return "an array"
    return "null" if value is None else "an object"


def _whole(value: object) -> int | None:
    """Read 5 and 5.0 as five; true, 5.5 and numbers of more than 18 digits are not numbers of the protocol."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else None
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT_FLOAT:
        return int(value)
    return None


def _decimal(text: str) -> int | None:
    """Read ASCII decimal text as a number."""
    digits = text.strip()
    return int(digits) if _INTEGER.fullmatch(digits) else None
