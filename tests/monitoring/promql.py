"""Which labels the result of a PromQL expression has, if its metrics are those of the adapter."""

from __future__ import annotations

from collections.abc import Mapping, Set

import promql_parser as promql

Families = Mapping[str, Set[str]]
"""The labels of each sample name that is scraped or recorded."""

_ADDED_BY_FUNCTION = "label_replace"
_SELECTING = ("topk", "bottomk")
"""Aggregations whose results are some of the series themselves."""
_SET_OPERATORS = ("and", "unless")


class UnknownName(Exception):
    """An expression reads a metric, or a label of a metric, that nothing exposes."""


def labels_of(expression: str, families: Families) -> Set[str]:
    """The labels of the result. Raises UnknownName, and ValueError if it is no PromQL."""
    return _labels(promql.parse(expression), families)


def selectors(expression: str) -> list[tuple[str, frozenset[str]]]:
    """The metrics that it reads, each with its matchers as they are written."""
    found: list[tuple[str, frozenset[str]]] = []

    def visit(node: promql.Expr) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append((node.name or "", frozenset(map(str, node.matchers.matchers))))
        return True

    promql.walk(promql.parse(expression), visit)
    return found


def _labels(node: promql.Expr, families: Families) -> Set[str]:
    match node:
        case promql.VectorSelector():
            return _selected(node, families)
        case promql.MatrixSelector():
            return _selected(node.vector_selector, families)
        case promql.SubqueryExpr() | promql.ParenExpr() | promql.UnaryExpr():
            return _labels(node.expr, families)
        case promql.AggregateExpr():
            return _aggregated(node, families)
        case promql.Call():
            return _called(node, families)
        case promql.BinaryExpr():
            return _combined(node, families)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
        case _:
            raise AssertionError(f"{type(node).__name__} is not expected here")


def _selected(node: promql.VectorSelector, families: Families) -> Set[str]:
    name = node.name or ""
    if name not in families:
        raise UnknownName(f"nothing exposes {name}")
    labels = families[name]
    _require({matcher.name for matcher in node.matchers.matchers}, labels, name)
    return labels


def _aggregated(node: promql.AggregateExpr, families: Families) -> Set[str]:
    inner = _labels(node.expr, families)
    if str(node.op) in _SELECTING:
        return inner
    if node.modifier is None:
        return frozenset()
    named = set(node.modifier.labels)
    _require(named, inner, str(node.op))
    return named if node.modifier.type == promql.AggModifierType.By else inner - named


def _called(node: promql.Call, families: Families) -> Set[str]:
    function = node.func.name
    arguments = [_labels(each, families) for each in node.args]
    if function == _ADDED_BY_FUNCTION:
        added = node.args[1]
        assert isinstance(added, promql.StringLiteral)
        return arguments[0] | {added.val}
    if function in ("absent", "vector", "scalar", "time"):
        return frozenset()
    result = arguments[-1]
    if function == "histogram_quantile":
        _require({"le"}, result, function)
        return result - {"le"}
    return result


def _combined(node: promql.BinaryExpr, families: Families) -> Set[str]:
    left, right = _labels(node.lhs, families), _labels(node.rhs, families)
    operator = str(node.op)
    matching = None if node.modifier is None else node.modifier.matching
    if matching is not None:
        _require(set(matching.labels), left & right, operator)
    elif left and right and operator != "or" and left != right:
        raise UnknownName(f"{operator} never matches: {sorted(left)} beside {sorted(right)}")
    if operator in _SET_OPERATORS:
        return left
    if operator == "or":
        return left | right
    if not left or not right:
        return left | right
    return left


def _require(used: Set[str], known: Set[str], where: str) -> None:
    if unknown := used - known:
        raise UnknownName(f"{where} has no label {sorted(unknown)}; it has {sorted(known)}")
