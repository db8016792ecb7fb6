"""Arithmetic of measurements: what happened between two moments, percentiles, slopes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The counters at one moment; CPU in seconds, `others_cpu` of all other processes."""

    at: float
    submitted: int
    cpu: float
    others_cpu: float
    stub_cpu: float
    broker_cpu: float = 0
    transactions: float = 0
    transaction_seconds: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What happened between two moments; `transaction_seconds` is the mean of one, None when there were none."""

    seconds: float
    orders: int
    orders_per_second: float
    cpu_per_1000: float
    core_share: float
    others_share: float
    stub_cpu_per_1000: float
    broker_cpu_per_1000: float
    transactions_per_second: float
    transactions_per_order: float
    transaction_seconds: float | None


def between(begin: Moment, end: Moment) -> Rates:
    """The rates from `begin` to `end`. Raises ValueError when nothing happened in between."""
    seconds, orders = end.at - begin.at, end.submitted - begin.submitted
    if seconds <= 0 or orders <= 0:
        raise ValueError(f"{orders} orders in {seconds} seconds: nothing to measure")
    cpu, transactions = end.cpu - begin.cpu, end.transactions - begin.transactions
    in_transactions = end.transaction_seconds - begin.transaction_seconds
    return Rates(
        seconds=seconds,
        orders=orders,
        orders_per_second=orders / seconds,
        cpu_per_1000=1000 * cpu / orders,
        core_share=cpu / seconds,
        others_share=(end.others_cpu - begin.others_cpu) / seconds,
        stub_cpu_per_1000=1000 * (end.stub_cpu - begin.stub_cpu) / orders,
        broker_cpu_per_1000=1000 * (end.broker_cpu - begin.broker_cpu) / orders,
        transactions_per_second=transactions / seconds,
        transactions_per_order=transactions / orders,
        transaction_seconds=in_transactions / transactions if transactions else None,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed (nearest rank).

    >>> percentile([5, 1, 4, 2, 3], 0.5), percentile([5, 1, 4, 2, 3], 0.99)
    (3, 5)
    """
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much the second number grows with the first: the least-squares line through the points.

    >>> slope([(0, 1), (1, 3), (2, 5)])
    2.0
    """
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
