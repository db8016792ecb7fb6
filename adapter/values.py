"""Values: how they are made, how one is changed, and what their `repr` leaves out.

A value is frozen. What every order makes is a `msgspec.Struct`: it is made in a fifth of the time of a frozen
dataclass, and `replace` takes a thirtieth (docs/decisions/0039-values-of-an-order-are-structs.md). All other values
are frozen dataclasses. `replace` is the same function for both.

A struct that plugins see or make is also a dataclass (`public_value`).
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, field, make_dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

from msgspec import NODEFAULT, Struct

if TYPE_CHECKING:
    # Type checkers know the fields and their types for a Struct too (PEP 681).
    from dataclasses import replace as replace
else:
    from dataclasses import replace as _replace_dataclass

    from msgspec.structs import replace as _replace_struct

    def replace(value, /, **changes):
        """Return a copy of a value with other fields."""
        return (_replace_struct if isinstance(value, Struct) else _replace_dataclass)(value, **changes)


_AStruct = TypeVar("_AStruct", bound=Struct)


def repr_without(value: Struct, *hidden: str) -> str:
    """Return the `repr` of a value without its private fields, such as customer data and whole records."""
    shown = (f"{name}={getattr(value, name)!r}" for name in value.__struct_fields__ if name not in hidden)
    return f"{type(value).__name__}({', '.join(shown)})"


def public_value(of: type[_AStruct]) -> type[_AStruct]:
    """Make a struct that plugins see or make a dataclass as well.

    `replace`, `fields`, `asdict` and `is_dataclass` of `dataclasses` then take it, and an assignment raises
    FrozenInstanceError.
    """
    first_default = len(of.__struct_fields__) - len(of.__struct_defaults__)
    defaults = dict(zip(of.__struct_fields__[first_default:], of.__struct_defaults__, strict=True))
    found = [
        (name, kind, field(default=MISSING if (default := defaults.get(name, NODEFAULT)) is NODEFAULT else default))
        for name, kind in of.__annotations__.items()
    ]
    like = make_dataclass(of.__name__, found, kw_only=True)
    for name, value in (
        ("__dataclass_fields__", vars(like)["__dataclass_fields__"]),
        ("__setattr__", _refuse_change),
        ("__delattr__", _refuse_change),
    ):
        setattr(of, name, value)
    return of


def _refuse_change(value: Struct, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change field {name!r} of a {type(value).__name__}")
