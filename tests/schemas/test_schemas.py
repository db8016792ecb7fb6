"""The published schemas are what the code does, and every example does what its file name says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from pydantic import ValidationError

from adapter.cli.schema_folder import published_files
from adapter.errors import Unreadable
from adapter.flows.messages.events import EVENTS, EventData
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.flows.messages.schemas import ORDER_PAID, schema_files

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
FORMATS = FormatChecker(formats=["date"])
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@FORMATS.checks("date-time", raises=ValueError)
def _is_rfc3339(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return _RFC3339.fullmatch(value) is not None and datetime.fromisoformat(value).tzinfo is not None


def _examples(name: str) -> list[Path]:
    return sorted((SCHEMAS / name / "examples").glob("*.json"))


def _every_example() -> Iterator[tuple[str, Path]]:
    for file in schema_files():
        name = file.removesuffix(".json")
        for path in _examples(name):
            yield name, path


def _invalid() -> list[tuple[str, Path]]:
    return [(name, path) for name, path in _every_example() if path.name.startswith("invalid")]


def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema_files()[f"{name}.json"]), format_checker=FORMATS)


def test_the_published_schemas_are_current() -> None:
    """`ecticket-adapter schemas write` writes what is missing here."""
    published = {path.name: path.read_text(encoding="utf-8") for path in SCHEMAS.iterdir() if path.is_file()}

    assert published == published_files(SCHEMAS)


@pytest.mark.parametrize("file", list(schema_files()))
def test_every_schema_is_one_and_has_examples(file: str) -> None:
    """A schema obeys its dialect, and something valid and something invalid shows what it means."""
    Draft202012Validator.check_schema(json.loads(schema_files()[file]))
    kinds = {path.name.split("-")[0].removesuffix(".json") for path in _examples(file.removesuffix(".json"))}

    assert kinds == {"valid", "invalid"}


def test_examples_belong_to_schemas() -> None:
    """No folder of examples outlives its schema."""
    folders = {path.name for path in SCHEMAS.iterdir() if path.is_dir()}

    assert folders == {file.removesuffix(".json") for file in schema_files()}


@pytest.mark.parametrize(("name", "path"), list(_every_example()), ids=lambda value: getattr(value, "stem", value))
def test_every_example_does_what_its_name_says(name: str, path: Path) -> None:
    """`valid-*` is accepted and `invalid-*` refused, formats of dates and times included."""
    accepted = _validator(name).is_valid(json.loads(path.read_text(encoding="utf-8")))

    assert accepted == path.name.startswith("valid")


@pytest.mark.parametrize(("name", "path"), _invalid(), ids=lambda value: getattr(value, "stem", value))
def test_an_invalid_example_has_the_one_mistake_that_its_name_says(name: str, path: Path) -> None:
    """It would show nothing if it were refused for another reason; the name has a word of the field's."""
    (mistake,) = _validator(name).iter_errors(json.loads(path.read_text(encoding="utf-8")))
    quoted = (
        re.findall(r"'(\w+)'", mistake.message) if mistake.validator in ("required", "additionalProperties") else []
    )
    places = [*(str(step) for step in mistake.absolute_path), *quoted, "unknown" if quoted else ""]
    words = {word for place in places for word in place.split("_") if len(word) > 2}

    assert any(word in path.stem.removeprefix("invalid-") for word in words), mistake.message


@pytest.mark.parametrize(("name", "path"), list(_every_example()), ids=lambda value: getattr(value, "stem", value))
def test_every_schema_means_the_same_in_draft_07(name: str, path: Path) -> None:
    """It is the draft that the schemas of an AsyncAPI document are of, and that most tools read."""
    schema = json.loads(schema_files()[f"{name}.json"])
    Draft7Validator.check_schema(schema)
    accepted = Draft7Validator(schema, format_checker=FORMATS).is_valid(json.loads(path.read_text(encoding="utf-8")))

    assert accepted == path.name.startswith("valid")


@pytest.mark.parametrize("path", _examples(ORDER_PAID), ids=lambda path: path.stem)
def test_reader_and_schema_agree_on_orders(path: Path) -> None:
    """What the schema accepts is read, and what it refuses is not."""
    try:
        parse_order_paid(path.read_bytes(), (), None)
        read = True
    except Unreadable:
        read = False

    assert read == path.name.startswith("valid")


@pytest.mark.parametrize(
    ("event", "path"),
    [(event, path) for event in EVENTS for path in _examples(event.SCHEMA)],
    ids=lambda value: getattr(value, "stem", getattr(value, "TYPE", "")),
)
def test_model_and_schema_agree_on_events(event: type[EventData], path: Path) -> None:
    """What the schema accepts the model writes, field for field; what it refuses the model has no room for."""
    text = path.read_text(encoding="utf-8")
    try:
        written = json.loads(event.model_validate_json(text, strict=True).model_dump_json())
    except ValidationError:
        written = None

    assert written == (json.loads(text) if path.name.startswith("valid") else None)


@pytest.mark.parametrize("file", [file for file in schema_files() if not file.startswith(ORDER_PAID)])
def test_events_are_closed_and_orders_are_open(file: str) -> None:
    """An event has no fields that its schema does not name; an order may have more fields than the adapter reads."""
    schema = json.loads(schema_files()[file])
    objects = [schema, *schema.get("$defs", {}).values()]

    assert all(entry["additionalProperties"] is False for entry in objects if entry.get("type") == "object")
    assert "additionalProperties" not in json.loads(schema_files()[f"{ORDER_PAID}.json"])
