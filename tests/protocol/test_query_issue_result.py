"""QueryIssueResult: the page's examples, and nothing taken for a status that is none."""

from __future__ import annotations

import pytest

from adapter.errors import UnreadableReply
from adapter.protocol.query_issue_result import IssueStatus, ResultReply, ResultRequest

from .samples import GIFT_NUMBER, NUMBER

ANSWER: dict[str, object] = {
    "RtnCode": 1,
    "RtnMsg": "成功",
    "MerchantTradeNo": "CBX20220302153064851",
    "FreeTradeNo": "",
    "Status": 2,
    "Remark": "Error, please ensure that the transaction amount for this order matches the total amount.",
}
"""The page's example of an answer, its remark a little shortened."""


def test_request_fills_exactly_one_number() -> None:
    """ "Only one of them can be filled": the other is left out."""
    assert ResultRequest(merchant_id="2000132", trade_no=NUMBER).to_payload() == {
        "MerchantID": "2000132",
        "MerchantTradeNo": "CBX20220302153064851",
    }
    assert ResultRequest(merchant_id="2000132", trade_no=GIFT_NUMBER).to_payload() == {
        "MerchantID": "2000132",
        "FreeTradeNo": "FREE2022030215306485",
    }


def test_answer_example_of_the_page() -> None:
    """A failed issuance with its reason."""
    reply = ResultReply.from_payload(ANSWER)

    assert (reply.rtn_code, reply.rtn_msg, reply.trade_no, reply.status) == (1, "成功", NUMBER, IssueStatus.FAILED)
    assert reply.remark is not None
    assert reply.remark.startswith("Error, please ensure")


@pytest.mark.parametrize(
    ("value", "status"),
    [(1, IssueStatus.ISSUED), (2, IssueStatus.FAILED), (3, IssueStatus.IN_PROGRESS), ("3", IssueStatus.IN_PROGRESS)],
)
def test_status_is_one_of_three(value: object, status: IssueStatus) -> None:
    """As number or as text."""
    assert ResultReply.from_payload(ANSWER | {"Status": value}).status is status


@pytest.mark.parametrize("value", [0, 4, -1, 1.5, "done", True, [], {}, None, ""])
def test_known_issuance_without_a_documented_status_is_unreadable(value: object) -> None:
    """A fourth status would be news, and news is never taken for issued or failed."""
    with pytest.raises(UnreadableReply, match="Status"):
        ResultReply.from_payload(ANSWER | {"Status": value})


@pytest.mark.parametrize("status", [None, "", 0, 1, 2, 99, "x", {}])
def test_refusal_has_no_status_whatever_it_says(status: object) -> None:
    """Not known is not failed: only RtnCode 1 speaks about an issuance."""
    reply = ResultReply.from_payload({"RtnCode": 10200050, "RtnMsg": "查無資料", "Status": status, "Remark": "x"})

    assert (reply.rtn_code, reply.rtn_msg, reply.status, reply.trade_no) == (10200050, "查無資料", None, None)


@pytest.mark.parametrize("changed", [{"RtnCode": None}, {"RtnCode": "x"}, {"Remark": []}, {"RtnMsg": True}], ids=str)
def test_answer_of_another_form_is_unreadable(changed: dict[str, object]) -> None:
    """As with Issue."""
    with pytest.raises(UnreadableReply):
        ResultReply.from_payload(ANSWER | changed)
