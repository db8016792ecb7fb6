"""Writes the AsyncAPI 3 document of the topics that a merchant's programs write and read: `schemas/asyncapi.yaml`.

It is generated from the models of the events, so every event is described. Values are referenced, not repeated: the
JSON Schemas are beside the document. Does not describe the internal topics, whose records may change with every
version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import yaml

from adapter.flows.messages.events import EVENTS, EventData, OrderNotIssued, ReconciliationCompleted
from adapter.flows.messages.header_schemas import DEAD_LETTER_HEADERS, EVENT_HEADERS, ORDER_HEADERS, headers_of
from adapter.flows.messages.schemas import ORDER_PAID

ASYNCAPI = "asyncapi.yaml"
"""Name of the document's file, beside the schemas."""
ORDERS_PAID, DEAD_LETTERS = "orders_paid", "dead_letters"
Described = Mapping[str, object]
"""A piece of the document."""
Examples = Mapping[str, Mapping[str, object]]
"""Valid examples: schema to example's name to content."""

_HEAD = "# Written by `ecticket-adapter schemas write` from the models of the events; changes made here are lost.\n"
_BINDING = "0.5.0"
_DESCRIPTION = """\
Paid orders arrive on a Kafka topic, each becomes tickets through ECPay's ECTicket API, and every result is published on
Kafka as an event. Actions are the adapter's own: it receives what a shop sends, and sends what others read.

- **Topics.** Addresses are default names; each is a setting of the adapter (`topics.*`).
- **Events** are CloudEvents 1.0 in binary mode of their Kafka binding: attributes are headers (`ce_*`), data the value.
- **Once.** The results of an order are one transaction: read with `isolation.level=read_committed`. The same fact has
  the same `ce_id` however often it is published, for example after a replay: drop ids that you have seen.
- **In order.** All events of one issuance have one key, and so one partition.
- **Closed.** Data have the fields of their schema and no others; another form is another type (`.v2`). Ignore types
  that you do not know.
- **No customer data** is in an event, unless the shop put it into the order's `reference`, which is passed on. It is in
  the orders and in the dead letters: give no other program read access there.

The topics of the adapter's own work (`topics.orders_deferred`, `topics.confirmations`, `topics.control`) are not
described: they change with any version, the first holds customer data, and only the adapter reads and writes them.
"""
_BROKER = (
    "The merchant's own Kafka, as the setting `kafka.bootstrap_servers` names it, secured as `kafka.security_protocol` "
    "and `kafka.sasl_mechanism` say."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic in the document: its default name, its purpose, and the configuration that `topics --create` gives it."""

    name: str
    description: str
    config: Mapping[str, str] = field(default_factory=dict)


def asyncapi_document(*, version: str, topics: Mapping[str, Topic], examples: Examples) -> str:
    """The document as YAML; `topics` by the names of their settings, `examples` where there are any."""
    messages = {role: dict(found) for role, found in _messages(examples).items()}
    document = {
        "asyncapi": "3.0.0",
        "id": "urn:ecticket-adapter:asyncapi",
        "info": {
            "title": "ecticket-adapter",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": _tags(*(_tag(event) for event in EVENTS)),
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": _server()},
        "channels": {role: _channel(role, topics[role], messages[role]) for role in messages},
        "operations": dict(_operations(messages)),
        "components": {
            "messages": {name: message for found in messages.values() for name, message in found.items()},
            "messageTraits": _TRAITS,
        },
    }
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _messages(examples: Examples) -> Mapping[str, Iterable[tuple[str, Described]]]:
    """The messages of each topic: the orders first, then the events in the order of their models, then dead letters."""
    by_topic: dict[str, list[tuple[str, Described]]] = {}
    for event in EVENTS:
        by_topic.setdefault(event.TOPIC, []).append((event.__name__, _event(event, examples)))
    return {ORDERS_PAID: _orders(examples), **by_topic, DEAD_LETTERS: (("DeadLetter", _dead_letter()),)}


def _orders(examples: Examples) -> Iterator[tuple[str, Described]]:
    found = examples.get(ORDER_PAID, {})
    yield (
        "OrderPaid",
        {
            "title": "Order paid",
            "summary": "An order has been paid and is to become tickets.",
            "description": "Bare JSON, or a CloudEvent in binary mode. Fields that the schema does not name are passed "
            "over. A shop whose events look otherwise has them read by a plugin (`parse_order`).",
            "tags": _tags("order"),
            "traits": _traits("order"),
            "payload": _data(ORDER_PAID),
            **_examples(found),
        },
    )
    yield (
        "OrderPaidStructured",
        {
            "title": "Order paid, as a structured CloudEvent",
            "summary": "The same as a CloudEvent in structured mode: envelope and order in one JSON object.",
            "contentType": "application/cloudevents+json",
            "tags": _tags("order"),
            "traits": _traits("order"),
            "payload": _ENVELOPE,
            **_examples({name: _enveloped(order) for name, order in list(found.items())[:1]}),
        },
    )


def _data(schema: str) -> Described:
    """A reference to a schema's file; with a `schemaFormat`, AsyncAPI's own generator would make no models of it."""
    return {"$ref": f"./{schema}.json"}


_ENVELOPE: Described = {
    "title": "OrderPaidStructured",
    "type": "object",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "minLength": 1, "description": "The shop's own; the adapter does not look at it."},
        "data": _data(ORDER_PAID),
    },
}


def _enveloped(order: object) -> Described:
    return {
        "specversion": "1.0",
        "id": "5b0c3b2e-7f3e-4a56-9d0a-1a4a3f0c7d11",
        "source": "/shop/checkout",
        "type": "com.example.order.paid",
        "data": order,
    }


def _event(event: type[EventData], examples: Examples) -> Described:
    return {
        "name": event.TYPE,
        "title": _title_of(event.__name__),
        "summary": event.__doc__,
        "tags": _tags(_tag(event)),
        "traits": _traits("event", _key_trait(event)),
        "headers": headers_of(event),
        "payload": _data(event.SCHEMA),
        **_examples(examples.get(event.SCHEMA, {})),
    }


def _key_trait(event: type[EventData]) -> str:
    if issubclass(event, OrderNotIssued):
        return "keyed_by_order"
    return "keyed_by_merchant" if event is ReconciliationCompleted else "keyed_by_issuance"


def _dead_letter() -> Described:
    return {
        "title": "Dead letter",
        "summary": "A record that a person must look at, unchanged, with headers that give the reason.",
        "description": "The value and the header `ecticket-plan` may hold customer data. Do not write here, and do not "
        "copy dead letters back by hand: `ecticket-adapter dead-letters replay` does it without a second purchase.",
        "contentType": "application/octet-stream",
        "headers": DEAD_LETTER_HEADERS,
        "payload": {
            "title": "DeadLetter",
            "description": "The unchanged value, which need not be JSON; absent if it was too large.",
        },
        "bindings": _key("The record's own key, unchanged."),
    }


def _key(description: str, *examples: str) -> Described:
    key = {"type": "string", "description": description, **({"examples": list(examples)} if examples else {})}
    return {"kafka": {"key": key, "bindingVersion": _BINDING}}


_TRAITS: Described = {
    "order": {
        "headers": ORDER_HEADERS,
        "bindings": _key(
            "The shop's own. Records of one partition that are about the same order are taken one after another, so "
            "the order's id is a good one.",
            "A-1001",
        ),
    },
    "event": {"headers": EVENT_HEADERS},
    "keyed_by_issuance": {
        "bindings": _key(
            "`{merchant_id}/{ce_subject}`, where the subject is the trade number if that is known.",
            "3085676/CBX20260302153064851",
        )
    },
    "keyed_by_order": {
        "bindings": _key(
            "The order's id; for a record that could not be read its coordinates, `topic/partition/offset`.",
            "A-1007",
            "orders.paid/3/41",
        )
    },
    "keyed_by_merchant": {"bindings": _key("The merchant's id.", "3085676")},
}


def _traits(*names: str) -> list[Described]:
    return [{"$ref": f"#/components/messageTraits/{name}"} for name in names]


def _examples(found: Mapping[str, object]) -> Described:
    return {"examples": [{"name": name, "payload": content} for name, content in found.items()]} if found else {}


def _title_of(name: str) -> str:
    """The words of a class's name."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _tag(event: type[EventData]) -> str:
    """The subject of the event: the second word of its type."""
    return event.TYPE.split(".")[1]


def _tags(*names: str) -> list[Described]:
    return [{"name": name} for name in dict.fromkeys(names)]


def _server() -> Described:
    return {
        "host": "{broker}",
        "protocol": "kafka",
        "description": _BROKER,
        "variables": {
            "broker": {"description": "Host and port of one of its brokers.", "examples": ["kafka.example.com:9092"]}
        },
    }


def _channel(role: str, topic: Topic, messages: Iterable[str]) -> Described:
    return {
        "address": topic.name,
        "title": role.replace("_", " ").capitalize(),
        "summary": topic.description,
        "description": f"The name is the setting `topics.{role}`. The configuration is that which "
        "`ecticket-adapter topics --create` gives to a topic that is missing.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topicConfiguration": _configuration(topic), "bindingVersion": _BINDING}},
    }


def _configuration(topic: Topic) -> Described:
    """The topic's configuration in the binding's types: a policy is a list; all other values are numbers."""
    return {name: text.split(",") if name == "cleanup.policy" else int(text) for name, text in topic.config.items()}


def _operations(messages: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, Described]]:
    for role, names in messages.items():
        action = "receive" if role == ORDERS_PAID else "send"
        yield (
            f"{action}_{role}",
            {
                "action": action,
                "channel": {"$ref": f"#/channels/{role}"},
                "summary": _SUMMARIES.get(role, "Facts are published as they are learned."),
                **({"bindings": _CONSUMER_BINDING} if role == ORDERS_PAID else {}),
                "messages": [{"$ref": f"#/channels/{role}/messages/{name}"} for name in names],
            },
        )


_SUMMARIES: Mapping[str, str] = {
    ORDERS_PAID: "Paid orders are taken and issued.",
    DEAD_LETTERS: "Records that need a person's decision are kept.",
}
_CONSUMER_BINDING: Described = {
    "kafka": {
        "groupId": {"type": "string", "description": "`{kafka.group_prefix}.submit`"},
        "bindingVersion": _BINDING,
    }
}


class _Dumper(yaml.SafeDumper):
    """Readable YAML: texts of several lines as blocks, and no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        """Never an alias: readers of the document look for the content in its own position."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    """The style of a text.  PyYAML writes YAML 1.1, where 0912 is a text; readers of YAML 1.2 see a number."""
    if "\n" in text:
        return "|"
    return "'" if text[:1] in set("0123456789+-.") else None


_Dumper.add_representer(str, _text)
