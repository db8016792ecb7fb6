"""Values: how they are made, how one is changed, and what their `repr` leaves out.

A value is frozen. What every order makes is a `msgspec.Struct`: it is made in a fifth of the time of a frozen
dataclass, and `replace` takes a thirtieth (docs/decisions/0039-values-of-an-order-are-structs.md). So are the other
values that `run` imports, unless something needs a dataclass: the class takes a fifth of the memory. `replace` is the
same function for both.

A struct that plugins see or make is also a dataclass (`public_value`).
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, get_type_hints

from msgspec import NODEFAULT, Struct

if TYPE_CHECKING:
    # Type checkers know the fields and their types for a Struct too (PEP 681).
    from dataclasses import replace as replace

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema
else:
    from dataclasses import replace as _replace_dataclass

    from msgspec.structs import replace as _replace_struct

    def replace(value, /, **changes):
        """Return a copy of a value with other fields."""
        return (_replace_struct if isinstance(value, Struct) else _replace_dataclass)(value, **changes)


_AStruct = TypeVar("_AStruct", bound=Struct)


class PartlyShown(Struct, frozen=True):
    """A struct whose `repr` leaves out its private fields, such as customer data and whole records."""

    PRIVATE: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields that rich may show, too: it would not ask `__repr__`."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self.PRIVATE]


def public_value(of: type[_AStruct]) -> type[_AStruct]:
    """Make a struct that plugins see or make a dataclass as well.

    `replace`, `fields`, `asdict` and `is_dataclass` of `dataclasses` then take it, and an assignment raises
    FrozenInstanceError. pydantic validates it like a dataclass.
    """
    first_default = len(of.__struct_fields__) - len(of.__struct_defaults__)
    defaults = dict(zip(of.__struct_fields__[first_default:], of.__struct_defaults__, strict=True))
    private = of.PRIVATE if issubclass(of, PartlyShown) else ()
    found: list[tuple[str, Any, Any]] = []
    for name, kind in of.__annotations__.items():
        default = defaults.get(name, NODEFAULT)
        found.append(
            (name, kind, field(default=MISSING if default is NODEFAULT else default, repr=name not in private))
        )
    like = make_dataclass(of.__name__, found, frozen=True, kw_only=True)
    for name, value in (
        ("__dataclass_fields__", vars(like)["__dataclass_fields__"]),
        ("__dataclass_params__", vars(like)["__dataclass_params__"]),
        ("__get_pydantic_core_schema__", classmethod(_pydantic_schema)),
        ("__setattr__", _refuse_change),
        ("__delattr__", _refuse_change),
    ):
        setattr(of, name, value)
    return of


def _pydantic_schema(of: type[Struct], _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
    """Take a value as it is, and make one from keywords whose values fit its annotations."""
    from pydantic_core import core_schema

    kinds = get_type_hints(of)
    arguments = []
    for each in fields(of):  # type: ignore[arg-type]  # a dataclass by now
        schema = handler.generate_schema(kinds[each.name])
        if each.default is not MISSING:
            schema = core_schema.with_default_schema(schema, default=each.default)
        arguments.append(core_schema.arguments_parameter(each.name, schema, mode="keyword_only"))
    made = core_schema.call_schema(core_schema.arguments_schema(arguments), of)
    return core_schema.union_schema([core_schema.is_instance_schema(of), made])


def _refuse_change(value: Struct, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change field {name!r} of a {type(value).__name__}")
