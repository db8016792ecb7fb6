"""The plugins of docs/own-formats.md read what the registry's own serializers write, all the way to the tickets."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from adapter import Line
from adapter.testing import ConformanceCheck, MemoryStreamFactory, order_record
from adapter.testing.outcome_reader import header
from docs.pages import File, steps

PAGE = (Path(__file__).parents[2] / "docs" / "own-formats.md").read_text(encoding="utf-8")
FILES = {step.path: step.content for step in steps(PAGE) if isinstance(step, File)}
VALUE = SerializationContext("orders.paid", MessageField.VALUE)
PAID: dict[str, Any] = {
    "number": "A-1",
    "state": "PAID",
    "paid_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
    "buyer": {"name": "王小明", "phone": "0912345678", "email": "ming@example.com"},
    "items": [{"sku": "VQT04959", "count": 2}],
}


class Registry(ThreadingHTTPServer):
    """A schema registry on loopback: schemas get ids in the order in which they are registered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: list[dict[str, Any]] = []
        self.fetched: list[str] = []
        self.answers = True

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_POST(self) -> None:
        schema = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if schema not in self.server.schemas:
            self.server.schemas.append(schema)
        known = self.server.schemas.index(schema) + 1
        self._answer(200, {"id": known, "version": known, "subject": "orders.paid-value", **schema})

    def do_GET(self) -> None:
        kind, _, known = self.path.split("?")[0].rpartition("/")
        self.server.fetched.append(self.path)
        if not self.server.answers:
            self._answer(503, {"error_code": 50301, "message": "not now"})
        elif kind == "/schemas/ids" and 1 <= int(known) <= len(self.server.schemas):
            self._answer(200, self.server.schemas[int(known) - 1])
        else:
            self._answer(404, {"error_code": 40403, "message": "not found"})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/vnd.schemaregistry.v1+json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[Registry]:
    """One that answers."""
    with Registry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def load(name: str, folder: Path) -> ModuleType:
    """A module of the page."""
    path = folder / f"{name}.py"
    path.write_text(FILES[path.name], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def avro(registry: Registry, **changes: object) -> bytes:
    """An order as the shop's producer writes it."""
    conf = {"subject.name.strategy.type": "TOPIC"}
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry.url}), FILES["shop.avsc"], conf=conf)
    value = serialize({**PAID, **changes}, VALUE)
    assert value is not None
    return bytes(value)


def test_an_avro_order_is_issued(registry: Registry, tmp_path: Path, memory_stream: MemoryStreamFactory) -> None:
    """Its schema is fetched once; a cancelled order and a tombstone are ignored."""
    stream = memory_stream(
        shop_avro=load("shop_avro", tmp_path), settings={"shop_avro": {"registry_url": registry.url}}
    )

    result = stream.run(avro(registry))

    assert result.types == ["submitted", "issued"]
    assert (result.event("issued").data["order_id"], result.event("issued").data["ticket_count"]) == ("A-1", 2)
    assert stream.run(avro(registry, number="A-2")).types == ["submitted", "issued"]
    assert stream.run(avro(registry, state="CANCELLED")).ignored == "cancelled"
    assert stream.run(order_record(None)).ignored == "tombstone"
    assert len(registry.fetched) == 1


def test_an_avro_order_waits_for_a_person_while_the_registry_is_down(
    registry: Registry, tmp_path: Path, memory_stream: MemoryStreamFactory
) -> None:
    """It is parked, nothing is sent, and a later try of the same record is issued."""
    stream = memory_stream(
        shop_avro=load("shop_avro", tmp_path), settings={"shop_avro": {"registry_url": registry.url}}
    )
    value = avro(registry)
    registry.answers = False

    result = stream.run(value)

    assert result.reason == "plugin-error"
    assert "parse_order" in header(result.dead_letter, "ecticket-message")
    assert stream.ecticket.requests == []
    registry.answers = True
    assert stream.run(value).types == ["submitted", "issued"]


def _message() -> Any:
    """The class that protoc makes of the page's message."""
    text = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    order = file.message_type.add(name="OrderPaid")
    item = order.nested_type.add(name="Item")
    item.field.add(name="sku", number=1, type=text, label=1)
    item.field.add(name="count", number=2, type=descriptor_pb2.FieldDescriptorProto.TYPE_INT32, label=1)
    for number, name in enumerate(("number", "name", "phone", "email"), 1):
        order.field.add(name=name, number=number, type=text, label=1)
    order.field.add(name="items", number=5, type=11, label=3, type_name=".shop.OrderPaid.Item")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.OrderPaid"))


@pytest.fixture
def order_paid(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The message's class, in the module that the page imports it from."""
    message = _message()
    monkeypatch.setitem(sys.modules, "shop_pb2", SimpleNamespace(OrderPaid=message))
    return message


def protobuf(registry: Registry, order_paid: Any) -> bytes:
    """An order as the shop's producer writes it."""
    item = order_paid.Item(sku="VQT04959", count=2)
    order = order_paid(number="A-1", items=[item], **PAID["buyer"])
    conf = {"subject.name.strategy.type": "TOPIC", "use.deprecated.format": False}
    serialize = ProtobufSerializer(order_paid, SchemaRegistryClient({"url": registry.url}), conf)
    value = serialize(order, VALUE)
    assert value is not None
    return bytes(value)


def test_a_protobuf_order_is_issued(
    registry: Registry, order_paid: Any, tmp_path: Path, memory_stream: MemoryStreamFactory
) -> None:
    """Without asking the registry; what is no such message is unreadable."""
    stream = memory_stream(shop_protobuf=load("shop_protobuf", tmp_path))
    value = protobuf(registry, order_paid)
    registry.fetched.clear()

    result = stream.run(value)
    broken = stream.run(value[:-3])

    assert result.types == ["submitted", "issued"]
    assert result.event("issued").data["ticket_count"] == 2
    assert broken.reason == "unreadable"
    assert "王" not in header(broken.dead_letter, "ecticket-message")
    assert stream.run(order_record(None)).ignored == "tombstone"
    assert registry.fetched == []


@pytest.mark.parametrize("name", ["shop_avro", "shop_protobuf"])
def test_the_plugins_keep_the_rules(
    name: str, registry: Registry, order_paid: Any, tmp_path: Path, conforms: ConformanceCheck
) -> None:
    """The conformance suite, with an order of each format."""
    settings = {"registry_url": registry.url} if name == "shop_avro" else {}
    value = avro(registry) if name == "shop_avro" else protobuf(registry, order_paid)
    module = load(name, tmp_path)

    conforms(module, settings=settings, records=[order_record(value)])

    if not settings:
        order = module.parse_order(order_record(value))
        assert order.lines == (Line(sku="VQT04959", quantity=2),)


def test_without_a_plugin_each_is_named(
    registry: Registry, order_paid: Any, memory_stream: MemoryStreamFactory
) -> None:
    """The dead letter says that a registry's framing is there, and which schema."""
    stream = memory_stream()
    for known, value in enumerate((avro(registry), protobuf(registry, order_paid)), 1):
        message = header(stream.run(value).dead_letter, "ecticket-message")

        assert f"schema id {known}" in message
        assert "own-formats.md" in message
