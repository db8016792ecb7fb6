"""A comparison counts ratios within a round, leaves out runs that failed, and shows which adapters it measured."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from benchmarks import costs
from benchmarks.builds import PRESENT, ROOT, Build, earlier, on_interpreter
from benchmarks.compare import Comparison
from benchmarks.contenders import ResultsDisagreeError
from benchmarks.costs import Cost
from benchmarks.ground import Ground
from benchmarks.processes import NotMeasurableError
from benchmarks.reporting import Report

BEFORE = Build(name="before")


def cost(cpu: float, *, transactions: float = 0.1, issued_p99: float | None = None) -> Cost:
    """A run in which only these figures matter."""
    return Cost(
        orders_per_second=100,
        cpu=cpu,
        broker_cpu=1,
        mib=80,
        submit_transactions=transactions,
        issued_p99=issued_p99,
    )


@dataclass(slots=True)
class ScriptedLoad:
    """A load whose runs are given: for each build one after another; None is a run that parked an order."""

    runs: Mapping[str, list[Cost | None]]
    most: float | None = 0.6
    name: str = "scripted"
    order: list[str] = field(default_factory=list)

    async def cost(self, _ground: Ground, build: Build, _seconds: float) -> Cost:
        """The next run of this build."""
        self.order.append(build.name)
        if (found := self.runs[build.name].pop(0)) is None:
            raise ResultsDisagreeError("1 events were no submitted ones")
        return found


async def compared(load: ScriptedLoad, *builds: Build) -> Report:
    """The report of as many rounds as there are runs."""
    ground = cast(Ground, None)  # scripted runs need none
    rounds = len(load.runs[PRESENT.name])
    return await Comparison(ground, Console(quiet=True), builds=builds, seconds=10).run([load], rounds=rounds)


def met(report: Report) -> list[bool]:
    """Whether each aim is met, in their order."""
    return [aim.met for aim in report.aims]


def test_ratios_are_made_within_a_round_and_a_failed_run_has_none() -> None:
    """A machine that gets slower between rounds changes no ratio."""
    found, base = [cost(1), None, cost(6), cost(2)], [cost(2), cost(3), cost(10), None]

    ratio = costs.ratio(found, base)

    assert ratio is not None
    assert (ratio.lowest, ratio.highest) == (0.5, 0.6)
    assert ratio.median == pytest.approx(0.55)
    assert costs.ratio([None], [cost(1)]) is None


def test_medians_are_of_each_figure_and_leave_out_what_a_load_does_not_have() -> None:
    """A saturated run has no time to issued."""
    found: Sequence[Cost] = [cost(3, issued_p99=10), cost(1, issued_p99=30), cost(2, issued_p99=20)]

    assert costs.median(found) == cost(2, issued_p99=20)
    assert costs.median([cost(1)]).issued_p99 is None


async def test_builds_take_turns_and_the_first_is_what_others_are_compared_with() -> None:
    """In every other round they run in the opposite order; ratio and saved share have their row and aim."""
    load = ScriptedLoad({"before": [cost(10), cost(12)], "now": [cost(5), cost(6)]})

    report = await compared(load, BEFORE, PRESENT)

    assert load.order == ["before", "now", "now", "before"]
    assert [(row["adapter"], row["CPU"], row["CPU, times before"]) for row in report.rows] == [
        ("before", 11, None),
        ("now", 5.5, "0.500 (0.500 to 0.500)"),
    ]
    assert met(report) == [True, True]


async def test_a_run_in_which_an_order_was_parked_is_no_result() -> None:
    """It is named, it misses an aim, and its round has no ratio."""
    load = ScriptedLoad({"before": [cost(10), cost(10)], "now": [None, cost(9)]})

    report = await compared(load, BEFORE, PRESENT)

    assert report.rows[1]["CPU"] == 9
    assert report.rows[1]["CPU, times before"] == "0.900 (0.900 to 0.900)"
    assert met(report) == [False, False]
    assert any("no submitted ones" in note for note in report.notes)


async def test_a_build_whose_transactions_are_not_counted_is_no_result() -> None:
    """A metric that has another name there would read as no transactions at all."""
    report = await compared(ScriptedLoad({"now": [cost(1, transactions=0)]}), PRESENT)

    assert report.rows == []
    assert met(report) == [False]


async def test_without_another_build_there_is_no_ratio_and_the_report_says_so() -> None:
    """`make bench` alone shows the present figures."""
    report = await compared(ScriptedLoad({"now": [cost(1)]}), PRESENT)

    (row,) = report.rows
    assert not [column for column in row if "times" in column]
    assert any("BEFORE=" in note for note in report.notes)
    assert met(report) == [True]


async def test_another_interpreter_has_a_ratio_and_no_aim() -> None:
    """What it saves is its own merit, not that of a change."""
    other = on_interpreter(Path(sys.executable), ())
    load = ScriptedLoad({"now": [cost(10)], other.name: [cost(9)]})

    report = await compared(load, PRESENT, other)

    assert report.rows[1]["CPU, times now"] == "0.900 (0.900 to 0.900)"
    assert met(report) == [True]


async def test_later_events_miss_an_aim() -> None:
    """Waiting for more outcomes saves CPU, and may not cost more time than allowed."""
    load = ScriptedLoad({"before": [cost(10, issued_p99=1000)], "now": [cost(5, issued_p99=2600)]})

    assert met(await compared(load, BEFORE, PRESENT)) == [True, True, False]


async def test_a_build_names_its_commit_its_interpreter_and_how_that_was_configured() -> None:
    """Without them a figure has no meaning."""
    facts = await on_interpreter(Path(sys.executable), ()).facts()

    assert f"CPython {sys.version.split()[0]}" in facts
    assert "--enable-optimizations" in facts
    assert "aiokafka" in facts


async def test_an_interpreter_that_does_not_run_is_named(tmp_path: Path) -> None:
    """Before anything is measured."""
    with pytest.raises(NotMeasurableError, match="no-python"):
        await on_interpreter(tmp_path / "no-python", ()).facts()


def test_an_earlier_checkout_needs_its_own_packages(tmp_path: Path) -> None:
    """It is pinned to others, so the present ones would measure something else."""
    with pytest.raises(NotMeasurableError, match="venv"):
        earlier(tmp_path)

    assert PRESENT.checkout == ROOT
