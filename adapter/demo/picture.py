"""What the demo shows: a live picture while it runs, then a table of what happened to each kind of order and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adapter.demo.books import Books

_COLOURS = {
    "orders": "white",
    "submitted": "cyan",
    "waiting": "yellow",
    "in doubt": "magenta",
    "issued": "green",
    "failed": "red",
    "parked": "bright_red",
}


def live_picture(counts: Mapping[str, int], *, in_doubt: int, seconds: float, settled: int) -> RenderableType:
    """The picture at one moment: a bar for each state, how far the run is, and at what rate."""
    most = max(1, *counts.values())
    shown = {**counts, "in doubt": in_doubt}
    bars = Table.grid(padding=(0, 2))
    for name, colour in _COLOURS.items():
        bar = ProgressBar(total=most, completed=shown[name], width=48, complete_style=colour)
        bars.add_row(Text(name, style=colour), Text(str(shown[name]), justify="right"), bar)
    rate = settled / seconds if seconds > 0 else 0.0
    foot = Text(
        f"{settled} of {counts['orders']} orders accounted for, {rate:.1f} a second, {seconds:.0f} s", style="dim"
    )
    flow = Text("orders.paid → adapter → ECTicket (sandbox) → ecticket.issuances", style="bold")
    return Panel(Group(flow, Text(), bars, Text(), foot), title="ecticket-adapter demo", width=86)


def ending_table(books: Books) -> Table:
    """What happened to each kind of order, and why."""
    table = Table(title="What became of each kind of order", title_justify="left")
    for column, justify in (("kind", "left"), ("orders", "right"), ("what happened", "left"), ("why", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    for kind, endings in books.by_kind():
        told = ", ".join(f"{count} {ending}" for ending, count in endings.items())
        style = None if set(endings) == {kind.ending} else "bold red"
        table.add_row(kind.name, str(endings.total()), told, kind.why, style=style)
    return table


def verdict(disagreements: Sequence[str], *, orders: int, tickets: int, seconds: float) -> RenderableType:
    """The last word: everything accounted for, or each disagreement by name."""
    if not disagreements:
        told = f"All {orders} orders are accounted for: {tickets} tickets, none missing, none issued twice"
        return Text(f"{told} ({seconds:.0f} s).", style="bold green")
    lines = [f"{len(disagreements)} disagreements between what was told and the books:", *disagreements[:20]]
    return Text("\n".join(lines), style="bold red")
