"""`reconcile`: compares the published events with ECPay's order report, and publishes the differences on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from adapter import event_loop
from adapter.cli.audit import log_action
from adapter.cli.context import CommandContext, Json, MerchantId, command, flag
from adapter.cli.ecticket import ecticket_client, pick_merchant, refuse_violations
from adapter.cli.large_table import LargeTable
from adapter.cli.output import JsonDocuments, ReadOnce, note
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from adapter.flows.messages.events import PublishedSide, ReportedSide
    from adapter.flows.reconcile import Comparison, OrderReport, ReconciledPeriod
    from adapter.flows.reconciliation_table import FoundDifference
    from adapter.protocol.credentials import Merchant
    from adapter.protocol.order_detail import ReportRequest
    from adapter.provider.report_source import ReportSource
    from adapter.settings import Settings

HEADINGS = ("merchant", "issue date", "number", "order", "kind", "published", "reported", "what to do")

Begin = Annotated[
    datetime | None,
    typer.Option(
        "--from",
        formats=["%Y-%m-%d"],
        metavar="YYYY-MM-DD",
        help="First issue date (Taipei); by default reconcile.days before the last one.",
    ),
]
End = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Last issue date; by default today."),
]
Publish = Annotated[
    bool, flag("--publish", "Publish what was not published before, as the reconcile stage does every day.")
]


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the command."""
    examples = (
        "ecticket-adapter reconcile",
        "ecticket-adapter reconcile --from 2026-03-01 --to 2026-03-02 --json",
        "ecticket-adapter reconcile --merchant 3085676 --publish",
    )
    command(app, "reconcile", examples=examples, panel=panel)(reconcile)


def reconcile(
    context: CommandContext,
    begin: Begin = None,
    end: End = None,
    merchant: MerchantId = None,
    publish: Publish = False,
    json: Json = False,
) -> int:
    """Compare the published events with ECPay's order report; exit code 1 if they differ.

    Without --merchant, all merchants are compared. A number that is too young to be judged is compared again after
    submit.reissue_after_seconds, for which the command waits.
    """
    settings = context.settings()
    merchants = _merchants(settings, merchant)
    period = _period(settings, begin and begin.date(), end and end.date())
    _refuse_impossible(merchants, period)
    return event_loop.run(_reconcile(settings, merchants, period, publish=publish, json=json))


def _merchants(settings: Settings, merchant_id: str | None) -> list[Merchant]:
    from adapter.wiring import merchant_book

    if merchant_id is not None:
        return [pick_merchant(settings, merchant_id)]
    book = merchant_book(settings)
    book.check()
    if not book.ids:
        raise SettingsError("No merchant is configured. Set ECTICKET_MERCHANTS, or key files and ECTICKET_SECRETS_DIR.")
    return [pick_merchant(settings, each) for each in book.ids]


def _period(settings: Settings, first: date | None, last: date | None) -> ReconciledPeriod:
    from adapter.flows.reconcile import ReconciledPeriod

    last = last or _today()
    return ReconciledPeriod(first=first or last - timedelta(days=settings.reconcile.days), last=last)


def _today() -> date:
    from adapter.protocol.taipei import TAIPEI

    return datetime.now(TAIPEI).date()


def _refuse_impossible(merchants: list[Merchant], period: ReconciledPeriod) -> None:
    """Raises a usage error for a period that has not begun, ends before it begins, or is too long for a report."""
    from adapter.protocol.rules import report_violations

    if period.last < period.first:
        raise typer.BadParameter(f"--to {period.last} is before --from {period.first}.")
    if period.last > _today():
        raise typer.BadParameter(f"--to {period.last} has not come yet in Taipei.")
    for merchant in merchants:
        refuse_violations(report_violations(period.report_request(merchant.merchant_id, _today())))


async def _reconcile(
    settings: Settings, merchants: list[Merchant], period: ReconciledPeriod, *, publish: bool, json: bool
) -> int:
    from adapter.app import utc_now
    from adapter.wiring import kafka_connection, reconciler

    differ, output = False, JsonDocuments() if json else None
    async with ecticket_client(settings) as ecticket:
        reports = _ShownReports(ecticket.reports)
        reconciling = reconciler(settings, kafka_connection(settings), ecticket, now=utc_now, reports=reports)
        for merchant in merchants:
            async with reconciling.compare(merchant, period, publish=publish, wait=_wait) as comparison:
                if publish:  # before anything is printed, which may fail
                    log_action("reconcile", _published(comparison))
                differ = differ or comparison.counts.differences > 0
                if output is not None:
                    output.print(_plain(comparison))
                else:
                    _print(comparison)
                for sentence in _summary(comparison, publish=publish):
                    note(sentence)
    if output is not None:
        output.end()
    return 1 if differ else 0


async def _wait(until: datetime, count: int) -> None:
    from adapter.app import utc_now

    seconds = max(0.0, (until - utc_now()).total_seconds())
    note(f"{_count(count, 'number')} too young to be judged; comparing again in {seconds:.0f} s.")
    await asyncio.sleep(seconds)


def _count(count: int, what: str) -> str:
    return f"1 {what} is" if count == 1 else f"{count} {what}s are"


@dataclass(frozen=True, slots=True)
class _ShownReports:
    """Downloads reports with progress on standard error."""

    source: ReportSource

    def download(self, merchant: Merchant, request: ReportRequest) -> AbstractAsyncContextManager[OrderReport]:
        return self._download(merchant, request)

    @asynccontextmanager
    async def _download(self, merchant: Merchant, request: ReportRequest) -> AsyncIterator[OrderReport]:
        from adapter.cli.report_target import downloaded

        async with downloaded(self.source, merchant, request, None) as report:
            yield report


def _print(comparison: Comparison) -> None:
    if not comparison.counts.differences:
        return
    table = LargeTable(HEADINGS)
    for each in comparison.differences():
        table.measure(_line(each))
    table.print(_line(each) for each in comparison.differences())


def _line(difference: FoundDifference) -> list[object]:
    data = difference.data
    number = f"{data.trade_no} (free)" if data.trade_no_kind == "free" else data.trade_no
    sides = [_side(data.published), _side(data.reported)]
    return [data.merchant_id, data.issue_date, number, data.order_id, data.kind, *sides, data.message]


def _side(side: PublishedSide | ReportedSide | None) -> str | None:
    if side is None:
        return None
    count = "unreadable" if side.ticket_count is None else side.ticket_count
    return f"{side.state or 'unreadable'}, tickets: {count}"


def _published(comparison: Comparison) -> dict[str, object]:
    completed, new_by_kind = comparison.completed, comparison.counts.new_by_kind
    return {
        "merchant_id": completed.merchant_id,
        "first_day": completed.first_day.isoformat(),
        "last_day": completed.last_day.isoformat(),
        "new_differences": {kind.value: count for kind, count in new_by_kind.items() if count},
    }


def _plain(comparison: Comparison) -> dict[str, object]:
    differences = ({**each.data.model_dump(mode="json"), "new": each.is_new} for each in comparison.differences())
    return {**comparison.completed.model_dump(mode="json"), "differences": ReadOnce(differences)}


def _summary(comparison: Comparison, *, publish: bool) -> list[str]:
    counts, completed = comparison.counts, comparison.completed
    new = counts.new_by_kind.total()
    days = f"{completed.first_day} to {completed.last_day}"
    sentences = [
        f"Merchant {completed.merchant_id}, {days}: {completed.reported} issuances reported, {completed.published} "
        f"published, {completed.differences} differences, {new} of them new"
        + (" and published now." if publish and new else ".")
    ]
    if counts.ignored:
        sentences.append(f"Accepted by reconcile.ignore_prefixes: {counts.ignored}.")
    if counts.not_yet:
        sentences.append(f"{_count(counts.not_yet, 'number')} not judged yet: their results may still come.")
    return [*sentences, *comparison.findings.sentences()]
