"""`demo`: the main job on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.context import CommandContext, command, flag

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.console import Console
    from rich.progress import Progress


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter demo", "ecticket-adapter demo --orders 1000", "ecticket-adapter demo --keep")
    command(app, "demo", examples=examples, panel=panel)(demo)


def demo(
    context: CommandContext,
    orders: Annotated[int, typer.Option(metavar="N", min=1, max=20_000, help="How many sample orders.")] = 200,
    keep: Annotated[bool, flag("--keep", "Leave everything running at the end, until Ctrl-C.")] = False,
) -> int:
    """Show a whole day with a local Kafka and the sandbox: orders become tickets, are used, collected and reconciled.

    Each result is compared with the sandbox; exit code 0 if everything agrees. Needs only this package with its extra
    `local`; the first run downloads about forty megabytes. If kafka.bootstrap_servers is set, that broker is used, with
    unique names of topics and groups that are removed at the end.
    """
    from rich.console import Console

    from adapter.dev.demo.run import run_demo
    from adapter.dev.local_kafka.broker import LocalKafka

    console = Console()
    broker = _given_broker(context)
    with _Steps(console) as steps:
        if broker is None:
            LocalKafka(progress=steps).prepare()  # here, where Ctrl-C ends a download at once
        done = event_loop.run(run_demo(orders=orders, keep=keep, broker=broker, console=console, progress=steps))
    return 0 if done else 1


def _given_broker(context: CommandContext) -> str | None:
    """The broker that is configured; the default address does not count."""
    kafka = context.settings().kafka
    return kafka.bootstrap_servers if "bootstrap_servers" in kafka.model_fields_set else None


class _Steps:
    """Shows the steps: a line for each, and a bar for the download."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_bar()

    def step(self, what: str) -> None:
        """Print the step that begins."""
        self._end_bar()
        self._console.print(f"… {what}", style="dim", markup=False, highlight=False, soft_wrap=True)

    def fetched(self, name: str, done: int, of: int) -> None:
        """Show the download's progress: a bar on a terminal, elsewhere a line for every ten files."""
        if self._console.is_terminal:
            self._bar = self._bar or self._begin_bar(of)
            self._bar.update(self._bar.task_ids[0], completed=done, description=name)
        elif done % 10 == 0 or done == of:
            self._console.print(f"… {done} of {of} files downloaded", highlight=False)

    def _begin_bar(self, of: int) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn(" "), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", style="dim"))
        bar = Progress(*columns, console=self._console, transient=True)
        bar.add_task("", total=of)
        bar.start()
        return bar

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
