"""`run` and `sandbox`: the adapter itself, and an ECTicket to rehearse with."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from adapter.cli.invocation import Invocation, command
from adapter.cli.output import say

Only = Annotated[
    str | None,
    typer.Option("--only", metavar="STAGES", help="Only these stages, comma-separated: submit, confirm."),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the commands."""
    examples = ("ecticket-adapter run --config settings.yaml", "ecticket-adapter run --only submit")
    command(app, "run", examples=examples, panel=panel)(run)
    examples = ("ecticket-adapter sandbox", "ecticket-adapter sandbox --port 8700 --visible-after-seconds 3")
    command(app, "sandbox", examples=examples, panel=panel)(sandbox)


def run(invocation: Invocation, only: Only = None) -> None:
    """Run the adapter until SIGTERM or Ctrl-C; what is in flight is finished and committed first.

    A broker that is away is waited for, and told about; `check` is the one that ends then.
    """
    signal.signal(signal.SIGTERM, _nothing_to_finish)
    from adapter.app import run_until_stopped

    settings = invocation.settings()
    if only is None:
        run_until_stopped(settings)
    else:
        run_until_stopped(settings, tuple(dict.fromkeys(stage.strip() for stage in only.split(",") if stage.strip())))


def _nothing_to_finish(_signal: int, _frame: object) -> None:
    """SIGTERM while the rooms are still being imported, which takes a second; the app's own handler takes over then."""
    raise SystemExit(0)


def sandbox(
    invocation: Invocation,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; there is no access control.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(metavar="PORT", help="0 takes any free port.")] = 8700,
    job_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="From an accepted Issue to the end of its job.")
    ] = 5.0,
    visible_after_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="From an accepted Issue until queries know the order.")
    ] = 0.0,
    report_interval_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="One report per merchant in this time; 0 lifts the limit.")
    ] = 60.0,
) -> None:
    """Serve an ECTicket that enforces every rule, costs nothing and misbehaves when told, until Ctrl-C.

    It knows ECPay's public test merchants. `PUT /_/faults` arms faults; `GET /_/orders` and `GET /_/stats` show its
    books.
    """
    from adapter.sandbox import SandboxSettings, serve

    settings = SandboxSettings(
        host=host,
        port=port,
        job_seconds=job_seconds,
        visible_after_seconds=visible_after_seconds,
        report_interval_seconds=report_interval_seconds,
    )
    merchants = dict.fromkeys(merchant.merchant_id for merchant in settings.merchants)

    def ready(base_url: str) -> None:
        say(f"Sandbox at {base_url} for merchants {', '.join(merchants)}; Ctrl-C ends it.")
        say("Point the adapter at it with:")
        say(f"  --set provider.environment=custom --set provider.base_url={base_url}")

    serve(settings, ready=ready)
