"""The options by which commands select dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adapter.operations.dead_letter_filters import Filters

WHICH_HELP = (
    "Number in the list, order id (the key, where the list shows no order id), trade number, or TOPIC/PARTITION/OFFSET "
    "of the dead letter or of its origin."
)
Reason = Annotated[str | None, typer.Option(metavar="REASON", help="Only those parked for this reason.")]
Stage = Annotated[str | None, typer.Option(metavar="STAGE", help="Only those parked at this stage.")]
Sink = Annotated[str | None, typer.Option(metavar="NAME", help="Only those for this notification sink.")]
Merchant = Annotated[str | None, typer.Option(metavar="ID", help="Only those known to be of this merchant.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Only those parked at or after TIME: 2026-03-01T08:00Z, or 2h or 3d ago."),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only those parked before TIME.")]


def filters(
    *,
    reason: str | None,
    stage: str | None,
    sink: str | None,
    merchant: str | None,
    since: str | None,
    until: str | None,
) -> Filters:
    """The filters of a command line. Raises a usage error for a reason, a stage or a time that does not exist."""
    from adapter.operations.dead_letter_filters import InvalidFilter, parse_filters

    try:
        return parse_filters(reason=reason, stage=stage, sink=sink, merchant=merchant, since=since, until=until)
    except InvalidFilter as error:
        raise typer.BadParameter(str(error)) from None
