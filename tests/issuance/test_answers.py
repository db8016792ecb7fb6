"""Replies and exceptions of the provider, read as what can come."""

from __future__ import annotations

import pytest

from adapter.errors import BreakerOpen, CallError, InDoubt, MerchantHeld, NotAccepted, NotSent, Throttled
from adapter.issuance.answers import (
    Accepted,
    BreakerIsOpen,
    CallInDoubt,
    CallNotSent,
    CallThrottled,
    ControlAnswered,
    EnvelopeRejected,
    IssuingHeld,
    Known,
    NotFound,
    QueryUnanswered,
    Refused,
    RetryLaterCode,
    control_answer,
    issue_answer,
    issue_error,
    query_answer,
    query_error,
)
from adapter.protocol.issue import IssueReply
from adapter.protocol.query_issue_result import IssueStatus, ResultReply

from .samples import T0


def issue_reply(code: int) -> IssueReply:
    return IssueReply(rtn_code=code, rtn_msg="text", trade_no=None, ticket_trade_no="2024", items=())


def result_reply(code: int) -> ResultReply:
    status = IssueStatus.FAILED if code == 1 else None
    return ResultReply(rtn_code=code, rtn_msg="text", trade_no=None, status=status, remark="reason")


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (1, Accepted(ticket_trade_no="2024")),
        (5, RetryLaterCode(code=5, message="text")),
        (0, Refused(code=0, message="text")),
        (10_200_047, Refused(code=10_200_047, message="text")),
    ],
)
def test_only_rtn_code_1_and_listed_codes_are_no_refusal(code: int, answer: object) -> None:
    """ "no other number means anything unless an operator lists it"."""
    assert issue_answer(issue_reply(code), retry_rtn_codes={5, 1}) == answer


def test_queries_are_known_or_not() -> None:
    """RtnCode 1 brings the status; any other answer keeps its query time."""
    assert query_answer(result_reply(1), queried_at=T0) == Known(status=IssueStatus.FAILED, remark="reason")
    assert query_answer(result_reply(7), queried_at=T0) == NotFound(code=7, queried_at=T0)


@pytest.mark.parametrize(("code", "known"), [(1, True), (7, False)])
def test_a_control_can_be_known(code: int, known: bool) -> None:
    """The alarm: RtnCode 1 for a random number."""
    answer = control_answer(result_reply(code), queried_at=T0)

    assert answer == ControlAnswered(code=code, queried_at=T0)
    assert answer.known is known


@pytest.mark.parametrize(
    ("error", "of_issue", "of_query"),
    [
        (NotSent("x"), CallNotSent(detail="x"), QueryUnanswered(detail="x")),
        (BreakerOpen("x", retry_at=T0), BreakerIsOpen(retry_at=T0), BreakerIsOpen(retry_at=T0)),
        (MerchantHeld("x", until=T0), IssuingHeld(until=T0), QueryUnanswered(detail="x")),
        (Throttled("x", retry_at=T0), CallThrottled(retry_at=T0), QueryUnanswered(detail="x", retry_at=T0)),
        (NotAccepted("x"), EnvelopeRejected(detail="x"), QueryUnanswered(detail="x")),
        (InDoubt("x"), CallInDoubt(detail="x"), QueryUnanswered(detail="x")),
        (CallError("x"), CallInDoubt(detail="x"), QueryUnanswered(detail="x")),
    ],
)
def test_every_failed_call_is_one_of_few(error: CallError, of_issue: object, of_query: object) -> None:
    """Every error that is not certain is in doubt; a query that fails has no effect."""
    assert issue_error(error) == of_issue
    assert query_error(error) == of_query
