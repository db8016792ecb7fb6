"""The world of the stories, in memory: a clock, an ECTicket that misbehaves when told, a grant, a shop and its topics.

Nothing here waits: whoever sleeps moves the clock, and so does every call. The ECTicket is the worst server there is
unless told otherwise: a repeated trade number issues again, and `Ectickets.tickets` counts it.

Every outcome is read as its readers would: events are held against the published schemas, and no event and no message
may show a customer.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from jsonschema import Draft202012Validator, FormatChecker

from adapter.errors import BreakerOpen, CallError, InDoubt, LeaseLost, NotAccepted, NotSent, RefusedUnread
from adapter.extensions.builtin import built_in_sources
from adapter.extensions.facade import Extensions
from adapter.extensions.manager import Choice, PluginManager
from adapter.extensions.values import OrderRecord
from adapter.flows.confirm import ConfirmStage, Waiting
from adapter.flows.order_outcomes import OrderOutcomes
from adapter.flows.order_paid import parse_order_paid
from adapter.flows.ports import Topics
from adapter.flows.schemas import schema_files
from adapter.flows.submit import SubmitStage
from adapter.issuance.carried import CarriedPlan, decode_plan
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import SubmitPolicy
from adapter.issuance.order import Order
from adapter.issuance.plan import DeriveTradeNo, PlanPolicy
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.issue import IssueReply, IssueRequest, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus, ResultReply
from adapter.protocol.query_item_info import ItemReply
from adapter.provider.client import Purpose
from adapter.stream.records import Publication, Record
from adapter.stream.stage import Later, Outcome

NOON = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
"""When every story begins: noon in Taipei."""
MERCHANT, OTHER_MERCHANT = "3085676", "3002607"
TOPICS = Topics(
    orders_paid="orders.paid",
    orders_deferred="ecticket.orders.deferred",
    confirmations="ecticket.confirmations",
    issuances="ecticket.issuances",
    dead_letters="ecticket.dead-letters",
)
CUSTOMER = {"name": "王小明", "phone": "0912345678", "email": "ming@example.com", "address": "臺北市南港區三重路"}
UNKNOWN, REPEATED, BUSY = 10_200_047, 10_200_050, 10_500_001
"""RtnCodes of this ECTicket, which mean nothing to anybody but itself: no such number, number taken, maintenance."""


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
    are item numbers that nobody knows. `results` are what jobs came to, by trade number; in progress where not said.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accepted: dict[str, datetime] = {}
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
            fault = Fault((REPEATED, "Duplicate MerchantTradeNo"))
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
        if self.silent or number in self.silent_about:
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


# --- what is read -----------------------------------------------------------------------------------------------------

_FORMATS = FormatChecker(formats=["date"])
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SCHEMAS = {
    f"urn:ecticket-adapter:schema:{name.removesuffix('.json')}": Draft202012Validator(
        json.loads(text), format_checker=_FORMATS
    )
    for name, text in schema_files().items()
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event: `kind` is the type's last word but one, `attributes` are CloudEvents' own."""

    kind: str
    key: str
    attributes: Mapping[str, str]
    data: Mapping[str, object]

    @property
    def id(self) -> str:
        """The id by which readers know what they have seen."""
        return self.attributes["id"]


@dataclass(slots=True)
class Told:
    """An outcome, read."""

    events: list[Event] = field(default_factory=list)
    deferred: list[Record] = field(default_factory=list)
    confirmations: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """What was told."""
        return [event.kind for event in self.events]

    def event(self, kind: str) -> Event:
        """The only event of a kind."""
        (only,) = (event for event in self.events if event.kind == kind)
        return only

    @property
    def later(self) -> Record:
        """The order carried on, the only record."""
        (only,) = self.deferred
        return only

    @property
    def letter(self) -> Record:
        """The only dead letter."""
        (only,) = self.letters
        return only

    @property
    def nothing_but_deferred(self) -> bool:
        """Whether the order only goes on."""
        return len(self.deferred) == 1 and not (self.events or self.letters or self.confirmations)

    def add(self, other: Told) -> None:
        """Read on."""
        self.events += other.events
        self.confirmations += other.confirmations
        self.letters += other.letters
        self.deferred = other.deferred


class Reader:
    """Gives each publication its place in its topic, and looks at it as its readers would."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: Counter[str] = Counter()

    def read(self, outcome: Outcome) -> Told:
        """The outcome, each record in its topic."""
        told = Told()
        for publication in outcome.records:
            if publication.topic == TOPICS.issuances:
                told.events.append(_event(publication))
            else:
                kept = {
                    TOPICS.orders_deferred: told.deferred,
                    TOPICS.confirmations: told.confirmations,
                    TOPICS.dead_letters: told.letters,
                }
                kept[publication.topic].append(self.published(publication))
        for letter in told.letters:
            _hold_secret(header(letter, "ecticket-message"))
        return told

    def published(self, publication: Publication, topic: str | None = None) -> Record:
        """The record as the next reader gets it; `topic` where it is copied to another one, as a replay does."""
        topic = topic or publication.topic
        self._ends[topic] += 1
        return Record(
            topic=topic,
            partition=2,
            offset=self._ends[topic],
            timestamp=self._clock(),
            key=publication.key,
            value=publication.value,
            headers=publication.headers,
        )


def _event(publication: Publication) -> Event:
    """The event, which is as the contract, section 2.2, says."""
    assert len({name for name, _ in publication.headers}) == len(publication.headers)
    headers = {name: value.decode() for name, value in publication.headers}
    attributes = {name.removeprefix("ce_"): text for name, text in headers.items() if name.startswith("ce_")}
    data = json.loads(publication.value or b"")
    key = (publication.key or b"").decode()
    _SCHEMAS[attributes["dataschema"]].validate(data)
    assert headers["content-type"] == "application/json"
    assert attributes["specversion"] == "1.0"
    assert _RFC3339.fullmatch(attributes["time"])
    assert attributes["partitionkey"] == key
    _hold_secret(repr(headers) + key + json.dumps(data, ensure_ascii=False))
    return Event(kind=attributes["type"].split(".")[-2], key=key, attributes=attributes, data=data)


def _hold_secret(text: str) -> None:
    assert not [value for value in CUSTOMER.values() if value in text]


def header(record: Record, name: str) -> str:
    """The text of the only header of that name."""
    (value,) = (value for each, value in record.headers if each == name)
    return (value or b"").decode()


def has_header(record: Record, name: str) -> bool:
    """Whether there is such a header."""
    return any(each == name for each, _ in record.headers)


def plan_of(record: Record) -> CarriedPlan:
    """The plan it carries."""
    return decode_plan(header(record, "ecticket-plan").encode())


def with_headers(record: Record, *headers: tuple[str, bytes | None]) -> Record:
    """The record with these headers more."""
    return replace(record, headers=(*record.headers, *headers))


def replayed(letter: Record, *, topic: str, clock: Clock) -> Record:
    """A dead letter as a replay puts it back (contract, section 5): possibly sent, and the clocks reset."""
    now = clock().isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
    changed: dict[str, bytes] = {
        "ecticket-first-seen": now,
        "ecticket-attempts": b"0",
        "ecticket-replays": b"%d" % (int(header(letter, "ecticket-replays")) + 1),
    }
    if topic == TOPICS.orders_deferred:
        changed["ecticket-possibly-sent-at"] = now
    kept = [(name, value) for name, value in letter.headers if name not in changed]
    return replace(letter, topic=topic, headers=(*kept, *changed.items()))


# --- the house --------------------------------------------------------------------------------------------------------


def line(sku: str = "VQT04959", quantity: int = 2, **more: object) -> dict[str, object]:
    """One line of an order."""
    return {"sku": sku, "quantity": quantity, **more}


def derived(order_id: str = "A-1", part: int = 1, merchant_id: str = MERCHANT) -> str:
    """The number that a part gets when its order brings none."""
    return derive_trade_no(merchant_id, order_id, part)


class House:
    """Both stages around one ECTicket; `plugins` are merchants' plugins by name, and `policy` changes the waiting."""

    def __init__(
        self,
        *merchants: str,
        plugins: Mapping[str, object] | None = None,
        policy: SubmitPolicy | None = None,
        confirming: ConfirmPolicy | None = None,
    ) -> None:
        self.clock = Clock()
        self.ecticket = Ectickets(self.clock)
        self.book = Book(*(merchants or (MERCHANT, OTHER_MERCHANT)))
        self.heard = Heard()
        self.reader = Reader(self.clock)
        self.fraction = 0.0
        self._policy = policy or SubmitPolicy()
        self._confirming = confirming or ConfirmPolicy()
        self.use(**(plugins or {}))
        self.confirm = ConfirmStage(
            topics=TOPICS,
            group="ecticket-adapter.confirm",
            concurrency=8,
            merchants=self.book,
            ecticket=self.ecticket,
            policy=self._confirming,
            observer=self.heard,
            now=self.clock,
            fraction=lambda: self.fraction,
        )

    def use(self, **plugins: object) -> None:
        """Start a new process with these plugins: what the old one remembered is gone."""
        found = PluginManager(Choice(objects=plugins), built_in=built_in_sources())
        found.ensure_sound()
        self.extensions = Extensions(found, parse_default=self._parse, budget_seconds=30)
        self.submit = SubmitStage(
            topics=TOPICS,
            group="ecticket-adapter.submit",
            concurrency=8,
            fingerprint=self.extensions.fingerprint,
            merchants=self.book,
            extensions=self.extensions,
            ecticket=self.ecticket,
            outcomes=OrderOutcomes(
                topics=TOPICS,
                defer_seconds=60,
                confirm=self._confirming,
                merchants=self.book,
                observer=self.heard,
                now=self.clock,
            ),
            plan_policy=PlanPolicy(derive=DeriveTradeNo.ALWAYS, operator="tester"),
            policy=self._policy,
            observer=self.heard,
            now=self.clock,
            sleep=self.clock.sleep,
        )

    def _parse(self, record: OrderRecord) -> Order:
        only = self.book.ids[0] if len(self.book.ids) == 1 else None
        return parse_order_paid(record.value, record.headers, only)

    # --- records ---

    def order(self, *lines: dict[str, object], **content: object) -> Record:
        """The record of a paid order; electronic tickets with a customer, unless its content says otherwise."""
        event = {
            "order_id": "A-1",
            "merchant_id": MERCHANT,
            "issue_type": "electronic",
            "print_by": "ecpay",
            "reference": {"cart": 7},
            "customer": CUSTOMER,
            "lines": list(lines) or [line()],
            **content,
        }
        return self.record(json.dumps(event, ensure_ascii=False).encode(), key=b"shop-key")

    def record(self, value: bytes | None, *, key: bytes | None = None, topic: str = TOPICS.orders_paid) -> Record:
        """A record at the end of a topic."""
        return self.reader.published(Publication(topic=topic, key=key, value=value))

    # --- what the engine does ---

    async def work(
        self,
        record: Record,
        *,
        possibly_sent_since: datetime | None = None,
        fingerprint_changed: bool = False,
        lost_after: int | None = None,
    ) -> Told:
        """Take a record of an order from prepared to outcome, when it is due; the rest is the grant's.

        Raises LeaseLost.
        """
        grant = Grant(record, possibly_sent_since, fingerprint_changed, lost_after)
        return self.reader.read(await self._outcome(record, grant))

    async def _outcome(self, record: Record, grant: Grant) -> Outcome:
        try:
            prepared = await self.submit.prepare(record)
            if prepared.not_before is not None and prepared.not_before > self.clock():
                self.clock.time = prepared.not_before
            return await self.submit.handle(prepared.subject, grant)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # as the engine does
            return self.submit.broken(record, error, grant)

    async def finish(
        self, record: Record, *, possibly_sent_since: datetime | None = None, fingerprint_changed: bool = False
    ) -> Told:
        """Work on an order, deferred as often as it needs, until it has ended."""
        told = await self.work(record, possibly_sent_since=possibly_sent_since, fingerprint_changed=fingerprint_changed)
        for _ in range(3_000):
            if not told.deferred:
                return told
            told.add(await self.work(told.deferred[0]))
        raise AssertionError("the order does not end")

    async def ask(self, record: Record) -> tuple[Told | Waiting, datetime]:
        """Take a confirmation up and ask once, when it is due: what is told, or what waits on; and when it asked."""
        prepared = await self.confirm.prepare(record)
        return await self.ask_again(record, prepared.subject)

    async def ask_again(self, record: Record, waiting: Waiting) -> tuple[Told | Waiting, datetime]:
        """Ask about what waits, when it is due."""
        self.clock.time = max(self.clock.time, waiting.due)
        asked_at = self.clock()
        result = await self.confirm.handle(waiting, Grant(record))
        if isinstance(result, Later):
            assert result.not_before == result.subject.due
            return result.subject, asked_at
        return self.reader.read(result), asked_at

    async def await_result(self, record: Record) -> tuple[Told, list[float]]:
        """Ask as often as needed until something is told; when it was asked, in seconds since the story began."""
        result, asked_at = await self.ask(record)
        times = [(asked_at - NOON).total_seconds()]
        while isinstance(result, Waiting):
            result, asked_at = await self.ask_again(record, result)
            times.append((asked_at - NOON).total_seconds())
        return result, times
