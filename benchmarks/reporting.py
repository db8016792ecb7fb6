"""A benchmark's report: tables on the terminal, and the same as JSON, each with its aims and whether they are met."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

Cell = str | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """An aim, and what was measured."""

    what: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of one benchmark; all rows have the same columns, and None is a cell that does not apply.

    `notes` may quote what a process logged.
    """

    title: str
    rows: Sequence[Mapping[str, Cell]]
    aims: Sequence[Aim] = ()
    notes: Sequence[str] = ()


def show(report: Report, console: Console) -> None:
    """Print a report."""
    console.print()
    if report.rows:
        console.print(_table(report), highlight=False)
    for note in report.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    for aim in report.aims:
        verdict = "[green]met[/]" if aim.met else "[red]not met[/]"
        console.print(f"Aim: {aim.what}. Measured: {aim.measured}: {verdict}", highlight=False)


def _table(report: Report) -> Table:
    table = Table(title=report.title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for column, cell in report.rows[0].items():
        table.add_column(column, justify="left" if isinstance(cell, str) else "right")
    for row in report.rows:
        table.add_row(*(_text(cell) for cell in row.values()))
    return table


def write(path: Path, machine: Mapping[str, str], reports: Sequence[Report]) -> None:
    """Write machine and reports as JSON."""
    document = {"machine": machine, "reports": [asdict(report) for report in reports]}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _text(cell: Cell) -> str:
    """Three digits that count, and no more."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if abs(cell) >= 100 or cell == int(cell):
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
