"""`check`: is everything there that a start needs, and what about it is unwise."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from adapter.cli.context import CommandContext, Json, command
from adapter.cli.output import note, print_json, print_marked

if TYPE_CHECKING:
    from adapter.cli.preflight import PreflightFinding

STYLES: Mapping[str, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = ("ecticket-adapter check", "ecticket-adapter check --config settings.yaml --json")
    command(app, "check", examples=examples, panel=panel)(check)


def check(context: CommandContext, json: Json = False) -> int:
    """Check settings, keys, plugins, broker, topics and ECTicket; exit code 1 when anything does not work.

    Nothing is changed, and no order is touched. ECTicket is asked once per merchant about a number nobody used, and
    once about each of the catalogue's first 100 products.
    """
    from adapter.cli.preflight import exit_code

    findings = asyncio.run(_run(context, show=not json))
    if json:
        print_json({"ok": exit_code(findings) == 0, "findings": [asdict(finding) for finding in findings]})
    else:
        counts = {level: sum(finding.level == level for finding in findings) for level in STYLES}
        note(f"Problems: {counts['problem']}, warnings: {counts['warning']}, ok: {counts['ok']}.")
    return exit_code(findings)


async def _run(context: CommandContext, *, show: bool) -> list[PreflightFinding]:
    from adapter.cli.preflight import run_checks
    from adapter.cli.topics import MAKE_THEM

    findings = []
    make_topics = f"{MAKE_THEM}{context.same_config}"
    async with aclosing(run_checks(context.settings(), make_topics=make_topics)) as findings_as_found:
        async for finding in findings_as_found:
            findings.append(finding)
            if show:
                print_marked(f"{finding.level:<8} ", STYLES[finding.level], finding.message)
    return findings
