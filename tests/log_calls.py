"""Finds the log lines of the adapter in its source: event, level and fields of each call of a logger."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "adapter"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
ORDER_FIELDS = ("merchant_id", "order_id", "trade_no", "trace_id")
HELPERS = {"order_fields": ORDER_FIELDS, "event_fields": (*ORDER_FIELDS, "event_id", "event_type")}
"""Functions that give fields to lines of other modules; their own tests show that these are the fields."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
METHODS = {*LEVELS, "log", "critical", "fatal", "warn"}


@dataclass(frozen=True, slots=True)
class LogCall:
    """One call of a logger. `event` is None if it is not written as a literal."""

    place: str
    method: str
    event: str | None
    positional: int
    fields: frozenset[str]

    @property
    def level(self) -> str | None:
        """The level of the line; None for a method that the adapter does not use."""
        return LEVELS.get(self.method)


@dataclass(slots=True)
class _Module:
    path: Path
    tree: ast.Module
    loggers: set[str] = field(default_factory=set)

    def calls(self) -> Iterator[LogCall]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and _makes_logger(node.value):
                self.loggers |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        for function in [self.tree, *(node for node in ast.walk(self.tree) if isinstance(node, _FUNCTIONS))]:
            for node in _within(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and self._is_logger(node.func):
                    yield self._call(node, node.func.attr, function)

    def _is_logger(self, function: ast.Attribute) -> bool:
        owner = function.value
        known = isinstance(owner, ast.Name) and owner.id in {*self.loggers, "logging"}
        return function.attr in METHODS and (known or _makes_logger(owner))

    def _call(self, node: ast.Call, method: str, function: ast.AST) -> LogCall:
        first = node.args[0] if node.args else None
        event = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
        extra = next((each.value for each in node.keywords if each.arg == "extra"), None)
        fields = frozenset() if extra is None else frozenset(self._names(extra, function))
        place = f"{self.path.relative_to(ROOT)}:{node.lineno}"
        return LogCall(place=place, method=method, event=event, positional=len(node.args), fields=fields)

    def _names(self, fields: ast.expr, function: ast.AST) -> Iterator[str]:
        """The field names that an expression gives. Raises TypeError for one that this test cannot follow."""
        match fields:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if key is None:
                        yield from self._names(value, function)
                    else:
                        yield str(ast.literal_eval(key))
            case ast.Call(func=ast.Attribute(attr="_asdict")):
                yield from ("topic", "partition")
            case ast.Call(func=ast.Name(id=name)) if name in HELPERS:
                yield from HELPERS[name]
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
                for helper in ast.walk(self.tree):
                    if isinstance(helper, ast.FunctionDef) and helper.name == name:
                        yield from self._returned(helper)
            case ast.Name(id=name):
                yield from self._assigned(name, function)
            case ast.Attribute(attr="fields") if self.path.name == "log_limits.py":
                return  # those of the lines that were left out
            case _:
                raise TypeError(f"{self.path}: {ast.unparse(fields)}")

    def _returned(self, helper: ast.FunctionDef) -> Iterator[str]:
        for node in _within(helper):
            if isinstance(node, ast.Return) and node.value is not None:
                yield from self._names(node.value, helper)

    def _assigned(self, variable: str, function: ast.AST) -> Iterator[str]:
        for node in _within(function):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ) if name == variable:
                    yield from self._names(value, function)
                case ast.Assign(
                    targets=[ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key)))]
                ) if name == variable:
                    yield key


def _within(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function or module, without those of the functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, _FUNCTIONS):
            yield node
            yield from _within(node)


@cache
def log_calls() -> tuple[LogCall, ...]:
    """Every call of a logger in `adapter/`."""
    sources = ((path, path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py")))
    return tuple(
        call
        for path, source in sources
        if "import logging" in source or "structlog" in source
        for call in _Module(path, ast.parse(source)).calls()
    )


def _makes_logger(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"getLogger", "get_logger"}
    )
