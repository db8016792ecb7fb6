"""The books of a run: what was ordered, what ECTicket did, what was told; and every sentence that must not be true.

Reads only what anybody can read: ECTicket's own books, the events of committed readers, and the groups' committed
offsets. It believes nothing the adapter says of itself, and refuses to know what happened on the way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from integration.house import House
from integration.told import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Sentences by what they mean; all of them are empty after a good run.

    `lost`: an order whose end was never told. `double`: tickets that exist twice. `repeated`: an event told more often
    than its order arrived, or one fact under two ids. `untrue`: anything else that does not agree.
    """

    lost: tuple[str, ...]
    double: tuple[str, ...]
    repeated: tuple[str, ...]
    untrue: tuple[str, ...]

    @property
    def wrong(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.lost, *self.double, *self.repeated, *self.untrue)


def settle(house: House, orders: Mapping[str, str], *, may_be_parked: frozenset[str], uncommitted: list[str]) -> Books:
    """Close the books. `orders` are the order ids by their records' coordinates."""
    lost = tuple(f"{order_id} ({ref}) has no end" for ref, order_id in orders.items() if not house.told.ended(ref))
    double = (*_issued_twice(house), *bought_besides(house.told.events))
    repeated = tuple(told_too_often(house.told.events, Counter(orders.values())))
    known = {*lost, *double, *repeated}
    untrue = (
        *(sentence for sentence in house.disagreements() if sentence not in known),
        *parked(house.told.events, may_be_parked),
        *_other_tickets(house),
        *uncommitted,
    )
    return Books(lost=lost, double=double, repeated=repeated, untrue=untrue)


def _issued_twice(house: House) -> Iterator[str]:
    for merchant_id, trade_no in house.sandbox.books.repeated():
        times = len(house.sandbox.books.issuances((merchant_id, trade_no)))
        yield f"{trade_no.value} was issued {times} times"


def bought_besides(events: Sequence[Event]) -> Iterator[str]:
    """Once every part of a record of an order was submitted, nothing else of the order is, whatever record says so.

    Also when later records are mapped to other parts, and when a part has a number of its own in each record.
    """
    numbers: defaultdict[object, defaultdict[str, dict[object, object]]] = defaultdict(lambda: defaultdict(dict))
    whole: set[tuple[object, str]] = set()
    for event in events:
        if event.kind == "submitted":
            parts = numbers[event.data["order_id"]][event.ref]
            parts[event.data["part"]] = event.number
            if len(parts) == event.data["parts"]:
                whole.add((event.data["order_id"], event.ref))
    for order_id, ref in whole:
        records = numbers[order_id]
        bought = {str(number) for number in records[ref].values()}
        others = {str(number) for parts in records.values() for number in parts.values()} - bought
        if others:
            yield f"{order_id} was whole with {sorted(bought)}, and {sorted(others)} too"


def told_too_often(events: Sequence[Event], arrivals: Mapping[str, int]) -> Iterator[str]:
    """A fact is told once for each record of its order (`arrivals`), always under the same id."""
    times = Counter(event.id for event in events)
    ids: defaultdict[tuple[object, object, str], set[str]] = defaultdict(set)
    orders = {event.id: str(event.data.get("order_id")) for event in events}
    for event in events:
        if event.number is not None:
            ids[event.data["merchant_id"], event.number, event.kind].add(event.id)
    for event_id, told in times.items():
        if told > arrivals.get(orders[event_id], 0):
            yield f"event {event_id} of order {orders[event_id]} was told {told} times"
    for (_, number, kind), known in ids.items():
        if len(known) > 1:
            yield f"{number} {kind} was told under {len(known)} ids"


def parked(events: Sequence[Event], may_be_parked: frozenset[str]) -> Iterator[str]:
    """Orders on the dead letters for a reason that the weather does not explain."""
    for event in events:
        if event.kind == "parked" and event.data["reason"] not in may_be_parked:
            yield f"{event.data['order_id']} was parked: {event.data['reason']}"


def _other_tickets(house: House) -> Iterator[str]:
    """What was told as submitted has as many tickets as ECTicket issued.

    Of a recovered one that is what today's mapping says, which ECTicket does not tell; so those are left out.
    """
    books = house.sandbox.books
    issued = {
        (merchant_id, trade_no.value): books.issuances((merchant_id, trade_no))[0].ticket_count
        for merchant_id, trade_no in books.numbers()
    }
    for event in house.told.events:
        there = issued.get((str(event.data.get("merchant_id")), str(event.number)))
        told_first_hand = event.kind == "submitted" and not event.data["recovered"]
        if told_first_hand and there is not None and there != event.data["ticket_count"]:
            yield f"{event.number} was told with {event.data['ticket_count']} tickets, and ECTicket issued {there}"
