"""The demo's output: live bars while it runs, then a table of the results of each kind of order, with the reasons.

Both fit into 80 columns and use more if there are more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adapter.dev.demo.orders import OrderKind

DISPLAY_COLUMNS = 100
"""Maximum width of the bars."""

_ROWS: Mapping[str, tuple[str, str]] = {
    "orders": ("white", "paid, and sent to Kafka"),
    "submitted": ("cyan", "ECTicket has the issuance"),
    "waiting": ("yellow", "for ECTicket's job to finish"),
    "in doubt": ("magenta", "queried before anything else"),
    "issued": ("green", "the tickets exist"),
    "failed": ("red", "no tickets, and none will be issued"),
    "parked": ("bright_red", "a person must look at it"),
}
"""Each state with its colour and meaning."""


def live_display(counts: Mapping[str, int], *, orders: int, issuances: int, seconds: float) -> RenderableType:
    """The bars at one moment: one for each state, the progress and the rate.

    `orders` is the final number of orders, and `issuances` that of their issuances; the bars are scaled to them, so
    they move only when something happens.
    """
    bars = Table.grid(padding=(0, 2), expand=True)
    for justify, ratio in (("left", None), ("right", None), ("left", 1), ("left", None)):
        bars.add_column(justify="right" if justify == "right" else "left", ratio=ratio, no_wrap=True)
    for name, (colour, meaning) in _ROWS.items():
        maximum = orders if name == "orders" else issuances
        bar = ProgressBar(total=max(1, maximum), completed=counts[name], complete_style=colour, finished_style=colour)
        bars.add_row(Text(name, style=colour), str(counts[name]), bar, Text(meaning, style="dim"))
    flow = Text("orders.paid → adapter → ECTicket (sandbox) → ecticket.issuances", style="bold")
    settled = counts["accounted for"]
    rate = settled / seconds if seconds > 0 else 0.0
    foot = Text(f"{settled} of {orders} orders accounted for · {rate:.1f} a second · {seconds:.0f} s", style="dim")
    return Constrain(Panel(Group(flow, Text(), bars, Text(), foot), title="ecticket-adapter demo"), DISPLAY_COLUMNS)


def result_table(by_kind: Sequence[tuple[OrderKind, Counter[str]]]) -> Table:
    """The results of each kind of order, with the reason; unexpected results are red."""
    table = Table(title="Results by kind of order", title_justify="left", title_style="bold")
    table.box, table.pad_edge = SIMPLE_HEAD, False
    table.add_column("kind")
    table.add_column("orders", justify="right")
    table.add_column("became")
    table.add_column("because")
    for kind, results in by_kind:
        as_expected = set(results) == {kind.result}
        table.add_row(
            kind.name,
            str(results.total()),
            _became(kind, results, as_expected=as_expected),
            kind.reason if as_expected else f"expected: {kind.result}",
            style=None if as_expected else "bold red",
        )
    return table


def _became(kind: OrderKind, results: Counter[str], *, as_expected: bool) -> Text:
    if not as_expected:
        return Text(", ".join(f"{count} {result}" for result, count in results.items()))
    state = kind.result.partition(" ")[0]
    return Text(state, style=_ROWS[state][0])


def day_table(counts: Mapping[str, int]) -> Table:
    """What was published after the tickets were issued."""
    table = Table(title="The rest of the day", title_justify="left", title_style="bold")
    table.box, table.pad_edge = SIMPLE_HEAD, False
    table.add_column("what happened")
    table.add_column("events", justify="right")
    table.add_column("published on")
    table.add_row("tickets redeemed and refunded", str(counts["notifications"]), "ecticket.tickets")
    collected = f"serial numbers collected ({counts['collected tickets']} tickets)"
    table.add_row(collected, str(counts["collected issuances"]), "ecticket.tickets")
    table.add_row("differences from ECPay's report", str(counts["differences"]), "ecticket.reconciliations")
    return table


def verdict(disagreements: Sequence[str], *, orders: int, tickets: int, seconds: float) -> RenderableType:
    """The final message: everything is accounted for, or each disagreement by name."""
    if not disagreements:
        text = f"All {orders} orders are accounted for, in {seconds:.0f} s.\n"
        return Text(f"{text}{tickets} tickets: none missing, none issued twice.", style="bold green")
    lines = [f"{len(disagreements)} disagreements between the events and ECTicket:", *disagreements[:20]]
    return Text("\n".join(lines), style="bold red")
