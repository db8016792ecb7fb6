"""JSON from outside is read in one place, and what Python reads beyond JSON is an error there."""

from __future__ import annotations

import ast
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from adapter.strict_json import MAX_DEPTH, parse_json

PACKAGE = Path(__file__).parent.parent / "adapter"
MAY_READ = {
    "strict_json.py": "it is the one place",
    "flows/messages/event_value.py": "unknown fields of an order may hold anything; no known field accepts NaN",
    "extensions/type_check.py": "it copies what it has written itself",
    "dev/sandbox/simulator.py": "it changes its own answer",
    "dev/demo/result_check.py": "it reads what the demo's adapter has written",
}
"""Modules that may use the standard library's reader, and why."""
NO_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")


@pytest.mark.parametrize(
    "text",
    [
        *NO_NUMBERS,
        '{"a": [1, NaN]}',
        "1" * 5000,
        "1" * 400 + ".0",
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * 100_000,
        "[" * 100_000,
        "",
        "{",
        "{} {}",
        "'a'",
        "nan",
        "0x10",
        "01",
        '"\x01"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '{"a": 1}'.encode("utf-16"),
    ],
    ids=lambda text: repr(text)[:24],
)
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    """Whatever Python makes of it: another error, another value, or an exhausted stack."""
    with pytest.raises(ValueError):  # noqa: PT011  # its text is Python's own
        parse_json(text)


def test_json_is_read_as_by_the_standard_library() -> None:
    """With a byte order mark, too; and what was read can be written and encoded."""
    text = '{"a": [1, 2.5, -0, 1e3, null, true, "\\u738b \\ud83d\\ude00"], "a\\u0000": {}}'

    assert parse_json(text) == parse_json(b"\xef\xbb\xbf" + text.encode()) == json.loads(text)
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}
    cut = parse_json('{"\\ud83d": ["\\ude00", {"b": "x\\ud83d"}]}')
    assert cut == {"\N{REPLACEMENT CHARACTER}": ["\N{REPLACEMENT CHARACTER}", {"b": "x\N{REPLACEMENT CHARACTER}"}]}
    json.dumps(cut, ensure_ascii=False).encode()


def _calls(name: str) -> Iterator[tuple[str, ast.expr]]:
    """Where an attribute of this name is used, and of what."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == name:
                yield str(path.relative_to(PACKAGE)), node.value


@pytest.mark.parametrize("reader", ["loads", "load", "JSONDecoder", "raw_decode"])
def test_no_other_module_reads_json(reader: str) -> None:
    """Otherwise it has its own idea of what JSON is."""
    users = {file for file, owner in _calls(reader) if isinstance(owner, ast.Name) and owner.id == "json"}

    assert users <= set(MAY_READ)


def _models() -> Iterator[type[BaseModel]]:
    """Every model that is read from JSON, and those inside it."""
    found: dict[type[BaseModel], None] = {}
    for file, owner in _calls("model_validate_json"):
        assert isinstance(owner, ast.Name), f"{file}: name the model"
        module = importlib.import_module(f"adapter.{file.removesuffix('.py').replace('/', '.')}")
        waiting = [getattr(module, owner.id)]
        while waiting:
            model = waiting.pop()
            if model not in found:
                found[model] = None
                waiting += [inner for field in model.model_fields.values() for inner in _inner(field.annotation)]
    yield from found


def _inner(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inner(argument)


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_no_field_of_a_record_takes_what_json_does_not_know(number: str) -> None:
    """pydantic reads NaN and infinities; a model that takes one makes every later event invalid JSON."""
    models = list(_models())

    taken = [f"{model.__name__}.{name}" for model in models for name in _fields_that_take(model, number)]

    assert len(models) > 10
    assert taken == []


def _fields_that_take(model: type[BaseModel], number: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        wire = field.alias or name
        nested = (
            [f'{{"a": {number}}}'] if not [*_inner(field.annotation)] else []
        )  # a model drops what it does not know
        for value in (number, f"[{number}]", *nested):
            try:
                model.model_validate_json(f'{{"{wire}": {value}}}')
            except ValidationError as error:
                if any(mistake["loc"][:1] in ((wire,), ()) for mistake in error.errors()):
                    continue
            yield name
