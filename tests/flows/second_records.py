"""Stories of an order that comes in several records, under several mappings, and what must be true at their end.

A story is data, so that hypothesis can shorten it; `LivedStory` lives it with the adapter's own stages. A process may
end at any call, or when all is done and nothing is committed. ECTicket has ECPay's rule: it accepts no number twice.
What docs/delivery.md lists under "What remains" does not happen here; the places that see to it quote the sentence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Final, Literal, TypeVar
from unittest.mock import patch

from adapter import IssueType, Line, Order, Skip, TicketItem, hookimpl
from adapter.errors import CallError, InDoubt, LeaseLost
from adapter.extensions.manager import PluginManager
from adapter.issuance.decide import QueryFirst, SubmitPolicy
from adapter.issuance.order import Voucher
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest, TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus, ResultReply
from adapter.provider.client import Purpose
from adapter.stream.records import Record
from adapter.stream.stage import Outcome
from adapter.testing.clock import Clock
from adapter.testing.ecticket import BUSY, FakeEcticket, Fault
from adapter.testing.fakes import FakeRecordContext
from adapter.testing.orders import EXPIRE_DATE, MERCHANT
from adapter.testing.outcome_reader import OrderEvents
from adapter.testing.plugins import manager_of
from adapter.values import replace
from flows.harness import KNOWN_TRADE_NO, Harness, derived, line

_T = TypeVar("_T")

LATE: Final = Fault(InDoubt("Issue was read-timed-out."))
"""The answer is lost, and the effect comes `Story.effect_after` seconds later."""
BEFORE_COMMIT: Final = 999
"""A call that no run reaches: the process ends when all is done and nothing is committed."""
_ENDLESS: Final = 300
_TICKETS: Final[Mapping[str, Callable[[int], TicketItem]]] = {
    "E": lambda plan: TicketItem(item_no=f"VQT0000{plan}", quantity=2, issue_type=IssueType.ELECTRONIC),
    "S": lambda plan: TicketItem(name=f"SPA課程{plan}", price=3200, quantity=1, issue_type=IssueType.SERIAL_NUMBER),
    "P": lambda plan: TicketItem(item_no=f"BR10000{plan}", quantity=1, issue_type=IssueType.PAPER),
    "G": lambda plan: TicketItem(
        item_no=f"VNS2140{plan}",
        quantity=1,
        issue_type=IssueType.CONVENIENCE_STORE,
        voucher=Voucher.GIFT,
        expire_date=EXPIRE_DATE,
    ),
}
"""Each makes one part, of tickets that no other plan has. G has a FreeTradeNo, so no plan begins with it.

What remains: "if the first part becomes one of gifts alone".
"""


class ProcessEnds(BaseException):
    """The process ends here; nothing in it catches this."""


# --- the story --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """The end of a run at its `at`-th call, before or after the call's effect, or before its commit."""

    at: int
    after_effect: bool
    release: int | None = None
    """The release of the next process; None: this one only lost the partition, and takes it over again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run over an open record, and what comes before it."""

    pause: float = 0.0
    release: int | None = None
    """A new process begins, with this release of the plugin."""
    reserved: bool = False
    """The process before it may have sent every open record."""
    pick: int = 0
    hands_off: bool = False
    faults: tuple[Fault | None, ...] = ()
    trouble: Literal["queries refused", "maintenance", "silent"] | None = None
    """What some calls of the run meet. One outage; what remains: "Two outages of QueryIssueResult within a minute"."""
    trouble_calls: tuple[int, int] = (0, BEFORE_COMMIT)
    """The first of these calls, and the one after the last."""
    crash: Crash | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happens to one order."""

    plans: tuple[str, ...]
    """Each is the kinds of its parts; an empty one means that the order is skipped."""
    releases: tuple[tuple[int, ...], ...]
    """For each release of the plugin, the plans that it makes of the first, the second and the third record."""
    first_steps: tuple[Step, ...] = ()
    """They happen to the first record, before the others come."""
    pause: float = 0.0
    records: int = 2
    both_at_once: bool = False
    """The third record does not wait for the end of the second."""
    apart: bool = False
    """The records are in several partitions."""
    steps: tuple[Step, ...] = ()
    last_release: int = 0
    """Its process finishes everything, and meets nothing."""
    trade_no: str | None = None
    known_trade_no: str | None = KNOWN_TRADE_NO
    query_first: QueryFirst = QueryFirst.WHEN_POSSIBLY_SENT
    confirms: bool = False
    visible_after: float = 0.0
    effect_after: float = 100.0

    def numbered(self, plan: int) -> dict[str, str]:
        """The tickets of a plan by trade number."""
        numbers = [self.trade_no or derived(), *(derived(part=part) for part in range(2, len(self.plans[plan]) + 1))]
        return {
            number: _name(item.item_no, item.name) for number, item in zip(numbers, self.tickets(plan), strict=False)
        }

    def tickets(self, plan: int) -> list[TicketItem]:
        """The tickets of a plan."""
        return [_TICKETS[kind](plan) for kind in self.plans[plan]]


def _name(item_no: str | None, item_name: str | None) -> str:
    return item_no or item_name or ""


# --- the world --------------------------------------------------------------------------------------------------------


class MortalEcticket(FakeEcticket):
    """An ECTicket that ends its callers at a call, has troubles for some calls, and knows what it sold."""

    def __init__(self, clock: Clock, *, effect_after: float) -> None:
        super().__init__(clock)
        self.refuses_repeats = True
        self.usual_status = IssueStatus.ISSUED
        self.sold: dict[str, str] = {}
        """The tickets by trade number."""
        self._time = clock
        self._effect_after = effect_after
        self._late: list[tuple[datetime, IssueRequest]] = []
        self._step, self._calls_of_run = Step(), 0

    def begin(self, step: Step) -> None:
        """A run begins."""
        self._step, self._calls_of_run = step, 0
        self.faults = list(step.faults)

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> IssueReply:
        before, meets_late = (self.tickets.total(), len(self.faults)), self.faults[:1] == [LATE]
        call = partial(super().issue, merchant, request, subject=subject, authorize_send=authorize_send)
        try:
            return await self._call(call)
        finally:
            if self.tickets.total() > before[0]:
                self._note_sold(request)
            elif meets_late and len(self.faults) < before[1]:
                self._late.append((self._time() + timedelta(seconds=self._effect_after), request))

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        return await self._call(partial(super().query, merchant, trade_no, purpose=purpose))

    async def control(self, merchant: Merchant, kind: TradeNoKind, *, purpose: Purpose) -> ResultReply:
        return await self._call(partial(super().control, merchant, kind, purpose=purpose))

    async def _call(self, call: Callable[[], Awaitable[_T]]) -> _T:
        self._have_late_effects()
        number, crash = self._calls_of_run, self._step.crash
        self._calls_of_run += 1
        begins, ends = self._step.trouble_calls
        trouble = self._step.trouble if begins <= number < ends else None
        self.silent, self.maintenance = trouble == "silent", trouble == "maintenance"
        self.outages = {"query": BUSY} if trouble == "queries refused" else {}
        if crash is None or number != crash.at:
            return await call()
        if crash.after_effect:
            with suppress(CallError):
                await call()
        raise ProcessEnds

    def _have_late_effects(self) -> None:
        for late in [late for late in self._late if late[0] <= self._time()]:
            self._late.remove(late)
            trade_no = late[1].trade_no
            if not self.tickets[trade_no.value]:
                self.has(trade_no.value, trade_no.kind)
                self._note_sold(late[1])

    def _note_sold(self, request: IssueRequest) -> None:
        entry = request.ticket_info[0]
        self.sold[request.trade_no.value] = _name(entry.item_no, entry.item_name)


class ReleasedPlugin:
    """The merchant's plugin, in the release that runs now; each record's only line names the record."""

    def __init__(self) -> None:
        self.story = Story(plans=("E",), releases=((0,),))
        self.release = 0

    def _plan(self, line: Line) -> int:
        return self.story.releases[self.release][int(line.sku)]

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        return None if self.story.plans[self._plan(order.lines[0])] else Skip("not a ticket")

    @hookimpl
    def map_item(self, order: Order, line: Line) -> list[TicketItem] | None:
        return self.story.tickets(self._plan(line))


_PLUGIN: Final = ReleasedPlugin()


@cache
def _manager() -> PluginManager:
    return manager_of({"mapping": _PLUGIN})


@contextmanager
def quick_starts() -> Iterator[None]:
    """A process starts without loading its plugin again, which would take half of a story's time."""
    with patch("adapter.testing.harness.manager_of", lambda *_: _manager()):
        yield


@dataclass(slots=True)
class OpenRecord:
    """A record that is not settled."""

    number: int
    record: Record
    sent_under: set[int] = field(default_factory=set)
    """The releases of the processes that may have sent it."""
    fenced: datetime | None = None
    """When it was taken over from the last of them."""


class LivedStory:
    """A story as it is lived, and what was published and sold."""

    def __init__(self, story: Story) -> None:
        _PLUGIN.story, _PLUGIN.release = story, 0
        self.story = story
        self.harness = Harness(
            MERCHANT,
            policy=SubmitPolicy(give_up_after_seconds=7_200, query_first=story.query_first),
            make_ecticket=self._make_ecticket,
            known_trade_no=story.known_trade_no,
            plugins={"mapping": _PLUGIN},
        )
        self.open: list[OpenRecord] = []
        self.published: list[OrderEvents] = []
        self.remapped = False
        """A process met a record that another release may have sent."""
        self.log: list[str] = []

    def _make_ecticket(self, clock: Clock) -> MortalEcticket:
        self.ecticket = MortalEcticket(clock, effect_after=self.story.effect_after)
        self.ecticket.visible_after = self.story.visible_after
        if self.story.known_trade_no is not None:
            self.ecticket.had(self.story.known_trade_no)
        return self.ecticket

    async def live(self) -> None:
        """Live from the arrival of the first record to the end of the last."""
        story = self.story
        self._arrive()
        for step in story.first_steps:
            await self._take(step)
        await self._finish()
        if not self._first_part_is_published():
            # What remains: "while the first is open or `unresolved`", and "whose first part was finally refused".
            return
        self.harness.clock.passes(story.pause)
        self._arrive()
        if story.both_at_once and story.records > len(self.published):
            self._arrive()
        for step in story.steps:
            if not self.open and story.records > len(self.published):
                self._arrive()
            await self._take(step)
        self._restart(story.last_release)
        await self._finish()
        while story.records > len(self.published):
            self._arrive()
            await self._finish()

    def _first_part_is_published(self) -> bool:
        events = self.published[0].events
        return any(event.type == "submitted" and event.data["part"] == 1 for event in events)

    def _arrive(self) -> None:
        number = len(self.published)
        record = self.harness.order(line(str(number)), trade_no=self.story.trade_no)
        self.published.append(OrderEvents())
        self.open.append(OpenRecord(number, replace(record, partition=number) if self.story.apart else record))

    async def _finish(self) -> None:
        for _ in range(_ENDLESS):
            if not self.open:
                return
            await self._take(Step())
        raise AssertionError("A record does not end.")

    async def _take(self, step: Step) -> None:
        clock = self.harness.clock
        clock.passes(step.pause)
        if step.release is not None:
            self._restart(step.release, reserved=step.reserved)
        if not self.open:
            return
        taken = self.open[step.pick % len(self.open)]
        remapped = any(release != _PLUGIN.release for release in taken.sent_under)
        self.remapped |= remapped
        context = FakeRecordContext(taken.record, taken.fenced, remapped)
        self.ecticket.begin(step)
        began, outcome = clock(), None
        with suppress(ProcessEnds):
            outcome = await self._outcome(taken.record, context, hands_off=step.hands_off)
        if step.crash is not None:
            self._log(began, taken, step.crash)
            self._crash(taken, step.crash)
        elif outcome is not None:
            published = self.harness.reader.read(outcome)
            self._log(began, taken, published)
            await self._commit(taken, published)

    def _log(self, began: datetime, taken: OpenRecord, result: object) -> None:
        self.log.append(f"{began:%H:%M:%S} record {taken.number}, release {_PLUGIN.release}: {result!r}")

    async def _outcome(self, record: Record, context: FakeRecordContext, *, hands_off: bool) -> Outcome:
        """As the harness does it, but nothing is published."""
        submit, clock = self.harness.submit, self.harness.clock
        try:
            prepared = await submit.prepare(record)
            if hands_off:
                return submit.hand_off(record, prepared.subject, context)
            clock.time = max(clock.time, prepared.not_before or clock.time)
            return await submit.handle(prepared.subject, context)
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # as the engine does
            return submit.on_error(record, error, context)

    def _crash(self, taken: OpenRecord, crash: Crash) -> None:
        taken.sent_under.add(_PLUGIN.release)
        taken.fenced = self.harness.clock()
        if crash.release is not None:
            self._restart(crash.release)

    def _restart(self, release: int, *, reserved: bool = False) -> None:
        for each in self.open:
            if reserved:
                each.sent_under.add(_PLUGIN.release)
            if each.sent_under:
                each.fenced = self.harness.clock()
        _PLUGIN.release = release
        self.harness.use(mapping=_PLUGIN)

    async def _commit(self, taken: OpenRecord, published: OrderEvents) -> None:
        self.published[taken.number].add(published)
        self.open.remove(taken)
        self.open += [OpenRecord(taken.number, deferred) for deferred in published.deferred_records]
        if self.story.confirms:
            self.ecticket.begin(Step())
            for confirmation in published.confirmations:
                await self.harness.await_result(confirmation)

    # --- what must be true ---

    def disagreements(self) -> list[str]:
        """What is wrong with the tickets, or with what was published about them."""
        bought, sold = self.ecticket.tickets, self.ecticket.sold
        plans = [self.story.numbered(plan) for plan in range(len(self.story.plans))]
        wrong = [f"{number} was issued {times} times" for number, times in bought.items() if times > 1]
        if not any(sold.items() <= plan.items() for plan in plans):
            wrong.append(f"tickets of two plans: {sold}")
        events = [event for published in self.published for event in published.events]
        # What remains: "If ECTicket knows all of today's parts, parts of the old mapping alone are not looked for."
        if not self.remapped and {event.type for event in events} <= {"submitted", "issued"} and sold not in plans:
            wrong.append(f"tickets are missing, and no event says so: {sold}")
        for event in events:
            number = str(event.data.get("trade_no"))
            if (event.type == "failed" and bought[number]) or (event.type == "submitted" and not bought[number]):
                wrong.append(f"{number} was published as {event.type}, with {bought[number]} issuances")
        wrong += ["a record ended without an event" for published in self.published if not published.events]
        return wrong
