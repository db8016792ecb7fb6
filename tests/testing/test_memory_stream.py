"""In memory an order goes the way it goes in the adapter, and a plugin has its say on it."""

from __future__ import annotations

import pytest
from key_words import mentions

from adapter import (
    IssueType,
    Line,
    Order,
    OrderOutcome,
    OrderRecord,
    Skip,
    TicketItem,
    UnmappedItem,
    Unreadable,
    hookimpl,
)
from adapter.dev.sandbox import RunningSandbox
from adapter.errors import PluginRejected
from adapter.testing import LOST_AFTER, LOST_BEFORE, REFUSED, Clock, MemoryStream, Orders, order_record
from adapter.testing.outcome_reader import header
from adapter.testing.pytest_plugin import MemoryStreamFactory


class Shop:
    """A shop's plugin: its own events, bundles, test orders, and an eye on what comes of them."""

    def __init__(self) -> None:
        self.outcomes: list[OrderOutcome] = []

    @hookimpl
    def parse_order(self, record: OrderRecord) -> Order | None:
        if ("event", b"shop.order") not in record.headers:
            return None
        if record.value is None:
            raise Unreadable("The shop's event is empty. See the shop's event log.")
        return Order(
            order_id=record.value.decode(),
            merchant_id="3085676",
            lines=(Line(sku="FAMILY-DAY", quantity=2),),
            customer=Orders().electronic().customer,
        )

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        return Skip("test order") if order.order_id.startswith("TEST") else None

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        if line.sku == "BROKEN":
            raise KeyError("no such bundle")
        if line.sku != "FAMILY-DAY":
            return None
        return [TicketItem(item_no="VQT04959", quantity=4 * line.quantity, issue_type=IssueType.ELECTRONIC)]

    @hookimpl
    def order_settled(self, outcome: OrderOutcome) -> None:
        self.outcomes.append(outcome)


def test_an_order_is_submitted_and_issued(memory_stream: MemoryStreamFactory, orders: Orders) -> None:
    """Without a plugin, with the fake ECTicket."""
    stream = memory_stream()
    result = stream.run(orders.electronic())

    assert result.types == ["submitted", "issued"]
    assert stream.ecticket.tickets.total() == 1


def test_every_kind_of_order_is_issued_at_the_sandbox(
    memory_stream: MemoryStreamFactory, orders: Orders, sandbox: RunningSandbox
) -> None:
    """Over a real socket, with every rule of ECPay's pages."""
    stream = memory_stream(sandbox=sandbox)
    kinds = {order.order_id: stream.run(order).types for order in orders.of_every_kind()}

    assert all(set(found) == {"submitted", "issued"} for found in kinds.values()), kinds
    assert sandbox.order_store.number_count == sum(len(found) for found in kinds.values()) / 2


def test_a_plugin_maps_parses_and_skips(memory_stream: MemoryStreamFactory, orders: Orders) -> None:
    """Every hook is asked as in the adapter, and observers have heard when the call returns."""
    shop = Shop()
    stream = memory_stream(shop)
    parsed = stream.run(order_record(b"OWN-1", headers={"event": "shop.order"}))
    skipped = stream.run(orders.electronic(order_id="TEST-1"))

    assert parsed.event("issued").data["ticket_count"] == 8
    assert skipped.event("skipped").data["plugin"] == "Shop"
    assert [outcome.skipped for outcome in shop.outcomes] == [None, "test order"]


def test_what_a_plugin_breaks_is_a_dead_letter(memory_stream: MemoryStreamFactory, orders: Orders) -> None:
    """It names the plugin by the name it was given."""
    result = memory_stream(bundles=Shop()).run(orders.electronic(Line(sku="BROKEN", quantity=1)))

    assert result.types == ["parked"]
    assert result.reason == "plugin-error"
    assert mentions(header(result.dead_letter, "ecticket-message"), "'bundles' map_item(order KeyError")


def test_an_unreadable_record_is_a_dead_letter_in_the_plugins_words(memory_stream: MemoryStreamFactory) -> None:
    """Raising Unreadable is an answer."""
    result = memory_stream(Shop()).submit(order_record(None, headers={"event": "shop.order"}))

    assert result.reason == "unreadable"


def test_an_answer_that_was_lost_is_asked_for(memory_stream: MemoryStreamFactory, orders: Orders) -> None:
    """The fake injects a fault; nothing is bought twice."""
    stream = memory_stream()
    stream.ecticket.faults = [LOST_AFTER]
    result = stream.run(orders.electronic())

    assert result.event("issued").data["recovered"] is True
    assert set(stream.ecticket.tickets.values()) == {1}


def test_a_doubt_goes_on_as_a_deferred_record(memory_stream: MemoryStreamFactory, orders: Orders, clock: Clock) -> None:
    """One run defers it; the deferred record is resumed when it is due, and time passes at once."""
    stream = memory_stream()
    stream.ecticket.faults = [LOST_BEFORE]
    began = clock()
    result = stream.submit(orders.electronic())
    assert result.only_deferred

    assert stream.run(result.deferred_record).types == ["submitted", "issued"]
    assert (clock() - began).total_seconds() >= 600


def test_a_refusal_ends_as_failed(memory_stream: MemoryStreamFactory, orders: Orders) -> None:
    """With ECTicket's own words."""
    stream = memory_stream()
    stream.ecticket.faults = [REFUSED]
    result = stream.run(orders.electronic())

    assert result.event("failed").data["rtn_msg"] == "Inventory shortage"


def test_a_plugin_that_the_adapter_refuses_is_refused_here() -> None:
    """With name, hook and cure."""

    class Misspelt:
        @hookimpl
        def map_itm(self, line: Line) -> None: ...

    with pytest.raises(PluginRejected, match="Did you mean 'map_item'"):
        MemoryStream(Misspelt())


async def test_it_works_inside_a_running_loop(memory_stream: MemoryStreamFactory, orders: Orders) -> None:
    """Tests that are coroutines may use it too."""
    assert memory_stream().run(orders.electronic()).types == ["submitted", "issued"]


class Refuses:
    """A plugin that knows no ticket."""

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        raise UnmappedItem(f"Sku {line.sku} is in no season. Add it.")


def test_why_an_order_was_parked_is_printed_and_shown(
    memory_stream: MemoryStreamFactory, orders: Orders, capsys: pytest.CaptureFixture[str]
) -> None:
    """pytest shows the `repr` in an assertion that fails, and what was printed below it."""
    result = memory_stream(Refuses()).run(orders.electronic())

    for text in (repr(result), capsys.readouterr().out, *result.why_parked):
        assert mentions(text, "unmapped-item (map season")


def test_what_is_not_there_is_reported_with_the_reason(memory_stream: MemoryStreamFactory, orders: Orders) -> None:
    """`result.event("submitted")` of a parked order says why there is none, and so do the others."""
    result = memory_stream(Refuses()).run(orders.electronic())

    with pytest.raises(AssertionError, match=r"'submitted' event, not 0.*unmapped-item"):
        result.event("submitted")
    with pytest.raises(AssertionError, match="deferred record, not 0"):
        _ = result.deferred_record
    with pytest.raises(AssertionError, match="dead letter, not 0"):
        _ = memory_stream().run(orders.electronic()).dead_letter


def test_several_merchants_each_have_their_orders(
    memory_stream: MemoryStreamFactory, orders: Orders, sandbox: RunningSandbox
) -> None:
    """At the sandbox with its own keys for each; an order that names none of them is parked."""
    two = ("3085676", "3362787")
    for stream in (memory_stream(merchants=two), memory_stream(merchants=two, sandbox=sandbox)):
        for merchant in two:
            result = stream.run(orders.electronic(merchant_id=merchant))
            assert result.types == ["submitted", "issued"]
            assert result.event("issued").data["merchant_id"] == merchant
        assert stream.run(orders.electronic(merchant_id="")).reason == "unknown-merchant"
        assert stream.run(orders.electronic(merchant_id="1")).reason == "unknown-merchant"


def test_a_merchant_that_the_sandbox_does_not_know_is_reported(
    memory_stream: MemoryStreamFactory, sandbox: RunningSandbox
) -> None:
    """Else every order would be in doubt."""
    with pytest.raises(ValueError, match=r"merchant 1\b.* 3085676, 3362787"):
        memory_stream(merchants=["1"], sandbox=sandbox)


def test_what_is_no_order_is_reported(memory_stream: MemoryStreamFactory) -> None:
    """With what it may be."""
    with pytest.raises(TypeError, match="not a list"):
        memory_stream().run(["VQT04959"])  # type: ignore[arg-type]  # the mistake
