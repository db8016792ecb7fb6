"""The AsyncAPI document is valid, complete, and says of records what the flows write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, cast

import pytest
import yaml
from jsonschema import Draft7Validator

from adapter.cli.schema_folder import published_files
from adapter.flows.messages import asyncapi, schemas
from adapter.flows.messages.asyncapi import ASYNCAPI, Topic, asyncapi_document
from adapter.flows.messages.events import EVENTS, EventData, TopicRole
from adapter.settings.groups import TopicSettings

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
OFFICIAL = Path(__file__).parent / "asyncapi_specs" / "asyncapi-3.0.0.json"
INTERNAL = {"orders_deferred", "confirmations", "control"}
NOTHING_IS_PUBLISHED_YET = {"tickets", "reconciliations"} - {event.TOPIC for event in EVENTS}

Node = Mapping[str, object]


def _document() -> Node:
    return cast("Node", yaml.safe_load(published_files(SCHEMAS)[ASYNCAPI]))


def _at(start: object, *path: str) -> Node:
    """What stands there; every step must be possible."""
    node = start
    for step in path:
        assert isinstance(node, dict)
        node = node[step]
    return cast("Node", node)


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for below in node.values():
            yield from _references(below)
    elif isinstance(node, list):
        for below in node:
            yield from _references(below)


def _resolved(document: Node, reference: str) -> Node:
    file, _, path = reference.partition("#")
    start = document if not file else json.loads(published_files(SCHEMAS)[file.removeprefix("./")])
    return _at(start, *path.split("/")[1:])


def _inlined(document: Node, node: object) -> object:
    """A schema with the files that it refers to in their places."""
    if isinstance(node, dict):
        if str(node.get("$ref", "")).startswith("./"):
            return _resolved(document, str(node["$ref"]))
        return {name: _inlined(document, below) for name, below in node.items()}
    return node


def test_the_document_is_valid() -> None:
    """By the official JSON Schema of AsyncAPI 3.0.0, bindings of Kafka included."""
    official = Draft7Validator(json.loads(OFFICIAL.read_text(encoding="utf-8")))

    assert [f"{error.json_path}: {error.message}" for error in official.iter_errors(_document())] == []


def test_the_official_schema_would_notice() -> None:
    """The check above can fail: a channel's binding with a wrong type, an action that there is not."""
    official = Draft7Validator(json.loads(OFFICIAL.read_text(encoding="utf-8")))
    document = _document()
    cast("dict[str, object]", _at(document, "operations", "send_issuances"))["action"] = "tell"
    kafka = _at(document, "channels", "issuances", "bindings", "kafka", "topicConfiguration")
    cast("dict[str, object]", kafka)["retention.ms"] = "a month"

    assert {error.json_path for error in official.iter_errors(document)} == {
        "$.operations.send_issuances",
        "$.channels.issuances",
    }


def test_every_reference_leads_somewhere() -> None:
    """Inside the document, and to the schemas beside it."""
    document = _document()
    references = set(_references(document))

    assert {f"./{file}" for file in published_files(SCHEMAS) if file != ASYNCAPI} <= references
    assert all(_resolved(document, reference) for reference in references)


def test_every_example_is_what_it_is_an_example_of() -> None:
    """Every valid example lies in the document, and obeys the schema of its message's payload."""
    document, found = _document(), 0
    for name, message in _at(document, "components", "messages").items():
        validator = Draft7Validator(cast("Node", _inlined(document, _at(message, "payload"))))
        for example in cast("list[Node]", _at(message).get("examples", [])):
            found += 1
            assert validator.is_valid(example["payload"]), f"{name}: {example['name']}"

    assert found == len(list(SCHEMAS.glob("*/examples/valid*.json"))) + 1  # one more, in an envelope


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_every_event_is_described_where_it_is_published(event: type[EventData]) -> None:
    """On its topic, by its type, with its schema, and as something that the adapter sends."""
    document = _document()
    reference = f"#/channels/{event.TOPIC}/messages/{event.__name__}"
    message = _resolved(document, str(_resolved(document, reference)["$ref"]))

    assert message["name"] == event.TYPE
    assert _at(message, "payload") == {"$ref": f"./{event.SCHEMA}.json"}
    assert _at(message, "headers", "properties", "ce_type") == {"const": event.TYPE}
    assert _at(document, "operations", f"send_{event.TOPIC}")["action"] == "send"
    assert {"$ref": reference} in cast("list[Node]", _at(document, "operations", f"send_{event.TOPIC}")["messages"])


def test_a_new_event_is_described_by_being_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is to be done beside adding its model; its topic appears with it."""

    class TicketTorn(EventData):
        """A ticket was torn."""

        TYPE: ClassVar[str] = "ecticket.ticket.torn.v1"
        SCHEMA: ClassVar[str] = "ticket-torn.v1"
        TOPIC: ClassVar[TopicRole] = "reconciliations"

    for module in (asyncapi, schemas):
        monkeypatch.setattr(module, "EVENTS", (*EVENTS, TicketTorn))
    topics = {role: Topic(name=role, description="") for role in TopicSettings.model_fields}
    document = yaml.safe_load(asyncapi_document(version="1", topics=topics, examples={}))

    assert document["components"]["messages"]["TicketTorn"]["name"] == "ecticket.ticket.torn.v1"
    assert "TicketTorn" in document["channels"]["reconciliations"]["messages"]
    assert document["operations"]["send_reconciliations"]["action"] == "send"
    assert {"name": "ticket"} in document["info"]["tags"]
    assert "ticket-torn.v1.json" in schemas.schema_files()


def test_topics_are_those_of_the_settings() -> None:
    """By their default names; the internal ones are left out, and the document says so."""
    document = _document()
    channels = _at(document, "channels")
    defaults = TopicSettings().names()

    assert {role: _at(channel)["address"] for role, channel in channels.items()} == {
        role: name for role, name in defaults.items() if role not in INTERNAL | NOTHING_IS_PUBLISHED_YET
    }
    assert all(f"`topics.{role}`" in str(_at(document, "info")["description"]) for role in INTERNAL)


def test_the_environment_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is the same on every machine."""
    before = published_files(SCHEMAS)
    monkeypatch.setenv("ECTICKET_TOPICS__ISSUANCES", "elsewhere")
    monkeypatch.setenv("ECTICKET_KAFKA__BOOTSTRAP_SERVERS", "elsewhere:9092")

    assert published_files(SCHEMAS) == before


class _Yaml12(yaml.BaseLoader):
    """YAML 1.2's core schema, as most readers of other languages have it; PyYAML itself has 1.1's."""


def _constructor(read: Callable[[str], object]) -> Callable[[yaml.BaseLoader, yaml.ScalarNode], object]:
    return lambda _, node: read(node.value)


_CORE: tuple[tuple[str, str, Callable[[str], object]], ...] = (
    ("null", r"~|null|Null|NULL|", lambda _: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+", int),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
)
for _kind, _pattern, _read in _CORE:
    _Yaml12.add_implicit_resolver(_kind, re.compile(f"(?:{_pattern})$"), None)
    _Yaml12.add_constructor(_kind, _constructor(_read))


def test_readers_of_other_languages_read_the_same() -> None:
    """A telephone number in an example is a text by YAML 1.2 as well, where 0912 is a number."""
    text = published_files(SCHEMAS)[ASYNCAPI]

    assert yaml.load("phone: 0912", Loader=_Yaml12) == {"phone": 912}  # noqa: S506  # it makes no objects either
    assert yaml.load(text, Loader=_Yaml12) == yaml.safe_load(text)  # noqa: S506
