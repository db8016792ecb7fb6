"""The reconcile flow: compares a merchant's published events with ECPay's order report, and publishes the differences.

    order report ──► table ◄── ecticket.issuances       (files; `reconciliation_table`)
                       │ ◄──── ecticket.reconciliations (what was published before)
                       ▼
          compare number by number (`issuance.reconciliation`)
                       ▼
    one transaction: every new difference, and `completed`

**Nothing is published twice.** What was published is read back from the topic itself, after the producer of this
merchant has started: its start fences every earlier one and ends its transaction, so nothing that is not seen can still
come. The topic is the only state: a crash leaves nothing behind, and the next process compares again.

**Nothing is judged too early.** The report is requested first and the events are read afterwards. If numbers differ
that are too young, the comparison is repeated once they are old enough; what is young then is left to the next day,
which compares this day again. An issuance that was found by a query may have been issued on any earlier day: if the
report lacks it, QueryIssueResult decides. It decides about all that the report lacks if one of its rows has no readable
number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, Literal, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from adapter.errors import CallError, UnreadableReply
from adapter.flows.messages.event_reader import cloud_event
from adapter.flows.messages.events import (
    IssuanceDelayed,
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    ReconciliationCompleted,
    ReconciliationDifference,
    TradeNoText,
    reconciliation_event,
    reconciliation_event_id,
)
from adapter.flows.ports import Clock, Topics
from adapter.flows.reconciliation_table import ComparedCounts, FoundDifference, ReconciliationTable
from adapter.issuance.reconciliation import (
    PublishedFact,
    PublishedState,
    ReconciledDays,
    ReconcilePolicy,
    ReportedRow,
)
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.order_detail import OrderRow, ReportRequest, ReportType
from adapter.protocol.query_issue_result import IssueStatus, ResultReply
from adapter.protocol.taipei import TAIPEI, taipei_day
from adapter.provider.client import Purpose
from adapter.stream.records import ProducerRecord, Record

REQUIRED_COLUMNS: Final = ("特店訂單編號", "贈品單號", "發行狀態", "發行日期", "訂單序號總數量")
"""Without these columns of the report nothing can be compared."""
REPORT_MARGIN: Final = timedelta(days=1)
"""The report covers a day more on each side: both clocks differ, and a job may end after midnight."""
EVENTS_MARGIN: Final = timedelta(days=2)
"""Events are read from two days before the first issue date: a job may end a day late."""
MAX_UNREADABLE_ROWS: Final = 100
"""A report with more rows without a readable number is not used: each number that it seems to lack is queried."""
KNOWN_MARGIN: Final = timedelta(days=2)
"""Earlier than this before an issue date, its difference cannot have been published."""
RTN_OK: Final = 1
"""The only RtnCode whose meaning ECPay documents."""
MAX_TICKETS: Final = 1_000_000
"""More tickets than any issuance has."""
BATCH: Final = 1000
"""Events that go to the table together."""

_T = TypeVar("_T")

_STATES: Final[Mapping[str, PublishedState]] = {
    IssuanceSubmitted.TYPE: PublishedState.SUBMITTED,
    IssuanceDelayed.TYPE: PublishedState.SUBMITTED,
    IssuanceIssued.TYPE: PublishedState.ISSUED,
    IssuanceFailed.TYPE: PublishedState.FAILED,
}


class OrderRows(Protocol):
    """The rows of an orders report, read once; all are provisional until the iteration ends."""

    @property
    def additional_columns(self) -> int:
        """How many columns are not documented, and ignored."""
        ...

    def require(self, *headers: str) -> None:
        """Raises UnreadableReply if the report lacks one of these columns."""
        ...

    def __iter__(self) -> Iterator[OrderRow]: ...


class OrderReport(Protocol):
    """A downloaded report."""

    def order_rows(self) -> OrderRows: ...


class OrderReports(Protocol):
    """Where reports come from; `provider.report_source.ReportSource` is the real one and documents the errors."""

    def download(self, merchant: Merchant, request: ReportRequest) -> AbstractAsyncContextManager[OrderReport]: ...


class IssuanceQueries(Protocol):
    """QueryIssueResult."""

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply: ...


class ReadTopics(Protocol):
    """Reads committed records up to the present ends of topics; `kafka.reader.read_to_end` is the real one."""

    def __call__(self, topics: Collection[str], *, since: datetime) -> AsyncGenerator[Record, None]: ...


class ExclusiveWriter(Protocol):
    """The only writer of its name; see `kafka.producers.ExclusiveProducer`."""

    async def write(self, producer_records: Iterable[ProducerRecord]) -> None: ...


OpenWriter = Callable[[str], AbstractAsyncContextManager[ExclusiveWriter]]
"""Opens the only writer of this name, which fences an earlier one."""
Waiting = Callable[[datetime, int], Awaitable[None]]
"""Waits until a moment, at which so many numbers can be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciledPeriod:
    """The issue dates of a comparison, in Taipei, both included."""

    first: date
    last: date

    @classmethod
    def of_run(cls, day: date, days: int) -> ReconciledPeriod:
        """The period of the daily run of this day: so many complete days, and the day itself as far as it has come."""
        return cls(first=day - timedelta(days=days), last=day)

    def begins(self) -> datetime:
        """Midnight of the first day."""
        return datetime.combine(self.first, time(), tzinfo=TAIPEI)

    def report_request(self, merchant_id: str, today: date) -> ReportRequest:
        """The report that a comparison needs."""
        return ReportRequest(
            merchant_id=merchant_id,
            report_type=ReportType.ORDERS,
            begin_date=self.first - REPORT_MARGIN,
            end_date=max(self.first - REPORT_MARGIN, min(self.last + REPORT_MARGIN, today)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReportFindings:
    """What is odd about a report that was compared."""

    unreadable: int
    """Rows whose number cannot be read. Numbers that the report seems to lack are queried then."""
    additional_columns: int
    """Columns that are not documented, and ignored."""

    def sentences(self) -> Iterator[str]:
        """Describe it; nothing for a report that is as documented."""
        if self.unreadable:
            yield f"Rows of the report without a readable number, which were not compared: {self.unreadable}."
        if self.additional_columns:
            yield f"Columns of the report that are not documented, and ignored: {self.additional_columns}."


class Comparison:
    """The result of one comparison, while its table exists."""

    def __init__(
        self,
        table: ReconciliationTable,
        completed: ReconciliationCompleted,
        counts: ComparedCounts,
        findings: OrderReportFindings,
    ) -> None:
        self.completed = completed
        self.counts = counts
        self.findings = findings
        self._table = table

    def differences(self) -> Iterator[FoundDifference]:
        """All differences, by issue date and number; blocks."""
        return self._table.found()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Compares and publishes."""

    topics: Topics
    reports: OrderReports
    queries: IssuanceQueries
    read: ReadTopics
    open_writer: OpenWriter
    transactional_prefix: str
    """Names of writers begin with it; one per merchant."""
    policy: ReconcilePolicy
    now: Clock

    async def is_completed(self, merchant_id: str, period: ReconciledPeriod) -> bool:
        """Whether `completed` of this period is published. Raises StreamError."""
        wanted = reconciliation_event_id(_completed(merchant_id, period, ComparedCounts()))
        async with aclosing(self._reconciliations(merchant_id, period)) as records:
            async for record in records:
                if cloud_event(record)[0].get("id") == wanted:
                    return True
        return False

    @asynccontextmanager
    async def compare(
        self, merchant: Merchant, period: ReconciledPeriod, *, publish: bool, wait: Waiting
    ) -> AsyncIterator[Comparison]:
        """Compare a period, again if numbers are too young; with `publish`, what is new is published at the end.

        The comparison is readable until the body ends.

        Raises CallError and EnvelopeError if there is no usable report, StreamError if topics cannot be read or another
        process has fenced this one, and NoTemporarySpace.
        """
        table = ReconciliationTable()
        try:
            comparison = await self._compare(table, merchant, period, publish=publish, may_wait=True)
            if comparison.counts.not_yet_until is not None:
                await wait(comparison.counts.not_yet_until, comparison.counts.not_yet)
                table.close()
                table = ReconciliationTable()
                comparison = await self._compare(table, merchant, period, publish=publish, may_wait=False)
            yield comparison
        finally:
            table.close()

    async def _compare(
        self, table: ReconciliationTable, merchant: Merchant, period: ReconciledPeriod, *, publish: bool, may_wait: bool
    ) -> Comparison:
        merchant_id, requested_at = merchant.merchant_id, self.now()
        days = ReconciledDays(first=period.first, last=period.last, requested_at=requested_at)
        request = period.report_request(merchant_id, taipei_day(requested_at))
        findings = await self._add_report(table, merchant, request)
        await self._add_events(table, merchant_id, period)
        writing = self.open_writer(f"{self.transactional_prefix}.{merchant_id}") if publish else nullcontext()
        async with writing as writer:
            completed_ids = await self._add_known(table, merchant_id, period)
            all_read = findings.unreadable == 0
            counts = await _in_thread(table, table.compare, merchant_id, days, self.policy, all_read)
            is_final = not may_wait or counts.not_yet_until is None
            if is_final:
                await self._query_missing(table, merchant, counts)
            completed = _completed(merchant_id, period, counts)
            if is_final and writer is not None:
                is_new = reconciliation_event_id(completed) not in completed_ids
                if is_new or counts.new_by_kind.total():
                    await writer.write(self._records(table, completed if is_new else None))
        return Comparison(table, completed, counts, findings)

    def _records(
        self, table: ReconciliationTable, completed: ReconciliationCompleted | None
    ) -> Iterator[ProducerRecord]:
        """What is to be published, read from the table while it is written."""
        topic, now = self.topics.reconciliations, self.now()
        for difference in table.found(only_new=True, by_date=False):
            yield reconciliation_event(difference.data, topic=topic, now=now)
        if completed is not None:
            yield reconciliation_event(completed, topic=topic, now=now)

    async def _add_report(
        self, table: ReconciliationTable, merchant: Merchant, request: ReportRequest
    ) -> OrderReportFindings:
        """Add the rows of the report."""
        async with self.reports.download(merchant, request) as report:
            return await _in_thread(table, _add_rows, table, report)

    async def _add_events(self, table: ReconciliationTable, merchant_id: str, period: ReconciledPeriod) -> None:
        since = period.begins() - EVENTS_MARGIN
        prefix = f"{merchant_id}/".encode()
        batch: list[Record] = []
        async with aclosing(self.read([self.topics.issuances], since=since)) as records:
            async for record in records:
                if (record.key or b"").startswith(prefix):
                    batch.append(record)
                if len(batch) >= BATCH:
                    await _in_thread(table, _add_records, table, batch)
                    batch = []
        await _in_thread(table, _add_records, table, batch)

    async def _add_known(
        self, table: ReconciliationTable, merchant_id: str, period: ReconciledPeriod
    ) -> frozenset[str]:
        """Add what was published before; return the ids of the `completed` events."""
        completed: set[str] = set()
        batch: list[ReconciliationDifference] = []
        async with aclosing(self._reconciliations(merchant_id, period)) as records:
            async for record in records:
                attributes, _ = cloud_event(record)
                if attributes.get("type") == ReconciliationCompleted.TYPE:
                    completed.add(attributes.get("id", ""))
                elif attributes.get("type") == ReconciliationDifference.TYPE:
                    with suppress(ValidationError):  # another program's record is no difference
                        batch.append(ReconciliationDifference.model_validate_json(record.value or b""))
                if len(batch) >= BATCH:
                    await _in_thread(table, table.add_known, batch)
                    batch = []
        await _in_thread(table, table.add_known, batch)
        return frozenset(completed)

    async def _reconciliations(self, merchant_id: str, period: ReconciledPeriod) -> AsyncGenerator[Record, None]:
        """What was published about this merchant and period, and perhaps about others of its periods."""
        key, prefix = merchant_id.encode(), f"{merchant_id}/".encode()
        since = period.begins() - KNOWN_MARGIN
        async with aclosing(self.read([self.topics.reconciliations], since=since)) as records:
            async for record in records:
                if record.key == key or (record.key or b"").startswith(prefix):
                    yield record

    async def _query_missing(self, table: ReconciliationTable, merchant: Merchant, counts: ComparedCounts) -> None:
        """Remove issuances that the report need not show and ECTicket knows.

        They are recovered, and were issued before the days of the report; or they may be in a row that cannot be read.
        One that cannot be queried now is left to the next comparison.
        """
        missing: list[FoundDifference] = await _in_thread(table, list, table.found(only_to_query=True))
        for difference in missing:
            if not await self._is_missing(merchant, difference, counts):
                await _in_thread(table, table.remove, difference, counts)

    async def _is_missing(self, merchant: Merchant, difference: FoundDifference, counts: ComparedCounts) -> bool:
        number = TradeNo(kind=TradeNoKind(difference.data.trade_no_kind), value=difference.data.trade_no)
        try:
            reply = await self.queries.query(merchant, number, purpose=Purpose.CONFIRM)
        except CallError:
            counts.not_yet += 1
            return False
        return reply.rtn_code != RTN_OK


def _encodable(text: str) -> str:
    """Return a text without half a surrogate pair, which no file takes. Raises ValueError."""
    text.encode()
    return text


class _Identity(BaseModel):
    """What every event about an issuance says of it; anything else on the topic is not the adapter's."""

    model_config = ConfigDict(strict=True)
    trade_no: TradeNoText
    trade_no_kind: Literal["merchant", "free"]
    order_id: Annotated[str, AfterValidator(_encodable)]
    ticket_count: Annotated[int, Field(ge=1, le=MAX_TICKETS)]


def _add_rows(table: ReconciliationTable, report: OrderReport) -> OrderReportFindings:
    rows = report.order_rows()
    rows.require(*REQUIRED_COLUMNS)
    unreadable = 0

    def reported() -> Iterator[ReportedRow]:
        nonlocal unreadable
        for row in rows:
            if row.trade_no is None:
                unreadable += 1
                if unreadable > MAX_UNREADABLE_ROWS:
                    raise UnreadableReply(
                        f"More than {MAX_UNREADABLE_ROWS} rows of the report have no readable number."
                    )
                continue
            yield ReportedRow(
                trade_no=row.trade_no,
                status=row.issue_status if isinstance(row.issue_status, IssueStatus) else None,
                ticket_count=row.ticket_count,
                issued_at=row.issued_at,
                ticket_trade_no=row.ticket_trade_no,
            )

    table.add_reported(reported())
    return OrderReportFindings(unreadable=unreadable, additional_columns=rows.additional_columns)


def _add_records(table: ReconciliationTable, records: Iterable[Record]) -> None:
    table.add_published(fact for record in records if (fact := published_fact(record)) is not None)


def published_fact(record: Record) -> PublishedFact | None:
    """The fact about an issuance in a record; None if it is another event, or none of the adapter's."""
    attributes, data = cloud_event(record)
    state = _STATES.get(attributes.get("type", ""))
    if state is None or data is None:
        return None
    try:
        identity = _Identity.model_validate(data)
    except ValidationError:
        return None
    learned_at = _time(attributes.get("time")) or record.timestamp
    submitted_at = learned_at if attributes["type"] == IssuanceSubmitted.TYPE else _time(data.get("submitted_at"))
    recovered = data.get("recovered")
    return PublishedFact(
        trade_no=TradeNo(kind=TradeNoKind(identity.trade_no_kind), value=identity.trade_no),
        order_id=identity.order_id,
        state=state,
        learned_at=learned_at,
        submitted_at=submitted_at,
        ticket_count=identity.ticket_count,
        recovered=recovered is not False,  # `delayed` and `failed` do not say it
    )


def _time(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.astimezone(UTC) if found is not None and found.tzinfo is not None else None


def _completed(merchant_id: str, period: ReconciledPeriod, counts: ComparedCounts) -> ReconciliationCompleted:
    return ReconciliationCompleted(
        merchant_id=merchant_id,
        first_day=period.first,
        last_day=period.last,
        reported=counts.reported,
        published=counts.published,
        differences=counts.differences,
        by_kind=counts.as_data(),
    )


async def _in_thread(table: ReconciliationTable, work: Callable[..., _T], *arguments: object) -> _T:
    """Do blocking work in a thread; if this task is cancelled, first interrupt the table and let the thread end."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        table.interrupt()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
