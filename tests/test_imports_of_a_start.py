"""What a start must not import, because it takes time and memory and does nothing for that command."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_HELP = """
from adapter.cli import main
assert main(["--help"]) == 0
"""
_SUBMIT = """
from adapter.app import Adapter
from adapter.settings import load
settings = {
    "kafka.bootstrap_servers": "localhost:9092",
    "merchants.3085676.hash_key": "k" * 16,
    "merchants.3085676.hash_iv": "i" * 16,
    "submit.operator": "shop",
}
Adapter(load(None, settings), ["submit"])
"""
_RUN = """
from adapter.cli import main
assert main(["run", "--set", "submit.operator=shop", "--only", "none"]) == 2
"""
_MODULES = """
import json, sys
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
_DATACLASSES = """
import dataclasses
from msgspec import Struct
print(*sorted(
    f"{name}.{value.__name__}"
    for name, module in sys.modules.items() if name.startswith("adapter.")
    for value in vars(module).values()
    if isinstance(value, type) and value.__module__ == name
    and dataclasses.is_dataclass(value) and not issubclass(value, Struct)
), file=sys.stderr)
"""
MOST_DATACLASSES = 80

_SERVICE = ("aiokafka", "cryptography", "httpx", "prometheus_client", "pydantic", "starlette", "structlog", "uvicorn")
_OTHERS = (
    *(
        "adapter.dev",
        "adapter.flows.reconcile",
        "adapter.operations.explain_order",
        "adapter.testing",
        "boto3",
        "httpcore",
        "jsonschema",
        "opentelemetry",
    ),
    *("pytest", "sqlite3"),
)
_USED = {
    "help": ("typer", "rich"),
    "submit": ("aiokafka", "httpx", "pydantic"),
    "run": ("aiokafka", "httpx", "pydantic", "structlog"),
}
"""What each start does import: without it, the check would look at nothing."""


@pytest.mark.parametrize(
    ("start", "code", "unused"),
    [
        ("help", _HELP, (*_SERVICE, "adapter.app", "adapter.dev", "yaml")),
        ("submit", _SUBMIT, (*_OTHERS, "typer")),
        ("run", _RUN, (*_OTHERS, "adapter.cli.explain", "attr", "pygments", "rich")),
    ],
)
def test_a_start_imports_nothing_heavy_that_it_does_not_use(start: str, code: str, unused: tuple[str, ...]) -> None:
    """`--help` needs no service; the service needs no sink's client, no tracing, nothing of commands and tests.

    Nor does it need other commands, the console's search before its first use, what structlog and httpx import for
    coloured tracebacks, or SQLite without `reconcile.at`.
    """
    run = subprocess.run([sys.executable, "-c", code + _MODULES], capture_output=True, text=True, check=True)
    imported = set(json.loads(run.stderr.splitlines()[-1]))

    assert set(_USED[start]) <= imported
    assert not imported & set(unused)


def test_a_start_builds_few_dataclasses() -> None:
    """The class of a frozen dataclass takes five times the memory of a struct's (decision 39)."""
    run = subprocess.run(
        [sys.executable, "-c", _RUN + _MODULES + _DATACLASSES], capture_output=True, text=True, check=True
    )
    built = run.stderr.splitlines()[-1].split()

    assert "adapter.extensions.sinks.Event" in built  # what plugins see stays a dataclass
    assert len(built) <= MOST_DATACLASSES
