"""The collect stage with reports in memory: what the stories of collecting have in common.

A report is CSV, read by the adapter's own reader. Records go from stage to stage as through their topics.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from adapter.flows.collect import CollectStage, CollectSubject
from adapter.flows.messages.events import IssuanceIssued, Item, Origin, issuance_event
from adapter.flows.messages.signatures import KeyRing, RecordSigner
from adapter.flows.report_rounds import PendingTickets
from adapter.issuance.collecting import CollectPolicy
from adapter.protocol.credentials import Merchant
from adapter.protocol.order_detail import TICKET_COLUMNS, ReportRequest, TicketRow, ticket_rows
from adapter.protocol.report_csv import ReportRows
from adapter.stream.records import Record
from adapter.stream.stage import Outcome, RetryLater
from adapter.testing.clock import Clock
from adapter.testing.fakes import TOPICS, FakeMerchants, FakeRecordContext, RecordingObserver
from adapter.testing.orders import MERCHANT
from adapter.testing.outcome_reader import OrderEvents
from flows.harness import StrictReader

SECRET = "SECRET"
"""Part of every ticket number and redemption code of these stories."""
Row = dict[str, str]


def serial_row(trade_no: str, number: int, **cells: str) -> Row:
    """The report's row of one serial-number ticket."""
    return {
        "特店訂單編號": trade_no,
        "出券類型": "純序號",
        "票券序號": f"{SECRET}N{trade_no}{number}",
        "核銷代碼": f"{SECRET}C{trade_no}{number}",
        "商品名稱": "SPA課程體驗券",
        "票券面額": "3200",
        "票券生效日": "2026/03/01",
        "票券使用狀態": "未使用",
        **cells,
    }


class FakeReport:
    """A downloaded report."""

    def __init__(self, content: bytes, merchant_id: str) -> None:
        self._content = content
        self._merchant_id = merchant_id

    def ticket_rows(self) -> ReportRows[TicketRow]:
        return ticket_rows(iter([self._content]), merchant_id=self._merchant_id)


class FakeReports:
    """ECTicket's reports: `rows` are what they have, one download a minute.

    `alter` changes their bytes; `error` is raised instead of one.
    """

    def __init__(self, clock: Clock) -> None:
        self.rows: list[Row] = []
        self.columns: tuple[str, ...] = TICKET_COLUMNS
        self.requests: list[ReportRequest] = []
        self.error: Exception | None = None
        self.alter: Callable[[bytes], bytes] = bytes
        self._clock = clock
        self._free_at: dict[str, datetime] = {}

    @asynccontextmanager
    async def download(self, merchant: Merchant, request: ReportRequest) -> AsyncIterator[FakeReport]:
        assert self.expected_wait(merchant.merchant_id) == 0
        self._free_at[merchant.merchant_id] = self._clock() + timedelta(seconds=60)
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        yield FakeReport(self.alter(self._content()), merchant.merchant_id)

    def expected_wait(self, merchant_id: str) -> float:
        free_at = self._free_at.get(merchant_id, self._clock())
        return max(0.0, (free_at - self._clock()).total_seconds())

    def _content(self) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue().encode()


class Collecting:
    """One process of the collect stage, and the topics."""

    def __init__(self, *merchants: str, issue_types: Iterable[str] = ("serial_number",)) -> None:
        self.clock = Clock()
        self.merchants = FakeMerchants(*(merchants or (MERCHANT,)))
        self.signer = RecordSigner(KeyRing(self.merchants))
        self.reports = FakeReports(self.clock)
        self.reader = StrictReader(self.clock)
        self.issue_types = tuple(issue_types)
        self.policy = CollectPolicy()
        self.restart()

    def restart(self) -> None:
        """Another process, which remembers nothing."""
        self.observer = RecordingObserver()
        self.stage = CollectStage(
            topics=TOPICS,
            group="ecticket-adapter.collect",
            issue_types=self.issue_types,
            merchants=self.merchants,
            reports=self.reports,
            policy=self.policy,
            observer=self.observer,
            now=self.clock,
            signer=self.signer,
        )

    def issued(self, trade_no: str = "T1", **data: object) -> Record:
        """The event `issued` of two tickets on its topic."""
        fields = {
            "merchant_id": MERCHANT,
            "order_id": f"order-{trade_no}",
            "reference": {"cart": 7},
            "trade_no": trade_no,
            "trade_no_kind": "merchant",
            "issue_type": "serial_number",
            "part": 1,
            "parts": 1,
            "items": (Item(item_no=None, name="SPA課程體驗券", quantity=2),),
            "ticket_count": 2,
            "ticket_trade_no": "2026030112000001",
            "recovered": False,
            "submitted_at": self.clock(),
            "queries": 1,
            **data,
        }
        event = issuance_event(
            IssuanceIssued.model_validate(fields),
            topic=TOPICS.issuances,
            origin=Origin(topic=TOPICS.orders_paid, partition=0, offset=7),
            now=self.clock(),
        )
        return self.reader.published(event)

    async def begun(self, issued: Record) -> Record:
        """The collection that an `issued` event becomes."""
        (collection,) = (await self.outcome(issued)).confirmations
        return collection

    async def waiting(self, *trade_nos: str, **data: object) -> list[tuple[Record, PendingTickets]]:
        """Collections of these issuances, prepared and waiting in this process."""
        return [await self.prepared(await self.begun(self.issued(each, **data))) for each in trade_nos]

    async def prepared(self, collection: Record) -> tuple[Record, PendingTickets]:
        """A collection that is read by this process."""
        prepared = await self.stage.prepare(collection)
        assert isinstance(prepared.subject, PendingTickets)
        return collection, prepared.subject

    async def outcome(self, record: Record) -> OrderEvents:
        """What is published about a record that waits for nothing."""
        try:
            prepared = await self.stage.prepare(record)
            result = await self.stage.handle(prepared.subject, FakeRecordContext(record))
        except Exception as error:  # noqa: BLE001  # as the engine does
            return self.reader.read(self.stage.on_error(record, error, FakeRecordContext(record)))
        assert isinstance(result, Outcome)
        return self.reader.read(result)

    async def handle(self, record: Record, pending: CollectSubject) -> OrderEvents | datetime:
        """Handle a waiting record once: what is published, or when it is due again."""
        result = await self.stage.handle(pending, FakeRecordContext(record))
        if isinstance(result, RetryLater):
            return result.not_before
        return self.reader.read(result)

    async def run(self, *waiting: tuple[Record, PendingTickets], rounds: int = 3_000) -> list[OrderEvents]:
        """Handle waiting records whenever they are due, as the engine does, until each has ended."""
        due: dict[int, datetime] = {index: self.clock() for index in range(len(waiting))}
        ended: dict[int, OrderEvents] = {}
        for _ in range(rounds):
            if not due:
                return [ended[index] for index in range(len(waiting))]
            self.clock.time = max(self.clock.time, min(due.values()))
            for index in [each for each, at in due.items() if at <= self.clock()]:
                result = await self.handle(*waiting[index])
                if isinstance(result, datetime):
                    due[index] = result
                else:
                    ended[index] = result
                    del due[index]
        raise AssertionError(f"{len(due)} issuances wait for ever.")


def everything_shown(*things: object) -> Iterator[str]:
    """Each thing as a log line, an error text or a debugger would show it."""
    for each in things:
        yield repr(each)
        yield str(each)
