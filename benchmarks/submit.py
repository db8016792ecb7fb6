"""From Kafka to `submitted` on Kafka: the adapter beside the plain loop, in one run, under the same loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from benchmarks.added_latency import SHARE, Added, Pace, added_latency
from benchmarks.capacity import stub_alone
from benchmarks.contenders import ADAPTER, GATHERED, ONE_BY_ONE, Contender, ResultsDisagreeError
from benchmarks.ground import Ground
from benchmarks.reporting import Aim, Cell, Report
from benchmarks.subjects import SubjectFailedError
from benchmarks.throughput import Load, Throughput, throughput

AIM_AT = (50, 256)
"""Milliseconds of delay and orders in flight for which there are aims."""
LEAST_ORDERS_PER_SECOND = 1000
MOST_CPU_PER_1000 = 0.6
LEAST_RATIO = 5

_EXPECTED: Mapping[Contender, float] = {ADAPTER: 1000.0, GATHERED: 150.0, ONE_BY_ONE: 150.0}
"""Orders a second that are taken for possible when the length of a run is chosen."""
_LEAST_ROUNDS = 5
"""A run has at least so many times the orders in flight."""


def planned(contender: Contender, delay_ms: int, in_flight: int, seconds: float) -> Load:
    """A load that keeps the contender busy for about so long, on a machine that meets the aims."""
    at_once = 1 if contender is ONE_BY_ONE else in_flight
    by_delay = at_once / (delay_ms / 1000) if delay_ms else float("inf")
    expected = _EXPECTED.get(contender, _EXPECTED[ADAPTER])
    orders = max(round(seconds * min(expected, by_delay)), _LEAST_ROUNDS * at_once)
    return Load(delay_ms=delay_ms, in_flight=at_once, warm_up=contender.in_hand(at_once), orders=orders)


class Submitting:
    """Runs contenders one after another, and keeps what came."""

    def __init__(self, ground: Ground, console: Console, *, seconds: float) -> None:
        self._ground = ground
        self._console = console
        self._seconds = seconds
        self._came: dict[tuple[Contender, int, int], Throughput] = {}
        self._added: dict[tuple[Contender, int, int], Added] = {}
        self._failed: list[tuple[Contender, str]] = []

    async def run(self, delays: Sequence[int], in_flights: Sequence[int], *, plain: bool) -> Report:
        """Every contender under every load; that one does not get through a load is a result too."""
        alone = await stub_alone(self._ground)
        for delay_ms in delays:
            if plain:
                await self._try(ONE_BY_ONE, delay_ms, 1)
            for in_flight in in_flights:
                if plain:
                    await self._try(GATHERED, delay_ms, in_flight)
                await self._try(ADAPTER, delay_ms, in_flight)
        return Report(
            title="From Kafka to submitted on Kafka, one process on one core",
            rows=[self._row(*key) for key in self._came],
            aims=self._aims(),
            notes=[
                alone,
                f"Added latency: at {SHARE:.0%} of the contender's own orders/s, without the delay.",
                *(failure for _, failure in self._failed),
            ],
        )

    async def _try(self, contender: Contender, delay_ms: int, in_flight: int) -> None:
        try:
            await self._measure(contender, delay_ms, in_flight)
        except (SubjectFailedError, ResultsDisagreeError) as failure:
            self._failed.append((contender, f"At {delay_ms} ms and {in_flight} in flight: {failure}"))
            self._print(f"  {failure}")

    async def _measure(self, contender: Contender, delay_ms: int, in_flight: int) -> None:
        load = planned(contender, delay_ms, in_flight, self._seconds)
        self._print(
            f"{contender.name}: {delay_ms} ms, {in_flight} in flight, {load.warm_up:,} + {load.orders:,} orders"
        )
        came = self._came[contender, delay_ms, in_flight] = await throughput(self._ground, contender, load)
        self._print(
            f"  {came.rates.orders_per_second:,.0f} orders/s, {came.rates.cpu_per_1000:.2f} CPU seconds per 1,000"
        )
        if contender is not ONE_BY_ONE:
            per_second = SHARE * came.rates.orders_per_second
            pace = Pace(delay_ms=delay_ms, in_flight=in_flight, orders_per_second=per_second, seconds=self._seconds)
            added = self._added[contender, delay_ms, in_flight] = await added_latency(self._ground, contender, pace)
            self._print(f"  at half of that {added.p50_ms:,.0f} ms added, {added.p99_ms:,.0f} ms for one in a hundred")

    def _print(self, what: str) -> None:
        self._console.print(what, style="dim", highlight=False)

    def _row(self, contender: Contender, delay_ms: int, in_flight: int) -> dict[str, Cell]:
        came = self._came[contender, delay_ms, in_flight]
        added = self._added.get((contender, delay_ms, in_flight))
        rates, ours = came.rates, contender is ADAPTER
        return {
            "contender": contender.name,
            "delay ms": delay_ms,
            "in flight": in_flight,
            "orders/s": rates.orders_per_second,
            "CPU s/1,000": rates.cpu_per_1000,
            "of its core": rates.core_share,
            "beside it": rates.others_share,
            "MiB": came.resident_mib,
            "transactions/s": rates.transactions_per_second if ours else None,
            "s each": rates.transaction_seconds,
            "added p50 ms": added.p50_ms if added else None,
            "added p99 ms": added.p99_ms if added else None,
            "x gathered": self._ratio(came, GATHERED, delay_ms, in_flight) if ours else None,
            "x one by one": self._ratio(came, ONE_BY_ONE, delay_ms, 1) if ours else None,
        }

    def _ratio(self, ours: Throughput, other: Contender, delay_ms: int, in_flight: int) -> float | None:
        theirs = self._came.get((other, delay_ms, in_flight))
        return ours.rates.orders_per_second / theirs.rates.orders_per_second if theirs else None

    def _aims(self) -> list[Aim]:
        failed = sum(contender is ADAPTER for contender, _ in self._failed)
        aims = [Aim(what="the adapter gets through every load", measured=f"{failed} failures", met=not failed)]
        came = self._came.get((ADAPTER, *AIM_AT))
        if came is not None:
            aims += self._aims_at(came)
        return aims

    def _aims_at(self, came: Throughput) -> list[Aim]:
        rates, at = came.rates, "at {} ms and {} in flight".format(*AIM_AT)
        aims = [
            Aim(
                what=f"{LEAST_ORDERS_PER_SECOND:,} orders/s or more on one core {at}",
                measured=f"{rates.orders_per_second:,.0f}, with {rates.core_share:.0%} of the core",
                met=rates.orders_per_second >= LEAST_ORDERS_PER_SECOND,
            ),
            Aim(
                what=f"at most {MOST_CPU_PER_1000} CPU seconds per 1,000 orders {at}",
                measured=f"{rates.cpu_per_1000:.2f}",
                met=rates.cpu_per_1000 <= MOST_CPU_PER_1000,
            ),
        ]
        for other in (GATHERED, ONE_BY_ONE):
            # The plain loop may be faster with fewer in flight, as httpx is; its best is what counts.
            if ratio := self._ratio_to_best(came, other, AIM_AT[0]):
                what = f"{LEAST_RATIO} times the orders/s of the plain loop ({other.way}, at its best) {at}"
                aims.append(Aim(what=what, measured=f"{ratio:.1f} times", met=ratio >= LEAST_RATIO))
        return aims

    def _ratio_to_best(self, ours: Throughput, other: Contender, delay_ms: int) -> float | None:
        of_other = [
            came.rates.orders_per_second
            for (contender, delay, _), came in self._came.items()
            if contender is other and delay == delay_ms
        ]
        return ours.rates.orders_per_second / max(of_other) if of_other else None
