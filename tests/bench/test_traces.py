"""The measurement of traces works, and what an order that is not recorded costs is counted."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import AsyncExitStack
from types import FrameType

import adapter.tracing
from benchmarks import traces
from benchmarks.orders import order
from benchmarks.stub import Stub

ORDERS = 500
MOST_CALLS = 7
"""Of functions of traces, for an order that is not recorded: the stage, its decision, two calls and two hooks.

A few more are for each transaction, which many orders share.
"""
TRACES = (adapter.tracing.__path__[0], "/opentelemetry/")


async def calls_of_traces(share: float) -> Counter[str]:
    """How often each function of traces is entered while orders are processed."""
    entered: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and any(each in code.co_filename for each in TRACES):
            entered[code.co_qualname] += 1

    async with AsyncExitStack() as stack:
        stub = stack.enter_context(Stub(delay_seconds=0, processes=1))
        variant = await traces._variant(stack, stub.base_url, share)
        await variant.member.commit_orders([order(number) for number in range(ORDERS)])
        sys.setprofile(note)
        try:
            await variant.member.commit_orders([order(ORDERS + number) for number in range(ORDERS)])
        finally:
            sys.setprofile(None)
    return entered


async def test_an_order_that_is_not_recorded_takes_few_calls_more() -> None:
    """A busy machine hides how little time they take, but they can be counted."""
    entered = await calls_of_traces(0.0)

    assert entered.total() <= MOST_CALLS * ORDERS, entered


async def test_every_variant_is_in_the_report() -> None:
    """Two without traces show how exact the others are; the speed is not checked."""
    report = await traces.measure(exports=1)

    assert [row[""] for row in report.rows] == list(traces._SHARES)
    assert all(row["CPU µs an order"] for row in report.rows)
