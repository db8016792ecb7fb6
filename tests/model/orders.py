"""Orders, and what two mappings make of them: one part, or two of which the first has the same number.

So whoever sends an order under one mapping and then its rest under the other buys two sets of tickets.
"""

from __future__ import annotations

from functools import cache

from issuance.samples import ALWAYS, PAPER, item, order

from adapter.issuance.plan import Part, plan
from adapter.stream.records import Publication

from .broker import PAID

MAPPINGS = ("one part", "two parts")


@cache
def parts_of(order_id: str, mapping: str) -> tuple[Part, ...]:
    """The plan of an order under a mapping."""
    items = [item()] if mapping == MAPPINGS[0] else [item("BR103218", kind=PAPER), item()]
    return plan(order(order_id=order_id), items, ALWAYS)


def paid(order_id: str) -> Publication:
    """The record of a paid order."""
    return Publication(topic=PAID.topic, key=order_id.encode(), value=order_id.encode())
