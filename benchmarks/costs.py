"""What an order costs under one load, and what several runs of two builds say together. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU in seconds per 1,000 orders, transactions and queries per order, memory in MiB, times in milliseconds.

    None is what the load does not have.
    """

    orders_per_second: float
    cpu: float
    broker_cpu: float
    mib: float
    submit_transactions: float
    confirm_transactions: float | None = None
    queries: float | None = None
    submitted_p50: float | None = None
    submitted_p99: float | None = None
    issued_p50: float | None = None
    issued_p99: float | None = None


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure; None where runs have none. There is at least one run."""
    medians = {field.name: _median([getattr(cost, field.name) for cost in costs]) for field in fields(Cost)}
    return Cost(**cast("dict[str, float]", medians))  # None only where every run has None


def _median(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """The ratios of pairs of runs: the median, and how far the others are from it."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.lowest:.3f} to {self.highest:.3f})"

    @property
    def spread(self) -> float:
        """The difference between the highest and the lowest ratio."""
        return self.highest - self.lowest


def ratio(
    found: Sequence[Cost | None], base: Sequence[Cost | None], figure: Callable[[Cost], float] = lambda cost: cost.cpu
) -> Ratio | None:
    """Compare runs in pairs, round by round; a round in which one of the two failed does not count."""
    ratios = [
        figure(one) / figure(other)
        for one, other in zip(found, base, strict=True)
        if one is not None and other is not None and figure(other)
    ]
    if not ratios:
        return None
    return Ratio(median=statistics.median(ratios), lowest=min(ratios), highest=max(ratios))
