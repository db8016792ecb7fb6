"""The result check of a run: compares the orders, ECTicket's issuances and the events, one sentence per disagreement.

Reads only public facts: the sandbox's orders, the events of committed readers, and the groups' committed offsets. It
does not trust the adapter's own reports, and does not know which faults happened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from integration.cluster import MERCHANT, NOT_PUBLISHED, Cluster
from integration.event_log import Event

from adapter.issuance.trade_numbers import derive_trade_no

MOST_PARTS = 2
"""The tickets that the plugin's releases make of an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreements:
    """Sentences by their meaning; all are empty after a good run.

    `lost`: an order without a final event. `double`: tickets that exist twice. `repeated`: an event published more
    often than its order arrived, or one fact under two ids. `untrue`: any other disagreement.

    `not_published` is not wrong. Either no process could know it: tickets of parts that only an earlier mapping made,
    of an order that was found again under a later one ("What remains" in docs/delivery.md). Or a person knows it: a
    `parked` event, reason `unresolved`, names the number under which tickets may exist.
    """

    lost: tuple[str, ...]
    double: tuple[str, ...]
    repeated: tuple[str, ...]
    untrue: tuple[str, ...]
    not_published: tuple[str, ...]

    @property
    def wrong(self) -> tuple[str, ...]:
        """All disagreements that are errors."""
        return (*self.lost, *self.double, *self.repeated, *self.untrue)


def check_results(
    cluster: Cluster,
    orders: Mapping[str, str],
    *,
    plans: Mapping[str, Sequence[Mapping[str, int]]],
    may_be_parked: frozenset[str],
    uncommitted: list[str],
) -> Disagreements:
    """Compare the results of a run.

    `orders` are the order ids by their records' coordinates; `plans` the tickets (by item) of the orders that a plugin
    maps, as each release maps them.
    """
    lost = tuple(
        f"{order_id} ({ref}) has no end" for ref, order_id in orders.items() if not cluster.event_log.ended(ref)
    )
    double = (*_issued_twice(cluster), *_bought_besides(cluster, plans))
    repeated = tuple(published_too_often(cluster.event_log.events, Counter(orders.values())))
    sentences = cluster.disagreements()
    not_published = (
        *_of_an_earlier_mapping(sentences, plans.keys() & _recovered(cluster)),
        *left_to_a_person(sentences, cluster.event_log.events),
    )
    known = {*lost, *double, *repeated, *not_published}
    untrue = (
        *(sentence for sentence in sentences if sentence not in known),
        *parked(cluster.event_log.events, may_be_parked),
        *_other_tickets(cluster),
        *uncommitted,
    )
    return Disagreements(lost=lost, double=double, repeated=repeated, untrue=untrue, not_published=not_published)


def _issued_twice(cluster: Cluster) -> Iterator[str]:
    for merchant_id, trade_no in cluster.sandbox.order_store.repeated():
        times = len(cluster.sandbox.order_store.issuances((merchant_id, trade_no)))
        yield f"{trade_no.value} was issued {times} times"


def of_no_plan(tickets: Mapping[str, int], plans: Sequence[Mapping[str, int]], *, whole: bool) -> bool:
    """Whether tickets (by item) are no plan that a release makes of their order, nor a part of one if not `whole`."""
    return not any(
        tickets == plan if whole else all(plan.get(item, 0) >= count for item, count in tickets.items())
        for plan in plans
    )


def _bought_besides(cluster: Cluster, plans: Mapping[str, Sequence[Mapping[str, int]]]) -> Iterator[str]:
    """An order has the tickets of one plan, however often it arrived, and whichever release mapped which record."""
    tickets: defaultdict[str, Counter[str]] = defaultdict(Counter)
    owners = {number: order_id for order_id in plans for number in _numbers_of(order_id)}
    for key in cluster.sandbox.order_store.numbers():
        for line in cluster.sandbox.order_store.issuances(key)[0].lines:
            tickets[owners.get(key[1].value, "")][line.item_no or line.name] += line.quantity
    # A person decides about the rest; or it was found under another mapping, whose other parts are unknown.
    left = _recovered(cluster) | {
        str(event.data["order_id"]) for event in cluster.event_log.events if event.type == "parked"
    }
    for order_id, releases in plans.items():
        if of_no_plan(tickets[order_id], releases, whole=order_id not in left):
            yield f"{order_id} has {dict(tickets[order_id])}, which is no plan of its"


def _recovered(cluster: Cluster) -> set[str]:
    """Orders of which a part was found by a query."""
    submitted = (event for event in cluster.event_log.events if event.type == "submitted")
    return {str(event.data["order_id"]) for event in submitted if event.data["recovered"]}


def _of_an_earlier_mapping(sentences: Sequence[str], recovered: Iterable[str]) -> Iterator[str]:
    """The sentences about numbers that only another mapping gives an order that was recovered."""
    numbers = {number for order_id in recovered for number in _numbers_of(order_id)}
    for sentence in sentences:
        if sentence.endswith(NOT_PUBLISHED) and sentence.removesuffix(NOT_PUBLISHED) in numbers:
            yield sentence


def left_to_a_person(sentences: Sequence[str], events: Sequence[Event]) -> Iterator[str]:
    """The sentences about numbers that the message of an unresolved order names."""
    messages = [
        str(event.data["message"])
        for event in events
        if event.type == "parked" and event.data["reason"] == "unresolved"
    ]
    for sentence in sentences:
        number = sentence.removesuffix(NOT_PUBLISHED)
        if sentence != number and any(number in message for message in messages):
            yield sentence


def _numbers_of(order_id: str) -> list[str]:
    """The numbers that the plugin's releases can give an order."""
    return [derive_trade_no(MERCHANT.merchant_id, order_id, part) for part in range(1, MOST_PARTS + 1)]


def published_too_often(events: Sequence[Event], arrivals: Mapping[str, int]) -> Iterator[str]:
    """A fact is published once for each record of its order (`arrivals`), always under the same id."""
    times = Counter(event.id for event in events)
    ids: defaultdict[tuple[object, object, str], set[str]] = defaultdict(set)
    orders = {event.id: str(event.data.get("order_id")) for event in events}
    for event in events:
        if event.number is not None:
            ids[event.data["merchant_id"], event.number, event.type].add(event.id)
    for event_id, count in times.items():
        if count > arrivals.get(orders[event_id], 0):
            yield f"event {event_id} of order {orders[event_id]} was published {count} times"
    for (_, number, kind), known in ids.items():
        if len(known) > 1:
            yield f"{number} {kind} was published under {len(known)} ids"


def parked(events: Sequence[Event], may_be_parked: frozenset[str]) -> Iterator[str]:
    """Orders on the dead letters for a reason that the scenario does not explain."""
    for event in events:
        if event.type == "parked" and event.data["reason"] not in may_be_parked:
            yield f"{event.data['order_id']} was parked: {event.data['reason']}"


def _other_tickets(cluster: Cluster) -> Iterator[str]:
    """A `submitted` event has as many tickets as ECTicket issued.

    A recovered one has the number from the present mapping, not from ECTicket; so those are left out.
    """
    store = cluster.sandbox.order_store
    issued = {
        (merchant_id, trade_no.value): store.issuances((merchant_id, trade_no))[0].ticket_count
        for merchant_id, trade_no in store.numbers()
    }
    for event in cluster.event_log.events:
        there = issued.get((str(event.data.get("merchant_id")), str(event.number)))
        published_directly = event.type == "submitted" and not event.data["recovered"]
        if published_directly and there is not None and there != event.data["ticket_count"]:
            yield f"{event.number} was published with {event.data['ticket_count']} tickets, and ECTicket issued {there}"
