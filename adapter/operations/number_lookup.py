"""Queries ECTicket about one trade number on behalf of a person.

"Not known" is concluded only from the evidence that the flows require (docs/delivery.md, "Not known"). Does not read
topics: the caller brings the numbers that are known to exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from adapter.flows.number_history import KnownNumbers
from adapter.flows.ports import Ecticket
from adapter.flows.submission import PROBED_NUMBERS
from adapter.issuance.evidence import Evidence, EvidenceStep, NegativeAnswer
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import ResultReply
from adapter.provider.client import Purpose

RTN_OK = 1
ENOUGH = 6
"""Numbers that should exist; a liveness proof queries at most four of them."""


class NumberLookup(Struct, frozen=True, kw_only=True):
    """What ECTicket knows of a number; it is in doubt if neither `known` nor `not_known` is set."""

    known: ResultReply | None = None
    """The reply, if its RtnCode is 1."""
    not_known: bool = False
    """It is proven that ECTicket does not know the number."""
    lacks_known_number: bool = False
    """Only a number that is known to exist is missing for the proof."""
    message: str = ""
    """The result in a sentence."""


def lacks_known_numbers(known: KnownNumbers, merchant: Merchant, kind: TradeNoKind) -> bool:
    """Whether a liveness proof can use more numbers that should exist."""
    return len(known.to_query(merchant, kind)) < ENOUGH


async def look_up(
    ecticket: Ecticket,
    merchant: Merchant,
    number: TradeNo,
    known_numbers: Sequence[TradeNo],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> NumberLookup:
    """Query the number twice, and a random and a known number between them, all within a minute.

    In an outage QueryIssueResult refuses every number, also known ones, so one refusal proves nothing. Raises
    CallError.
    """
    evidence = Evidence()

    async def query() -> tuple[ResultReply, Evidence]:
        queried_at = now()
        reply = await ecticket.query(merchant, number, purpose=Purpose.DOUBT)
        answer = NegativeAnswer(queried_at=queried_at, answered_at=now(), code=reply.rtn_code)
        return reply, evidence.with_query(answer)

    began_at = now()
    reply, evidence = await query()
    if reply.rtn_code == RTN_OK:
        return NumberLookup(known=reply)
    queried_at = now()
    control = await ecticket.control(merchant, number.kind, purpose=Purpose.DOUBT)
    evidence = evidence.with_control(NegativeAnswer(queried_at=queried_at, answered_at=now(), code=control.rtn_code))
    refused = f"ECTicket answers RtnCode {reply.rtn_code} ({reply.rtn_msg}) for {number.value}"
    if control.rtn_code != reply.rtn_code:
        return NumberLookup(message=f"{refused} and {control.rtn_code} for a random number, which proves nothing.")
    others = [each for each in known_numbers if each != number]
    if not others:
        cure = f"Set known_trade_no of merchant {merchant.merchant_id} to a number that was issued."
        return NumberLookup(
            lacks_known_number=True, message=f"{refused}, and nothing shows that QueryIssueResult works. {cure}"
        )
    if not await _queries_work(ecticket, merchant, others):
        return NumberLookup(
            message=f"{refused}, and QueryIssueResult does not know numbers that should exist either. Try again later."
        )
    evidence = evidence.with_accepted(now())
    second, evidence = await query()
    if second.rtn_code == RTN_OK:
        return NumberLookup(known=second)
    if second.rtn_code != reply.rtn_code:
        return NumberLookup(message=f"{refused}, and {second.rtn_code} a moment later, which proves nothing.")
    if evidence.missing_step(ready_at=began_at, now=now()) is not EvidenceStep.COMPLETE:
        return NumberLookup(message=f"{refused}, but its answers took more than a minute, which proves nothing.")
    message = f"ECTicket does not know {number.value} (RtnCode {reply.rtn_code}: {reply.rtn_msg})."
    return NumberLookup(not_known=True, message=message)


async def _queries_work(ecticket: Ecticket, merchant: Merchant, numbers: Sequence[TradeNo]) -> bool:
    """Whether QueryIssueResult answers RtnCode 1 for one of the numbers that should exist."""
    for number in numbers[:PROBED_NUMBERS]:
        if (await ecticket.query(merchant, number, purpose=Purpose.DOUBT)).rtn_code == RTN_OK:
            return True
    return False
