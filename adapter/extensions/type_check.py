"""Converts a plugin's answer to plain types in all its fields, or reports how it differs from the annotated type.

Python does not check types, so an `Order` whose quantity is the text "2" would fail later and far from its author. The
error message names the field and the two types, and never the value, which may be personal.

A subclass has code of its own: a `str` with an `__eq__` of its own has no hash, and an order number without a hash
would break the adapter at every start. So a text becomes a `str`, a number an `int`, an order an `Order`, by the code
of the plain type only. A plain value stays the same object.

Each type's conversion is built once and cached, because every answer of every plugin uses it.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cache
from typing import Final, Union, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

from msgspec import Struct

_UNIONS = (Union, types.UnionType)

_JSON_SCALARS: Final = frozenset({type(None), bool, int, float, str})

_ZONES: Final = frozenset({timezone, ZoneInfo})


class _Wrong(Struct, frozen=True):
    """Why a value has not the expected type."""

    path: str
    """Where, such as `.lines[0].quantity`; empty for the value itself."""
    what: str
    """What was found there."""
    inside: bool = False
    """The value has the expected class, but one of its fields is wrong."""

    def below(self, step: str) -> _Wrong:
        return _Wrong(step + self.path, self.what, inside=True)


_Convert = Callable[[object], object]
"""Returns the value in plain types, or a `_Wrong`. Raises what the value's own code raises."""


def plain(value: object, expected: object) -> tuple[object, str | None]:
    """Return the value in plain types and None; or None and what differs: "lines[0].price is a str, not an int".

    Supports classes, dataclasses, `X | None` and other unions, `tuple[X, ...]`, `Sequence[X]` (a list or a tuple) and
    `object`, which becomes plain JSON if possible. A protocol accepts every value. A bool is no int, a datetime is no
    date, and a datetime has a time zone.

    Raises what the value's own code raises.
    """
    found = _convert(expected)(value)
    if type(found) is _Wrong:
        return None, f"{found.path.removeprefix('.') or 'it'} is {found.what}"
    return found, None


@cache
def _convert(expected: object) -> _Convert:
    origin = get_origin(expected)
    if origin in _UNIONS:
        return _union(expected)
    if origin in (tuple, Sequence):
        return _series(expected, (tuple,) if origin is tuple else (list, tuple))
    assert isinstance(expected, type), f"{expected!r} is not a type that hooks may use"  # noqa: S101  # hookspecs are the adapter's own
    if expected is object:
        return _plain_json
    if getattr(expected, "_is_protocol", False):
        return lambda value: value  # the caller checks its methods, with better messages
    if is_dataclass(expected):
        return _dataclass(expected)
    return _class(expected)


def _class(expected: type) -> _Convert:
    refused = {int: bool, date: datetime}.get(expected)
    of_subclass = _OF_SUBCLASS.get(expected)
    is_time = expected is datetime

    def convert(value: object) -> object:
        kind = type(value)  # not `isinstance`, which the value itself can answer
        if kind is expected and not is_time:
            return value
        if not issubclass(kind, expected) or (refused is not None and issubclass(kind, refused)):
            return _other_type(value, expected)
        return value if of_subclass is None else of_subclass(value)

    return convert


def _plain_date(value: date) -> date:
    return date.fromordinal(date.toordinal(value))


def _plain_datetime(value: datetime) -> object:
    offset = datetime.utcoffset(value)
    if offset is None:
        return _Wrong("", "a datetime without a time zone", inside=True)
    if type(value) is datetime and type(value.tzinfo) in _ZONES:
        return value
    zone = timezone(timedelta(seconds=timedelta.total_seconds(offset)))
    return datetime.combine(datetime.date(value), datetime.time(value), zone)


_OF_SUBCLASS: Final[Mapping[type, Callable[..., object]]] = {
    str: str.__str__,
    int: int.__int__,
    date: _plain_date,
    datetime: _plain_datetime,
}
"""Converts a value of a subclass to the plain type, by the code of the plain type only."""


def _plain_json(value: object) -> object:
    """A copy of the merchant's own JSON, which the plugin cannot change; what is not JSON is returned unchanged."""
    if type(value) in _JSON_SCALARS:
        return value
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return value


def _dataclass(expected: type) -> _Convert:
    hints = get_type_hints(expected)
    converts = [(field.name, _convert(hints[field.name])) for field in fields(expected)]

    def convert(value: object) -> object:
        if not issubclass(type(value), expected):
            return _other_type(value, expected)
        is_plain = type(value) is expected
        found: dict[str, object] = {}
        for name, convert_field in converts:
            given = getattr(value, name)
            found[name] = made = convert_field(given)
            if type(made) is _Wrong:
                return made.below(f".{name}")
            is_plain = is_plain and made is given
        return value if is_plain else expected(**found)

    return convert


def _series(expected: object, accepted: tuple[type, ...]) -> _Convert:
    convert_member = _convert(get_args(expected)[0])

    def convert(value: object) -> object:
        if not isinstance(value, (list, tuple)) or not issubclass(type(value), accepted):
            return _other_type(value, expected)
        is_plain = type(value) in accepted
        found = []
        for index, member in enumerate(value):
            made = convert_member(member)
            if type(made) is _Wrong:
                return made.below(f"[{index}]")
            found.append(made)
            is_plain = is_plain and made is member
        if is_plain:
            return value
        return tuple(found) if issubclass(type(value), tuple) else found

    return convert


def _union(expected: object) -> _Convert:
    options = [option for option in get_args(expected) if option is not type(None)]
    optional = len(options) < len(get_args(expected))
    converts = [_convert(option) for option in options]

    def convert(value: object) -> object:
        if optional and value is None:
            return None
        inside = None
        for convert_option in converts:
            made = convert_option(value)
            if type(made) is not _Wrong:
                return made
            inside = inside or (made if made.inside else None)
        return inside or _other_type(value, expected)

    return convert


def _other_type(value: object, expected: object) -> _Wrong:
    given = "None" if value is None else _with_article(type(value).__name__)
    return _Wrong("", f"{given}, not {_type_name(expected)}")


def _type_name(expected: object) -> str:
    """The type in words: "a list of TicketItem or None"."""
    origin, arguments = get_origin(expected), get_args(expected)
    if origin in _UNIONS:
        return " or ".join(_type_name(option) for option in arguments)
    if origin in (tuple, Sequence):
        return f"a {'tuple' if origin is tuple else 'list'} of {_bare_name(arguments[0])}"
    if expected is type(None):
        return "None"
    return _with_article(_bare_name(expected))


def _bare_name(expected: object) -> str:
    return getattr(expected, "__name__", str(expected))


def _with_article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"
