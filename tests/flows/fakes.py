"""The world of the stories, in memory: a clock, an ECTicket that misbehaves when told, a grant, merchants, a plugin.

Nothing here waits: whoever sleeps moves the clock, and so does every call. The ECTicket is the worst server there is
unless told otherwise: a repeated trade number issues again, and `Ectickets.tickets` counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from adapter import Line, Order, OrderOutcome, Skip, TicketItem, hookimpl
from adapter.errors import BreakerOpen, CallError, InDoubt, LeaseLost, NotAccepted, NotSent, RefusedUnread
from adapter.flows.ports import Topics
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.issue import IssueReply, IssueRequest, IssueType, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus, ResultReply
from adapter.protocol.query_item_info import ItemReply
from adapter.provider.client import Purpose
from adapter.stream.records import Record

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
"""When every story begins: noon in Taipei."""
MERCHANT, OTHER_MERCHANT = "3085676", "3002607"
TOPICS = Topics(
    orders_paid="orders.paid",
    orders_deferred="ecticket.orders.deferred",
    confirmations="ecticket.confirmations",
    issuances="ecticket.issuances",
    tickets="ecticket.tickets",
    dead_letters="ecticket.dead-letters",
)
CUSTOMER = {"name": "王小明", "phone": "0912345678", "email": "ming@example.com", "address": "臺北市南港區三重路"}
UNKNOWN, REPEATED, BUSY = 10_200_047, 10_200_050, 10_500_001
"""RtnCodes of this ECTicket, which mean nothing to anybody but itself: no such number, number taken, maintenance."""


class Maps:
    """A merchant's mapping that counts how often it is asked, and maps as it is told."""

    def __init__(self, item_no: str = "VQT04959") -> None:
        self.item_no = item_no
        self.asked = 0
        self.skip: Skip | None = None
        self.error: Exception | None = None
        self.settled: list[OrderOutcome] = []

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        return self.skip

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if line.sku != "MINE":
            return None
        return [TicketItem(item_no=self.item_no, quantity=line.quantity, issue_type=IssueType.ELECTRONIC)]

    @hookimpl
    def order_settled(self, outcome: OrderOutcome) -> None:
        self.settled.append(outcome)


class Clock:
    """A clock that moves when told; whoever sleeps by it wakes at once, later."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.time += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait, without waiting."""
        self.passes(seconds)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to an Issue call instead of RtnCode 1: `effect` is whether tickets come of it all the same."""

    answer: CallError | tuple[int, str]
    effect: bool = False
    written: bool = True


LOST_AFTER = Fault(InDoubt("Issue was read-timed-out."), effect=True)
LOST_BEFORE = Fault(InDoubt("Issue was reset."))
NOT_SENT = Fault(NotSent("Issue: connect refused."), written=False)
NOT_ACCEPTED = Fault(NotAccepted("Issue: TransCode 999."))
REFUSED = Fault((10_200_001, "Inventory shortage"))
REFUSED_AFTER = Fault((10_200_001, "Inventory shortage"), effect=True)


class Ectickets:
    """ECTicket, for all merchants; implements `flows.ports.Ecticket`.

    `faults` are met by the next Issue calls, one each (None: no fault), and `always` by those after them. `delisted`
    are item numbers that nobody knows. `every_lost`: of so many questions one has its answer lost (0: none). `results`
    are what jobs came to, by trade number; in progress where not said.
    """

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
        self.faults: list[Fault | None] = []
        self.always: Fault | None = None
        self.refuses_repeats = False
        self.visible_after = 0.0
        self.maintenance = False
        self.knows_everything = False
        self.silent = False
        self.silent_about: set[str] = set()
        self.every_lost = 0
        self.breaker_until: datetime | None = None
        self.locked_out_until: datetime | None = None
        self.delisted: set[str] = set()
        self.results: dict[str, tuple[IssueStatus, str | None]] = {}
        self.seconds = 0.01

    def has(self, trade_no: str, kind: TradeNoKind = TradeNoKind.MERCHANT, merchant_id: str = MERCHANT) -> None:
        """An Issue of an earlier process has arrived."""
        self._take_in(merchant_id, TradeNo(kind=kind, value=trade_no))

    def forgets(self, trade_no: str, merchant_id: str = MERCHANT) -> None:
        """A number that was known is no more."""
        del self._has[merchant_id, TradeNo(kind=TradeNoKind.MERCHANT, value=trade_no)]

    def asked(self, what: str) -> list[str]:
        """The numbers of all calls of a kind: issue, query, control, item."""
        return [number for kind, number in self.calls if kind == what]

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, clearance: Callable[[], None]
    ) -> IssueReply:
        number = request.trade_no.value
        self._refuse_unless_open()
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is None or fault.written:
            clearance()
            self.issues[number] += 1
            self.requests.append(request)
        self._begin("issue", number)
        if self.locked_out_until is not None:
            raise RefusedUnread("Issue was answered with HTTP 403.", retry_at=self.locked_out_until)
        return self._issued(merchant, request, fault)

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        self._refuse_unless_open()
        self.purposes[purpose] += 1
        asked = self._begin("query", trade_no.value)
        self._answer_or_not(trade_no.value)
        visible = self._has.get((merchant.merchant_id, trade_no))
        if self.maintenance or visible is None or visible > self._clock():
            return _result(BUSY if self.maintenance else UNKNOWN)
        self._accepted[merchant.merchant_id] = asked
        status, remark = self.results.get(trade_no.value, (IssueStatus.IN_PROGRESS, None))
        return ResultReply(rtn_code=1, rtn_msg="OK", trade_no=trade_no, status=status, remark=remark)

    async def control(self, merchant: Merchant, kind: TradeNoKind, *, purpose: Purpose) -> ResultReply:
        self._refuse_unless_open()
        self.purposes[purpose] += 1
        self._begin("control", kind.value)
        self._answer_or_not()
        code = 1 if self.knows_everything else BUSY if self.maintenance else UNKNOWN
        return _result(code)

    async def item(self, merchant: Merchant, item_no: str, *, purpose: Purpose) -> ItemReply:
        self._refuse_unless_open()
        self.purposes[purpose] += 1
        asked = self._begin("item", item_no)
        self._answer_or_not()
        code = BUSY if self.maintenance else 10_200_099 if item_no in self.delisted else 1
        if code == 1:
            self._accepted[merchant.merchant_id] = asked
        return ItemReply(
            rtn_code=code,
            rtn_msg="",
            item_no=item_no,
            item_name=None,
            ticket_type=None,
            item_amount=None,
            item_status=None,
            modify_date=None,
            instructions=(),
        )

    def last_accepted(self, merchant_id: str) -> datetime | None:
        return self._accepted.get(merchant_id)

    def _issued(self, merchant: Merchant, request: IssueRequest, fault: Fault | None) -> IssueReply:
        if self.maintenance:
            fault = Fault((BUSY, "System maintenance"))
        elif self.refuses_repeats and (merchant.merchant_id, request.trade_no) in self._has:
            answer_is_lost = fault is not None and isinstance(fault.answer, CallError)
            fault = LOST_BEFORE if answer_is_lost else Fault((REPEATED, "Duplicate MerchantTradeNo"))
        if fault is None or fault.effect:
            self._take_in(merchant.merchant_id, request.trade_no)
        if fault is None:
            self._accepted[merchant.merchant_id] = self._clock()
            return _reply(1, "OK", request.trade_no, f"2026030112{len(self._has):06}")
        if isinstance(fault.answer, CallError):
            raise fault.answer
        return _reply(*fault.answer, None, None)

    def _take_in(self, merchant_id: str, trade_no: TradeNo) -> None:
        self.tickets[trade_no.value] += 1
        self._has.setdefault((merchant_id, trade_no), self._clock() + timedelta(seconds=self.visible_after))

    def _begin(self, what: str, number: str) -> datetime:
        began = self._clock()
        self.calls.append((what, number))
        self._clock.passes(self.seconds)
        return began

    def _refuse_unless_open(self) -> None:
        if self.breaker_until is not None and self._clock() < self.breaker_until:
            raise BreakerOpen("ECTicket takes nothing at present.", retry_at=self.breaker_until)

    def _answer_or_not(self, number: str | None = None) -> None:
        self._questions += 1
        lost = self.every_lost and self._questions % self.every_lost == 0
        if self.silent or number in self.silent_about or lost:
            raise InDoubt("A query was not answered.")


def _reply(code: int, message: str, trade_no: TradeNo | None, ticket_trade_no: str | None) -> IssueReply:
    return IssueReply(rtn_code=code, rtn_msg=message, trade_no=trade_no, ticket_trade_no=ticket_trade_no, items=())


def _result(code: int) -> ResultReply:
    return ResultReply(rtn_code=code, rtn_msg="", trade_no=None, status=None, remark=None)


@dataclass(slots=True)
class Grant:
    """The engine's word about one record; after `lost_after` sends the lease is lost."""

    record: Record
    possibly_sent_since: datetime | None = None
    fingerprint_changed: bool = False
    lost_after: int | None = None
    sends: int = 0

    def clear_to_send(self) -> None:
        """Let a send begin, or not."""
        if self.lost_after is not None and self.sends >= self.lost_after:
            raise LeaseLost("the partition may have another owner by now")
        self.sends += 1


class Book:
    """The merchants."""

    def __init__(self, *ids: str) -> None:
        credentials = Credentials(hash_key="ejCk326UnaZWKisg", hash_iv="q9jcZX8Ib9LM8wYk")
        self._known = {each: Merchant(merchant_id=each, credentials=credentials) for each in ids}

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._known)

    def find(self, merchant_id: str) -> Merchant | None:
        return self._known.get(merchant_id)

    def add(self, merchant: Merchant) -> None:
        """Somebody puts a merchant into the settings."""
        self._known[merchant.merchant_id] = merchant

    def remove(self, merchant_id: str) -> None:
        """Somebody takes a merchant out of the settings."""
        del self._known[merchant_id]


class Heard:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, ...]] = []

    def of(self, what: str) -> list[tuple[str, ...]]:
        """What it was told of a kind."""
        return [words[1:] for words in self.all if words[0] == what]

    def order_settled(self, ending: str) -> None:
        self.all.append(("order_settled", ending))

    def issuance_told(self, event: str, *, recovered: bool) -> None:
        self.all.append(("issuance_told", event, str(recovered)))

    def parked(self, stage: str, reason: str) -> None:
        self.all.append(("parked", stage, reason))

    def deferred(self, why: str) -> None:
        self.all.append(("deferred", why))

    def control_known(self, merchant_id: str) -> None:
        self.all.append(("control_known", merchant_id))
