"""However the connector is configured, the order in an outbox event is read, and what is no event is ignored."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping

import pytest
from outbox_orders import OutboxOrders, Settings

from adapter import Ignore, Line, Order, OrderRecord, Unreadable
from adapter.testing import ConformanceCheck, MemoryStreamFactory, order_record

CUSTOMER: Mapping[str, object] = {"name": "王小明", "phone": "0912345678", "email": "ming@example.com"}
ORDER: Mapping[str, object] = {
    "order_id": "A-1",
    "issue_type": "electronic",
    "customer": CUSTOMER,
    "lines": [{"sku": "VQT04959", "quantity": 2}],
}
TEXT = json.dumps(ORDER, ensure_ascii=False)
ROW: Mapping[str, object] = {
    "id": "406c07f3-26f0-4eea-a50c-109940064b8f",
    "aggregateid": "A-1",
    "aggregatetype": "Order",
    "payload": TEXT,
    "timestamp": 1556890294344,
    "type": "OrderPaid",
}
CHANGE: Mapping[str, object] = {
    "before": None,
    "after": ROW,
    "source": {"connector": "postgresql", "db": "shop", "schema": "public", "table": "outboxevent", "snapshot": False},
    "op": "c",
    "ts_ms": 1556890294484,
}
HEADERS: Mapping[str, str] = {"id": "4d47e190-0402-4048-bc2c-89dd54343cdc"}
TYPED: Mapping[str, str] = {**HEADERS, "eventType": "OrderPaid"}
ONLY_PAID: Mapping[str, object] = {"event_types": ["OrderPaid"]}


def record(document: object, headers: Mapping[str, str] = HEADERS) -> OrderRecord:
    """A record as the connector writes it."""
    value = document if isinstance(document, bytes) or document is None else json.dumps(document).encode()
    return order_record(value, headers=headers, key=b'"A-1"')


def answer(found: OrderRecord, **settings: object) -> Order | Ignore | None:
    """What the plugin makes of a record."""
    plugin = OutboxOrders()
    plugin.configure(Settings.model_validate(settings))
    return plugin.parse_order(found)


def with_schema(document: object) -> dict[str, object]:
    """As Kafka Connect's JSON converter writes it while schemas.enable is true."""
    return {"schema": {"type": "string", "optional": False}, "payload": document}


FORMS: Mapping[str, object] = {
    "router, text": TEXT,
    "router, text of text": json.dumps(TEXT),
    "router, expanded": ORDER,
    "router, base64 of bytes": base64.b64encode(TEXT.encode()).decode(),
    "router, envelope": {"payload": TEXT, "eventType": "OrderPaid"},
    "router, envelope of an expanded payload": {"payload": ORDER, "eventType": "OrderPaid"},
    "change event": CHANGE,
    "change event of an expanded payload": {**CHANGE, "after": {**ROW, "payload": ORDER}},
    "snapshot": {**CHANGE, "op": "r"},
    "flattened": ROW,
    "flattened with marks": {**ROW, "__op": "c", "__deleted": "false"},
}


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "with schema"])
@pytest.mark.parametrize("form", FORMS)
def test_the_order_is_read_however_it_is_wrapped(form: str, wrapped: bool) -> None:
    """The order is the adapter's own format below all of it."""
    document = with_schema(FORMS[form]) if wrapped else FORMS[form]

    for settings in ({}, ONLY_PAID):
        order = answer(record(document, TYPED), **settings)

        assert isinstance(order, Order)
        assert (order.order_id, order.merchant_id) == ("A-1", "")
        assert order.lines == (Line(sku="VQT04959", quantity=2),)
        assert order.customer.name == "王小明"


IGNORED: Mapping[str, tuple[object, str]] = {
    "tombstone": (None, "tombstone"),
    "tombstone with schema": (with_schema(None), "tombstone"),
    "delete": ({**CHANGE, "op": "d", "before": ROW, "after": None}, "operation d"),
    "delete with schema": (with_schema({**CHANGE, "op": "d", "before": ROW, "after": None}), "operation d"),
    "update": ({**CHANGE, "op": "u", "before": ROW}, "operation u"),
    "truncate": ({"before": None, "after": None, "op": "t"}, "operation t"),
    "flattened delete": ({**ROW, "__deleted": "true"}, "operation d"),
    "flattened update": ({**ROW, "__op": "u"}, "operation u"),
    "empty payload": ({**CHANGE, "after": {**ROW, "payload": None}}, "empty payload"),
    "heartbeat": ({"ts_ms": 1556890294484}, "heartbeat"),
    "transaction begin": (
        {"status": "BEGIN", "id": "571", "event_count": None, "data_collections": None},
        "transaction mark",
    ),
    "schema change": (
        {"source": {}, "databaseName": "shop", "ddl": "ALTER TABLE", "tableChanges": []},
        "schema change",
    ),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_no_new_event_is_ignored(name: str) -> None:
    """Debezium writes it beside the events, or for the sake of compaction."""
    document, reason = IGNORED[name]

    assert answer(record(document)) == Ignore(reason)


@pytest.mark.parametrize(
    ("document", "headers"),
    [
        (TEXT, {**HEADERS, "eventType": "OrderCancelled"}),
        (TEXT, {**HEADERS, "eventType": '"OrderCancelled"'}),
        (b"\x00not JSON", {**HEADERS, "eventType": "OrderCancelled"}),
        ({"payload": TEXT, "eventType": "OrderCancelled"}, HEADERS),
        ({**CHANGE, "after": {**ROW, "type": "OrderCancelled"}}, HEADERS),
        ({**ROW, "type": "OrderCancelled"}, HEADERS),
    ],
)
def test_events_of_other_types_are_ignored(document: object, headers: Mapping[str, str]) -> None:
    """One outbox has many kinds of events; the type is in a header, in the envelope or in the row."""
    assert answer(record(document, headers), **ONLY_PAID) == Ignore("event type OrderCancelled")


def test_an_event_that_does_not_say_its_type_is_not_ignored() -> None:
    """A connector that is not configured to write it must not cost the orders."""
    with pytest.raises(Unreadable, match="eventType"):
        answer(record(TEXT), **ONLY_PAID)


def test_names_of_columns_and_of_the_header_are_settings() -> None:
    """Debezium's options table.field.event.payload and the like rename them."""
    names = {"event_type_header": "kind", "type_column": "event", "payload_column": "body"}
    row = {"id": 1, "event": "OrderPaid", "body": TEXT}

    for found in (record({**CHANGE, "after": row}), record(row), record(TEXT, {"kind": "OrderPaid"})):
        assert isinstance(answer(found, **names, **ONLY_PAID), Order)


def test_an_order_in_the_adapters_own_format_is_read() -> None:
    """A payload of JSON that the connector writes as it is looks like any order."""
    assert isinstance(answer(record(ORDER, {})), Order)


@pytest.mark.parametrize("document", [b"<order/>", b"\x00\x00\x00\x00\x01avro", b"[]", b"7", b"null", {"id": 1}])
def test_what_is_no_event_of_an_outbox_is_left_to_others(document: object) -> None:
    """Other producers may write to the topic, too."""
    assert answer(record(document, {})) is None


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ("paid", "payload of the outbox event is not JSON"),
        ({"payload": "[0912345678"}, "payload of the outbox event is not JSON"),
        ({**CHANGE, "after": {"id": 1}}, "no row with the column payload"),
        ({**CHANGE, "after": None}, "no row with the column payload"),
        ({**CHANGE, "after": {**ROW, "payload": "{}"}}, "order_id"),
        ({**CHANGE, "after": {**ROW, "payload": [ORDER]}}, "a list"),
        ({**CHANGE, "after": {**ROW, "payload": 7}}, "a number"),
    ],
)
def test_an_event_without_an_order_is_unreadable(document: object, cause: str) -> None:
    """With what is wrong, and nothing of what is there."""
    with pytest.raises(Unreadable, match=cause) as raised:
        answer(record(document))

    assert "0912" not in str(raised.value)


@pytest.mark.parametrize("make", [lambda: TEXT, lambda: CHANGE, lambda: with_schema(CHANGE)])
def test_an_event_is_issued_once(make: Callable[[], object], memory_stream: MemoryStreamFactory) -> None:
    """All the way; the delete that follows in the outbox is ignored."""
    stream = memory_stream(OutboxOrders())

    assert stream.run(record(make())).types == ["submitted", "issued"]
    assert stream.run(record({**CHANGE, "op": "d", "before": ROW, "after": None})).ignored == "operation d"
    assert stream.run(record(None)).ignored == "tombstone"
    assert stream.ecticket.tickets.total() == 1


def test_it_keeps_the_rules_of_plugins(conforms: ConformanceCheck) -> None:
    """The conformance suite, with events of an outbox."""
    own = [record(document) for document in (*FORMS.values(), *(document for document, _ in IGNORED.values()))]
    conforms(OutboxOrders(), records=own)
