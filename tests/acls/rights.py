"""The tables of docs/operations/rights.md: which Kafka rights each role needs.

The page is the only list. Its tables have a row for each resource and a column for each role; a cell holds operations.
A name that ends with `*` is a prefix. The role `run` has the rights of all stages, the role `operator` those of all
commands except `topics --create`. Commands that do not connect to Kafka are roles without rights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "rights.md"
RUN = "run"
OPERATOR = "operator"
KEDA = "keda"
CREATE = "topics --create"
STAGES = ("submit", "confirm", "collect", "reconcile", "deliver", "receive")
_RESOURCE = re.compile(r"(?P<kind>topic|group|transactional id) `(?P<name>[^`*]+)(?P<all>\*?)`")
_ROLE = re.compile(r"`([^`]+)`")
_WITHOUT_KAFKA = re.compile(r"^\* (?P<roles>(?:`[^`]+`(?:, | and |,\n  )?)+) do not connect to Kafka\.$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Right:
    """One operation on one resource, or on all resources whose names begin with `name`."""

    kind: str
    name: str
    prefixed: bool
    operation: str

    def __str__(self) -> str:
        return f"{self.operation} on {self.kind} {self.name}{'*' if self.prefixed else ''}"


def rights_by_role(page: str) -> dict[str, frozenset[Right]]:
    """Return the rights of each role, `run` and `operator` included.

    Raises ValueError for a table that is not clear.
    """
    found: dict[str, set[Right]] = {}
    for table in _tables(page):
        header, _, *rows = table
        roles = [_role(cell) for cell in header[1:]]
        for resource, *cells in rows:
            for role, cell in zip(roles, cells, strict=True):
                found.setdefault(role, set()).update(_rights(resource, cell))
    commands = found.keys() - {*STAGES, KEDA, CREATE}
    found[RUN] = set().union(*(found[stage] for stage in STAGES))
    found[OPERATOR] = set().union(*(found[command] for command in commands))
    for role in without_kafka(page):
        found[role] = set()
    return {role: frozenset(rights) for role, rights in found.items()}


def without_kafka(page: str) -> tuple[str, ...]:
    """The commands that need no right, because they do not connect to Kafka."""
    return tuple(role for sentence in _WITHOUT_KAFKA.finditer(page) for role in _ROLE.findall(sentence["roles"]))


def _tables(page: str) -> Iterator[list[list[str]]]:
    """The tables whose first column names resources."""
    for text in re.findall(r"(?:^\|.*\|\n)+", page, flags=re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
        if rows[0][0] == "resource":
            yield rows


def _role(cell: str) -> str:
    found = _ROLE.fullmatch(cell)
    if found is None:
        raise ValueError(f"{cell!r} is not the name of a role")
    return found[1]


def _rights(resource: str, cell: str) -> Iterator[Right]:
    found = _RESOURCE.fullmatch(resource)
    if found is None:
        raise ValueError(f"{resource!r} is not a resource")
    for operation in filter(None, (each.strip() for each in cell.split(","))):
        yield Right(kind=found["kind"], name=found["name"], prefixed=bool(found["all"]), operation=operation)
