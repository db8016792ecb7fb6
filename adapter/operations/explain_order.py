"""Explains an order: finds everything that the topics show about it, and builds its timeline.

`topic_search` finds the records, `order_facts` reads them, `timeline` puts the facts into order and derives what is
next. The command `explain` and the console call this one function.
"""

from __future__ import annotations

from datetime import UTC, datetime

from adapter.flows.number_history import NumberHistory
from adapter.operations.ecticket_answers import EcticketAnswers
from adapter.operations.ports import Progress, no_progress
from adapter.operations.timeline import OrderTimeline
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
    return tuple(order.timeline(unreadable=unreadable) for order in search.orders.values())


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
