"""`python -m chaos`: the long run of the chaos suite, seed after seed, and each protection switched off in turn.

`make chaos` calls it. Exits with 1 if a result was wrong, or a missing protection was not noticed; then it
prints the folder with the processes' logs.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.connection import KafkaConnection
from chaos.protections import PROTECTIONS, noticed, run_with, run_without
from chaos.run import ChaosRun, run_plan
from chaos.scenario import PROFILES, plan

CONSOLE = Console(width=150, highlight=False)


def main() -> int:
    """Run what the arguments ask for; returns the exit code."""
    asked = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers are killed here, and the suite's clients log it
    kept = Path(tempfile.mkdtemp(prefix="ecticket-chaos-"))
    wrong = asyncio.run(_protections(asked, kept)) if asked.protections else asyncio.run(_seeds(asked, kept))
    CONSOLE.print(f"{wrong} results are wrong; logs are in {kept}" if wrong else "Nothing is wrong.")
    return 1 if wrong else 0


async def _seeds(asked: argparse.Namespace, kept: Path) -> int:
    """Run every seed; the scenarios of one seed run in parallel, each with its own broker to kill."""
    runs: list[ChaosRun] = []
    with ExitStack() as brokers:
        of_scenario = {name: brokers.enter_context(LocalKafka()) for name in asked.scenario}
        for seed in asked.seeds:
            lived = await asyncio.gather(*(_one(of_scenario[name], name, seed, asked, kept) for name in asked.scenario))
            for run in lived:
                CONSOLE.print(str(run.plan), f"faults {dict(run.faults)}", *run.wrong, sep="\n  ")
            runs += lived
    CONSOLE.print(_table(runs))
    return sum(len(run.wrong) for run in runs)


async def _one(broker: LocalKafka, name: str, seed: int, asked: argparse.Namespace, kept: Path) -> ChaosRun:
    the_plan = plan(PROFILES[name], seed, orders=asked.orders, rounds=asked.rounds)
    folder = kept / f"{name}-{seed}"
    folder.mkdir()
    return await run_plan(the_plan, _connection(broker), folder, broker=broker)


async def _protections(asked: argparse.Namespace, kept: Path) -> int:
    """Run each protection's scenario twice, with it and without it."""
    table = Table(title="One protection switched off at a time")
    for heading in ("protection", "which", "wrong with it", "without it", "for example"):
        table.add_column(heading)
    wrong = 0
    with LocalKafka() as broker:
        for name, protection in ((name, PROTECTIONS[name]) for name in asked.which):
            sound_folder, weak_folder = (kept / f"{name}-{way}" for way in ("with", "without"))
            sound_folder.mkdir()
            weak_folder.mkdir()
            sound, weak = await asyncio.gather(
                run_with(name, _connection(broker), sound_folder, orders=asked.orders),
                run_without(name, _connection(broker), weak_folder, orders=asked.orders),
            )
            found = noticed(name, weak)
            wrong += len(sound.wrong) + (0 if found else 1)
            text = f"{len(found)} {protection.noticed}"
            table.add_row(name, protection.what, str(len(sound.wrong)), text, found[0] if found else "NOT NOTICED")
    CONSOLE.print(table)
    return wrong


def _connection(broker: LocalKafka) -> KafkaConnection:
    return KafkaConnection(bootstrap_servers=broker.bootstrap_servers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seeds", type=_range, default=_range("1-10"), help="such as 7 or 1-10 (default)")
    parser.add_argument("--orders", type=int, default=600, help="orders of each run (default 600)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each fault happens (default 1)")
    names = list(PROFILES)
    parser.add_argument("--scenario", nargs="+", choices=names, default=names, help="which scenarios (default: all)")
    parser.add_argument("--protections", action="store_true", help="switch off each protection in turn instead")
    parser.add_argument(
        "--which", nargs="+", choices=[*PROTECTIONS], default=[*PROTECTIONS], help="of these protections"
    )
    return parser.parse_args()


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _table(runs: Sequence[ChaosRun]) -> Table:
    table = Table(title="Every order once", caption="faults: kind, and the calls on the wire at that moment")
    for heading in ("scenario", "seed", "records", "issuances", "recovered", "parked", "not_published", "seconds"):
        table.add_column(heading, justify="left" if heading == "scenario" else "right")
    table.add_column("faults")
    for heading in ("lost", "double", "repeated", "untrue"):
        table.add_column(heading, justify="right", style="bold")
    for run in runs:
        table.add_row(*_facts(run))
    return table


def _facts(run: ChaosRun) -> tuple[str, ...]:
    disagreements = run.disagreements
    named = (disagreements.lost, disagreements.double, disagreements.repeated)
    untrue = len(run.wrong) - sum(map(len, named))
    counts = (
        run.records,
        run.issuances,
        run.recovered,
        run.parked,
        len(disagreements.not_published),
        round(run.seconds),
    )
    return (
        run.plan.scenario.name,
        str(run.plan.seed),
        *map(str, counts),
        " ".join(run.hit),
        *(str(len(sentences)) for sentences in named),
        str(untrue),
    )


if __name__ == "__main__":
    sys.exit(main())
