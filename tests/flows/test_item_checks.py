"""Products are checked before an order is sent (`submit.check_items`); an outage of QueryItemInfo stops no order."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from log_lines import capture_logs

from adapter import Skip
from adapter.errors import BreakerOpen, CallError, InDoubt, NotAccepted, NotSent, Throttled
from adapter.flows.item_checks import OLDEST_REFUSAL_SECONDS
from adapter.flows.item_information import PAUSE_SECONDS
from adapter.issuance.decide import QueryFirst, SubmitPolicy
from adapter.provider.client import Purpose
from adapter.stream.records import Record
from adapter.testing.clock import NOON
from adapter.testing.ecticket import BUSY, LOST_BEFORE, NOT_SENT
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import header
from flows.fakes import Maps
from flows.harness import SERIAL, Harness, derived, line, plan_of, replayed


@pytest.fixture
def harness() -> Harness:
    """It requires products that can be issued."""
    return Harness(check_items="require")


def _orders(harness: Harness, count: int, sku: str = "VQT04959") -> list[Record]:
    return [harness.order(line(sku), order_id=f"A-{number}") for number in range(count)]


def _other_tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def _results(harness: Harness) -> list[str]:
    return [result for _, result in harness.observer.of("items_checked")]


# --- a good day -------------------------------------------------------------------------------------------------------


async def test_an_order_whose_products_are_on_the_shelf_is_sent() -> None:
    """One query for each product, in their own share of the pace, before anything is sent."""
    harness = Harness(check_items="require")
    published = await harness.run(harness.order(line(), line("BR103218"), line("SPA", 1, **SERIAL)))

    assert [event.data["part"] for event in published.events] == [1, 2]
    kinds = [kind for kind, _ in harness.ecticket.calls]
    assert harness.ecticket.calls_of("item") == ["VQT04959", "BR103218"]
    assert kinds.index("issue") > max(at for at, kind in enumerate(kinds) if kind == "item")
    assert harness.ecticket.purposes[Purpose.ITEM] == 2
    assert harness.observer.of("items_checked") == [(MERCHANT, "issuable")]


async def test_nothing_is_queried_if_checks_are_off() -> None:
    """The default."""
    harness = Harness()
    harness.ecticket.delisted.add("VQT04959")
    published = await harness.work(harness.order())

    assert published.types == ["submitted"]
    assert harness.ecticket.calls_of("item") == _results(harness) == []


async def test_an_order_of_serial_numbers_has_no_products(harness: Harness) -> None:
    """Nothing to query, and nothing to count."""
    await harness.work(harness.order(line("SPA", 1, **SERIAL)))

    assert harness.ecticket.calls_of("item") == _results(harness) == []


async def test_an_answer_is_used_for_five_minutes(harness: Harness) -> None:
    """Then it is queried again; other merchants have their own answers."""
    for order in _orders(harness, 3):
        await harness.work(order)
    assert harness.ecticket.calls_of("item") == ["VQT04959"]
    await harness.work(harness.order(merchant_id="3002607", order_id="B-1"))
    assert harness.ecticket.calls_of("item") == ["VQT04959"] * 2
    harness.clock.passes(300)
    await harness.work(harness.order(order_id="A-9"))

    assert harness.ecticket.calls_of("item") == ["VQT04959"] * 3


async def test_orders_that_come_together_share_one_query(harness: Harness) -> None:
    """Fifty orders of a product wait for the same answer."""
    harness.ecticket.item_answers = asyncio.Event()
    working = [asyncio.create_task(harness.work(order)) for order in _orders(harness, 50)]
    for _ in range(1000):
        await asyncio.sleep(0)
    harness.ecticket.item_answers.set()
    published = await asyncio.gather(*working)

    assert all(each.types == ["submitted"] for each in published)
    assert harness.ecticket.calls_of("item") == ["VQT04959"]


# --- what cannot be issued --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "last_day", "rule"),
    [
        ("delisted", None, "delisted"),
        ("gifts", None, "gift-without-last-day"),
        ("pickups", "2099-12-31", "pickup-with-last-day"),
        ("unknown_items", None, "not-found"),
    ],
)
async def test_what_cannot_be_issued_is_parked_as_invalid(
    harness: Harness, what: str, last_day: str | None, rule: str
) -> None:
    """The dead letter names product and rule; nothing was sent, and no permission to send was requested."""
    await harness.work(harness.order(line("BR103218"), order_id="A-0"))  # so QueryItemInfo is known to work
    if what != "pickups":  # which all other products are
        getattr(harness.ecticket, what).add("VQT04959")
    sent = harness.ecticket.issues.total()
    published = await harness.work(harness.order({**line(), "expire_date": last_day}))

    (dead_letter,) = published.dead_letters
    assert header(dead_letter, "ecticket-reason") == "invalid-order"
    assert header(dead_letter, "ecticket-stage") == "map"
    assert "VQT04959" in header(dead_letter, "ecticket-message")
    assert published.event("parked").data["reason"] == "invalid-order"
    assert harness.ecticket.issues.total() == sent
    assert _results(harness)[1:] == [rule]


async def test_all_products_of_all_parts_are_named(harness: Harness) -> None:
    """So they can be fixed at once; the good part is not sent either."""
    harness.ecticket.delisted |= {"VQT04959", "BR103218"}
    lines = (line(), line("CK851236", issue_type="paper"), line("BR103218", issue_type="paper"))
    published = await harness.work(harness.order(*lines))

    (dead_letter,) = published.dead_letters
    assert all(each in header(dead_letter, "ecticket-message") for each in ("VQT04959", "BR103218"))
    assert "CK851236" not in header(dead_letter, "ecticket-message")
    assert harness.ecticket.issues.total() == 0


async def test_warn_sends_the_order_logs_and_counts() -> None:
    """By its rule and its products; the metric counts every order."""
    harness = Harness(check_items="warn")
    harness.ecticket.delisted.add("VQT04959")
    with capture_logs() as lines:
        published = [await harness.work(order) for order in _orders(harness, 3)]

    assert all(each.types == ["submitted"] for each in published)
    assert _results(harness) == ["delisted"] * 3
    found = [line for line in lines if line["event"] == "product-not-issuable"]
    assert [(line["reason"], line["item_nos"]) for line in found] == [("delisted", ["VQT04959"])] * 3


async def test_a_refusal_is_not_taken_from_an_old_answer(harness: Harness) -> None:
    """A product that is back on the shelf is sent at the latest 30 s later, although answers are used for 300 s."""
    harness.ecticket.delisted.add("VQT04959")
    assert (await harness.work(harness.order(order_id="A-0"))).dead_letters
    harness.ecticket.delisted.clear()
    assert (await harness.work(harness.order(order_id="A-1"))).dead_letters
    harness.clock.passes(OLDEST_REFUSAL_SECONDS + 1)

    assert (await harness.work(harness.order(order_id="A-2"))).types == ["submitted"]


async def test_a_delisted_product_costs_one_query_in_30_s(harness: Harness) -> None:
    """However many orders of it come."""
    harness.ecticket.delisted.add("VQT04959")
    published = [await harness.work(order) for order in _orders(harness, 20)]

    assert all(each.dead_letters for each in published)
    assert harness.ecticket.calls_of("item") == ["VQT04959"]


# --- the product is back ----------------------------------------------------------------------------------------------


async def test_a_replay_is_issued_after_the_product_is_back() -> None:
    """The old refusal does not answer it, even with no waiting time; evidence comes first, then the products."""
    harness = Harness(check_items="require", policy=SubmitPolicy(reissue_after_seconds=0))
    harness.ecticket.delisted.add("VQT04959")
    (dead_letter,) = (await harness.work(harness.order())).dead_letters
    harness.ecticket.delisted.clear()
    harness.ecticket.calls.clear()

    published = await harness.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert published.event("submitted").data["trade_no"] == derived()
    assert harness.ecticket.tickets[derived()] == 1
    kinds = [kind for kind, _ in harness.ecticket.calls]
    assert kinds.index("query") < kinds.index("item") < kinds.index("issue")


async def test_a_replay_before_the_product_is_back_is_parked_again_and_can_be_replayed_again() -> None:
    """It is still certain that nothing was sent, so the next replay maps it again."""
    harness = Harness(check_items="require", policy=SubmitPolicy(reissue_after_seconds=0))
    harness.ecticket.delisted.add("VQT04959")
    (dead_letter,) = (await harness.work(harness.order())).dead_letters
    for _ in range(2):
        harness.clock.passes(60)
        again = replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock)
        (dead_letter,) = (await harness.run(again)).dead_letters
        assert header(dead_letter, "ecticket-reason") == "invalid-order"
    harness.ecticket.delisted.clear()
    harness.clock.passes(60)
    published = await harness.run(replayed(dead_letter, topic=TOPICS.orders_deferred, clock=harness.clock))

    assert published.types == ["submitted"]
    assert harness.ecticket.tickets == {derived(): 1}


# --- evidence comes first ---------------------------------------------------------------------------------------------


async def test_an_order_that_may_have_been_sent_is_queried_and_never_rejected_for_its_product(
    harness: Harness,
) -> None:
    """After a crash ECTicket has it: it is recovered, although the product is delisted by now."""
    harness.ecticket.has(derived())
    harness.ecticket.delisted.add("VQT04959")
    published = await harness.work(harness.order(), possibly_sent_since=NOON)

    assert published.event("submitted").data["recovered"] is True
    assert harness.ecticket.calls_of("item") == []


async def test_a_call_in_doubt_is_settled_without_the_product(harness: Harness) -> None:
    """The plan in its record was sent once; what is proven not known is sent again as it is."""
    harness.ecticket.faults = [LOST_BEFORE]
    (deferred,) = (await harness.work(harness.order())).deferred_records
    harness.ecticket.delisted.add("VQT04959")
    checked = harness.ecticket.calls_of("item")
    published = await harness.run(deferred)

    assert published.types == ["submitted"]
    assert harness.ecticket.calls_of("item") == checked == ["VQT04959"]


async def test_a_second_record_of_an_issued_order_is_not_called_invalid(harness: Harness) -> None:
    """The tickets exist, although the product was delisted since; nothing is sent again."""
    harness.ecticket.has(derived())
    harness.ecticket.delisted.add("VQT04959")
    published = await harness.run(harness.order())

    assert published.event("submitted").data["recovered"] is True
    assert published.dead_letters == []
    assert harness.ecticket.issues.total() == 0


async def test_a_finding_waits_for_an_answer_about_the_number(harness: Harness) -> None:
    """While QueryIssueResult is silent it is not known whether an earlier record was issued, so the order waits."""
    harness.ecticket.delisted.add("VQT04959")
    harness.ecticket.silent_about.add(derived())
    (deferred,) = (await harness.work(harness.order())).deferred_records
    harness.ecticket.silent_about.clear()
    published = await harness.run(deferred)

    assert header(published.dead_letters[0], "ecticket-reason") == "invalid-order"
    assert harness.ecticket.issues.total() == 0


async def test_an_order_that_was_not_sent_is_checked_again_when_it_is_resumed(harness: Harness) -> None:
    """Deferred before anything was written, and delisted meanwhile."""
    harness.ecticket.always = NOT_SENT
    (deferred,) = (await harness.work(harness.order())).deferred_records
    assert plan_of(deferred).possibly_sent_at is None
    harness.ecticket.always = None
    harness.ecticket.delisted.add("VQT04959")
    harness.clock.passes(600)
    published = await harness.run(deferred)

    assert header(published.dead_letters[0], "ecticket-reason") == "invalid-order"


async def test_query_first_always_still_queries_first() -> None:
    """The number, then the product."""
    harness = Harness(check_items="require", policy=SubmitPolicy(query_first=QueryFirst.ALWAYS))
    await harness.work(harness.order())

    assert [kind for kind, _ in harness.ecticket.calls] == ["query", "item", "issue"]


async def test_a_hook_that_skips_the_order_comes_before_its_products() -> None:
    """What gets no tickets needs no products."""
    maps = Maps()
    maps.skip = Skip("not ours")
    harness = Harness(check_items="require", plugins={"maps": maps})
    await harness.work(harness.order(line("MINE")))

    assert harness.ecticket.calls_of("item") == []


# --- an outage of QueryItemInfo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        InDoubt("QueryItemInfo was read-timed-out."),
        NotSent("connect refused"),
        NotAccepted("HTTP 404"),
        Throttled("HTTP 503", retry_at=NOON),
        BreakerOpen("open", retry_at=NOON),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_order_is_sent_unchecked_if_nothing_answers(harness: Harness, error: CallError) -> None:
    """It is counted; for ten seconds no product is queried, whichever the orders have."""
    harness.ecticket.item_error = error
    harness.ecticket.delisted.add("VQT04959")
    orders = [harness.order(line(f"AAA0000{number}"), order_id=f"A-{number}") for number in range(5)]
    published = [await harness.work(order) for order in orders]

    assert all(each.types == ["submitted"] for each in published)
    assert _results(harness) == ["unanswered"] * 5
    assert len(harness.ecticket.calls_of("item")) == 1
    harness.ecticket.item_error = None
    harness.clock.passes(PAUSE_SECONDS)
    assert (await harness.work(harness.order(order_id="B-1"))).dead_letters


async def test_products_are_not_queried_before_ecticket_asks_for_it(harness: Harness) -> None:
    """After a lock-out or throttling, more calls would prolong it; orders go out unchecked for so long."""
    harness.ecticket.item_error = Throttled("HTTP 403", retry_at=NOON + timedelta(minutes=30))
    assert (await harness.work(harness.order(order_id="A-0"))).types == ["submitted"]
    harness.ecticket.item_error = None
    for minutes, queries in ((29, 1), (2, 2)):
        harness.clock.passes(minutes * 60)
        assert (await harness.work(harness.order(order_id=f"A-{minutes}"))).types == ["submitted"]
        assert len(harness.ecticket.calls_of("item")) == queries

    assert _results(harness) == ["unanswered", "unanswered", "issuable"]


async def test_a_silent_endpoint_delays_an_order_for_a_bounded_time() -> None:
    """The order goes out; the late answer serves the next one."""
    harness = Harness(check_items="require", item_wait_seconds=0.001)
    harness.ecticket.item_answers = asyncio.Event()
    harness.ecticket.delisted.add("VQT04959")
    published = await harness.work(harness.order())
    assert published.types == ["submitted"]
    assert _results(harness) == ["unanswered"]
    harness.ecticket.item_answers.set()
    await asyncio.gather(*_other_tasks())

    assert (await harness.work(harness.order(order_id="A-2"))).dead_letters
    assert harness.ecticket.calls_of("item") == ["VQT04959"]


async def test_a_maintenance_that_refuses_every_product_rejects_no_order(harness: Harness) -> None:
    """RtnCode ≠ 1 proves that a product is unknown only if the endpoint knows another one just after."""
    assert (await harness.work(harness.order(line("BR103218"), order_id="A-0"))).types == ["submitted"]
    harness.ecticket.outages["item"] = BUSY
    published = [await harness.work(order) for order in _orders(harness, 3)]

    assert all(each.types == ["submitted"] for each in published)
    assert _results(harness) == ["issuable", "unanswered", "unanswered", "unanswered"]


async def test_a_process_that_knows_no_product_calls_none_unknown(harness: Harness) -> None:
    """Nothing shows that QueryItemInfo works."""
    harness.ecticket.unknown_items.add("VQT04959")
    assert (await harness.work(harness.order())).types == ["submitted"]
    assert (await harness.work(harness.order(line("BR103218"), order_id="A-2"))).types == ["submitted"]
    harness.clock.passes(PAUSE_SECONDS)
    published = await harness.work(harness.order(order_id="A-3"))

    assert header(published.dead_letters[0], "ecticket-reason") == "invalid-order"


async def test_one_answer_is_enough_to_reject(harness: Harness) -> None:
    """A product without an answer does not save an order whose other product is delisted."""
    harness.ecticket.delisted.add("BR103218")
    harness.ecticket.unknown_items.add("VQT04959")
    published = await harness.work(harness.order(line(), line("BR103218")))

    assert "BR103218" in header(published.dead_letters[0], "ecticket-message")


async def test_queries_in_progress_end_with_the_process() -> None:
    """Nothing is left behind."""
    harness = Harness(check_items="require", item_wait_seconds=0.001)
    harness.ecticket.item_answers = asyncio.Event()
    await harness.work(harness.order())
    checks = harness.submit._item_checks
    assert checks is not None
    await checks.close()

    assert _other_tasks() == []
