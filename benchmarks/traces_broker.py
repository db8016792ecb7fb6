"""What traces cost a whole process, with a real broker and a collector: 1 % of the orders recorded beside no traces.

Both take turns under each load of `compare`, and the ratio within a round counts. Here the export is part of the cost:
a thread of the process encodes the spans and sends them to a collector, which the benchmark's own process is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from rich.console import Console

from benchmarks.builds import Build
from benchmarks.compare import Comparison, Paced, Saturated
from benchmarks.costs import Cost
from benchmarks.ground import Ground
from benchmarks.reporting import Report
from benchmarks.span_collector import SpanCollector
from benchmarks.subjects import SubjectFailedError
from benchmarks.submit import AIM_AT
from benchmarks.traces import MOST_SAMPLED

SHARE = 0.01
RATES = (100.0,)
_LEAST_SHARE = SHARE / 4
"""A run with fewer recorded orders lost spans: chance alone does not leave out so many."""
_UNTRACED = Build(name="without traces")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    """A load whose run counts only if its orders were recorded as the build is asked to."""

    load: Saturated | Paced
    collector: SpanCollector

    @property
    def name(self) -> str:
        return self.load.name

    @property
    def most(self) -> float | None:
        return self.load.most

    async def cost(self, ground: Ground, build: Build, seconds: float) -> Cost:
        self.collector.requests.clear()
        cost = await self.load.cost(ground, build, seconds)
        recorded = sum(not span.parent_span_id for span in self.collector.received)
        least = 0 if build is _UNTRACED else cost.orders_per_second * seconds * _LEAST_SHARE
        if recorded < least or (build is _UNTRACED and recorded):
            raise SubjectFailedError(f"the traces of {recorded} orders came to the collector")
        return cost


async def measure(
    ground: Ground, console: Console, *, seconds: float, rounds: int, rates: Sequence[float] = RATES
) -> Report:
    """Measure the limit of a process, and each pace. Raises NotMeasurableError."""
    delay_ms, in_flight = AIM_AT
    loads: list[Saturated | Paced] = [
        Saturated(delay_ms=delay_ms, in_flight=in_flight, most=MOST_SAMPLED),
        *(Paced(rate=rate, most=MOST_SAMPLED) for rate in rates),
    ]
    with closing(SpanCollector()) as collector:
        comparison = Comparison(
            ground, console, builds=(_UNTRACED, traced := _traced(collector)), judged=traced, seconds=seconds
        )
        return await comparison.run([_Recorded(load=load, collector=collector) for load in loads], rounds=rounds)


def _traced(collector: SpanCollector) -> Build:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(SHARE),
    }
    return Build(name=f"{SHARE:.0%} recorded", variables=tuple(variables.items()))
