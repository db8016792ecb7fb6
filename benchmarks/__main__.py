"""`python -m benchmarks`: one command per benchmark, and one for all."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from adapter.errors import AdapterError
from adapter.values import replace
from benchmarks import (
    attacks,
    backlog,
    bulkhead,
    callbacks,
    collecting,
    compare,
    compression,
    explaining,
    fixed,
    fleet,
    flood,
    hooks,
    order_path,
    paced,
    profiles,
    quick,
    reconciling,
    reports,
    reservations,
    sinks,
    sizing,
    submit,
    throughput,
    traces,
    traces_broker,
    waiting,
)
from benchmarks.builds import PRESENT, Build, earlier, on_interpreter
from benchmarks.compare import Comparison, Paced, Saturated
from benchmarks.contenders import ADAPTER, ResultsDisagreeError
from benchmarks.ground import Ground, ground
from benchmarks.machine import machine
from benchmarks.processes import NotMeasurableError
from benchmarks.reporting import Report, show, write
from benchmarks.subjects import SubjectFailedError

DELAYS_MS = (0, 50, 200)
IN_FLIGHT = (64, 256, 1024)
SECONDS = 15.0
PAIRS = 5
QUICK_ORDERS = 2000
WIDTH = 200
"""Columns of a report that is written to a file or a pipe."""
FAILED = 1
INTERRUPTED = 130

Command = Callable[[Ground, argparse.Namespace, Console], Awaitable[Report]]


async def _submit(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    submitting = submit.Submitting(here, console, seconds=asked.seconds)
    return await submitting.run(asked.delay or DELAYS_MS, asked.in_flight or IN_FLIGHT, plain=not asked.no_plain)


async def _reservations(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await reservations.measure(here, console, seconds=asked.seconds, pairs=asked.pairs)


async def _waiting(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await waiting.measure(here, console, count=asked.waiting)


async def _collect(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await collecting.measure(here, console, count=asked.collected)


async def _explain(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await explaining.measure(here, console, count=asked.records)


async def _backlog(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await backlog.measure(here, console, count=asked.backlog, worked=asked.worked)


async def _callbacks(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await callbacks.measure(here, console, seconds=asked.seconds)


async def _sizing(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await sizing.measure(here, console, seconds=asked.seconds)


async def _fleet(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await fleet.measure(here, console, seconds=asked.seconds)


async def _flood(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await flood.measure(here, console, seconds=asked.seconds, attacks=asked.attacks)


async def _compare(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    """The saturated path, and the rates that are named; both for `all`."""
    delay, in_flight = submit.AIM_AT
    saturated = [
        Saturated(delay_ms=each, in_flight=count)
        for each in asked.delay or (delay,)
        for count in asked.in_flight or (in_flight,)
    ]
    rates = asked.rates or (paced.RATES if asked.command == "all" else ())
    return await _compared(here, asked, console, [*saturated, *_paces(rates)])


async def _paced(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await _compared(here, asked, console, _paces(asked.rates or paced.RATES))


def _paces(rates: Sequence[float]) -> list[Paced]:
    """Only some have an aim: at very few orders a second the idle process decides."""
    return [Paced(rate=rate, most=compare.MOST_PACED.get(rate)) for rate in rates]


async def _compared(
    here: Ground, asked: argparse.Namespace, console: Console, loads: Sequence[Saturated | Paced]
) -> Report:
    comparison = Comparison(here, console, builds=_builds(asked), seconds=asked.seconds)
    return await comparison.run(loads, rounds=asked.alternations)


def _builds(asked: argparse.Namespace) -> Sequence[Build]:
    """The adapters to compare; the first is the one that the others are compared with."""
    changes = tuple(tuple(each.split("=", 1)) for each in asked.set)
    before = () if asked.before is None else (earlier(asked.before),)
    others = (on_interpreter(python, changes) for python in asked.python)
    return (*before, replace(PRESENT, changes=changes), *others)


async def _fixed(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await fixed.measure(here, console, builds=_builds(asked), seconds=asked.idle, rounds=asked.alternations)


async def _traces_broker(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    rates = asked.rates or traces_broker.RATES
    return await traces_broker.measure(here, console, seconds=asked.seconds, rounds=asked.alternations, rates=rates)


async def _sinks(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await sinks.measure(here, console, orders=asked.issued, rounds=asked.turns)


async def _bulkhead(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    return await bulkhead.measure(here, console, seconds=asked.seconds)


async def _profile_callbacks(here: Ground, asked: argparse.Namespace, console: Console) -> Report:
    await callbacks.measure(here, console, seconds=asked.seconds, profile=asked.stacks)
    return profiles.report(asked.stacks.read_text(encoding="utf-8"))


async def _profile(here: Ground, asked: argparse.Namespace, _console: Console) -> Report:
    delay, in_flight = (asked.delay or DELAYS_MS)[0], (asked.in_flight or IN_FLIGHT)[0]
    load = submit.planned(ADAPTER, delay, in_flight, asked.seconds)
    await throughput.profile(here, load, asked.stacks)
    return profiles.report(asked.stacks.read_text(encoding="utf-8"))


async def _quick(here: Ground, asked: argparse.Namespace, _console: Console) -> Report:
    return await quick.measure(here, asked.orders)


async def _hooks(asked: argparse.Namespace) -> Report:
    return await hooks.measure(rounds=asked.rounds)


async def _traces(asked: argparse.Namespace) -> Report:
    return await traces.measure(exports=asked.rounds)


async def _path(asked: argparse.Namespace) -> Report:
    return await order_path.measure(verbose=asked.verbose)


async def _report(asked: argparse.Namespace) -> Report:
    return await reports.measure(asked.tickets)


async def _reconcile(asked: argparse.Namespace) -> Report:
    return await reconciling.measure(asked.reported)


async def _compression(_asked: argparse.Namespace) -> Report:
    return await compression.measure()


COMMANDS: Mapping[str, tuple[Command, str]] = {
    "submit": (_submit, "orders to submitted, beside a plain loop"),
    "reservations": (_reservations, "what reservations cost"),
    "waiting": (_waiting, "confirmations that wait"),
    "collect": (_collect, "issuances of three days that wait for their tickets"),
    "backlog": (_backlog, "a large backlog"),
    "explain": (_explain, "what the command explain needs among a million records"),
    "callbacks": (_callbacks, "notifications a second, and the time of each"),
    "sizing": (_sizing, "what an order costs the whole adapter: calls, CPU, memory, bytes on the topics"),
    "compare": (_compare, "what an order costs, saturated and at --rates, beside another checkout or interpreter"),
    "paced": (_paced, "the same at a shop's own pace only, from paid to issued"),
    "fixed": (
        _fixed,
        "what the adapter costs without orders: its start, idle CPU time, memory; also of another checkout",
    ),
    "traces-broker": (_traces_broker, "what traces cost a process, saturated and at --rates, with a collector"),
    "fleet": (_fleet, "one process on one core, and two on two cores"),
    "flood": (_flood, "genuine notifications during attacks on their port"),
    "sinks": (_sinks, "whether a sink that is down changes the time to issued"),
    "bulkhead": (_bulkhead, "whether a merchant notices another one whose calls time out"),
    "profile": (_profile, "where the CPU time of submit goes, under the first delay and number in flight"),
    "profile-callbacks": (_profile_callbacks, "the same of callbacks"),
    "quick": (_quick, "a few orders, to see that everything works and the results agree"),
}
COMPARING = ("compare", "paced", "fixed", "all")
"""The commands that measure other builds too."""
ALL = ("submit", "compare", "fixed", "reservations", "waiting", "backlog", "callbacks", "sinks", "bulkhead")
ALONE: Mapping[str, tuple[Callable[[argparse.Namespace], Awaitable[Report]], str]] = {
    "hooks": (_hooks, "what plugins cost between a record and its parts; without a broker"),
    "reconcile": (_reconcile, "memory and time of a comparison with ECPay's report; without a broker"),
    "traces": (_traces, "what traces cost an order; without a broker"),
    "path": (_path, "the files and hops of one plain order; without a broker"),
    "report": (_report, "what a report of a million tickets costs the command; without a broker"),
    "compression": (_compression, "what each codec of kafka.compression costs and saves; without a broker"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    helps = "; ".join(f"{name}: {help_}" for name, (_, help_) in (*COMMANDS.items(), *ALONE.items()))
    parser.add_argument("command", choices=(*COMMANDS, *ALONE, "all"), help=f"{helps}; all: {', '.join(ALL)}")
    parser.add_argument(
        "before",
        nargs="?",
        type=Path,
        metavar="CHECKOUT",
        help="compare, paced, fixed, all: an earlier one, with its .venv",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    parser.add_argument("--broker", metavar="HOST:PORT", help="use this broker instead of a local one")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="about how long each run is (%(default)s)")
    parser.add_argument("--delay", type=int, nargs="+", metavar="MS", help="of the stub")
    parser.add_argument("--in-flight", type=int, nargs="+", metavar="N", help="orders at once")
    parser.add_argument("--no-plain", action="store_true", help="submit without the plain loop")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help="reservations: so many (%(default)s)")
    parser.add_argument("--waiting", type=int, default=waiting.COUNT, metavar="N", help="so many wait (%(default)s)")
    parser.add_argument("--collected", type=int, default=collecting.COUNT, metavar="N", help="collect: (%(default)s)")
    parser.add_argument("--backlog", type=int, default=backlog.COUNT, metavar="N", help="orders (%(default)s)")
    parser.add_argument("--records", type=int, default=explaining.COUNT, metavar="N", help="explain: (%(default)s)")
    parser.add_argument("--worked", type=int, default=backlog.WORKED, metavar="N", help="of the backlog (%(default)s)")
    parser.add_argument("--orders", type=int, default=QUICK_ORDERS, metavar="N", help="quick: so many (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=hooks.ROUNDS, metavar="N", help="hooks, traces: so many (%(default)s)"
    )
    parser.add_argument(
        "--issued", type=int, default=sinks.ORDERS, metavar="N", help="sinks, sizing: so many (%(default)s)"
    )
    parser.add_argument("--turns", type=int, default=sinks.ROUNDS, metavar="N", help="sinks: so many (%(default)s)")
    parser.add_argument(
        "--attacks", nargs="+", choices=attacks.ALL, default=attacks.ALL, metavar="NAME", help="flood: only these"
    )
    parser.add_argument("--rates", type=float, nargs="+", metavar="N", help="compare, paced, traces-broker: orders/s")
    parser.add_argument(
        "--alternations",
        type=int,
        default=compare.ROUNDS,
        metavar="N",
        help="compare, paced, fixed, traces-broker: rounds (%(default)s)",
    )
    parser.add_argument(
        "--python", type=Path, nargs="+", default=(), metavar="PROGRAM", help="compare, paced, fixed: by these too"
    )
    parser.add_argument(
        "--set", nargs="+", default=(), metavar="NAME=VALUE", help="compare, paced, fixed: its settings"
    )
    parser.add_argument("--idle", type=float, default=fixed.IDLE_SECONDS, metavar="S", help="fixed: (%(default)s)")
    parser.add_argument("--tickets", type=int, default=reports.TICKETS, metavar="N", help="report: (%(default)s)")

    parser.add_argument(
        "--reported", type=int, default=reconciling.COUNT, metavar="N", help="reconcile: so many (%(default)s)"
    )
    parser.add_argument("--verbose", action="store_true", help="path: print all hops in their order")
    parser.add_argument("--stacks", type=Path, default=Path("profile.stacks"), metavar="FILE", help="profile: to here")
    return parser


async def _measured(asked: argparse.Namespace, console: Console) -> AsyncIterator[Report]:
    if asked.command in ALONE:
        yield await ALONE[asked.command][0](asked)
        return
    async with ground(asked.broker) as here:
        for name in ALL if asked.command == "all" else (asked.command,):
            yield await COMMANDS[name][0](here, asked, console)


async def _run(asked: argparse.Namespace, facts: Mapping[str, str], console: Console) -> list[Report]:
    reports: list[Report] = []
    async for report in _measured(asked, console):
        show(report, console)
        reports.append(report)
        if asked.json:
            write(asked.json, facts, reports)
    return reports


def main() -> int:
    """Run what the command line asks for; 0 when all aims are met, 1 when not, or when nothing could be measured."""
    parser = _parser()
    asked = parser.parse_intermixed_args()
    if asked.command not in COMPARING and (asked.before or asked.python or asked.set):
        parser.error(f"a checkout, --python and --set are for {', '.join(COMPARING)}")
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first by default
        signal.signal(ending, signal.default_int_handler)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs what it retries, right after topics were made
    facts = machine()
    for name, fact in facts.items():
        console.print(f"{name:12} {fact}", highlight=False)
    try:
        reports = asyncio.run(_run(asked, facts, console))
    except (NotMeasurableError, SubjectFailedError, ResultsDisagreeError, AdapterError) as error:
        console.print(str(error), markup=False)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if all(aim.met for report in reports for aim in report.aims) else FAILED


if __name__ == "__main__":
    sys.exit(main())
