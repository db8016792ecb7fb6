"""What can come back from a call, as values that a decision can be made on.

Exists so that replies and exceptions of the provider are read in one place: an Issue, a query, a control query and a
probe can each end in few ways, and no others. Refuses to know what they lead to (`decide`).

Times of asking are taken by the caller just before the call; a question asked before the waiting time was over proves
nothing, however late its answer comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from adapter.errors import BreakerOpen, CallError, NotAccepted, NotSent, Throttled
from adapter.protocol.issue import IssuedItem, IssueReply, IssueRequest, IssueType, TicketInfo
from adapter.protocol.query_issue_result import IssueStatus, ResultReply

SUCCESS = 1
"""The only RtnCode whose meaning ECPay documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Issue: RtnCode 1 and our number echoed."""

    ticket_trade_no: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Issue: RtnCode ≠ 1."""

    code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLaterCode:
    """Issue: a RtnCode that an operator listed as "nothing happened, try later" (`submit.retry_rtn_codes`)."""

    code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNotSent:
    """Issue: not one byte was written."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallThrottled:
    """Issue: refused before execution (HTTP 403, 429, 503 with Retry-After); nothing before `retry_at`."""

    retry_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeRejected:
    """Issue: the envelope was not accepted (TransCode ≠ 1, HTTP 400 and its kin), so nothing was executed."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallInDoubt:
    """Issue: sent, and no trustworthy answer came."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerIsOpen:
    """Any call: not even tried, since the merchant's breaker is open until `retry_at`."""

    retry_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Query of our number: RtnCode 1. `status` is the job's, and confirming is what reads it."""

    status: IssueStatus | None
    remark: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """Query of our number: RtnCode ≠ 1. Not yet "not known"; see `evidence`."""

    code: int
    queried_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAnswered:
    """Query of a random number of the same kind: any RtnCode; `known` is RtnCode 1, which no random number can have."""

    code: int
    queried_at: datetime

    @property
    def known(self) -> bool:
        """Whether ECTicket claims to know a number that nobody ever used."""
        return self.code == SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswered:
    """Query of a number that is known to exist: `ok` is RtnCode 1. `none_known`: there is no such number to ask for."""

    ok: bool
    none_known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryUnanswered:
    """Query, control query or probe: no answer to act on; nothing before `retry_at` where one was told."""

    detail: str
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAccepted:
    """When QueryIssueResult last answered RtnCode 1 for a number of this merchant; may be reported at any time."""

    at: datetime


IssueAnswer = (
    Accepted | Refused | RetryLaterCode | CallNotSent | CallThrottled | EnvelopeRejected | CallInDoubt | BreakerIsOpen
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
    """Read what an Issue call raised; what is none of the certain kinds is in doubt."""
    match error:
        case BreakerOpen():
            return BreakerIsOpen(retry_at=error.retry_at)
        case NotSent():
            return CallNotSent(detail=str(error))
        case Throttled():
            return CallThrottled(retry_at=error.retry_at)
        case NotAccepted():
            return EnvelopeRejected(detail=str(error))
        case _:
            return CallInDoubt(detail=str(error))


def query_error(error: CallError) -> QueryUnanswered | BreakerIsOpen:
    """Read what a query, control query or probe raised; asking has no effect, so the kinds matter little."""
    match error:
        case BreakerOpen():
            return BreakerIsOpen(retry_at=error.retry_at)
        case Throttled():
            return QueryUnanswered(detail=str(error), retry_at=error.retry_at)
        case _:
            return QueryUnanswered(detail=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketDifference:
    """One item whose number of tickets is another one; `item` is its number, or its name and price."""

    item: str
    requested: int
    issued: int


def ticket_differences(request: IssueRequest, issued: Sequence[IssuedItem] | None) -> tuple[TicketDifference, ...]:
    """The items that differ between request and TicketData of Issue's answer, in the request's order.

    A difference is for a person to look at. It never changes an outcome: RtnCode 1 with our number is certain, and
    tickets exist or will. There is none where ECTicket returned nothing that can be compared.

    Entries of one item are added up. Where an entry does not say which item it is, only the totals are compared.
    """
    if not issued:
        return ()
    serial = request.issue_type is IssueType.SERIAL_NUMBER
    wanted = [(_identity(entry, serial=serial), entry.ticket_amount) for entry in request.ticket_info]
    found = [(_identity(entry, serial=serial), entry.ticket_amount) for entry in issued]
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
    """What tells items apart: a serial number's name and price, a listed product's number. None: it is not there."""
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
