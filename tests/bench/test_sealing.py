"""The stub's quick sealing is the protocol's."""

from __future__ import annotations

import pytest

from adapter.protocol.envelope import open_response, seal_request
from adapter.protocol.issue import IssueReply, IssueRequest, IssueType, TicketInfo, TradeNo, TradeNoKind
from benchmarks.sealing import MERCHANT, Sealer, UnknownRequestError


def _request(number: str) -> bytes:
    request = IssueRequest(
        merchant_id=MERCHANT.merchant_id,
        trade_no=TradeNo(kind=TradeNoKind.MERCHANT, value=number),
        issue_type=IssueType.ELECTRONIC,
        operator="bench",
        ticket_info=(TicketInfo(item_no="VQT04959", ticket_amount=2),),
        customer_name="王小明",
    )
    return seal_request(request.to_payload(), MERCHANT, timestamp=1_700_000_000)


@pytest.mark.parametrize("length", range(1, 26))
def test_an_answer_echoes_the_number_that_was_asked_under(length: int) -> None:
    """Whatever its length, the number of a sealed request is found, and the adapter's own code opens the answer."""
    number = "B" * length

    answer = Sealer().answer(Sealer().number(_request(number)))

    opened = open_response(answer, MERCHANT)
    assert opened.payload is not None
    assert opened.encoder == "escape_data_string"
    reply = IssueReply.from_payload(opened.payload)
    assert reply.rtn_code == 1
    assert reply.trade_no == TradeNo(kind=TradeNoKind.MERCHANT, value=number)
    assert not reply.items


@pytest.mark.parametrize("body", [b"", b"{}", b'{"Data":"!"}', b'{"Data":"' + b"A" * 300 + b'"}'])
def test_what_is_no_issue_request_is_not_answered(body: bytes) -> None:
    """Only what could have been understood counts as a call."""
    with pytest.raises(UnknownRequestError):
        Sealer().number(body)
