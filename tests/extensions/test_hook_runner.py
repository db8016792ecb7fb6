"""What the flows get of plugins: the happy chain, who is asked when, and in which thread."""

from __future__ import annotations

import threading

import pytest

from adapter import (
    Line,
    Order,
    Skip,
    hookimpl,
)
from adapter.errors import DoesNotFit
from adapter.extensions.hook_runner import HookRunner
from adapter.issuance.plan import Part
from adapter.values import replace
from extensions.helpers import PLAN, RECORD, item_numbers, line, order, parsed, runner_with, ticket
from extensions.plugins import Bundles, mapping, parsing

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugins below are what merchants write, mistakes included.


async def prepared(plugins: HookRunner, given: Order) -> tuple[Part, ...]:
    parts = await plugins.prepare(given, PLAN)
    assert isinstance(parts, tuple)
    return parts


async def test_happy_chain_from_record_to_shaped_parts() -> None:
    """Parsed, mapped by the merchant where it knows the sku and by the built-in rule where not, planned and shaped."""
    plugins = runner_with(bundles=Bundles())

    (part,) = await prepared(plugins, await parsed(plugins, replace(RECORD, topic="shop")))

    assert item_numbers([part]) == ["VNS21400", "BR103218", "VQT04959"]
    assert [info.ticket_amount for info in part.request.ticket_info] == [4, 2, 1]
    assert part.request.store_id == "TAIPEI01"


async def test_record_that_no_plugin_knows_is_read_by_the_default_parser() -> None:
    """The default parser is the last parse_order."""
    assert (await parsed(runner_with(bundles=Bundles()), RECORD)).order_id == "default"
    assert (await parsed(runner_with(), RECORD)).order_id == "default"


async def test_skipped_order_is_not_mapped_and_names_who_skipped_it() -> None:
    """The `skipped` event has plugin and reason."""
    bundles = Bundles()

    skip = await runner_with(bundles=bundles).prepare(order(order_id="TEST"), PLAN)

    assert skip == Skip("test order", plugin="bundles")
    assert [hook for hook, _ in bundles.threads] == ["accept_order"]


async def test_possibly_sent_order_is_mapped_before_it_is_accepted() -> None:
    """Its numbers must be known even if it is to be skipped."""
    plugins = runner_with(bundles=Bundles())
    skipped = order(order_id="TEST")

    assert item_numbers(await plugins.parts(skipped, PLAN)) == ["VQT04959"]
    assert await plugins.accept(skipped) == Skip("test order", plugin="bundles")
    assert await plugins.accept(order()) is None


async def test_all_decisions_of_an_order_take_one_visit_to_a_thread() -> None:
    """One hop for accepting, mapping all lines and shaping; never the loop's own thread."""
    bundles = Bundles()

    await prepared(runner_with(bundles=bundles), order(line("FAMILY"), line("VQT04959")))

    assert [hook for hook, _ in bundles.threads] == ["accept_order", "map_item", "map_item", "shape_issue"]
    assert len({thread for _, thread in bundles.threads}) == 1
    assert bundles.threads[0][1] != threading.get_ident()


async def test_no_thread_is_used_when_only_built_in_plugins_have_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without plugins nothing leaves the loop, and a plugin with other hooks changes nothing about that."""

    class OnlyObserves:
        @hookimpl
        def order_settled(self, outcome):
            pass

    threads: list[int] = []

    def plan(given, items):
        threads.append(threading.get_ident())
        return PLAN(given, items)

    started = (runner_with(), runner_with(observes=OnlyObserves()))
    monkeypatch.setattr(threading, "Thread", None)
    for plugins in started:
        await plugins.parse(RECORD)
        await plugins.prepare(order(), plan)
        await plugins.parts(order(), plan)
        await plugins.accept(order())

    assert set(threads) == {threading.get_ident()}


async def test_merchants_answer_comes_before_the_built_in_one() -> None:
    """Even from a plugin that wants to be last."""

    class Last:
        @hookimpl(trylast=True)
        def map_item(self, order, line):
            return [ticket(item_no="LAST0001")]

    assert item_numbers(await prepared(runner_with(last=Last()), order())) == ["LAST0001"]


def answering(item_no: str, *, first: bool = False, last: bool = False) -> object:
    class Answers:
        @hookimpl(tryfirst=first, trylast=last)
        def map_item(self, order, line):
            return [ticket(item_no=item_no)]

    return Answers()


@pytest.mark.parametrize(
    ("plugins", "winner"),
    [
        ({"a": answering("AAAA"), "b": answering("BBBB")}, "AAAA"),
        ({"b": answering("BBBB"), "a": answering("AAAA")}, "BBBB"),
        ({"a": answering("AAAA"), "b": answering("BBBB", first=True)}, "BBBB"),
        ({"a": answering("AAAA", last=True), "b": answering("BBBB")}, "BBBB"),
    ],
)
async def test_plugins_are_asked_in_the_order_in_which_they_are_named(plugins: dict[str, object], winner: str) -> None:
    """The first answer wins; `tryfirst` and `trylast` move a plugin among the merchants'."""
    assert item_numbers(await prepared(runner_with(**plugins), order())) == [winner]


async def test_shaping_is_a_chain() -> None:
    """Each plugin gets the answer of the one before it."""

    class Adds:
        def __init__(self, suffix: str) -> None:
            self.suffix = suffix

        @hookimpl
        def shape_issue(self, request):
            return replace(request, store_id=(request.store_id or "S") + self.suffix)

    (part,) = await prepared(runner_with(a=Adds("A"), b=Adds("B")), order())

    assert part.request.store_id == "SAB"


async def test_items_of_a_part_follow_its_shaped_request() -> None:
    """Events show the item number that was really requested."""

    class Swaps:
        @hookimpl
        def shape_issue(self, request):
            return replace(
                request, ticket_info=tuple(replace(info, item_no="SWAP0001") for info in request.ticket_info)
            )

    (part,) = await prepared(runner_with(swaps=Swaps()), order())

    assert [item.item_no for item in part.items] == ["SWAP0001"]


async def test_what_planning_raises_reaches_the_flow() -> None:
    """Planning is not a plugin's fault, wherever it runs."""
    too_many = order(line(quantity=101), trade_no="PAID0001")

    for plugins in (runner_with(), runner_with(bundles=Bundles())):
        with pytest.raises(DoesNotFit):
            await plugins.prepare(too_many, PLAN)


async def test_counters_count_calls_failures_and_seconds_of_each_hook() -> None:
    """For the metrics, by plugin and hook; built-in ones too."""
    plugins = runner_with(bundles=Bundles())
    await plugins.prepare(order(line("FAMILY"), line("VQT04959")), PLAN)

    counts = {(each.plugin, each.hook): each for each in plugins.counters.snapshot()}

    assert {name: (each.calls, each.failures) for name, each in counts.items()} == {
        ("bundles", "accept_order"): (1, 0),
        ("bundles", "map_item"): (2, 0),
        ("bundles", "shape_issue"): (1, 0),
        ("builtin.sku_is_item_no", "map_item"): (1, 0),
    }
    assert all(each.seconds > 0 for each in counts.values())


async def test_reference_that_a_plugin_changes_stays_as_it_was() -> None:
    """`reference` is passed through untouched into every event, whatever a plugin does to what it was shown."""
    given = order(reference={"cart": [1, 2]})
    shown: list[object] = []

    def defaces(order: Order, line: Line) -> None:
        order.reference["cart"].clear()  # type: ignore[index]  # as a careless plugin does
        shown.append(order.reference)

    await runner_with(careless=mapping(defaces)).prepare(given, PLAN)

    assert shown == [{"cart": []}]
    assert given.reference == {"cart": [1, 2]}


async def test_no_hook_sees_what_an_earlier_one_did_to_the_order() -> None:
    """Neither another plugin's nor the plugin's own: after a crash an order is mapped before it is accepted."""
    seen: list[object] = []

    class Careless:
        @hookimpl
        def accept_order(self, order):
            order.reference.clear()

        @hookimpl
        def map_item(self, order, line):
            seen.append(dict(order.reference))
            order.reference.clear()

        @hookimpl
        def shape_issue(self, order, request):
            seen.append(dict(order.reference))
            return request

    class Neighbour:
        @hookimpl
        def map_item(self, order, line):
            seen.append(dict(order.reference))

    plugins = runner_with(careless=Careless(), neighbour=Neighbour())
    await plugins.prepare(order(reference={"cart": [1]}), PLAN)

    assert seen == [{"cart": [1]}] * 3


async def test_reference_that_a_plugin_parsed_is_no_longer_its_own() -> None:
    """What the plugin keeps of it and changes later reaches no event."""
    kept = {"cart": [1]}
    found = await parsed(runner_with(shop=parsing(lambda record: order(reference=kept))), RECORD)
    kept["cart"].append(2)

    assert found.reference == {"cart": [1]}


async def test_no_message_shows_the_record() -> None:
    """Records hold customer data; so `repr` shows where one came from and nothing of it."""
    assert "A-1" not in repr(RECORD)
