"""Reports come as bare CSV; an envelope in its place is an error."""

from __future__ import annotations

from datetime import date

import pytest

from adapter.errors import InDoubt, NotAccepted
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.provider.client import MAX_REPORT_BYTES, EcticketClient

from . import ecticket
from .conftest import Noted
from .ecticket import MERCHANT, sealed
from .server import RawServer, Visit

CSV = b"\xef\xbb\xbf" + "特店訂單編號,贈品單號\r\nCBX1,\r\n".encode()
REQUEST = ReportRequest(
    merchant_id=MERCHANT.merchant_id,
    report_type=ReportType.ORDERS,
    begin_date=date(2026, 1, 1),
    end_date=date(2026, 1, 31),
)


def _answering(server: RawServer, body: bytes) -> None:
    async def behave(visit: Visit) -> None:
        await visit.answer(body)

    server.behave = behave


async def test_a_report_comes_as_it_is(server: RawServer, provider: EcticketClient) -> None:
    """Bytes, BOM and all; and its page lists no Accept header."""
    _answering(server, CSV)

    assert await provider.report(MERCHANT, REQUEST) == CSV
    assert server.visits[0].head.startswith(b"POST /api/Ticket/OrderDetail")
    assert b"accept:" not in server.visits[0].head.lower()
    assert ecticket.opened(server.visits[0]).payload["BeginDate"] == "20260101"


async def test_a_report_may_be_large_but_not_endless(server: RawServer, provider: EcticketClient) -> None:
    """Ten times what other answers may have."""
    _answering(server, b"x" * (2 * 1024 * 1024))
    assert len(await provider.report(MERCHANT, REQUEST)) == 2 * 1024 * 1024

    _answering(server, b"x" * (MAX_REPORT_BYTES + 1))
    with pytest.raises(InDoubt):
        await provider.report(MERCHANT, REQUEST)


async def test_a_refusal_in_place_of_a_report_has_its_code(server: RawServer, provider: EcticketClient) -> None:
    """One report a minute: the second is refused, and the message has the code."""
    _answering(server, sealed({"RtnCode": 4711, "RtnMsg": "once\na minute"}))

    with pytest.raises(NotAccepted, match=r"RtnCode 4711\b.*once a minute"):
        await provider.report(MERCHANT, REQUEST)


async def test_an_unaccepted_envelope_of_a_report_makes_no_order_suspect(
    server: RawServer, provider: EcticketClient, noted: Noted
) -> None:
    """However often: reports are no orders, and the breaker stays closed."""
    _answering(server, sealed(None, trans_code=0))

    for _ in range(3):
        with pytest.raises(NotAccepted, match="TransCode 0"):
            await provider.report(MERCHANT, REQUEST)
    assert noted.states == []


@pytest.mark.parametrize("body", [b"{", b"{}", sealed({"RtnCode": 1, "RtnMsg": ""}), sealed({})[:-5]])
async def test_an_envelope_that_says_nothing_is_in_doubt(
    body: bytes, server: RawServer, provider: EcticketClient
) -> None:
    """Neither a report nor a refusal."""
    _answering(server, body)

    with pytest.raises((InDoubt, NotAccepted)) as caught:
        await provider.report(MERCHANT, REQUEST)
    assert caught.type is InDoubt
