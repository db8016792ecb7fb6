"""The hooks as a table: what `hookspecs` says to people, read off it for the machine.

A new hook is added in `hookspecs` and nowhere else; arguments, kind and type of the answer are taken from there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import get_type_hints

from adapter.extensions import hookspecs
from adapter.extensions.hookspecs import HookKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One hook: its kind, the names of its arguments, the annotated type of its answer, and what is said about it.

    `written` is how it is defined, types included. `deprecated` says what to do instead of using it at all, and
    `deprecated_arguments` instead of taking some of what it is given.
    """

    name: str
    kind: HookKind
    arguments: tuple[str, ...]
    answer: object
    documentation: str
    written: str
    deprecated: str | None = None
    deprecated_arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        """The hook as it is called, `map_item(order, line)`."""
        return f"{self.name}({', '.join(self.arguments)})"


@cache
def hooks() -> Mapping[str, Hook]:
    """All hooks by name, in the order in which an order meets them."""
    return MappingProxyType({name: _hook(name, kind) for name, kind in hookspecs.KINDS.items()})


def _hook(name: str, kind: HookKind) -> Hook:
    specification = getattr(hookspecs, name)
    signature = inspect.signature(specification)
    marked = getattr(specification, f"{hookspecs.PROJECT}_spec")  # where pluggy's mark keeps what it was told
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
    """The type of the answer alone: what is given is named, but not imported, where that takes long."""

    class Annotated:
        __annotations__ = {"return": specification.__annotations__["return"]}  # read at once

    return get_type_hints(Annotated, globalns=vars(hookspecs))["return"]
