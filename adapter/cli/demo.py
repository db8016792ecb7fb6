"""`demo`: the main job before one's eyes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.invocation import Invocation, command, flag

if TYPE_CHECKING:
    from rich.console import Console


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter demo", "ecticket-adapter demo --orders 1000", "ecticket-adapter demo --keep")
    command(app, "demo", examples=examples, panel=panel)(demo)


def demo(
    invocation: Invocation,
    orders: Annotated[int, typer.Option(metavar="N", min=1, max=20_000, help="How many sample orders.")] = 200,
    keep: Annotated[bool, flag("--keep", "Leave everything running at the end, until Ctrl-C.")] = False,
) -> int:
    """Local Kafka, sandbox, adapter: sample orders of every kind become tickets, and the books are compared.

    Needs nothing but this package with its extra `local`; the first time some forty megabytes come down. With
    kafka.bootstrap_servers set, that broker is used instead. Exit code 0 says that every order is accounted for.
    """
    from rich.console import Console

    from adapter.demo.run import run_demo

    console = Console()
    broker = _given_broker(invocation)
    try:
        done = asyncio.run(run_demo(orders=orders, keep=keep, broker=broker, console=console, progress=_Steps(console)))
    except KeyboardInterrupt:
        if keep:
            return 0
        raise
    return 0 if done else 1


def _given_broker(invocation: Invocation) -> str | None:
    """The broker somebody asked for; the default address is nobody's choice."""
    kafka = invocation.settings().kafka
    return kafka.bootstrap_servers if "bootstrap_servers" in kafka.model_fields_set else None


class _Steps:
    """What the demo is doing while there is nothing to see yet."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, what: str) -> None:
        """Say what begins."""
        self._console.print(f"[dim]… {what}[/]")

    def fetched(self, name: str, done: int, of: int) -> None:
        """Say how far the download is, now and then."""
        if done % 5 == 0 or done == of:
            self._console.print(f"[dim]… {done} of {of} files are here ({name})[/]")
