"""An ECTicket in memory, with faults: for tests of what is bought, and how often.

It never waits; every call moves the clock. By default it is the worst possible server: a repeated trade number issues
again, and `tickets` counts the issues. Does not check envelopes or field rules; the sandbox does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from adapter.errors import BreakerOpen, CallError, InDoubt, NotAccepted, NotSent, Throttled
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssuedItem, IssueReply, IssueRequest, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus, ResultReply
from adapter.protocol.query_item_info import ItemReply, ItemStatus, TicketType
from adapter.provider.client import Purpose
from adapter.testing.clock import Clock
from adapter.testing.orders import MERCHANT
from adapter.values import replace

UNKNOWN, REPEATED, BUSY = 10_200_047, 10_200_050, 10_500_001
"""RtnCodes of this fake, with no meaning elsewhere: unknown number, number taken, maintenance."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to an Issue call instead of RtnCode 1; with `effect`, tickets are issued all the same."""

    answer: CallError | tuple[int, str]
    effect: bool = False
    written: bool = True


LOST_AFTER = Fault(InDoubt("Issue was read-timed-out."), effect=True)
LOST_BEFORE = Fault(InDoubt("Issue was reset."))
NOT_SENT = Fault(NotSent("Issue: connect refused."), written=False)
NOT_ACCEPTED = Fault(NotAccepted("Issue: TransCode 999."))
REFUSED = Fault((10_200_001, "Inventory shortage"))
REFUSED_AFTER = Fault((10_200_001, "Inventory shortage"), effect=True)


class FakeEcticket:
    """ECTicket for all merchants; implements `flows.ports.Ecticket`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accepted: dict[str, datetime] = {}
        self._questions = 0
        self._has: dict[tuple[str, TradeNo], datetime] = {}
        self.calls: list[tuple[str, str]] = []
        self.purposes: Counter[Purpose] = Counter()
        self.issues: Counter[str] = Counter()
        self.requests: list[IssueRequest] = []
        self.tickets: Counter[str] = Counter()
        """Accepted Issue calls by trade number: 2 means that tickets exist twice."""
        self.faults: list[Fault | None] = []
        """The next Issue calls meet these, one each (None: no fault)."""
        self.always: Fault | None = None
        """The Issue calls after `faults` meet this."""
        self.refuses_repeats = False
        self.visible_after = 0.0
        self.maintenance = False
        self.outages: dict[str, int] = {}
        """Endpoints (issue, query, item) that refuse every call, with the code; control queries belong to query."""
        self.reported_items: tuple[IssuedItem, ...] | None = None
        """The items that Issue reports as accepted, whatever was requested (None: those requested)."""
        self.knows_everything = False
        self.silent = False
        self.silent_about: set[str] = set()
        self.every_lost = 0
        """Of this many queries, one gets no answer (0: all are answered)."""
        self.breaker_until: datetime | None = None
        self.locked_out_until: datetime | None = None
        self.unknown_items: set[str] = set()
        """Item numbers that QueryItemInfo does not know."""
        self.delisted: set[str] = set()
        """Item numbers that QueryItemInfo shows as off the shelf."""
        self.gifts: set[str] = set()
        """Item numbers that QueryItemInfo shows as gift vouchers; all others are pickup vouchers."""
        self.item_error: CallError | None = None
        """What every QueryItemInfo raises instead of an answer."""
        self.item_answers: asyncio.Event | None = None
        """QueryItemInfo does not answer before this is set."""
        self.results: dict[str, tuple[IssueStatus, str | None]] = {}
        """How jobs ended, by trade number; `usual_status` for the others."""
        self.usual_status = IssueStatus.IN_PROGRESS
        self.seconds = 0.01

    def has(self, trade_no: str, kind: TradeNoKind = TradeNoKind.MERCHANT, merchant_id: str = MERCHANT) -> None:
        """An Issue of an earlier process arrived."""
        self._accept(merchant_id, TradeNo(kind=kind, value=trade_no))

    def had(self, trade_no: str, kind: TradeNoKind = TradeNoKind.MERCHANT, merchant_id: str = MERCHANT) -> None:
        """It knows an old number, whose tickets are not counted."""
        self._has.setdefault((merchant_id, TradeNo(kind=kind, value=trade_no)), self._clock())

    def forgets(self, trade_no: str, merchant_id: str = MERCHANT) -> None:
        """It does not know the number any more."""
        del self._has[merchant_id, TradeNo(kind=TradeNoKind.MERCHANT, value=trade_no)]

    def calls_of(self, what: str) -> list[str]:
        """The numbers of all calls of a kind: issue, query, control, item."""
        return [number for kind, number in self.calls if kind == what]

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> IssueReply:
        number = request.trade_no.value
        self._refuse_unless_open()
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is None or fault.written:
            authorize_send()
            self.issues[number] += 1
            self.requests.append(request)
        self._begin("issue", number)
        if self.locked_out_until is not None:
            raise Throttled("Issue was answered with HTTP 403.", retry_at=self.locked_out_until)
        return self._issued(merchant, request, fault)

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        self._refuse_unless_open()
        self.purposes[purpose] += 1
        queried_at = self._begin("query", trade_no.value)
        self._answer_or_not(trade_no.value)
        visible = self._has.get((merchant.merchant_id, trade_no))
        if (code := self._refusing("query")) is not None:
            return _result(code)
        if visible is None or visible > self._clock():
            return _result(UNKNOWN)
        self._accepted[merchant.merchant_id] = queried_at
        status, remark = self.results.get(trade_no.value, (self.usual_status, None))
        return ResultReply(rtn_code=1, rtn_msg="OK", trade_no=trade_no, status=status, remark=remark)

    async def control(self, merchant: Merchant, kind: TradeNoKind, *, purpose: Purpose) -> ResultReply:
        self._refuse_unless_open()
        self.purposes[purpose] += 1
        self._begin("control", kind.value)
        self._answer_or_not()
        code = self._refusing("query")
        return _result(1 if self.knows_everything else UNKNOWN if code is None else code)

    async def item(self, merchant: Merchant, item_no: str, *, purpose: Purpose) -> ItemReply:
        self._refuse_unless_open()
        self.purposes[purpose] += 1
        self._begin("item", item_no)
        if self.item_answers is not None:
            await self.item_answers.wait()
        if self.item_error is not None:
            raise self.item_error
        self._answer_or_not()
        refusing = self._refusing("item")
        code = refusing if refusing is not None else 10_200_099 if item_no in self.unknown_items else 1
        return ItemReply(
            rtn_code=code,
            rtn_msg="",
            item_no=item_no,
            item_name=None,
            ticket_type=TicketType.GIFT if item_no in self.gifts else TicketType.PICKUP,
            item_amount=None,
            item_status=ItemStatus.DELISTED if item_no in self.delisted else ItemStatus.LISTED,
            modify_date=None,
            instructions=(),
        )

    def last_accepted(self, merchant_id: str) -> datetime | None:
        return self._accepted.get(merchant_id)

    def _issued(self, merchant: Merchant, request: IssueRequest, fault: Fault | None) -> IssueReply:
        if (code := self._refusing("issue")) is not None:
            fault = Fault((code, "System maintenance"))
        elif self.refuses_repeats and (merchant.merchant_id, request.trade_no) in self._has:
            answer_is_lost = fault is not None and isinstance(fault.answer, CallError)
            fault = LOST_BEFORE if answer_is_lost else Fault((REPEATED, "Duplicate MerchantTradeNo"))
        if fault is None or fault.effect:
            self._accept(merchant.merchant_id, request.trade_no)
        if fault is None:
            number = f"2026030112{self.tickets.total():06}"
            items = _as_requested(request) if self.reported_items is None else self.reported_items
            return replace(_reply(1, "OK", request.trade_no, number), items=items)
        if isinstance(fault.answer, CallError):
            raise fault.answer
        return _reply(*fault.answer, None, None)

    def _refusing(self, endpoint: str) -> int | None:
        """The code with which this endpoint refuses every call; None while it works."""
        return BUSY if self.maintenance else self.outages.get(endpoint)

    def _accept(self, merchant_id: str, trade_no: TradeNo) -> None:
        self.tickets[trade_no.value] += 1
        self._has.setdefault((merchant_id, trade_no), self._clock() + timedelta(seconds=self.visible_after))

    def _begin(self, what: str, number: str) -> datetime:
        began = self._clock()
        self.calls.append((what, number))
        self._clock.passes(self.seconds)
        return began

    def _refuse_unless_open(self) -> None:
        if self.breaker_until is not None and self._clock() < self.breaker_until:
            raise BreakerOpen("The breaker is open.", retry_at=self.breaker_until)

    def _answer_or_not(self, number: str | None = None) -> None:
        self._questions += 1
        lost = self.every_lost and self._questions % self.every_lost == 0
        if self.silent or number in self.silent_about or lost:
            raise InDoubt("A query was not answered.")


def _as_requested(request: IssueRequest) -> tuple[IssuedItem, ...]:
    return tuple(
        IssuedItem(
            item_no=entry.item_no,
            item_name=entry.item_name,
            ticket_price=entry.ticket_price,
            ticket_amount=entry.ticket_amount,
        )
        for entry in request.ticket_info
    )


def _reply(code: int, message: str, trade_no: TradeNo | None, ticket_trade_no: str | None) -> IssueReply:
    return IssueReply(rtn_code=code, rtn_msg=message, trade_no=trade_no, ticket_trade_no=ticket_trade_no, items=())


def _result(code: int) -> ResultReply:
    return ResultReply(rtn_code=code, rtn_msg="", trade_no=None, status=None, remark=None)
