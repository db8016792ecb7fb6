"""The rules of the three requests that ask and do not issue."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.protocol.query_issue_result import ResultRequest
from adapter.protocol.query_item_info import ItemRequest
from adapter.protocol.rules import (
    ITEM_PAGE,
    REPORT_PAGE,
    RESULT_PAGE,
    item_violations,
    report_violations,
    result_violations,
)

from .samples import GIFT_NUMBER, NUMBER, TODAY, odd_number


@pytest.mark.parametrize(
    ("merchant_id", "trade_no", "broken"),
    [
        ("3085676", NUMBER, []),
        ("3085676", GIFT_NUMBER, []),
        ("", NUMBER, ["MerchantID"]),
        ("3085676", odd_number(TradeNoKind.FREE, "A" * 21), ["FreeTradeNo"]),
        ("3085676", odd_number(TradeNoKind.MERCHANT, "A-1"), ["MerchantTradeNo"]),
        ("30 85", None, ["MerchantID", "MerchantTradeNo"]),
    ],
)
def test_rules_of_query_issue_result(merchant_id: str, trade_no: TradeNo, broken: list[str]) -> None:
    """Who asks, and for which number."""
    found = result_violations(ResultRequest(merchant_id=merchant_id, trade_no=trade_no))

    assert [violation.field for violation in found] == broken
    assert {violation.page for violation in found} <= {RESULT_PAGE}


@pytest.mark.parametrize(
    ("merchant_id", "item_no", "broken"),
    [
        ("3085676", "CHF80957", []),
        ("30856760000", "CHF80957", ["MerchantID"]),
        ("3085676", "CHF809570", ["ItemNo"]),
        ("3085676", "", ["ItemNo"]),
        ("3085676", None, ["ItemNo"]),
    ],
)
def test_rules_of_query_item_info(merchant_id: str, item_no: str, broken: list[str]) -> None:
    """Who asks, and for which item."""
    found = item_violations(ItemRequest(merchant_id=merchant_id, item_no=item_no))

    assert [violation.field for violation in found] == broken
    assert {violation.page for violation in found} <= {ITEM_PAGE}


@pytest.mark.parametrize(
    ("begin", "end", "broken"),
    [
        (date(2024, 3, 1), date(2024, 3, 1), []),
        (date(2024, 3, 1), date(2024, 6, 1), []),
        (date(2024, 3, 1), date(2024, 6, 2), ["EndDate"]),
        (date(2023, 11, 30), date(2024, 2, 29), []),
        (date(2023, 11, 30), date(2024, 3, 1), ["EndDate"]),
        (date(2022, 11, 30), date(2023, 2, 28), []),
        (date(2023, 10, 31), date(2024, 1, 31), []),
        (date(2024, 12, 1), date(2025, 3, 1), []),
        (date(2024, 3, 2), date(2024, 3, 1), ["EndDate"]),
        (date.max, date.max, []),
        (date(9999, 11, 1), date.max, []),
        (None, date(2024, 3, 1), ["BeginDate"]),
        ("20240301", datetime(2024, 3, 1), ["BeginDate", "EndDate"]),
    ],
)
def test_period_of_a_report_is_at_most_three_months(begin: date, end: date, broken: list[str]) -> None:
    """Calendar months, both days included, also over the end of a year and of a short month."""
    request = ReportRequest(merchant_id="3085676", report_type=ReportType.ORDERS, begin_date=begin, end_date=end)

    found = report_violations(request)
    assert [violation.field for violation in found] == broken
    assert {violation.page for violation in found} <= {REPORT_PAGE}


def test_report_type_is_one_of_two() -> None:
    """And the merchant is checked here, too."""
    wrong: object = 3
    request = ReportRequest(
        merchant_id="x y",
        report_type=wrong,  # type: ignore[arg-type]  # wrong on purpose
        begin_date=TODAY,
        end_date=TODAY,
    )

    assert [violation.field for violation in report_violations(request)] == ["MerchantID", "ReportType"]
