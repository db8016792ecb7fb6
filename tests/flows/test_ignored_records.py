"""`parse_order` may answer `Ignore(reason)`: the record is settled and counted, and nothing is published.

docs/hooks.md, `parse_order`. An order under way is never lost by it.
"""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from extensions.odd_types import Number
from log_lines import capture_logs

from adapter import Customer, Ignore, IssueType, Line, Order, OrderOutcome, OrderRecord, hookimpl, read_order
from adapter.testing.clock import NOON
from adapter.testing.ecticket import NOT_SENT
from adapter.testing.fakes import TOPICS, FakeRecordContext
from adapter.testing.orders import CUSTOMER, MERCHANT
from adapter.testing.outcome_reader import OrderEvents, header
from adapter.values import replace
from adapter.web.metrics import Metrics
from flows.harness import Harness, derived, replayed, with_headers

LINES = (Line(sku="VQT04959", quantity=2, issue_type=IssueType.ELECTRONIC),)


class Shop:
    """Cancelled and draft orders are on the same topic as paid ones."""

    def __init__(self) -> None:
        self.ignored = {"cancelled", "draft"}
        self.parsed = 0
        self.outcomes: list[OrderOutcome] = []

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | Ignore | None:
        self.parsed += 1
        if record.value is None:
            return Ignore("tombstone")
        document = json.loads(record.value)
        if document["state"] in self.ignored:
            return Ignore(document["state"])
        return Order(order_id="A-1", merchant_id=MERCHANT, lines=LINES, customer=CUSTOMER)

    @hookimpl
    def order_settled(self, outcome: OrderOutcome) -> None:
        self.outcomes.append(outcome)


def _value(state: str) -> bytes:
    return json.dumps({"state": state, "customer": "王小明"}).encode()


def _nothing_published(published: OrderEvents) -> bool:
    return not (published.events or published.deferred_records or published.confirmations or published.dead_letters)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def harness(shop: Shop) -> Harness:
    return Harness(plugins={"shop": shop})


@pytest.mark.parametrize(("value", "reason"), [(_value("cancelled"), "cancelled"), (None, "tombstone")])
async def test_an_ignored_record_is_settled_without_an_event(
    harness: Harness, shop: Shop, value: bytes | None, reason: str
) -> None:
    """Nothing is sent or published; the metric and the observers get plugin and reason."""
    published = await harness.work(harness.record(value))
    await harness.hook_runner.observers_done()

    assert published.ignored == reason
    assert _nothing_published(published)
    assert harness.ecticket.calls == []
    assert harness.observer.of("ignored") == [("shop", reason)]
    assert harness.observer.of("order_settled") == [("ignored",)]
    assert [(each.ignored, each.plugin, each.order_id) for each in shop.outcomes] == [(reason, "shop", None)]


async def test_an_ignored_record_has_a_lane_of_its_own(harness: Harness) -> None:
    """It has no order, so it waits for none and holds none up."""
    prepared = await harness.submit.prepare(harness.record(_value("draft")))

    assert prepared.lane is None


async def test_the_log_names_the_record_and_no_customer(
    harness: Harness,
) -> None:
    """At debug: a topic may hold ten times more of them than orders."""
    record = harness.record(_value("cancelled"))
    with capture_logs() as lines:
        await harness.work(record)

    (line,) = lines
    assert (line["event"], line["log_level"]) == ("record-ignored", "debug")
    assert (line["topic"], line["partition"], line["offset"]) == (record.topic, record.partition, record.offset)
    assert (line["plugin"], line["detail"]) == ("shop", "cancelled")
    assert "王小明" not in repr(lines)


async def test_after_a_crash_an_ignored_record_is_ignored_again(harness: Harness) -> None:
    """The same plugins ignored it before, too, so no earlier process sent it."""
    published = await harness.work(harness.record(_value("cancelled")), possibly_sent_since=NOON)

    assert published.ignored == "cancelled"
    assert _nothing_published(published)


async def test_after_a_crash_under_another_mapping_it_is_unresolved(harness: Harness) -> None:
    """The earlier plugins may have read it as an order and sent it; its numbers are not known."""
    record = harness.record(_value("cancelled"))

    published = await harness.work(record, possibly_sent_since=NOON, fingerprint_changed=True)

    assert published.ignored is None
    assert (published.reason, header(published.dead_letter, "ecticket-plugin")) == ("unresolved", "shop")
    assert "tickets may exist" in header(published.dead_letter, "ecticket-message")
    assert header(published.dead_letter, "ecticket-possibly-sent-at") == "2026-03-01T04:00:00.000Z"
    assert published.event("parked").data["reason"] == "unresolved"
    assert published.dead_letter.value == record.value


async def test_a_record_marked_possibly_sent_is_not_ignored(harness: Harness) -> None:
    """The header counts in the safe direction, even unsigned."""
    record = with_headers(harness.record(_value("cancelled")), ("ecticket-possibly-sent-at", b"2026-03-01T00:00:00Z"))

    assert (await harness.work(record)).reason == "unresolved"


async def test_a_replayed_record_that_was_never_sent_can_be_ignored(harness: Harness, shop: Shop) -> None:
    """A shop's old cancelled orders leave the dead letters once its plugin ignores them."""
    shop.ignored = set()
    harness.merchants.remove(MERCHANT)
    dead_letter = (await harness.work(harness.record(_value("cancelled")))).dead_letter
    shop.ignored = {"cancelled"}

    again = replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock, signer=harness.signer)
    published = await harness.work(again)

    assert published.ignored == "cancelled"
    assert _nothing_published(published)


async def test_an_order_under_way_is_not_lost_to_a_plugin_that_ignores_it_now(harness: Harness, shop: Shop) -> None:
    """Its record carries the plan, so it is not parsed again."""
    shop.ignored = set()
    harness.ecticket.faults = [NOT_SENT] * 9
    deferred = (await harness.work(harness.record(_value("cancelled")))).deferred_record
    parsed = shop.parsed
    harness.ecticket.faults = []
    shop.ignored = {"cancelled"}

    published = await harness.run(deferred)

    assert published.types == ["submitted"]
    assert harness.ecticket.tickets == {derived(): 1}
    assert shop.parsed == parsed


async def test_a_record_with_an_untrusted_plan_is_not_ignored(harness: Harness, shop: Shop) -> None:
    """Its signature is not valid, so the plan is not followed; parts of the order may be issued all the same."""
    shop.ignored = set()
    harness.ecticket.faults = [NOT_SENT] * 9
    deferred = (await harness.work(harness.record(_value("cancelled")))).deferred_record
    unsigned = replace(deferred, headers=tuple(each for each in deferred.headers if each[0] != "ecticket-signature"))
    shop.ignored = {"cancelled"}

    published = await harness.work(unsigned)

    assert (published.ignored, published.reason) == (None, "unresolved")


async def test_an_ignored_record_that_waits_too_long_is_not_handed_on(harness: Harness) -> None:
    """There is nothing in it that is still to be done."""
    record = harness.record(_value("cancelled"))
    prepared = await harness.submit.prepare(record)

    outcome = harness.submit.hand_off(record, prepared.subject, FakeRecordContext(record, NOON + timedelta(seconds=1)))

    assert outcome.records == ()
    assert harness.observer.of("deferred") == []


async def test_many_reasons_are_counted_as_other(shop: Shop) -> None:
    """A plugin that writes order numbers into its reasons costs no more than 50 labels."""
    states = ["x" * 101, "half a \ud800", "a\x1b[2J"] + [f"order {number}" for number in range(60)]
    shop.ignored = set(states)
    harness = Harness(plugins={"shop": shop})

    for state in states:
        await harness.work(harness.record(_value(state)))
    await harness.work(harness.record(_value("order 3")))

    counted = [reason for _, reason in harness.observer.of("ignored")]
    assert len(set(counted)) == 51
    assert counted.count("other") == 13
    assert all(each.isprintable() for each in counted)
    assert counted[-1] == "order 3"


def test_the_metric_counts_by_plugin_and_reason() -> None:
    """`ecticket_ignored_total{plugin, reason}`."""
    metrics = Metrics(lambda _: True)
    metrics.flows.ignored("shop", "cancelled")

    value = metrics.registry.get_sample_value("ecticket_ignored_total", {"plugin": "shop", "reason": "cancelled"})
    assert value == 1


def test_ignore_needs_a_reason() -> None:
    """It is what the operator counts by."""
    with pytest.raises(ValueError, match="reason"):
        Ignore("")


@pytest.mark.parametrize("answer", ["cancelled", Ignore, True, Customer()])
async def test_other_answers_are_still_refused(answer: object) -> None:
    """Only an Order, an Ignore or None is an answer; a class is not its instance."""

    class Wrong:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> object:
            return answer

    harness = Harness(plugins={"shop": Wrong()})
    published = await harness.work(harness.record(b"{}"))

    assert published.reason == "plugin-error"
    assert "Ignore" in header(published.dead_letter, "ecticket-message")


async def test_a_dead_letter_without_its_value_is_not_taken_for_a_tombstone(harness: Harness, shop: Shop) -> None:
    """A person copied it back by hand; ignoring it would lose the order."""
    record = with_headers(harness.record(None), ("ecticket-value-omitted", b"true"))

    published = await harness.work(record)

    assert (published.ignored, published.reason) == (None, "unreadable")
    assert "dead-letters replay" in header(published.dead_letter, "ecticket-message")
    assert shop.parsed == 0


async def test_a_plugin_reads_the_adapters_own_format_out_of_an_envelope() -> None:
    """`read_order` is what the adapter itself reads with; the only merchant is filled in."""

    class Unwraps:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Order | None:
            return read_order(json.dumps(json.loads(record.value or b"")["order"]).encode())

    harness = Harness(MERCHANT, plugins={"shop": Unwraps()})
    order = {"order_id": "A-1", "lines": [{"sku": "VQT04959", "quantity": 2.0}], "issue_type": "serial_number"}

    published = await harness.work(harness.record(json.dumps({"order": order}).encode()))
    broken = await harness.work(harness.record(b'{"order": {"lines": []}}'))

    assert published.event("parked").data["order_id"] == "A-1"
    assert broken.reason == "unreadable"
    assert "order_id" in header(broken.dead_letter, "ecticket-message")


async def test_a_reason_without_a_hash_is_counted_as_its_text() -> None:
    """A plugin's own kind of text is no mistake of the adapter's."""

    class Shop:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Ignore:
            return Ignore(Number("cancelled"))

    harness = Harness(plugins={"shop": Shop()})
    published = await harness.work(harness.record(b"{}"))

    assert published.ignored == "cancelled"
    assert _nothing_published(published)
    assert harness.observer.of("ignored") == [("shop", "cancelled")]
    assert type(harness.observer.of("ignored")[0][1]) is str


async def test_an_order_number_without_a_hash_is_issued_as_its_text() -> None:
    """Its lane can be looked up, and its events name the plain number."""

    class Shop:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> Order:
            return Order(order_id=Number("A-1"), merchant_id=MERCHANT, lines=LINES, customer=CUSTOMER)

    harness = Harness(plugins={"shop": Shop()})
    record = harness.record(b"{}")
    prepared = await harness.submit.prepare(record)
    published = await harness.work(record)

    assert hash(prepared.lane) == hash(prepared.lane)
    assert published.event("submitted").data["order_id"] == "A-1"
