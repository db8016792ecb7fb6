"""The results of a call, as values on which `decide` can base a decision.

Replies and exceptions of the provider are read here only. An Issue, a query, a control query and a probe can each end
in these few ways. Does not decide what they lead to.

The caller takes the query time just before the call: a query sent before the waiting time was over proves nothing,
however late its answer comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from msgspec import Struct

from adapter.errors import BreakerOpen, CallError, MerchantHeld, NotAccepted, NotSent, Throttled
from adapter.protocol.issue import IssuedItem, IssueReply, IssueRequest, IssueType, TicketInfo
from adapter.protocol.query_issue_result import IssueStatus, ResultReply

SUCCESS = 1
"""The only RtnCode whose meaning ECPay documents."""


class Accepted(Struct, frozen=True, kw_only=True):
    """Issue: RtnCode 1 and our number echoed."""

    ticket_trade_no: str | None


class Refused(Struct, frozen=True, kw_only=True):
    """Issue: RtnCode ≠ 1."""

    code: int
    message: str


class RetryLaterCode(Struct, frozen=True, kw_only=True):
    """Issue: a RtnCode that an operator listed as "nothing happened, try later" (`submit.retry_rtn_codes`)."""

    code: int
    message: str


class CallNotSent(Struct, frozen=True, kw_only=True):
    """Issue: not one byte was written."""

    detail: str


class CallThrottled(Struct, frozen=True, kw_only=True):
    """Issue: refused before execution (HTTP 403, 429, 503 with Retry-After); nothing before `retry_at`."""

    retry_at: datetime


class EnvelopeRejected(Struct, frozen=True, kw_only=True):
    """Issue: the envelope was not accepted (TransCode ≠ 1, HTTP 400 and similar), so nothing was executed."""

    detail: str


class CallInDoubt(Struct, frozen=True, kw_only=True):
    """Issue: sent, and no trustworthy answer came."""

    detail: str


class BreakerIsOpen(Struct, frozen=True, kw_only=True):
    """Any call: not tried, because the merchant's breaker is open until `retry_at`."""

    retry_at: datetime


class IssuingHeld(Struct, frozen=True, kw_only=True):
    """Issue: not tried, because an operator holds the merchant; nothing is sent before `until`."""

    until: datetime


class Known(Struct, frozen=True, kw_only=True):
    """Query of our number: RtnCode 1. `status` is that of ECTicket's job; only confirming uses it."""

    status: IssueStatus | None
    remark: str | None = None


class NotFound(Struct, frozen=True, kw_only=True):
    """Query of our number: RtnCode ≠ 1. Not yet "not known"; see `evidence`."""

    code: int
    queried_at: datetime


class ControlAnswered(Struct, frozen=True, kw_only=True):
    """Query of a random number of the same kind: any RtnCode; `known` is RtnCode 1, which none should have."""

    code: int
    queried_at: datetime

    @property
    def known(self) -> bool:
        """Whether ECTicket claims to know a number that was never used."""
        return self.code == SUCCESS


class ProbeAnswered(Struct, frozen=True, kw_only=True):
    """Query of a number that is known to exist: `ok` is RtnCode 1. `none_known`: there is no such number."""

    ok: bool
    none_known: bool = False


class QueryUnanswered(Struct, frozen=True, kw_only=True):
    """Query, control query or probe: no answer to act on; no retry before `retry_at` if ECTicket sent one."""

    detail: str
    retry_at: datetime | None = None


class LastAccepted(Struct, frozen=True, kw_only=True):
    """When QueryIssueResult last answered RtnCode 1 for a number of this merchant; may be reported at any time."""

    at: datetime


IssueAnswer = (
    Accepted
    | Refused
    | RetryLaterCode
    | CallNotSent
    | CallThrottled
    | EnvelopeRejected
    | CallInDoubt
    | BreakerIsOpen
    | IssuingHeld
)
QueryAnswer = Known | NotFound | ControlAnswered | ProbeAnswered | QueryUnanswered | BreakerIsOpen
CallResult = IssueAnswer | QueryAnswer | LastAccepted


def issue_answer(reply: IssueReply, *, retry_rtn_codes: AbstractSet[int]) -> Accepted | Refused | RetryLaterCode:
    """Read the reply to Issue; the provider has checked that RtnCode 1 came with our number."""
    if reply.rtn_code == SUCCESS:
        return Accepted(ticket_trade_no=reply.ticket_trade_no)
    kind = RetryLaterCode if reply.rtn_code in retry_rtn_codes else Refused
    return kind(code=reply.rtn_code, message=reply.rtn_msg)


def query_answer(reply: ResultReply, *, queried_at: datetime) -> Known | NotFound:
    """Read the reply to a query of our number."""
    if reply.rtn_code == SUCCESS:
        return Known(status=reply.status, remark=reply.remark)
    return NotFound(code=reply.rtn_code, queried_at=queried_at)


def control_answer(reply: ResultReply, *, queried_at: datetime) -> ControlAnswered:
    """Read the reply to a query of a random number."""
    return ControlAnswered(code=reply.rtn_code, queried_at=queried_at)


def issue_error(error: CallError) -> IssueAnswer:
    """Read what an Issue call raised; every error that is not certain is in doubt."""
    match error:
        case BreakerOpen():
            return BreakerIsOpen(retry_at=error.retry_at)
        case MerchantHeld():
            return IssuingHeld(until=error.until)
        case NotSent():
            return CallNotSent(detail=str(error))
        case Throttled():
            return CallThrottled(retry_at=error.retry_at)
        case NotAccepted():
            return EnvelopeRejected(detail=str(error))
        case _:
            return CallInDoubt(detail=str(error))


def query_error(error: CallError) -> QueryUnanswered | BreakerIsOpen:
    """Read what a query, control query or probe raised; queries have no effect, so few kinds matter."""
    match error:
        case BreakerOpen():
            return BreakerIsOpen(retry_at=error.retry_at)
        case Throttled():
            return QueryUnanswered(detail=str(error), retry_at=error.retry_at)
        case _:
            return QueryUnanswered(detail=str(error))


class TicketDifference(Struct, frozen=True, kw_only=True):
    """One item with another number of tickets than requested; `item` is its number, or its name and price."""

    item: str
    requested: int
    issued: int


def ticket_differences(request: IssueRequest, issued: Sequence[IssuedItem] | None) -> tuple[TicketDifference, ...]:
    """Return the items that differ between request and TicketData of Issue's answer, in the request's order.

    A person must check a difference. It never changes an outcome: RtnCode 1 with our number is certain, and tickets
    exist or will. There is none if ECTicket returned nothing that can be compared.

    Entries of one item are added up. If an entry does not name its item, only the totals are compared.
    """
    if not issued:
        return ()
    serial = request.issue_type is IssueType.SERIAL_NUMBER
    wanted = [(_identity(entry, serial=serial), entry.ticket_amount) for entry in request.ticket_info]
    found = [(_identity(entry, serial=serial), entry.ticket_amount) for entry in issued]
    if wanted == found:
        return ()
    if any(identity is None for identity, _ in (*wanted, *found)):
        wanted, found = [(_TOTAL, amount) for _, amount in wanted], [(_TOTAL, amount) for _, amount in found]
    requested, given = _added_up(wanted), _added_up(found)
    return tuple(
        TicketDifference(item=_describe(identity), requested=requested[identity], issued=given[identity])
        for identity in dict.fromkeys((*requested, *given))
        if requested[identity] != given[identity]
    )


_TOTAL = ("all items",)


def _identity(entry: TicketInfo | IssuedItem, *, serial: bool) -> tuple[object, ...] | None:
    """Return what identifies an item: a serial number's name and price, a listed product's number; None if missing."""
    if not serial:
        return (entry.item_no.strip().upper(),) if entry.item_no else None
    if not entry.item_name or entry.ticket_price is None:
        return None
    return entry.item_name.strip(), entry.ticket_price


def _added_up(entries: Iterable[tuple[Hashable, int]]) -> Counter[Hashable]:
    counts: Counter[Hashable] = Counter()
    for identity, amount in entries:
        counts[identity] += amount
    return counts


def _describe(identity: Hashable) -> str:
    return " at NT$".join(map(str, identity)) if isinstance(identity, tuple) else str(identity)
