"""Compares what ECTicket has with the published events, without a line of the adapter: plain Kafka and plain HTTP.

    python independent_check.py tickets BOOTSTRAP_SERVERS COLLECTED_TOPIC SANDBOX_URL
    python independent_check.py differences BOOTSTRAP_SERVERS ISSUANCES_TOPIC RECONCILIATIONS_TOPIC SANDBOX_URL

Prints one sentence for each disagreement, and what was compared; exits 1 if there is one. No sentence has a number of a
ticket.
The sandbox (`/_/orders`) is the only source of what ECTicket has.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer

Document = Mapping[str, Any]
Event = tuple[str, str, Document]
"""Type, id and data."""
Difference = tuple[str, str]
"""Trade number and kind."""
PAGE = 500
COLLECTED = "ecticket.ticket.collected.v1"
DIFFERENCE, COMPLETED = "ecticket.reconciliation.difference.v1", "ecticket.reconciliation.completed.v1"
STATES = {f"ecticket.issuance.{state}.v1": state for state in ("failed", "submitted", "issued")}


# --- tickets ----------------------------------------------------------------------------------------------------------


def ticket_disagreements(orders: Iterable[Document], events: Iterable[Event], issue_type: str) -> Iterator[str]:
    """Every ticket of an issued order of this type is in one event of its number, once; no other event is there."""
    expected = {
        str(order["trade_no"]): sorted((ticket["ticket_no"], ticket["write_off_no"]) for ticket in order["tickets"])
        for order in orders
        if order["issue_type"] == issue_type and order["status"] == "issued"
    }
    found: defaultdict[str, list[Document]] = defaultdict(list)
    ids: Counter[str] = Counter()
    for kind, event_id, data in events:
        if kind == COLLECTED:
            found[str(data["trade_no"])].append(data)
            ids[event_id] += 1
    for trade_no in expected.keys() - found.keys():
        yield f"the tickets of {trade_no} were not collected"
    for trade_no, documents in found.items():
        if trade_no not in expected:
            yield f"tickets of {trade_no} were collected, and ECTicket has none"
            continue
        if len(documents) > 1:
            yield f"the tickets of {trade_no} were collected {len(documents)} times"
        for data in documents:
            tickets = sorted((ticket["ticket_no"], ticket["redemption_code"]) for ticket in data["tickets"])
            if tickets != expected[trade_no] or data["ticket_count"] != len(tickets):
                yield f"the tickets of {trade_no} were collected with other numbers or codes than ECTicket has"
    for event_id, times in ids.items():
        if times > 1:
            yield f"event {event_id} was published {times} times"


# --- differences ------------------------------------------------------------------------------------------------------


def expected_differences(orders: Iterable[Document], issuances: Iterable[Event]) -> Counter[Difference]:
    """What differs between ECTicket's orders and the events about issuances, as long as nothing is young."""
    reported = {str(order["trade_no"]): order for order in orders}
    published: dict[str, tuple[str, int]] = {}
    for kind, _, data in issuances:
        state = STATES.get(kind)
        if state is not None and published.get(data["trade_no"], ("", 0))[0] != "issued":
            published[data["trade_no"]] = state, data["ticket_count"]
    found: Counter[Difference] = Counter()
    for trade_no in reported.keys() | published.keys():
        order, event = reported.get(trade_no), published.get(trade_no)
        if event is None:
            found[trade_no, "not-published"] += 1
        elif order is None:
            found[trade_no, "not-reported"] += event[0] != "failed"
        elif event[0] != order["status"]:
            found[trade_no, "state"] += 1
        elif event[0] == "issued" and event[1] != order["ticket_count"]:
            found[trade_no, "ticket-count"] += 1
    return +found


def difference_disagreements(
    orders: Sequence[Document], issuances: Iterable[Event], reconciliations: Iterable[Event]
) -> Iterator[str]:
    """Every difference is published once, no other one is, and each period is completed once."""
    expected = expected_differences(orders, issuances)
    found: Counter[Difference] = Counter()
    ids: Counter[str] = Counter()
    periods: Counter[tuple[str, str, str]] = Counter()
    for kind, event_id, data in reconciliations:
        ids[event_id] += 1
        if kind == DIFFERENCE:
            found[data["trade_no"], data["kind"]] += 1
        elif kind == COMPLETED:
            periods[data["merchant_id"], data["from"], data["to"]] += 1
    for trade_no, kind in expected - found:
        yield f"{kind} of {trade_no} was not published"
    for (trade_no, kind), times in found.items():
        if not expected[trade_no, kind]:
            yield f"{kind} of {trade_no} was published, and nothing differs"
        elif times > 1:
            yield f"{kind} of {trade_no} was published {times} times"
    for event_id, times in ids.items():
        if times > 1:
            yield f"event {event_id} was published {times} times"
    if not periods:
        yield "no period was completed"
    for period, times in periods.items():
        if times > 1:
            yield f"{' '.join(period)} was completed {times} times"


# --- where it comes from ----------------------------------------------------------------------------------------------


def read_orders(sandbox: str, *, with_tickets: bool) -> list[Document]:
    """All orders of the sandbox."""
    orders: list[Document] = []
    while True:
        page = _get(f"{sandbox}/_/orders?offset={len(orders)}&limit={PAGE}")
        orders += page["orders"]
        if not page["orders"]:
            break
    if not with_tickets:
        return orders
    return [_get(f"{sandbox}/_/orders/{order['merchant_id']}/{order['trade_no']}") for order in orders]


def _get(url: str) -> Document:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # the sandbox's address
        document: Document = json.load(answer)
    return document


async def read_events(servers: str, topic: str) -> list[Event]:
    """All committed events of a topic."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    events: list[Event] = []
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        while sum([await consumer.position(partition) for partition in ends]) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    headers = {name: str(value, "utf-8") for name, value in record.headers}
                    events.append((headers["ce_type"], headers["ce_id"], json.loads(record.value)))
    finally:
        await consumer.stop()
    return events


def main(arguments: Sequence[str]) -> int:
    """Compare what the arguments name."""
    match arguments:
        case "tickets", servers, topic, sandbox:
            orders, events = read_orders(sandbox, with_tickets=True), asyncio.run(read_events(servers, topic))
            wrong = list(ticket_disagreements(orders, events, "serial_number"))
            compared = {"orders": len(orders), "events": len(events)}
        case "differences", servers, issuances, reconciliations, sandbox:
            orders = read_orders(sandbox, with_tickets=False)
            published = asyncio.run(read_events(servers, issuances))
            events = asyncio.run(read_events(servers, reconciliations))
            wrong = list(difference_disagreements(orders, published, events))
            kinds = Counter(kind for _, kind in expected_differences(orders, published).elements())
            compared = {"orders": len(orders), "events": len(events), **kinds}
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    print(*wrong, sep="\n", file=sys.stderr)
    print(json.dumps(compared))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
