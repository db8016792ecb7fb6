"""Events are decoded from their topic as they were published; a record of another program is no event."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapter.flows.messages.event_reader import decode_event, read_published_event
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.fakes import FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OutcomeEvent
from adapter.values import replace
from flows.harness import Harness, derived


async def submitted(harness: Harness) -> tuple[Record, OutcomeEvent]:
    """The record of a `submitted` event, and the event as the house reads it."""
    record = harness.order(order_id="王-1")
    prepared = await harness.submit.prepare(record)
    outcome = await harness.submit.handle(prepared.subject, FakeRecordContext(record))
    (producer_record,) = (each for each in outcome.records if each.topic == "ecticket.issuances")
    return harness.reader.published(producer_record), harness.reader.read(outcome).event("submitted")


async def test_an_event_is_read_as_it_was_published(harness: Harness) -> None:
    """Attributes, extensions, data; its key is no business of a sink's."""
    record, published = await submitted(harness)

    event = decode_event(record)

    assert event is not None
    assert (event.id, event.type) == (published.id, "ecticket.issuance.submitted.v1")
    assert (event.source, event.subject) == (f"/ecticket-adapter/merchants/{MERCHANT}", derived("王-1"))
    assert abs((event.time - NOON).total_seconds()) < 1
    assert event.data == published.data
    assert event.extensions == {"orderid": "王-1", "orderref": published.attributes["orderref"]}


async def test_each_reading_has_its_own_data(harness: Harness) -> None:
    """What a sink does to them reaches no other delivery; the outermost cannot be changed at all."""
    record, published = await submitted(harness)
    event = decode_event(record)
    assert event is not None
    assert isinstance(event.data["items"], list)
    event.data["items"].clear()
    with pytest.raises(TypeError):
        event.data["order_id"] = "B"  # type: ignore[index]  # as a sink may try

    again = decode_event(record)

    assert again is not None
    assert again.data == published.data


def without(name: str) -> Callable[[Record], Record]:
    return lambda record: replace(record, headers=tuple(header for header in record.headers if header[0] != name))


def saying(name: str, text: bytes | None) -> Callable[[Record], Record]:
    return lambda record: replace(without(name)(record), headers=(*without(name)(record).headers, (name, text)))


@pytest.mark.parametrize(
    "change",
    [
        without("ce_specversion"),
        saying("ce_specversion", b"0.3"),
        without("ce_id"),
        *(
            saying(name, text)
            for name in ("ce_id", "ce_type")
            for text in (b"a\r\nx: y", b"a b", b"\0", "王".encode(), b"\xff", b"a" * 256, b"", None)
        ),
        without("ce_type"),
        without("ce_source"),
        saying("ce_source", b"/shop"),
        saying("ce_source", b"/ecticket-adapters"),
        without("ce_time"),
        saying("ce_time", b"yesterday"),
        saying("ce_time", b"2026-03-01T04:00:00"),
        saying("ce_time", None),
        lambda record: replace(record, value=None),
        lambda record: replace(record, value=b"{"),
        lambda record: replace(record, value=b"[" * 100_000),
        lambda record: replace(record, value=b'"text"'),
        lambda record: replace(record, value=b'{"reference": NaN}'),
        lambda record: replace(record, value=b'{"reference": 1e999}'),
        lambda record: replace(record, headers=()),
    ],
)
async def test_what_is_no_event_of_ours_is_none(harness: Harness, change: Callable[[Record], Record]) -> None:
    """Other programs may write to the topic."""
    record, _ = await submitted(harness)

    assert decode_event(change(record)) is None


async def test_an_event_of_ours_can_be_written_whatever_its_texts_hold(harness: Harness) -> None:
    """Half a surrogate pair, which no text with it can be encoded with, becomes a replacement character."""
    record, _ = await submitted(harness)

    event = decode_event(replace(record, value=b'{"order_id": "\\ud83d", "\\udc00": "\\u0000"}'))

    assert event is not None
    assert event.data == {"order_id": "\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}": "\0"}
    event.to_json().encode()


async def test_a_type_of_a_newer_version_is_an_event(harness: Harness) -> None:
    """Both run while one is rolled out."""
    record, _ = await submitted(harness)

    event = decode_event(saying("ce_type", b"ecticket.ticket.moved.v1")(record))

    assert event is not None
    assert event.type == "ecticket.ticket.moved.v1"


@pytest.mark.parametrize(("content", "merchant_id"), [({}, MERCHANT), ({"merchant_id": "9999999"}, None)])
async def test_an_event_about_an_order_as_a_whole_has_the_merchant_of_its_source(
    harness: Harness, content: dict[str, object], merchant_id: str | None
) -> None:
    """Its data have none; a merchant without keys here is not known."""
    await harness.run(harness.order(order_id="A-7", customer={}, **content))

    (record,) = [record async for record in harness.reader.tail({})]
    event = read_published_event(record)

    assert event is not None
    assert (event.name, event.merchant_id, event.order_id) == ("parked", merchant_id, "A-7")
