"""Whether a value is of its annotated type, all the way down: what a plugin answers is believed only after this.

Python does not check types, so an `Order` whose quantity is the text "2" would travel on and break something far from
its author. The answer is a clause for an error message; it names the place and the two types and never the value,
which may be personal.

Each type's check is built once and kept, since every answer of every plugin is held against it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from functools import cache
from typing import Union, get_args, get_origin, get_type_hints

_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class _Wrong:
    """What is wrong: at `place` (as `.lines[0].quantity`, empty for the value itself) there is something else.

    `inside`: the value is of the expected class, and wrong within.
    """

    place: str
    what: str
    inside: bool = False

    def below(self, step: str) -> _Wrong:
        return _Wrong(step + self.place, self.what, inside=True)


_Check = Callable[[object], _Wrong | None]


def mismatch(value: object, expected: object) -> str | None:
    """None when `value` is of type `expected`, else how it is not: "lines[0].quantity is a str, not an int".

    Understands classes, dataclasses, `X | None` and other unions, `tuple[X, ...]`, `Sequence[X]` (a list or a tuple)
    and `object`; whatever there is is of a protocol. An int is no bool, a date no datetime, and a datetime has a time
    zone.
    """
    wrong = _check(expected)(value)
    return f"{wrong.place.removeprefix('.') or 'it'} is {wrong.what}" if wrong else None


@cache
def _check(expected: object) -> _Check:
    origin = get_origin(expected)
    if origin in _UNIONS:
        return _union_check(expected)
    if origin in (tuple, Sequence):
        return _series_check(expected, (tuple,) if origin is tuple else (list, tuple))
    assert isinstance(expected, type), f"{expected!r} is no type that hooks may use"  # noqa: S101  # specs are ours
    if is_dataclass(expected):
        return _dataclass_check(expected)
    return _class_check(expected)


def _class_check(expected: type) -> _Check:
    if getattr(expected, "_is_protocol", False):
        return lambda _: None  # whoever asks for it looks at what it has, and says more than "not one"
    if issubclass(expected, datetime):
        return _datetime_check(expected)
    refused = {int: bool, date: datetime}.get(expected)

    def check(value: object) -> _Wrong | None:
        if isinstance(value, expected) and not (refused and isinstance(value, refused)):
            return None
        return _other_type(value, expected)

    return check


def _datetime_check(expected: type[datetime]) -> _Check:
    def check(value: object) -> _Wrong | None:
        if not isinstance(value, expected):
            return _other_type(value, expected)
        return _Wrong("", "a datetime without a time zone", inside=True) if value.utcoffset() is None else None

    return check


def _dataclass_check(expected: type) -> _Check:
    hints = get_type_hints(expected)
    checks = [(field.name, _check(hints[field.name])) for field in fields(expected)]

    def check(value: object) -> _Wrong | None:
        if not isinstance(value, expected):
            return _other_type(value, expected)
        for name, check_field in checks:
            wrong = check_field(getattr(value, name))
            if wrong is not None:
                return wrong.below(f".{name}")
        return None

    return check


def _series_check(expected: object, accepted: tuple[type, ...]) -> _Check:
    check_member = _check(get_args(expected)[0])

    def check(value: object) -> _Wrong | None:
        if not isinstance(value, (list, tuple)) or not isinstance(value, accepted):
            return _other_type(value, expected)
        for index, member in enumerate(value):
            wrong = check_member(member)
            if wrong is not None:
                return wrong.below(f"[{index}]")
        return None

    return check


def _union_check(expected: object) -> _Check:
    options = [option for option in get_args(expected) if option is not type(None)]
    optional = len(options) < len(get_args(expected))
    checks = [_check(option) for option in options]

    def check(value: object) -> _Wrong | None:
        if optional and value is None:
            return None
        found = [check_option(value) for check_option in checks]
        if None in found:
            return None
        inside = next((wrong for wrong in found if wrong is not None and wrong.inside), None)
        return inside or _other_type(value, expected)

    return check


def _other_type(value: object, expected: object) -> _Wrong:
    given = "None" if value is None else _with_article(type(value).__name__)
    return _Wrong("", f"{given}, not {_type_name(expected)}")


def _type_name(expected: object) -> str:
    """The type as a person would write it: "a list of TicketItem or None"."""
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
