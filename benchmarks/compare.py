"""What an order costs before and after a change: other builds of the adapter beside the present one, in one run.

Loads are saturated (submit alone, orders behind and ahead, a stub that answers after a fixed delay) or paced (see
`paced`). All builds have the same broker and take turns, and in every other round in the opposite order, so that a
machine that gets slower or faster favours none. The ratio within a round counts.

A run counts only if each of its orders was issued once and published once and nothing else was published: a build that
parks every order would be a fast one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console

from benchmarks import costs, paced
from benchmarks.builds import PRESENT, Build
from benchmarks.contenders import ADAPTER, Contender, ResultsDisagreeError
from benchmarks.costs import Cost, Ratio
from benchmarks.ground import Ground
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.subjects import SubjectFailedError
from benchmarks.submit import planned
from benchmarks.throughput import throughput

ROUNDS = 5
MOST_SATURATED = 0.60
"""How much of an earlier build's CPU time the present one may take, under a saturated load ..."""
MOST_PACED: Mapping[float, float] = {50.0: 0.65, 100.0: 0.65}
"""... and at these orders a second."""
MOST_ADDED_MS: Mapping[str, float] = {"submitted": 250.0, "issued": 1500.0}
"""How much later an event may come than with the first build, for one order in a hundred."""
_ENOUGH = 100
"""With fewer orders in a run its 99th percentile is one order, and no aim."""
_MOST_SPREAD = 0.1


class ComparedLoad(Protocol):
    """A load of the comparison."""

    @property
    def name(self) -> str:
        """The load, for the table."""

    @property
    def most(self) -> float | None:
        """How much of the first build's CPU time the judged one may take; None if that is no aim."""

    async def cost(self, ground: Ground, build: Build, seconds: float) -> Cost:
        """Measure a build for about so long. Raises SubjectFailedError, ResultsDisagreeError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturated:
    """More orders than the adapter can take; the stub answers after `delay_ms`."""

    delay_ms: int
    in_flight: int
    most: float | None = MOST_SATURATED

    @property
    def name(self) -> str:
        """The load, for the table."""
        return f"{self.delay_ms} ms, {self.in_flight} in flight"

    async def cost(self, ground: Ground, build: Build, seconds: float) -> Cost:
        """Measure `run --only submit`, from Kafka to `submitted` on Kafka."""
        contender = Contender(name=build.name, command=ADAPTER.command, build=build)
        came = await throughput(ground, contender, planned(contender, self.delay_ms, self.in_flight, seconds))
        return Cost(
            orders_per_second=came.rates.orders_per_second,
            cpu=came.rates.cpu_per_1000,
            broker_cpu=came.rates.broker_cpu_per_1000,
            mib=came.resident_mib,
            submit_transactions=came.rates.transactions_per_order,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """So many orders a second, for the whole adapter."""

    rate: float
    most: float | None
    warm_up_seconds: float = paced.WARM_UP_SECONDS

    @property
    def name(self) -> str:
        """The load, for the table."""
        return f"{self.rate:g} orders/s"

    async def cost(self, ground: Ground, build: Build, seconds: float) -> Cost:
        """Measure `run`, from paid to issued."""
        return await paced.cost(ground, build, rate=self.rate, seconds=seconds, warm_up_seconds=self.warm_up_seconds)


class Comparison:
    """Measures builds under loads, and keeps what came. The aims are about the judged build."""

    def __init__(
        self, ground: Ground, console: Console, *, builds: Sequence[Build], judged: Build = PRESENT, seconds: float
    ) -> None:
        self._ground = ground
        self._console = console
        self._builds = builds
        self._judged = judged.name
        self._seconds = seconds
        self._found: dict[tuple[str, str], list[Cost | None]] = {}
        self._failures: list[str] = []

    async def run(self, loads: Sequence[ComparedLoad], *, rounds: int) -> Report:
        """Measure each load in so many rounds; the first build is what the others are compared with.

        Raises NotMeasurableError if an interpreter cannot run.
        """
        notes = [await build.facts() for build in self._builds]
        for load in loads:
            for turn in range(rounds):
                for build in self._builds if turn % 2 == 0 else tuple(reversed(self._builds)):
                    await self._measure(load, build, turn)
        return Report(
            title=f"What an order costs, medians of {rounds}",
            rows=[row for load in loads for row in self._rows(load)],
            aims=self._aims(loads),
            notes=[*notes, *self._notes(loads)],
        )

    async def _measure(self, load: ComparedLoad, build: Build, turn: int) -> None:
        costs_so_far = self._found.setdefault((load.name, build.name), [])
        try:
            cost = await self._cost(load, build)
        except (SubjectFailedError, ResultsDisagreeError) as failure:
            costs_so_far.append(None)
            self._failures.append(f"{load.name}, {build.name}, round {turn + 1}: {failure}")
            self._print(self._failures[-1])
        else:
            costs_so_far.append(cost)
            self._print(f"{load.name}, {build.name}, round {turn + 1}: {cost.cpu:.3f} CPU s per 1,000")

    async def _cost(self, load: ComparedLoad, build: Build) -> Cost:
        cost = await load.cost(self._ground, build, self._seconds)
        if not cost.submit_transactions:
            raise SubjectFailedError("its metrics count no transactions: they have another name there")
        return cost

    def _print(self, what: str) -> None:
        self._console.print(what, style="dim", highlight=False, markup=False)

    def _costs(self, load: ComparedLoad, build: Build) -> list[Cost]:
        return [cost for cost in self._found[load.name, build.name] if cost is not None]

    def _ratio(self, load: ComparedLoad, build: Build) -> Ratio | None:
        return costs.ratio(self._found[load.name, build.name], self._found[load.name, self._builds[0].name])

    def _rows(self, load: ComparedLoad) -> list[dict[str, Cell]]:
        rows: list[dict[str, Cell]] = []
        for build in self._builds:
            if counted := self._costs(load, build):
                rows.append({"load": load.name, "adapter": build.name, **_cells(costs.median(counted))})
                if len(self._builds) > 1:
                    compared = self._ratio(load, build) if build is not self._builds[0] else None
                    rows[-1][f"CPU, times {self._builds[0].name}"] = None if compared is None else str(compared)
        return rows

    def _notes(self, loads: Sequence[ComparedLoad]) -> list[str]:
        notes = [
            "CPU and broker: CPU seconds per 1,000 orders; tx: transactions per order; times in ms from paid. Paced: "
            f"jobs of {paced.JOB_SECONDS:g} s, first query after {paced.FIRST_QUERY_SECONDS:g} s.",
            *self._failures,
        ]
        if len(self._builds) == 1:
            notes.append("No other checkout was given, so nothing is compared (`make bench BEFORE=CHECKOUT`).")
        for load in loads:
            for build in self._builds[1:]:
                compared = self._ratio(load, build)
                if compared is not None and compared.spread > _MOST_SPREAD:
                    notes.append(
                        f"{load.name}: the ratios differ by {compared.spread:.2f}; measure on a quiet machine."
                    )
        return notes

    def _aims(self, loads: Sequence[ComparedLoad]) -> list[Aim]:
        """Every run must count; and what the judged build takes, compared with the first one."""
        failed = len(self._failures)
        aims = [Aim(what="each order of every run is issued once", measured=f"{failed} failures", met=not failed)]
        first, now = self._builds[0], next(each for each in self._builds if each.name == self._judged)
        for load in loads:
            compared = self._ratio(load, now) if now is not first else None
            if compared is None:
                continue
            if load.most is not None:
                aims.append(
                    Aim(
                        what=f"{load.name}: at most {load.most:.2f} times the CPU time",
                        measured=str(compared),
                        met=compared.median <= load.most,
                    )
                )
            aims += self._latency_aims(load, costs.median(self._costs(load, first)), self._costs(load, now))
        return aims

    def _latency_aims(self, load: ComparedLoad, before: Cost, now: Sequence[Cost]) -> list[Aim]:
        after, aims = costs.median(now), []
        times = {
            "submitted": (before.submitted_p99, after.submitted_p99),
            "issued": (before.issued_p99, after.issued_p99),
        }
        for event, (one, other) in times.items():
            if one is None or other is None or after.orders_per_second * self._seconds < _ENOUGH:
                continue
            added = other - one
            aims.append(
                Aim(
                    what=f"{load.name}: {event} at most {MOST_ADDED_MS[event]:.0f} ms later for one in a hundred",
                    measured=f"{added:+.0f} ms",
                    met=added < MOST_ADDED_MS[event],
                )
            )
        return aims


def _cells(cost: Cost) -> dict[str, Cell]:
    return {
        "orders/s": cost.orders_per_second,
        "CPU": cost.cpu,
        "broker": cost.broker_cpu,
        "MiB": cost.mib,
        "tx submit": cost.submit_transactions,
        "tx confirm": cost.confirm_transactions,
        "queries": cost.queries,
        "subm. p50": cost.submitted_p50,
        "subm. p99": cost.submitted_p99,
        "iss. p50": cost.issued_p50,
        "iss. p99": cost.issued_p99,
    }
