"""`run` and `sandbox`: run the adapter, or a simulated ECTicket."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from adapter.cli.context import CommandContext, command
from adapter.cli.failure_report import report_wait
from adapter.cli.hidden_packages import hidden_packages
from adapter.cli.output import print_line
from adapter.protocol.encoding import Encoder

Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="STAGES",
        help="Only these stages, comma-separated: submit, confirm, collect, reconcile, deliver, receive.",
    ),
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the commands."""
    examples = ("ecticket-adapter run --config settings.yaml", "ecticket-adapter run --only submit")
    command(app, "run", examples=examples, panel=panel)(run)
    examples = ("ecticket-adapter sandbox", "ecticket-adapter sandbox --port 8700 --visible-after-seconds 3")
    command(app, "sandbox", examples=examples, panel=panel)(sandbox)


def run(context: CommandContext, only: Only = None) -> None:
    """Run the adapter until SIGTERM or Ctrl-C; it first finishes and commits what is in flight.

    If the broker is unavailable, or another deployment uses the same consumer groups, the adapter logs it and waits;
    `check` exits instead.
    """
    context.is_service = True
    with hidden_packages("pygments", "rich"):
        from adapter.app import STAGES, run_until_stopped

    settings = context.settings()
    stages = STAGES if only is None else tuple(dict.fromkeys(each.strip() for each in only.split(",") if each.strip()))
    run_until_stopped(settings, stages, on_wait=report_wait)


def sandbox(
    context: CommandContext,
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
    notify_after_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="From a redemption or refund to its notification (ECPay: a day).")
    ] = 0.0,
    notify_again_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="Half to one and a half of it lie between two sendings.")
    ] = 600.0,
    notify_header: Annotated[
        Literal["RqHeader", "RpHeader"],
        typer.Option(help="Shape of notifications: as ECPay's pages have them, or as its AI guides do."),
    ] = "RqHeader",
    notify_encoder: Annotated[
        Encoder, typer.Option(help="Encoder of notifications; dotnet_http_utility was ECPay's until September 2026.")
    ] = Encoder.ESCAPE_DATA_STRING,
    notify_extra_fields: Annotated[
        bool, typer.Option("--notify-extra-fields", help="Add TicketTradeNo to refund notifications.")
    ] = False,
    notify_lenient: Annotated[
        bool, typer.Option("--notify-lenient", help="Accept 1|OK as an answer, which ECPay does not.")
    ] = False,
) -> None:
    """Serve an ECTicket that enforces every rule, costs nothing and injects faults on request, until Ctrl-C.

    It knows ECPay's public test merchants. Its page shows orders live, and redeems or refunds a ticket by a click;
    `PUT /_/faults` arms faults; `GET /_/orders`, `/_/notifications` and `/_/stats` show its state. See
    docs/sandbox.md.
    """
    from adapter.dev.sandbox import SandboxSettings, serve

    settings = SandboxSettings(
        host=host,
        port=port,
        job_seconds=job_seconds,
        visible_after_seconds=visible_after_seconds,
        report_interval_seconds=report_interval_seconds,
        notify_after_seconds=notify_after_seconds,
        notify_again_seconds=notify_again_seconds,
        notify_header=notify_header,
        notify_encoder=notify_encoder,
        notify_extra_fields=notify_extra_fields,
        notify_lenient=notify_lenient,
    )
    merchants = dict.fromkeys(merchant.merchant_id for merchant in settings.merchants)

    def ready(base_url: str) -> None:
        print_line(f"Sandbox at {base_url} for merchants {', '.join(merchants)}; Ctrl-C ends it.")
        print_line(f"Open {base_url}/ in a browser to see orders come in, and to redeem or refund their tickets.")
        print_line("Point the adapter at it with:")
        print_line(f"  --set provider.environment=custom --set provider.base_url={base_url}")

    serve(settings, ready=ready)
