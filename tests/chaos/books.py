"""The books of a run: what was ordered, what ECTicket did, what was told; and every sentence that must not be true.

Reads only what anybody can read: ECTicket's own books, the events of committed readers, and the groups' committed
offsets. It believes nothing the adapter says of itself, and refuses to know what happened on the way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from integration.house import MERCHANT, UNTOLD, House
from integration.told import Event

from adapter.issuance.trade_numbers import derive_trade_no

MOST_PARTS = 2
"""Of what the plugin's releases make of an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Sentences by what they mean; all of them are empty after a good run.

    `lost`: an order whose end was never told. `double`: tickets that exist twice. `repeated`: an event told more often
    than its order arrived, or one fact under two ids. `untrue`: anything else that does not agree.

    `untold` is not wrong. Either no process could know it: tickets of parts that only an earlier mapping made, of an
    order that was found again under a later one ("What remains" in docs/delivery.md). Or a person knows it: a `parked`
    event, reason `unresolved`, names the number under which tickets may exist.
    """

    lost: tuple[str, ...]
    double: tuple[str, ...]
    repeated: tuple[str, ...]
    untrue: tuple[str, ...]
    untold: tuple[str, ...]

    @property
    def wrong(self) -> tuple[str, ...]:
        """All that must not be."""
        return (*self.lost, *self.double, *self.repeated, *self.untrue)


def settle(
    house: House,
    orders: Mapping[str, str],
    *,
    plans: Mapping[str, Sequence[Mapping[str, int]]],
    may_be_parked: frozenset[str],
    uncommitted: list[str],
) -> Books:
    """Close the books.

    `orders` are the order ids by their records' coordinates; `plans` the tickets (by item) of the orders that a plugin
    maps, as each release maps them.
    """
    lost = tuple(f"{order_id} ({ref}) has no end" for ref, order_id in orders.items() if not house.told.ended(ref))
    double = (*_issued_twice(house), *_bought_besides(house, plans))
    repeated = tuple(told_too_often(house.told.events, Counter(orders.values())))
    said = house.disagreements()
    untold = (
        *_of_an_earlier_mapping(said, plans.keys() & _recovered(house)),
        *left_to_a_person(said, house.told.events),
    )
    known = {*lost, *double, *repeated, *untold}
    untrue = (
        *(sentence for sentence in said if sentence not in known),
        *parked(house.told.events, may_be_parked),
        *_other_tickets(house),
        *uncommitted,
    )
    return Books(lost=lost, double=double, repeated=repeated, untrue=untrue, untold=untold)


def _issued_twice(house: House) -> Iterator[str]:
    for merchant_id, trade_no in house.sandbox.books.repeated():
        times = len(house.sandbox.books.issuances((merchant_id, trade_no)))
        yield f"{trade_no.value} was issued {times} times"


def of_no_plan(tickets: Mapping[str, int], plans: Sequence[Mapping[str, int]], *, whole: bool) -> bool:
    """Whether tickets (by item) are no plan that a release makes of their order, nor a part of one if not `whole`."""
    return not any(
        tickets == plan if whole else all(plan.get(item, 0) >= count for item, count in tickets.items())
        for plan in plans
    )


def _bought_besides(house: House, plans: Mapping[str, Sequence[Mapping[str, int]]]) -> Iterator[str]:
    """An order has the tickets of one plan, however often it arrived, and whichever release mapped which record."""
    tickets: defaultdict[str, Counter[str]] = defaultdict(Counter)
    owners = {number: order_id for order_id in plans for number in _numbers_of(order_id)}
    for key in house.sandbox.books.numbers():
        for line in house.sandbox.books.issuances(key)[0].lines:
            tickets[owners.get(key[1].value, "")][line.item_no or line.name] += line.quantity
    # A person decides about the rest; or it was found under another mapping, which nobody knows the rest of.
    left = _recovered(house) | {str(event.data["order_id"]) for event in house.told.events if event.kind == "parked"}
    for order_id, releases in plans.items():
        if of_no_plan(tickets[order_id], releases, whole=order_id not in left):
            yield f"{order_id} has {dict(tickets[order_id])}, which is no plan of its"


def _recovered(house: House) -> set[str]:
    """Orders of which a part was found by asking."""
    submitted = (event for event in house.told.events if event.kind == "submitted")
    return {str(event.data["order_id"]) for event in submitted if event.data["recovered"]}


def _of_an_earlier_mapping(said: Sequence[str], recovered: Iterable[str]) -> Iterator[str]:
    """The sentences about numbers that only another mapping gives an order that was recovered."""
    numbers = {number for order_id in recovered for number in _numbers_of(order_id)}
    for sentence in said:
        if sentence.endswith(UNTOLD) and sentence.removesuffix(UNTOLD) in numbers:
            yield sentence


def left_to_a_person(said: Sequence[str], events: Sequence[Event]) -> Iterator[str]:
    """The sentences about numbers that the message of an unresolved order names."""
    messages = [
        str(event.data["message"])
        for event in events
        if event.kind == "parked" and event.data["reason"] == "unresolved"
    ]
    for sentence in said:
        number = sentence.removesuffix(UNTOLD)
        if sentence != number and any(number in message for message in messages):
            yield sentence


def _numbers_of(order_id: str) -> list[str]:
    """The numbers that the plugin's releases can give an order."""
    return [derive_trade_no(MERCHANT.merchant_id, order_id, part) for part in range(1, MOST_PARTS + 1)]


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
