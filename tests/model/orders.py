"""Orders, and what two mappings make of them: one part, or two of which the first has the same number.

So a process that sends an order under one mapping and then its rest under the other buys two sets of tickets. Another
plan's numbers are those that these two mappings make: querying all 39 would only make the scenarios longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from issuance.samples import ALWAYS, MERCHANT, PAPER, item, order

from adapter.issuance.plan import Part, plan
from adapter.issuance.previous_mappings import CandidateNumber, candidate_numbers
from adapter.protocol.issue import TradeNoKind
from adapter.stream.records import ProducerRecord

from .broker import PAID

MAPPINGS = ("one part", "two parts")


@cache
def parts_of(order_id: str, mapping: str) -> tuple[Part, ...]:
    """The plan of an order under a mapping."""
    items = [item()] if mapping == MAPPINGS[0] else [item("BR103218", kind=PAPER), item()]
    return plan(order(order_id=order_id), items, ALWAYS)


def others_of(order_id: str, parts: Sequence[Part]) -> tuple[CandidateNumber, ...]:
    """The numbers of other plans: no mapping here makes more than two parts, nor gifts."""
    return tuple(
        number
        for number in candidate_numbers(parts, merchant_id=MERCHANT, order_id=order_id)
        if number.part <= len(MAPPINGS) and number.trade_no.kind is TradeNoKind.MERCHANT
    )


def paid(order_id: str) -> ProducerRecord:
    """The record of a paid order."""
    return ProducerRecord(topic=PAID.topic, key=order_id.encode(), value=order_id.encode())
