"""The reconcile flow in memory: what is planted is published once, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pytest

from adapter.errors import InDoubt, NotAccepted, StreamError, UnreadableReply
from adapter.flows.messages.event_reader import cloud_event
from adapter.flows.messages.events import (
    IssuanceData,
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    Origin,
    issuance_event,
)
from adapter.flows.reconcile import REQUIRED_COLUMNS, OrderReport, OrderReportFindings, ReconciledPeriod, Reconciler
from adapter.flows.reconciliation_table import Interrupted, ReconciliationTable
from adapter.issuance.reconciliation import ReconcilePolicy, ReportedRow
from adapter.protocol.credentials import Credentials, Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.order_detail import ORDER_COLUMNS, OrderRow, ReportRequest
from adapter.protocol.query_issue_result import IssueStatus, ResultReply
from adapter.protocol.taipei import TAIPEI
from adapter.provider.client import Purpose
from adapter.stream.records import ProducerRecord, Record
from adapter.testing.events import SAMPLES
from adapter.testing.fakes import TOPICS
from adapter.testing.orders import MERCHANT
from adapter.values import replace

TODAY = date(2026, 3, 5)
RUN_AT = datetime(2026, 3, 5, 5, tzinfo=TAIPEI)
NOON = datetime(2026, 3, 4, 12, tzinfo=TAIPEI)
PERIOD = ReconciledPeriod.of_run(TODAY, 3)
EMPTY = dict.fromkeys(OrderRow.__dataclass_fields__)
ME = Merchant(merchant_id=MERCHANT, credentials=Credentials(hash_key="k" * 16, hash_iv="i" * 16))


@dataclass
class Rows:
    """A report in memory; `breaks` is what its end raises."""

    rows: list[OrderRow]
    lacks: frozenset[str] = frozenset()
    breaks: Exception | None = None
    additional_columns: int = 0

    def order_rows(self) -> Rows:
        return self

    def require(self, *headers: str) -> None:
        missing = [header for header in headers if header in self.lacks]
        if missing:
            raise UnreadableReply(f"no column {', '.join(missing)}")

    def __iter__(self) -> Iterator[OrderRow]:
        yield from self.rows
        if self.breaks is not None:
            raise self.breaks


@dataclass
class World:
    """ECPay's report, the topics, and a clock that moves when the flow waits."""

    report: Rows = field(default_factory=lambda: Rows([]))
    time: datetime = RUN_AT
    log: list[Record] = field(default_factory=list)
    requests: list[ReportRequest] = field(default_factory=list)
    requested: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: Exception | None = None
    known: set[str] = field(default_factory=set)
    silent: bool = False
    queried: list[str] = field(default_factory=list)
    fence: int = 0
    on_download: Callable[[], object] = lambda: None
    on_open: Callable[[], object] = lambda: None
    before_write: Callable[[], object] = lambda: None
    waits: list[datetime] = field(default_factory=list)
    after_wait: Callable[[], object] = lambda: None
    ignore: tuple[str, ...] = ()

    # --- what is there -----------------------------------------------------------------------------------------------

    def issue(
        self,
        number: str,
        *,
        at: datetime = NOON,
        published: tuple[type[IssuanceData], ...] = (IssuanceSubmitted, IssuanceIssued),
        status: IssueStatus | None = IssueStatus.ISSUED,
        count: int = 2,
        kind: TradeNoKind = TradeNoKind.MERCHANT,
        recovered: bool = False,
        learned_at: datetime | None = None,
    ) -> None:
        """An issuance, as both sides know it; `status` None: the report lacks it."""
        if status is not None:
            self.row(number, at=at, status=status, count=count, kind=kind)
        for step, model in enumerate(published):
            data = {
                **SAMPLES[model],
                "order_id": f"order of {number}",
                "trade_no": number,
                "trade_no_kind": kind.value,
                **({"recovered": recovered} if "recovered" in model.model_fields else {}),
                **({"submitted_at": learned_at or at} if "submitted_at" in model.model_fields else {}),
            }
            now = (learned_at or at) + timedelta(minutes=step)
            origin = Origin(topic="orders.paid", partition=0, offset=0)
            self.put(issuance_event(model.model_validate(data), topic=TOPICS.issuances, origin=origin, now=now), now)

    def row(
        self,
        number: str | None,
        *,
        at: datetime | None = NOON,
        status: IssueStatus | str | None = IssueStatus.ISSUED,
        count: int | None = 2,
        kind: TradeNoKind = TradeNoKind.MERCHANT,
        ticket_trade_no: str | None = None,
    ) -> None:
        """A row of the report."""
        values = {
            **EMPTY,
            "merchant_trade_no" if kind is TradeNoKind.MERCHANT else "free_trade_no": number,
            "ticket_trade_no": ticket_trade_no or f"ECT{number}",
            "issue_status": status,
            "issued_at": at,
            "ticket_count": count,
        }
        self.report.rows.append(OrderRow(**values))  # type: ignore[arg-type]  # every field of the class

    def put(self, record: ProducerRecord, at: datetime) -> None:
        """A record at the end of its topic."""
        offset = sum(1 for each in self.log if each.topic == record.topic)
        self.log.append(
            Record(
                topic=record.topic,
                partition=0,
                offset=offset,
                timestamp=at.astimezone(UTC),
                key=record.key,
                value=record.value,
                headers=record.headers,
            )
        )

    # --- ports -------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def download(self, merchant: Merchant, request: ReportRequest) -> AsyncIterator[OrderReport]:
        assert merchant.merchant_id == request.merchant_id
        self.requests.append(request)
        self.requested.set()
        if self.refusal is not None:
            raise self.refusal
        self.on_download()
        yield self.report

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply:
        self.queried.append(trade_no.value)
        if self.silent:
            raise InDoubt("no answer")
        code = 1 if trade_no.value in self.known else 10_200_047
        return ResultReply(rtn_code=code, rtn_msg="", trade_no=trade_no, status=None, remark=None)

    async def read(self, topics: Collection[str], *, since: datetime) -> AsyncGenerator[Record, None]:
        for record in list(self.log):
            if record.topic in topics and record.timestamp >= since:
                yield record

    @asynccontextmanager
    async def open_writer(self, name: str) -> AsyncIterator[Writer]:
        self.fence += 1
        self.on_open()
        yield Writer(self, self.fence, name)

    async def wait(self, until: datetime, count: int) -> None:
        self.waits.append(until)
        self.time = until
        self.after_wait()

    # --- what comes of it --------------------------------------------------------------------------------------------

    @property
    def reconciler(self) -> Reconciler:
        return Reconciler(
            topics=TOPICS,
            reports=self,
            queries=self,
            read=self.read,
            open_writer=self.open_writer,
            transactional_prefix="ecticket-adapter.reconcile",
            policy=ReconcilePolicy(
                settles_after=timedelta(minutes=10), result_within=timedelta(hours=24), ignore_prefixes=self.ignore
            ),
            now=lambda: self.time,
        )

    async def run(self, *, publish: bool = True, period: ReconciledPeriod = PERIOD) -> dict[str, str]:
        """Reconcile once; the differences found, number to kind."""
        async with self.reconciler.compare(ME, period, publish=publish, wait=self.wait) as comparison:
            found = {each.data.trade_no: each.data.kind for each in comparison.differences()}
            assert sum(comparison.counts.by_kind.values()) == len(found) == comparison.completed.differences
            return {str(number): str(kind) for number, kind in found.items()}

    @property
    def published(self) -> list[tuple[str, str]]:
        """Types and subjects on the topic of reconciliations, in order."""
        events = [cloud_event(record)[0] for record in self.log if record.topic == TOPICS.reconciliations]
        assert len({event["id"] for event in events}) == len(events)
        return [(event["type"].split(".")[-2], event["subject"]) for event in events]


@dataclass
class Writer:
    """Writes all or nothing, unless a later one was opened."""

    world: World
    epoch: int
    name: str

    async def write(self, producer_records: Iterable[ProducerRecord]) -> None:
        self.world.before_write()
        written = list(producer_records)
        if self.epoch != self.world.fence:
            raise StreamError("fenced")
        for each in written:
            self.world.put(each, self.world.time)


@pytest.fixture
def world() -> World:
    """Four issuances that agree: issued, free, failed, and a job that is under way."""
    found = World()
    found.issue("AGREES1")
    found.issue("AGREES2", kind=TradeNoKind.FREE)
    found.issue("AGREES3", published=(IssuanceSubmitted, IssuanceFailed), status=IssueStatus.FAILED, count=0)
    found.issue("AGREES4", published=(IssuanceSubmitted,), status=IssueStatus.IN_PROGRESS, count=0)
    return found


def plant(world: World) -> dict[str, str]:
    """One difference of each kind."""
    world.issue("OUTSIDE", published=())
    world.issue("VANISHED", status=None)
    world.issue("CONTRADICTS", status=IssueStatus.FAILED, count=0)
    world.issue("MISCOUNTED", count=4)
    return {
        "OUTSIDE": "not-published",
        "VANISHED": "not-reported",
        "CONTRADICTS": "state",
        "MISCOUNTED": "ticket-count",
    }


async def test_what_agrees_is_completed_without_a_difference(world: World) -> None:
    """Free numbers, failed issuances and running jobs included."""
    assert await world.run() == {}
    assert world.published == [("completed", MERCHANT)]
    assert world.waits == []


async def test_each_planted_difference_is_published_once(world: World) -> None:
    """One of each kind, with both sides and the next step; a repeated run repeats ids and adds nothing."""
    planted = plant(world)

    first = await world.run()
    published = world.published
    second = await world.run()

    assert first == second == planted
    assert sorted(published) == sorted([*(("difference", number) for number in planted), ("completed", MERCHANT)])
    assert world.published == published


async def test_the_next_day_repeats_the_days_and_publishes_only_what_is_new(world: World) -> None:
    """A job that ended late becomes a difference on a later day, and what was published is not repeated."""
    planted = plant(world)
    await world.run()
    world.issue("LATE", at=NOON + timedelta(hours=16), published=(IssuanceSubmitted,))
    assert await world.run() == planted

    world.time += timedelta(days=1)
    found = await world.run(period=ReconciledPeriod.of_run(TODAY + timedelta(days=1), 3))

    assert found == {**planted, "LATE": "state"}
    assert world.published[-2:] == [("difference", "LATE"), ("completed", MERCHANT)]
    assert [event for event, _ in world.published].count("completed") == 2


async def test_the_command_without_publish_writes_nothing(world: World) -> None:
    """It finds the same, and fences no process."""
    assert await world.run(publish=False) == {}
    planted = plant(world)
    assert await world.run(publish=False) == planted
    assert (world.published, world.fence) == ([], 0)


async def test_the_report_covers_a_day_more_on_each_side(world: World) -> None:
    """But none that has not begun."""
    await world.run()
    await world.run(period=ReconciledPeriod(first=date(2026, 3, 1), last=date(2026, 3, 2)))

    dates = [(request.begin_date, request.end_date) for request in world.requests]
    assert dates == [(date(2026, 3, 1), TODAY), (date(2026, 2, 28), date(2026, 3, 3))]


async def test_an_empty_day_is_completed(world: World) -> None:
    """Nothing was sold, and that is known now."""
    world.log.clear()
    world.report.rows.clear()

    assert await world.run() == {}
    (completed,) = (record for record in world.log if record.topic == TOPICS.reconciliations)
    data = cloud_event(completed)[1]
    assert data is not None
    assert (data["from"], data["to"], data["reported"], data["published"]) == ("2026-03-02", "2026-03-05", 0, 0)


async def test_midnight_in_taipei_divides_the_days(world: World) -> None:
    """16:00 UTC: what is issued one second earlier belongs to the day before, and is not compared."""
    midnight = datetime(2026, 3, 1, 16, tzinfo=UTC)
    world.issue("BEFORE", at=midnight - timedelta(seconds=1), published=())
    world.issue("AFTER", at=midnight, published=())
    world.issue("ACROSS", at=midnight - timedelta(seconds=1), learned_at=midnight + timedelta(seconds=1))

    assert await world.run() == {"AFTER": "not-published"}


# --- other programs, recovered and young issuances --------------------------------------------------------------------


async def test_numbers_of_other_programs_are_reported_once_or_accepted(world: World) -> None:
    """A prefix accepts them, whatever their case; they are not counted as reported."""
    for number in ("shop2-1", "SHOP2-2", "OTHER"):
        world.row(number)
    world.ignore = ("Shop2-",)

    assert await world.run() == {"OTHER": "not-published"}
    (completed,) = (record for record in world.log if record.key == MERCHANT.encode())
    assert cloud_event(completed)[1] == {
        "merchant_id": MERCHANT,
        "from": "2026-03-02",
        "to": "2026-03-05",
        "reported": 5,
        "published": 4,
        "differences": 1,
        "by_kind": {"not-published": 1, "not-reported": 0, "state": 0, "ticket-count": 0},
    }


@pytest.mark.parametrize(
    ("known", "silent", "found"),
    [(True, False, {}), (False, False, {"R1": "not-reported"}), (False, True, {})],
    ids=["issued-earlier", "unknown", "unanswered"],
)
async def test_a_recovered_issuance_may_be_of_any_earlier_day(
    world: World, known: bool, silent: bool, found: dict[str, str]
) -> None:
    """If the report lacks it, QueryIssueResult decides; without an answer, the next day does."""
    world.issue("R1", recovered=True, status=None)
    world.issue("R2", recovered=True)
    world.known, world.silent = {"R1"} if known else set(), silent

    assert await world.run() == found
    assert world.queried == ["R1"]


async def test_what_is_young_is_compared_again_when_it_is_old_enough(world: World) -> None:
    """An order in doubt is recovered meanwhile; what still differs is published then."""
    young = RUN_AT - timedelta(minutes=1)
    world.row("DOUBT", at=young)
    world.row("OUTSIDE", at=young - timedelta(minutes=1))
    world.after_wait = lambda: world.issue(
        "DOUBT", at=young, learned_at=RUN_AT + timedelta(minutes=1), recovered=True, status=None
    )

    assert await world.run() == {"OUTSIDE": "not-published"}
    assert world.waits == [young + timedelta(minutes=10)]
    assert len(world.requests) == 2
    assert [kind for kind, _ in world.published] == ["difference", "completed"]


async def test_what_is_young_the_second_time_is_left_to_the_next_day(world: World) -> None:
    """No run waits for ever."""
    world.row("FIRST", at=RUN_AT)
    world.after_wait = lambda: world.row("SECOND", at=world.time)

    assert await world.run() == {"FIRST": "not-published"}
    world.time += timedelta(days=1)
    assert (await world.run(period=ReconciledPeriod.of_run(TODAY + timedelta(days=1), 3))).keys() == {"FIRST", "SECOND"}


async def test_what_was_published_after_the_report_was_requested_is_no_difference(world: World) -> None:
    """The report cannot have it."""
    world.issue("LATER", at=RUN_AT + timedelta(seconds=1), status=None)

    assert await world.run() == {}
    assert world.waits == []


async def test_what_is_published_while_a_report_is_downloaded_is_no_difference(world: World) -> None:
    """A large report takes half an hour. It lacks what was issued meanwhile, and has what was then recovered."""

    def half_an_hour() -> None:
        world.issue("MEANWHILE", at=RUN_AT + timedelta(minutes=2), status=None)
        world.issue("RECOVERED", learned_at=RUN_AT + timedelta(minutes=3), recovered=True)
        world.time += timedelta(minutes=30)
        world.on_download = lambda: None

    world.on_download = half_an_hour

    assert await world.run() == {}
    assert len(world.requests) == 1


async def test_events_from_before_the_first_day_belong_to_a_row_of_that_day(world: World) -> None:
    """ECPay's clock was ahead of ours at midnight."""
    world.issue("EARLY", at=PERIOD.begins() + timedelta(seconds=5), learned_at=PERIOD.begins() - timedelta(minutes=3))

    assert await world.run() == {}


# --- two processes ----------------------------------------------------------------------------------------------------


async def test_a_process_that_was_fenced_publishes_nothing(world: World) -> None:
    """A second one started meanwhile; its result counts, and each difference is there once."""
    planted = plant(world)
    second: list[asyncio.Task[dict[str, str]]] = []

    def overtake() -> None:
        world.before_write = lambda: None
        world.fence += 1
        second.append(asyncio.ensure_future(world.run()))

    world.before_write = overtake
    with pytest.raises(StreamError):
        await world.run()
    await second[0]

    assert len(world.published) == len(planted) + 1


async def test_what_an_earlier_process_committed_before_it_was_fenced_is_not_published_again(world: World) -> None:
    """Its transaction ended after this process had read report and events: the fence comes before reading back."""
    planted = plant(world)
    await world.run()
    written = [each for each in world.log if each.topic == TOPICS.reconciliations]
    world.log = [each for each in world.log if each not in written]
    world.on_open = lambda: world.log.extend(written)

    assert await world.run() == planted
    assert len(world.published) == len(planted) + 1


async def test_it_is_known_whether_a_period_is_completed(world: World) -> None:
    """Of this merchant and this period."""
    assert not await world.reconciler.is_completed(MERCHANT, PERIOD)
    await world.run()
    assert await world.reconciler.is_completed(MERCHANT, PERIOD)
    assert not await world.reconciler.is_completed(MERCHANT, replace(PERIOD, last=TODAY - timedelta(days=1)))
    assert not await world.reconciler.is_completed("2", PERIOD)


async def test_events_of_other_merchants_and_programs_are_not_compared(world: World) -> None:
    """Nor does a foreign record stop the comparison."""
    for record in list(world.log):
        value = (record.value or b"").replace(b"AGREES", b"OTHERS")
        world.log.append(replace(record, key=(record.key or b"").replace(MERCHANT.encode(), b"2"), value=value))
    world.log.append(replace(world.log[0], key=f"{MERCHANT}/X".encode(), value=b"\xff", headers=()))
    foreign = ProducerRecord(topic=TOPICS.reconciliations, key=MERCHANT.encode(), value=b"{}")
    world.put(replace(foreign, headers=(("ce_type", b"ecticket.reconciliation.difference.v1"),)), NOON)

    assert await world.run() == {}


@pytest.mark.parametrize(
    "change",
    [{"ticket_count": 0}, {"ticket_count": 10**30}, {"ticket_count": "2"}, {"trade_no": ""}, {"trade_no": "\ud800"},
     {"trade_no_kind": "x"}, {"order_id": None}, {"order_id": "\ud800"}, {"order_id": 7}],
    ids=ascii,
)  # fmt: skip
async def test_a_record_that_no_adapter_writes_does_not_stop_the_comparison(
    world: World, change: dict[str, object]
) -> None:
    """Neither the table nor a published difference could have it."""
    record = world.log[0]
    value = json.dumps({**json.loads(record.value or b""), "trade_no": "FOREIGN", **change}).encode()
    world.log.append(replace(record, value=value))

    assert await world.run() == {}
    assert world.published == [("completed", MERCHANT)]


# --- reports that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal", [NotAccepted("an envelope came: RtnCode 10200095"), InDoubt("cut off")], ids=["envelope", "cut-off"]
)
async def test_without_a_report_nothing_is_published(world: World, refusal: Exception) -> None:
    """The error is the caller's; a later run compares the same days."""
    world.refusal = refusal
    with pytest.raises(type(refusal)):
        await world.run()
    world.refusal = None

    assert (world.published, world.fence) == ([], 0)
    assert await world.run() == {}


@pytest.mark.parametrize("column", REQUIRED_COLUMNS)
async def test_a_report_without_a_needed_column_is_refused(world: World, column: str) -> None:
    """The error names it."""
    assert column in ORDER_COLUMNS
    world.report.lacks = frozenset({column})

    with pytest.raises(UnreadableReply, match=column):
        await world.run()
    assert world.published == []


async def test_a_report_that_breaks_off_is_not_used(world: World) -> None:
    """All its rows are provisional until its end."""
    plant(world)
    world.report.breaks = UnreadableReply("cut off in line 9")

    with pytest.raises(UnreadableReply):
        await world.run()
    assert world.published == []


async def test_a_row_with_unreadable_cells_costs_as_little_as_possible(world: World) -> None:
    """Without a number it is counted; without status, count or date, the rest is compared."""
    world.row(None)
    world.report.additional_columns = 2
    world.issue("NOSTATUS", status=None)
    world.row("NOSTATUS", status="新的狀態", count=9)
    world.issue("NOCOUNT", status=None)
    world.row("NOCOUNT", count=None)
    world.row("NODATE", at=None)

    async with world.reconciler.compare(ME, PERIOD, publish=True, wait=world.wait) as comparison:
        found = [(each.data.trade_no, each.data.kind, each.data.issue_date) for each in comparison.differences()]
        assert comparison.findings == OrderReportFindings(unreadable=1, additional_columns=2)
        assert len(list(comparison.findings.sentences())) == 2
    assert found == [("NODATE", "not-published", None)]


async def test_a_number_that_stands_twice_in_the_report_is_one_issuance_or_two(world: World) -> None:
    """By ECTicket's own number: a repeated row is one, and two issuances have twice the tickets."""
    world.row("AGREES1")
    world.issue("TWICE")
    world.row("TWICE", ticket_trade_no="ECT-OTHER")

    assert await world.run() == {"TWICE": "ticket-count"}


async def test_spelling_is_kept_and_case_does_not_matter(world: World) -> None:
    """ECTicket does not distinguish upper and lower case in numbers."""
    world.issue("mixedCase", status=None)
    world.row("MIXEDcASE")
    world.issue("lostCase", status=None)

    assert await world.run() == {"lostCase": "not-reported"}


# --- the table --------------------------------------------------------------------------------------------------------


def test_an_interrupted_table_stops_in_the_middle() -> None:
    """So that a process can stop while it compares a million rows."""
    with closing(ReconciliationTable()) as table:

        def rows() -> Iterator[ReportedRow]:
            for number in range(10_000):
                if number == 5_000:
                    table.interrupt()
                trade_no = TradeNo(kind=TradeNoKind.MERCHANT, value=f"N{number}")
                yield ReportedRow(trade_no=trade_no, status=None, ticket_count=1, issued_at=None, ticket_trade_no=None)

        with pytest.raises(Interrupted):
            table.add_reported(rows())


async def test_a_cancelled_comparison_ends_its_thread_first(world: World) -> None:
    """The table is closed only after the thread has left it."""
    world.report = Rows([])
    for number in range(60_000):
        world.row(f"N{number}")
    task = asyncio.ensure_future(world.run())
    await world.requested.wait()
    await asyncio.sleep(0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.published == []
