"""Orders that cannot become tickets as they stand: each its own dead letter, and nothing is sent (docs/events.md)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from key_words import mentions
from quick import examples
from stream.batch_bytes import CODECS, Written, batch
from stream.engine_harness import until
from stream.fake_kafka import FakeCluster, FakeKafka

from adapter import IssueRequest, Line, Order, OrderRecord, Skip, TicketItem, hookimpl
from adapter.errors import OutcomeTooLarge, TooLarge
from adapter.flows import order_outcomes
from adapter.flows.messages.header_schemas import DEAD_LETTER_HEADERS
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.submit import MAX_ORDER_BYTES
from adapter.kafka.record_batches import ReadBudget, RecordReader
from adapter.protocol.issue import IssueType
from adapter.stream.engine import Engine
from adapter.stream.port import TopicPartition
from adapter.stream.records import NotRead
from adapter.testing.ecticket import LOST_BEFORE
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import has_header, header
from adapter.values import replace
from flows.fakes import CUSTOMER
from flows.harness import SERIAL, THREE_PARTS, Harness, described, line, plan_of, signed, with_headers

# --- dead letters: nothing is sent ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, []),
        (b"", []),
        (b"{", []),
        (b"[]", []),
        (b"\xff\xfe", []),
        (b'{"order_id": 5}', []),
        (b"{}", [("ecticket-attempts", b"many")]),
        (b"{}", [("ecticket-plan", b"\xff")]),
        (b"{}", [("ecticket-plan", b'{"v":2}')]),
        (b"{}", [("content-type", b"\xff")]),
    ],
)
async def test_a_poison_record_is_a_dead_letter(
    harness: Harness, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """Published without an order id, under the record's own coordinates; the record stays unchanged."""
    record = with_headers(harness.record(value, key=b"k"), *headers)

    published = await harness.work(record)

    parked = published.event("parked")
    assert (parked.data["order_id"], parked.data["reason"], parked.data["stage"]) == (None, "unreadable", "parse")
    assert parked.key == parked.attributes["orderref"] == f"orders.paid/2/{record.offset}"
    assert parked.attributes["source"] == "/ecticket-adapter"
    assert (published.dead_letter.key, published.dead_letter.value) == (b"k", value)
    assert header(published.dead_letter, "ecticket-message") == parked.data["message"]
    assert harness.ecticket.calls == []


async def test_the_next_order_is_unharmed(harness: Harness) -> None:
    """A dead letter affects no other order."""
    await harness.work(harness.record(b"\x00"))

    assert (await harness.work(harness.order())).types == ["submitted"]


@pytest.mark.parametrize(
    ("merchant", "expected"), [("9999999", "'9999999' is not configured"), (None, "names no merchant")]
)
async def test_an_unknown_merchant_is_named(harness: Harness, merchant: str | None, expected: str) -> None:
    """No merchant of that id, or none among several: the source names none."""
    published = await harness.work(harness.order(merchant_id=merchant))

    parked = published.event("parked")
    assert parked.data["reason"] == "unknown-merchant"
    assert expected in str(parked.data["message"])
    assert parked.attributes["source"] == "/ecticket-adapter"
    assert parked.attributes["orderid"] == "A-1"


async def test_the_only_merchant_need_not_be_named() -> None:
    """Neither in the adapter's own format, nor by a plugin that parses."""

    class Parses:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Order:
            return Order(
                order_id="P-1",
                merchant_id="",
                lines=(Line(sku="VQT04959", quantity=1),),
                issue_type=IssueType.SERIAL_NUMBER,
            )

        @hookimpl
        def map_item(self, order: Order, line: Line) -> list[TicketItem]:
            return [TicketItem(name="SPA課程體驗券", price=100, quantity=1, issue_type=IssueType.SERIAL_NUMBER)]

    harness = Harness(MERCHANT)
    assert (await harness.work(harness.order(merchant_id=None))).event("submitted").data["merchant_id"] == MERCHANT

    harness = Harness(MERCHANT, plugins={"shop": Parses()})
    assert (await harness.work(harness.record(b"<xml/>"))).event("submitted").data["merchant_id"] == MERCHANT


@pytest.mark.parametrize(("name", "published"), [("AB\ud800", "AB?"), ("券" * 2_000_000, "券" * 255)])
async def test_a_name_that_cannot_be_published_costs_no_event(name: str, published: str) -> None:
    """It decides nothing; but the tickets are bought before the event is published."""

    class Names:
        @hookimpl
        def map_item(self, order: Order, line: Line) -> list[TicketItem]:
            return [TicketItem(item_no="VQT04959", name=name, quantity=1, issue_type=IssueType.ELECTRONIC)]

    harness = Harness(MERCHANT, plugins={"names": Names()})

    submitted = (await harness.work(harness.order())).event("submitted")
    assert submitted.data["items"][0]["name"] == published  # type: ignore[index]  # JSON


async def test_an_order_id_that_cannot_be_published_is_detected_before_anything_is_sent() -> None:
    """Also where the order brings its number, so that none is derived."""

    class Parses:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Order:
            lines = (Line(sku="VQT04959", quantity=1),)
            return Order(
                order_id="A\ud800", merchant_id="", lines=lines, issue_type=IssueType.ELECTRONIC, trade_no="CBX1"
            )

    harness = Harness(MERCHANT, plugins={"shop": Parses()})
    published = await harness.work(harness.record(b"{}"))

    assert published.event("parked").data["reason"] == "invalid-order"
    assert mentions(str(published.event("parked").data["message"]), "order_id surrogate")
    assert harness.ecticket.calls == []


async def test_one_violation_parks_the_whole_order(harness: Harness) -> None:
    """All violations of all parts are reported at once, and nothing is sent, though two of three parts are fine."""
    wrong = {**SERIAL, "name": "券", "unit_price": 0}

    published = await harness.work(
        harness.order(line(), line("SPA", 1, **wrong), line("BR103218", 1, issue_type="paper"), print_by=None)
    )

    parked = published.event("parked")
    assert (parked.data["reason"], parked.data["stage"]) == ("invalid-order", "map")
    for phrase in ("part 2 of 3", "ItemName", "part 3 of 3", "PrintType", "developers.ecpay.com.tw/32163"):
        assert phrase in str(parked.data["message"])
    assert harness.ecticket.calls == []
    assert not has_header(published.dead_letter, "ecticket-plan")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"trade_no": "CBX1", "lines": THREE_PARTS}, "does-not-fit"),
        ({"lines": [line(quantity=2_001)]}, "does-not-fit"),
        ({"lines": [line("no item number")]}, "unmapped-item"),
        ({"issue_type": None}, "invalid-order"),
    ],
)
async def test_what_cannot_be_planned_is_a_dead_letter(
    harness: Harness, content: dict[str, object], reason: str
) -> None:
    """Under its own reason, with nothing asked and nothing sent."""
    published = await harness.work(harness.order(**content))

    assert published.event("parked").data["reason"] == header(published.dead_letter, "ecticket-reason") == reason
    assert header(published.dead_letter, "ecticket-stage") == "map"
    assert harness.ecticket.calls == []


async def test_an_order_too_large_is_refused_before_anything_is_bought(harness: Harness) -> None:
    """It could not be carried forward with its plan; the dead letters still take it whole."""
    record = harness.order(note="x" * MAX_ORDER_BYTES)

    published = await harness.work(record)

    assert published.event("parked").data["reason"] == "too-large"
    assert published.dead_letter.value == record.value
    assert harness.ecticket.calls == []


class FailsToParse:
    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | None:
        raise KeyError(CUSTOMER["phone"])


class FailsToAccept:
    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        raise KeyError(CUSTOMER["phone"])


class FailsToMap:
    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        raise KeyError(CUSTOMER["phone"])


class FailsToShape:
    @hookimpl
    def shape_issue(self, order: Order, request: IssueRequest) -> IssueRequest:
        raise KeyError(CUSTOMER["phone"])


@pytest.mark.parametrize(
    ("plugin", "hook"),
    [
        (FailsToParse(), "parse_order"),
        (FailsToAccept(), "accept_order"),
        (FailsToMap(), "map_item"),
        (FailsToShape(), "shape_issue"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failing_hook_is_named_and_not_quoted(plugin: object, hook: str) -> None:
    """ "failure dead-letters this record as `plugin-error`": plugin and hook, and not what the exception says."""
    harness = Harness(plugins={"boutique": plugin})

    published = await harness.work(harness.order())

    parked = published.event("parked")
    assert (parked.data["reason"], parked.data["plugin"]) == ("plugin-error", "boutique")
    assert parked.data["stage"] == ("parse" if hook == "parse_order" else "map")
    assert header(published.dead_letter, "ecticket-plugin") == "boutique"
    assert f"hook {hook}" in header(published.dead_letter, "ecticket-message")
    assert harness.ecticket.calls == []


async def test_an_internal_error_is_named_by_type_and_code_location(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its text may hold anything, so it is not repeated; the order counts as possibly sent."""

    def find(_: str) -> None:
        raise RuntimeError(f"broke on {CUSTOMER['phone']}")

    monkeypatch.setattr(harness.merchants, "find", find)
    prepared = await harness.submit.prepare(harness.order())
    with pytest.raises(RuntimeError) as caught:
        await harness.submit.handle(prepared.subject, FakeRecordContext(harness.order()))
    monkeypatch.undo()
    record = harness.order()

    published = harness.reader.read(harness.submit.on_error(record, caught.value, FakeRecordContext(record)))

    parked = published.event("parked")
    assert (parked.data["reason"], parked.data["stage"]) == ("internal-error", "submit")
    assert "RuntimeError at test_submit_parked.py:" in str(parked.data["message"])
    assert "broke on" not in str(parked.data["message"])
    assert header(published.dead_letter, "ecticket-possibly-sent-at") == "2026-03-01T04:00:00.000Z"


async def test_an_outcome_that_no_topic_takes_is_too_large(harness: Harness) -> None:
    """The engine asks for a smaller one: a dead letter that says that tickets may exist."""
    record = harness.order()

    published = harness.reader.read(harness.submit.on_error(record, OutcomeTooLarge("42"), FakeRecordContext(record)))

    assert published.event("parked").data["reason"] == "too-large"
    assert "tickets may exist" in header(published.dead_letter, "ecticket-message")
    assert has_header(published.dead_letter, "ecticket-possibly-sent-at")


async def test_a_merchant_that_is_gone_parks_its_deferred_orders_with_their_plans(harness: Harness) -> None:
    """In doubt, so tickets may exist; the parts done before are counted."""
    harness.ecticket.faults = [None, LOST_BEFORE]
    first = await harness.work(harness.order(line(), line("SPA", 1, **SERIAL)))
    harness.merchants.remove(MERCHANT)

    published = await harness.work(first.deferred_record)

    parked = published.event("parked")
    assert (parked.data["reason"], parked.data["parts_done"]) == ("unresolved", 1)
    assert "is not configured" in str(parked.data["message"])
    assert "tickets may exist" in str(parked.data["message"])
    assert [part.part.number for part in plan_of(published.dead_letter).parts] == [2]
    assert has_header(published.dead_letter, "ecticket-possibly-sent-at")


# --- the last resort --------------------------------------------------------------------------------------------------


async def test_a_record_is_parked_by_its_coordinates_if_its_dead_letter_cannot_be_built(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever raises on the way to a dead letter: the record gets an outcome, as possibly sent."""

    def breaks(*_: object, **__: object) -> None:
        raise OverflowError

    record = harness.order()
    monkeypatch.setattr(order_outcomes, "dead_letter_record", breaks)

    published = harness.reader.read(harness.submit.on_error(record, RuntimeError("x"), FakeRecordContext(record)))

    assert published.event("parked").data["reason"] == "internal-error"
    assert (published.dead_letter.key, published.dead_letter.value) == (None, None)
    assert header(published.dead_letter, "ecticket-topic") == record.topic
    assert header(published.dead_letter, "ecticket-offset") == str(record.offset)
    assert has_header(published.dead_letter, "ecticket-possibly-sent-at")


async def test_a_dead_letter_that_cannot_be_signed_is_written_unsigned(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a signature it still counts as possibly sent."""

    def breaks(*_: object, **__: object) -> None:
        raise OverflowError

    record = harness.order()
    monkeypatch.setattr(RecordSigner, "sign", breaks)

    dead_letter, _event = harness.submit.on_error(record, RuntimeError("x"), FakeRecordContext(record)).records

    assert dict(dead_letter.headers)["ecticket-reason"] == b"internal-error"
    assert "ecticket-possibly-sent-at" in dict(dead_letter.headers)
    assert "ecticket-signature" not in dict(dead_letter.headers)


async def test_a_dead_letter_that_its_topic_refuses_is_parked_by_its_coordinates(harness: Harness) -> None:
    """The engine asks again when not even the smaller outcome was taken."""
    record = harness.order()
    error = OutcomeTooLarge("too large", again=True)

    published = harness.reader.read(harness.submit.on_error(record, error, FakeRecordContext(record)))

    assert published.event("parked").data["reason"] == "too-large"
    assert (published.dead_letter.key, published.dead_letter.value) == (None, None)


async def test_a_record_that_was_not_read_is_parked_by_its_coordinates(harness: Harness) -> None:
    """A bomb: nothing of it is in the dead letter, which says which offsets it stands for."""
    record = replace(
        harness.order(), key=None, value=None, not_read=NotRead(first=41, last=41, why="inflates to more than 16 MiB")
    )

    published = harness.reader.read(
        harness.submit.on_error(record, TooLarge("Not read. Send it again."), FakeRecordContext(record))
    )

    assert published.event("parked").data["reason"] == "too-large"
    assert header(published.dead_letter, "ecticket-offsets") == "41-41"
    assert not has_header(published.dead_letter, "ecticket-possibly-sent-at")


@pytest.mark.parametrize("text", ['"\\ud800"', '{"a": ["\\udfff"]}', '{"\\ud83d": 1}'])
async def test_half_a_character_in_a_plan_is_unreadable(harness: Harness, text: str) -> None:
    """What could never be published is refused where it is read, and the order counts as possibly sent."""
    plan = f'{{"v": 1, "order_id": "A-1", "merchant_id": "{MERCHANT}", "reference": {text}}}'

    record = with_headers(
        harness.order(),
        ("ecticket-plan", plan.encode()),
        ("ecticket-merchant-id", MERCHANT.encode()),
        ("ecticket-possibly-sent-at", b"8999-12-31T23:59:59.999999Z"),
    )
    published = await harness.work(signed(record))

    assert published.event("parked").data["reason"] == "unreadable"
    assert has_header(published.dead_letter, "ecticket-possibly-sent-at")


# --- any record at all ------------------------------------------------------------------------------------------------

BYTES = st.none() | st.binary(max_size=60)
OUR_NAMES = st.sampled_from(
    [*sorted(described(DEAD_LETTER_HEADERS)), "ecticket-not-before", "ce_specversion", "content-type"]
)
OUR_VALUES = BYTES | st.sampled_from(
    [b"1", b"2026-01-01T00:00:00Z", b"9999-12-31T23:59:59.999999Z", b"1.0", b'{"v": 1}']
)
RECORDS = st.builds(
    Written,
    key=BYTES,
    value=BYTES | st.sampled_from([b'{"order_id": "A-1", "lines": [{"sku": "VQT04959", "quantity": 1}]}', b"{}"]),
    headers=st.lists(
        st.tuples(OUR_NAMES.map(str.encode), OUR_VALUES) | st.tuples(st.binary(max_size=12), BYTES), max_size=5
    ),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    attributes=st.integers(0, 255),
)


@settings(max_examples=examples(150), deadline=None)
@given(
    records=st.lists(RECORDS, min_size=1, max_size=4),
    codec=st.sampled_from((0, *CODECS)),
    topic=st.sampled_from((TOPICS.orders_paid, TOPICS.orders_deferred, TOPICS.confirmations)),
)
def test_no_record_ends_the_engine(records: list[Written], codec: int, topic: str) -> None:
    """Whatever bytes a producer writes: each record gets an outcome, all are committed, and the engine goes on."""
    source = TopicPartition(topic, 0)
    read = RecordReader(batch(*records, codec=codec), source, position=0, aborted=(), budget=ReadBudget(2**30)).take(
        100
    )

    async def submit_poisoned() -> None:
        cluster = FakeCluster()
        cluster.largest = 2**30
        cluster.logs[source].extend(read)
        kafka = FakeKafka(cluster, (source,))
        harness = Harness()
        engine: Engine[Any] = (
            Engine(harness.confirm, kafka) if topic == TOPICS.confirmations else Engine(harness.submit, kafka)
        )
        running = asyncio.create_task(engine.run())
        await until(
            lambda: running.done() or (source in cluster.commits and cluster.commits[source].offset == len(read)), 20
        )
        assert not running.done()
        await engine.stop(1)
        await running
        assert any(each.topic != TOPICS.issuances for each in cluster.produced_records)

    assert len(read) == len(records)
    asyncio.run(submit_poisoned())
