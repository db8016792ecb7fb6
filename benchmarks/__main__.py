"""`python -m benchmarks`: one command per benchmark, and one for all."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import profiles, submit
from benchmarks.ground import Ground, ground
from benchmarks.machine import machine
from benchmarks.processes import NotMeasurableError
from benchmarks.reporting import Report, show, write

DELAYS_MS = (0, 50, 200)
IN_FLIGHT = (64, 256, 1024)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_ in (("submit", "orders to submitted, beside a plain loop"),):
        command = commands.add_parser(name, help=help_, description=help_)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
        command.add_argument("--broker", metavar="HOST:PORT", help="use this broker instead of a local one")
        command.add_argument("--seconds", type=float, default=15.0, help="about how long each run is (default 15)")
        command.add_argument("--delay", type=int, nargs="*", default=DELAYS_MS, metavar="MS", help="of the stub")
        command.add_argument("--in-flight", type=int, nargs="*", default=IN_FLIGHT, metavar="N", help="orders at once")
        command.add_argument("--no-plain", action="store_true", help="without the plain loop")
        command.add_argument("--profile", type=Path, metavar="FILE", help="a profile of the first load instead")
    return parser


async def _run(asked: argparse.Namespace, console: Console) -> list[Report]:
    async with ground(asked.broker) as here:
        if asked.profile:
            await submit.profile(here, asked.delay[0], asked.in_flight[0], seconds=asked.seconds, file=asked.profile)
            console.print(profiles.summary(asked.profile.read_text(encoding="utf-8")), highlight=False)
            return []
        return [await _submit(here, asked, console)]


async def _submit(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    plain = not asked.no_plain
    return await submit.measure(here, asked.delay, asked.in_flight, seconds=asked.seconds, plain=plain, console=console)


def main() -> int:
    """Run what the command line asks for."""
    asked = _parser().parse_args()
    console = Console()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs what it retries, right after topics were made
    facts = machine()
    for name, fact in facts.items():
        console.print(f"{name:12} {fact}", highlight=False)
    try:
        reports = asyncio.run(_run(asked, console))
    except NotMeasurableError as error:
        console.print(str(error))
        return 1
    for report in reports:
        show(report, console)
    if asked.json:
        write(asked.json, facts, reports)
    return 0 if all(aim.met for report in reports for aim in report.aims) else 1


if __name__ == "__main__":
    sys.exit(main())
