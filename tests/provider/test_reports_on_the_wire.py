"""Reports of the sandbox, which refuses a second one within a minute, over real HTTP and with every transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from adapter.dev.sandbox import RunningSandbox, SandboxSettings
from adapter.dev.sandbox.fault_types import OddReport
from adapter.dev.sandbox.faults import FaultRule
from adapter.errors import NotAccepted, UnreadableReply
from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.provider.client import EcticketClient
from adapter.provider.limits import CallLimits, ReportLimits
from adapter.provider.report_source import ReportSource
from adapter.provider.time_source import TimeSource
from adapter.testing.clock import NOON, Clock

from .conftest import Noted
from .ecticket import MERCHANT

ORDERS = 12
TICKETS = 100
MINUTE = 60.0


@pytest.fixture
def clock() -> Clock:
    """The time of the sandbox and of the client; waiting moves it."""
    return Clock()


@pytest.fixture
async def sandbox(clock: Clock) -> AsyncIterator[RunningSandbox]:
    """A sandbox with ECPay's limit."""
    settings = SandboxSettings(port=0, job_seconds=0, report_interval_seconds=MINUTE)
    async with RunningSandbox(settings, now=clock) as running:
        yield running


def _client(
    sandbox: RunningSandbox,
    transport: httpx.AsyncBaseTransport,
    clock: Clock,
    interval_seconds: float,
    observer: Noted | None = None,
) -> EcticketClient:
    return EcticketClient(
        base_url=sandbox.base_url,
        family=Family.TICKET,
        transport=transport,
        limits=CallLimits(max_calls_per_second=0),
        report_limits=ReportLimits(interval_seconds=interval_seconds),
        observer=observer,
        clock=TimeSource(now=clock, steady=lambda: clock.time.timestamp(), sleep=clock.sleep),
    )


async def _issue(client: EcticketClient) -> None:
    for number in range(ORDERS):
        request = IssueRequest(
            merchant_id=MERCHANT.merchant_id,
            trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value=f"A{number}"),
            issue_type=IssueType.PAPER,
            print_type=PrintType.MERCHANT,
            operator="web",
            ticket_info=(TicketInfo(item_no="VQT04959", ticket_amount=TICKETS),),
        )
        assert (await client.issue(MERCHANT, request, subject="A", authorize_send=lambda: None)).rtn_code == 1


def _request(report_type: ReportType) -> ReportRequest:
    day = NOON.date()
    return ReportRequest(merchant_id=MERCHANT.merchant_id, report_type=report_type, begin_date=day, end_date=day)


async def _order_numbers(source: ReportSource) -> list[str | None]:
    async with source.download(MERCHANT, _request(ReportType.ORDERS)) as report:
        return [row.merchant_trade_no for row in report.order_rows()]


async def _ticket_numbers(source: ReportSource) -> list[str | None]:
    async with source.download(MERCHANT, _request(ReportType.TICKETS)) as report:
        return [row.ticket_no for row in report.ticket_rows()]


@pytest.mark.parametrize("encoding", ["utf-8", "cp950"])
async def test_all_users_of_a_process_get_their_reports_one_per_minute(
    encoding: str, sandbox: RunningSandbox, transport: httpx.AsyncBaseTransport, clock: Clock
) -> None:
    """None is refused, in whatever order they come; every ticket is in the report once."""
    client = _client(sandbox, transport, clock, MINUTE)
    await _issue(client)
    sandbox.faults.arm(FaultRule(behaviour=OddReport(encoding=encoding, additional_columns=0)))

    first, second, third = await asyncio.gather(
        _ticket_numbers(client.reports), _order_numbers(client.reports), _ticket_numbers(client.reports)
    )

    assert second == [f"A{number}" for number in range(ORDERS)]
    assert len(set(first)) == len(first) == ORDERS * TICKETS
    assert first == third
    assert (clock.time - NOON).total_seconds() == 2 * MINUTE
    assert sandbox.stats.calls[Endpoint.ORDER_DETAIL] == {"accepted": 3}


async def test_the_observer_learns_of_every_report(
    sandbox: RunningSandbox, transport: httpx.AsyncBaseTransport, clock: Clock, noted: Noted
) -> None:
    """Its size and the rows that its caller read; a refused one has neither."""
    client = _client(sandbox, transport, clock, MINUTE - 1, noted)
    await _issue(client)
    sizes = []
    async with client.reports.download(MERCHANT, _request(ReportType.ORDERS)) as report:
        sizes.append(report.size)
        assert len(list(report.order_rows())) == ORDERS
    with pytest.raises(NotAccepted):
        await _ticket_numbers(client.reports)

    first, second = noted.reports
    assert (first.merchant_id, first.report_type, first.downloaded) == (MERCHANT.merchant_id, ReportType.ORDERS, True)
    assert ([first.size], first.rows) == (sizes, ORDERS)
    assert (second.report_type, second.downloaded) == (ReportType.TICKETS, False)
    assert (second.size, second.rows) == (0, 0)


async def test_ecticket_refuses_what_comes_too_soon(
    sandbox: RunningSandbox, transport: httpx.AsyncBaseTransport, clock: Clock
) -> None:
    """A client that waits less than a minute is refused, so the test above shows something."""
    client = _client(sandbox, transport, clock, MINUTE - 1)
    await _order_numbers(client.reports)

    with pytest.raises(NotAccepted, match="RtnCode"):
        await _order_numbers(client.reports)
    assert len(await _order_numbers(client.reports)) == 0


async def test_a_day_without_orders_has_an_empty_report(
    sandbox: RunningSandbox, transport: httpx.AsyncBaseTransport, clock: Clock
) -> None:
    """A header, no rows, and nothing to complain about."""
    client = _client(sandbox, transport, clock, MINUTE)

    async with client.reports.download(MERCHANT, _request(ReportType.TICKETS)) as report:
        reading = report.ticket_rows()
        assert list(reading) == []
        assert (reading.missing_columns, reading.additional_columns) == ((), 0)


async def test_a_report_that_the_server_cut_off_is_found_at_its_end(
    sandbox: RunningSandbox, transport: httpx.AsyncBaseTransport, clock: Clock
) -> None:
    """The answer is complete for HTTP; the file is not."""
    client = _client(sandbox, transport, clock, MINUTE)
    await _issue(client)
    sandbox.faults.arm(FaultRule(behaviour=OddReport(additional_columns=0, keep_bytes=100_001)))

    with pytest.raises(UnreadableReply, match="cut off"):
        await _ticket_numbers(client.reports)
