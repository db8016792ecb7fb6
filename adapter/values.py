"""Values: how they are made, how one is changed, and what their `repr` leaves out.

A value is frozen. What every order makes is a `msgspec.Struct`: it is made in a fifth of the time of a frozen
dataclass, and `replace` takes a thirtieth (docs/decisions/0039-values-of-an-order-are-structs.md). All other values
are frozen dataclasses. `replace` is the same function for both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    # Type checkers know the fields and their types for a Struct too (PEP 681).
    from dataclasses import replace as replace
else:
    from dataclasses import replace as _replace_dataclass

    from msgspec.structs import replace as _replace_struct

    def replace(value, /, **changes):
        """Return a copy of a value with other fields."""
        return (_replace_struct if isinstance(value, Struct) else _replace_dataclass)(value, **changes)


def repr_without(value: Struct, *hidden: str) -> str:
    """Return the `repr` of a value without its private fields, such as customer data and whole records."""
    shown = (f"{name}={getattr(value, name)!r}" for name in value.__struct_fields__ if name not in hidden)
    return f"{type(value).__name__}({', '.join(shown)})"
