"""The benchmark of reports measures the real command, and its server sends what the reader reads."""

from __future__ import annotations

import sys

import pytest

from adapter.protocol.order_detail import ticket_rows
from benchmarks import reports
from benchmarks.sealing import MERCHANT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp950"])
def test_a_generated_report_is_a_report(encoding: str) -> None:
    """Every cell is read, and no ticket comes twice."""
    rows = list(ticket_rows(reports.report_pieces(1_200, encoding), merchant_id=MERCHANT.merchant_id))

    assert len(rows) == len({row.ticket_no for row in rows}) == 1_200
    assert {row.unreadable for row in rows} == {()}
    assert {row.item_name for row in rows} == {"主題樂園一日券"}


async def test_the_command_is_measured_in_its_own_process() -> None:
    """Bytes sent and saved agree; time and memory are its own."""
    report = await reports.measure(400, few=100, uses=reports.USES[:1])

    assert [row["tickets"] for row in report.rows] == [100, 400]
    assert all(isinstance(row["peak MiB"], float) and row["peak MiB"] > 10 for row in report.rows)
    assert all(aim.met for aim in report.aims)
