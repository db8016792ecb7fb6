"""If a plugin fails, its own order gets a plugin error, and other orders are not affected."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from key_words import mentions

from adapter import (
    DoesNotFit,
    InvalidOrder,
    IssueRequest,
    Line,
    Order,
    TicketItem,
    TradeNo,
    TradeNoKind,
    TradeNoMissing,
    UnknownMerchant,
    UnmappedItem,
    Unreadable,
)
from adapter.errors import HookFailed, OrderError
from adapter.values import replace
from extensions.helpers import PLAN, RECORD, limited, line, order, parsed, runner_with, ticket
from extensions.plugins import coroutine, mapping, parsing, raises, shaping

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugins below are what merchants write, mistakes included.


def no_quantity(request: IssueRequest) -> IssueRequest:
    return replace(request, ticket_info=tuple(replace(info, ticket_amount=99) for info in request.ticket_info))


def another_number(request: IssueRequest) -> IssueRequest:
    return replace(request, trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value="MINE"))


@pytest.mark.parametrize(
    ("plugin", "hook", "expected_text"),
    [
        (
            mapping(raises(KeyError("王小明"))),
            "map_item",
            r"map_item\(order, line\).* KeyError .*plugins\.py.* \d+",
        ),
        (
            mapping(lambda order, line: line.colour),
            "map_item",
            r"AttributeError .*plugins\.py.* \d+",
        ),
        (mapping(lambda order, line: setattr(line, "quantity", 0)), "map_item", "raised FrozenInstanceError"),
        (
            mapping(lambda order, line: TicketItem(quantity=0, issue_type=order.issue_type)),
            "map_item",
            "raised ValueError",
        ),
        (mapping(lambda order, line: sys.exit(1)), "map_item", "raised SystemExit"),
        (mapping(raises(KeyboardInterrupt())), "map_item", "raised KeyboardInterrupt"),
        (mapping(raises(asyncio.CancelledError())), "map_item", "raised CancelledError"),
        (mapping(raises(StopIteration())), "map_item", "raised StopIteration"),
        (mapping(raises(RecursionError())), "map_item", "raised RecursionError"),
        (mapping(lambda order, line: ticket()), "map_item", r"TicketItem,.*list of"),
        (mapping(lambda order, line: [None]), "map_item", r"\[0\].* None,.*TicketItem"),
        (mapping(lambda order, line: iter([])), "map_item", "list_iterator"),
        (mapping(coroutine), "map_item", "coroutine"),
        (shaping(lambda request: None), "shape_issue", r"None,.*request"),
        (shaping(lambda request: request.to_payload()), "shape_issue", r"dict,.*IssueRequest"),
        (shaping(lambda request: replace(request, operator=7)), "shape_issue", r"operator .*int,.*str"),
        (shaping(lambda request: replace(request, merchant_id="2000132")), "shape_issue", "merchant"),
        (shaping(another_number), "shape_issue", "trade number"),
        (shaping(no_quantity), "shape_issue", "quantities"),
        (shaping(lambda request: replace(request, ticket_info=())), "shape_issue", "quantities"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_broken_plugin_costs_its_order_a_plugin_error(plugin: object, hook: str, expected_text: str) -> None:
    """The error names plugin, hook, and where the mistake is; it repeats nothing that the plugin said."""
    plugins = runner_with(broken=plugin)

    with pytest.raises(HookFailed, match=expected_text) as raised:
        await plugins.prepare(order(), PLAN)

    failure = raised.value
    assert (failure.plugin, failure.hook, failure.reason) == ("broken", hook, "plugin-error")
    assert str(failure).startswith(f"Plugin 'broken': hook {hook}(")
    assert "王小明" not in str(failure)
    assert failure.__cause__ is None
    assert failure.__context__ is None
    assert [(each.calls, each.failures) for each in plugins.counters.snapshot() if each.plugin == "broken"] == [(1, 1)]


class OwnError(InvalidOrder):
    """A merchant's own class, whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unreadable(), Unreadable),
        (Unreadable(None), Unreadable),
        (InvalidOrder(""), InvalidOrder),
        (InvalidOrder(" \n"), InvalidOrder),
        (UnmappedItem(), UnmappedItem),
        (UnknownMerchant(), UnknownMerchant),
        (DoesNotFit(None), DoesNotFit),
        (TradeNoMissing(), TradeNoMissing),
        (OwnError("hush"), InvalidOrder),
    ],
    ids=repr,
)
async def test_an_answer_by_error_without_words_gets_a_sentence(error: OrderError, kind: type[OrderError]) -> None:
    """The dead letter names plugin, hook and error, and keeps the reason; the call does not count as failed."""
    plugins = runner_with(terse=mapping(raises(error)))

    with pytest.raises(kind) as raised:
        await plugins.prepare(order(), PLAN)

    assert raised.value.reason == kind.reason
    message = str(raised.value)
    assert mentions(message, f"'terse' map_item(order {type(error).__name__}")
    assert [each.failures for each in plugins.counters.snapshot() if each.plugin == "terse"] == [0]


async def test_an_answer_by_error_keeps_its_own_words() -> None:
    """They are written for the reader of the dead letter."""
    error = InvalidOrder("The cart is empty.")

    with pytest.raises(InvalidOrder) as raised:
        await runner_with(wordy=mapping(raises(error))).prepare(order(), PLAN)

    assert raised.value is error


@pytest.mark.parametrize(
    ("answer", "expected_text"),
    [
        (lambda record: {"order_id": "A-1"}, r"dict,.*Order.*Ignore.*None"),
        (lambda record: order(order_id=17), r"order_id .*int,.*str"),
        (lambda record: order(order_id=""), r"order_id .*\b64\b"),
        (lambda record: order(order_id="A" * 65), r"order_id .*\b64\b"),
        (lambda record: replace(order(), lines=()), r"\b0 lines.*\b200\b"),
        (lambda record: order(*[line()] * 201), r"\b201 lines"),
        (lambda record: order(reference={1, 2}), r"reference .*JSON"),
        (lambda record: order(reference=float("nan")), r"reference .*JSON"),
        (lambda record: order(reference="\ud800"), r"reference .*JSON"),
        (lambda record: order(reference="票" * 400), r"reference .*\b1024\b"),
    ],
)
async def test_parsed_order_is_held_to_the_bounds_of_the_adapters_own_format(
    answer: object, expected_text: str
) -> None:
    """What a plugin reads goes the same way as any other order, so it must fit."""
    with pytest.raises(HookFailed, match=expected_text):
        await runner_with(shop=parsing(answer)).parse(RECORD)


@pytest.mark.parametrize(
    ("plugins", "error"),
    [
        ({"a": parsing(raises(Unreadable("no field `no`")))}, Unreadable("no field `no`")),
        ({"a": mapping(raises(UnmappedItem("no such bundle")))}, UnmappedItem("no such bundle")),
        ({"a": shaping(raises(InvalidOrder("no store")))}, InvalidOrder("no store")),
    ],
)
async def test_order_errors_raised_by_plugins_are_their_answer(plugins: dict[str, object], error: Exception) -> None:
    """The order is parked for that reason with the plugin's own words, and nothing counts as failed."""
    found = runner_with(**plugins)

    with pytest.raises(type(error), match=str(error)):
        await found.prepare(await parsed(found, RECORD), PLAN)

    assert [each.failures for each in found.counters.snapshot() if each.plugin == "a"] == [0]


async def test_blocking_hook_is_given_up_and_others_go_on(gate: threading.Event) -> None:
    """The loop never waits for it; the next order is prepared while the first hook is still stuck."""

    def blocks_on_first(order: Order, line: Line) -> None:
        if order.order_id == "A-1":
            gate.wait(30)

    plugins = limited(0.3, [], slow=mapping(blocks_on_first))

    stuck, following = await asyncio.gather(
        plugins.prepare(order(), PLAN), plugins.prepare(order(order_id="A-2"), PLAN), return_exceptions=True
    )

    assert isinstance(stuck, HookFailed)
    assert mentions(str(stuck), "'slow' map_item(order 300")
    assert isinstance(following, tuple)
    assert plugins.stuck_threads == 1


async def test_abandoned_thread_calls_no_further_hook(gate: threading.Event) -> None:
    """The order is parked by then: nothing more may happen for it."""
    calls: list[str] = []

    def blocks(order: Order, line: Line) -> None:
        calls.append(line.sku)
        gate.wait(30)

    plugins = limited(0.02, [], slow=mapping(blocks))
    with pytest.raises(HookFailed):
        await plugins.prepare(order(line("VQT04959"), line("VNS21400")), PLAN)
    gate.set()
    async with asyncio.timeout(10):
        while plugins.stuck_threads:  # noqa: ASYNC110  # the thread comes back by itself
            await asyncio.sleep(0.001)

    assert calls == ["VQT04959"]
    assert [(each.calls, each.failures) for each in plugins.counters.snapshot()] == [(1, 1)]
