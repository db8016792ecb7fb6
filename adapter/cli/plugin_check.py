"""`plugins check`: checks a plugin against all rules, without a broker and without ECTicket."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapter.cli.context import CommandContext, Json, command
from adapter.cli.output import capture_plugin_output, note, print_json, print_line, print_marked
from adapter.values import replace

if TYPE_CHECKING:
    from adapter.extensions.values import OrderRecord
    from adapter.issuance.order import Order
    from adapter.settings import Settings
    from adapter.testing.conformance_suite import CheckInputs
    from adapter.testing.findings import Examination

FAILED = 1
WRONG = 2
STYLES: Mapping[str, str] = {"error": "bold red", "warning": "yellow", "note": "dim", "ok": "green"}

Target = Annotated[
    str,
    typer.Argument(metavar="PLUGIN", help="A file or folder, the name of an installed plugin, or a module to import."),
]

OwnOrders = Annotated[
    list[Path] | None,
    typer.Option("--order", metavar="FILE", help="An event of yours to try all its hooks with; may be repeated."),
]

Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME=VALUE", help="A header of the events of --order; may be repeated."),
]


def add(plugins: typer.Typer) -> None:
    """Add the command to the group."""
    examples = (
        "ecticket-adapter plugins check family_tickets.py --order order.json",
        "ecticket-adapter plugins check family_tickets --config settings.yaml --json",
        "ecticket-adapter plugins check shopify_orders --order webhook.json --header X-Shopify-Topic=orders/paid",
    )
    command(plugins, "check", examples=examples)(check)


def check(
    context: CommandContext, plugin: Target, order: OwnOrders = None, header: Headers = None, json: Json = False
) -> int:
    """Check a plugin: that it can be loaded, and that its hooks answer correctly, in time, and the same way twice.

    The command also works if the plugin cannot be imported, and says what to fix. The plugin gets its section of
    plugins.settings. Nothing is sent. Exit code 1 if the plugin is wrong, 2 if only its settings are.
    """
    from adapter.testing.conformance_suite import examine, sources_of

    settings = context.settings()
    sections = settings.plugins.settings
    with capture_plugin_output() as output:
        inputs = _inputs(settings, order or [], _headers(header or []))
        examined = [
            examine(source, replace(inputs, settings=sections.get(source.name, {}))) for source in sources_of(plugin)
        ]
        if json:
            passed = all(each.passed for each in examined)
            print_json({"passed": passed, "plugins": [_as_json(each) for each in examined]}, to=output)
        else:
            with contextlib.redirect_stdout(output):
                for each in examined:
                    _show(each)
    return _exit_code(examined)


def _headers(given: list[str]) -> dict[str, str]:
    """Raises a usage error for what is no NAME=VALUE."""
    wrong = next((each for each in given if "=" not in each.lstrip("=")), None)
    if wrong is not None:
        raise typer.BadParameter(f"--header takes NAME=VALUE, and not {wrong!r}.")
    return {name: value for name, _, value in (each.partition("=") for each in given)}


def _inputs(settings: Settings, files: list[Path], headers: Mapping[str, str]) -> CheckInputs:
    """What the plugin is tried with: its author's events, and as what the settings' other plugins read them."""
    from adapter.testing.conformance_suite import CheckInputs
    from adapter.testing.orders import MERCHANT, order_record

    records = [order_record(file.read_bytes(), headers=headers) for file in files]
    only = next(iter(settings.merchants)) if len(settings.merchants) == 1 else MERCHANT
    return CheckInputs(
        records=records,
        orders=_read_by_others(settings, records, only),
        merchant_id=only,
        budget_seconds=settings.plugins.budget_ms / 1000,
    )


def _read_by_others(settings: Settings, records: Sequence[OrderRecord], merchant_id: str) -> Sequence[Order]:
    """The orders as all plugins of the settings read them: a plugin may map what another one reads."""
    if not records:
        return ()
    from adapter.issuance.order import Order
    from adapter.testing.samples import order_of
    from adapter.wiring import plugin_manager

    plugins = plugin_manager(settings)
    read = (order_of(plugins, record, merchant_id) for record in records)
    return tuple(order for order in read if isinstance(order, Order))


def _exit_code(examined: list[Examination]) -> int:
    failed = [each for each in examined if not each.passed]
    if not failed:
        return 0
    return WRONG if all(each.by_settings for each in failed) else FAILED


def _as_json(examined: Examination) -> Mapping[str, object]:
    return {
        "name": examined.name,
        "source": examined.where,
        "passed": examined.passed,
        "hooks": list(examined.hooks),
        "calls": examined.calls,
        "findings": [
            {"level": found.level, "hook": found.hook, "what": found.what, "cure": found.cure}
            for found in examined.findings
        ],
    }


def _show(examined: Examination) -> None:
    """One line for each hook that is fine, then what was found."""
    print_line(f"{examined.name} ({examined.where})")
    hooks_with_findings = {found.hook for found in examined.findings}
    for hook in examined.hooks:
        if hook not in hooks_with_findings:
            _line("ok", hook)
    for found in examined.findings:
        _line(found.level, " ".join(filter(None, (f"{found.hook}:" if found.hook else "", found.what, found.cure))))
    errors, warnings = (sum(found.level == level for found in examined.findings) for level in ("error", "warning"))
    note(f"{examined.name}: errors: {errors}, warnings: {warnings}, calls of hooks: {examined.calls}.")


def _line(level: str, text: str) -> None:
    print_marked(f"{level:<8} ", STYLES[level], text)
