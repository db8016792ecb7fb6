"""Explains an order: finds everything that the topics show about it, and builds its timeline.

`topic_search` finds the records, and `timeline_builder` makes a timeline of the facts in them. The command `explain`
and the console call this one function.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from shlex import quote

from adapter.flows.number_history import NumberHistory
from adapter.operations.ecticket_answers import EcticketAnswers
from adapter.operations.ports import Progress, no_progress
from adapter.operations.timeline import OrderTimeline
from adapter.operations.timeline_builder import build_timeline
from adapter.operations.topic_search import OrderTopics, TopicSearch


class OrderNotFound(Exception):
    """No record that was read is about the order id or trade number; the message is a sentence."""


async def explain_order(
    which: str,
    topics: OrderTopics,
    *,
    since: datetime | None = None,
    progress: Progress = no_progress,
    answers: EcticketAnswers | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[OrderTimeline, ...]:
    """Return the timeline of each order with this id or trade number: of one order, unless several share it.

    Reads records from `since` (aware) on; None reads all that the topics keep. `progress` is called on the event loop,
    some times a second. With `answers`, ECTicket's current answers are among the facts.

    Safe on the event loop of a running adapter: other tasks run after some milliseconds at the latest, and memory does
    not grow with the topics. Cancelling it closes its connections. Raises OrderNotFound, TopicsMissing,
    BrokerUnavailable and StreamError.
    """
    history = None if answers is None else NumberHistory(merchants=topics.merchants)
    search = TopicSearch(topics=topics, which=which, since=since, progress=progress, history=history)
    await search.run()
    if not search.orders:
        raise OrderNotFound(_not_found(search))
    if answers is not None and history is not None:
        for order in search.orders.values():
            for fact in await answers.of(order, history):
                order.keep(fact)
    unreadable = tuple(f"{each.partition}/{each.first}" for each in search.unreadable)
    moment = now()
    return tuple(
        build_timeline(
            order.found_facts(unreadable=unreadable),
            now=moment,
            merchant_option=_merchant_option(order.merchant_id, topics.merchants.ids),
        )
        for order in search.orders.values()
    )


def _merchant_option(merchant_id: str | None, configured: Collection[str]) -> str:
    """What commands about a trade number need, unless only this merchant is configured."""
    return "" if merchant_id is None or tuple(configured) == (merchant_id,) else f" --merchant {quote(merchant_id)}"


def _not_found(search: TopicSearch) -> str:
    since = "" if search.since is None else f" from {search.since.astimezone(UTC).isoformat(timespec='seconds')} on"
    unreadable = (
        f" (batches that cannot be read were left out: {', '.join(f'{each.partition}/{each.first}' for each in found)})"
        if (found := search.unreadable)
        else ""
    )
    return (
        f"No record{since} is about an order or a trade number {search.which!r}{unreadable}; check its spelling, give "
        "an earlier --since, or look up a trade number with: ecticket-adapter query TRADE_NO"
    )
