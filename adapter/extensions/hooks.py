"""The hooks as a table for the code, built from `hookspecs`.

To add a hook, change only `hookspecs`: its arguments, kind and type of answer are read from there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import get_type_hints

from msgspec import Struct, field

from adapter.extensions import hookspecs
from adapter.extensions.hookspecs import DECIDING, HookKind


class Hook(Struct, frozen=True, kw_only=True):
    """One hook."""

    name: str
    kind: HookKind
    arguments: tuple[str, ...]
    answer: object
    """The annotated type of its answer."""
    documentation: str
    written: str
    """Its definition, with types."""
    deprecated: str | None = None
    """What to use instead of the hook."""
    deprecated_arguments: Mapping[str, str] = field(default_factory=dict)
    """What to use instead of these arguments."""

    @property
    def decides(self) -> bool:
        """Whether its answers decide what an order becomes."""
        return self.kind in DECIDING and bool(self.arguments)

    @property
    def signature(self) -> str:
        """The hook as it is called, `map_item(order, line)`."""
        return f"{self.name}({', '.join(self.arguments)})"


@cache
def hooks() -> Mapping[str, Hook]:
    """All hooks by name, in the order in which they are called for an order."""
    return MappingProxyType({name: _hook(name, kind) for name, kind in hookspecs.KINDS.items()})


def _hook(name: str, kind: HookKind) -> Hook:
    specification = getattr(hookspecs, name)
    signature = inspect.signature(specification)
    marked = getattr(specification, f"{hookspecs.PROJECT}_spec")  # where pluggy keeps the options of @hookspec
    return Hook(
        name=name,
        kind=kind,
        arguments=tuple(signature.parameters),
        answer=_answer(specification),
        documentation=inspect.cleandoc(specification.__doc__ or ""),
        written=_written(name, signature),
        deprecated=str(marked["warn_on_impl"]) if marked["warn_on_impl"] else None,
        deprecated_arguments={name: str(why) for name, why in (marked["warn_on_impl_args"] or {}).items()},
    )


def _written(name: str, signature: inspect.Signature) -> str:
    """`map_item(order: Order, line: Line) -> Sequence[TicketItem] | None`; the annotations are texts already."""
    given = ", ".join(f"{parameter.name}: {parameter.annotation}" for parameter in signature.parameters.values())
    return f"{name}({given}) -> {signature.return_annotation}"


def _answer(specification: Callable[..., object]) -> object:
    """The type of the answer only: the types of arguments may take long to import."""

    class Annotated:
        __annotations__ = {"return": specification.__annotations__["return"]}  # evaluated now

    return get_type_hints(Annotated, globalns=vars(hookspecs))["return"]
