"""Finds pods and containers in rendered objects, and what they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod template of an object."""

    owner: Object

    @property
    def template(self) -> Object:
        """Metadata and spec."""
        template: Object = self.owner["spec"]["template"]
        return template

    @property
    def spec(self) -> Object:
        """The pod's spec."""
        spec: Object = self.template["spec"]
        return spec

    @property
    def labels(self) -> Mapping[str, str]:
        """The pod's labels."""
        labels: Mapping[str, str] = self.template["metadata"]["labels"]
        return labels

    @property
    def containers(self) -> list[Object]:
        """All containers, init containers first."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def adapters(self) -> list[Object]:
        """The containers that run the adapter or one of its commands."""
        return [each for each in self.containers if each.get("command") == ["ecticket-adapter"]]

    @property
    def volumes(self) -> Mapping[str, Object]:
        """The volumes by name."""
        return {each["name"]: each for each in self.spec.get("volumes", [])}


def pods(objects: list[dict[str, Any]]) -> list[Pod]:
    """The pods of all Deployments and Jobs."""
    return [Pod(each) for each in objects if each["kind"] in ("Deployment", "Job")]


def selected(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector (`matchLabels`, `matchExpressions`) selects these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_matches(each, labels) for each in selector.get("matchExpressions", ()))


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    present = labels.get(expression["key"]) in expression["values"]
    return {"In": present, "NotIn": not present}[expression["operator"]]


def in_order(value: object) -> str:
    """The name of a test's parameter, the same in each process: a set has no order of its own."""
    return str(sorted(value)) if isinstance(value, set) else str(value)


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a node, with its path."""
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from walk(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, f"{path}[{index}]")
