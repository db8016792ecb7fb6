"""The flows' interfaces to everything outside Kafka, as narrow as possible; and the names of the topics."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from adapter.flows.messages.events import EventData
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import IssueReply, IssueRequest, TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportRequest, TicketRow
from adapter.protocol.query_issue_result import ResultReply
from adapter.protocol.query_item_info import ItemReply
from adapter.protocol.report_csv import ReportRows
from adapter.provider.client import Purpose

Clock = Callable[[], datetime]
"""Now, aware, UTC."""


class Ecticket(Protocol):
    """ECTicket as the flows call it; `provider.client.EcticketClient` is the real one and documents the errors."""

    async def issue(
        self, merchant: Merchant, request: IssueRequest, *, subject: str, authorize_send: Callable[[], None]
    ) -> IssueReply: ...

    async def query(self, merchant: Merchant, trade_no: TradeNo, *, purpose: Purpose) -> ResultReply: ...

    async def control(self, merchant: Merchant, kind: TradeNoKind, *, purpose: Purpose) -> ResultReply: ...

    def last_accepted(self, merchant_id: str) -> datetime | None: ...


class ItemQueries(Protocol):
    """QueryItemInfo as the flows call it; `provider.client.EcticketClient` documents the errors."""

    async def item(self, merchant: Merchant, item_no: str, *, purpose: Purpose) -> ItemReply: ...


class TicketReport(Protocol):
    """One downloaded ticket report; `provider.report_file.ReportFile` is the real one."""

    def ticket_rows(self) -> ReportRows[TicketRow]: ...


class TicketReports(Protocol):
    """The ticket reports of ECTicket, one per merchant and minute; `provider.report_source.ReportSource` is the real
    one and documents the errors.
    """

    def download(self, merchant: Merchant, request: ReportRequest) -> AbstractAsyncContextManager[TicketReport]: ...

    def expected_wait(self, merchant_id: str) -> float: ...


class Merchants(Protocol):
    """The configured merchants, with their present keys."""

    @property
    def ids(self) -> tuple[str, ...]: ...

    def find(self, merchant_id: str) -> Merchant | None: ...


def bulkhead_of(merchant_id: str, merchants: Merchants) -> str | None:
    """The bulkhead of a merchant's records in the engine; None if only one merchant is configured.

    Merchants that are not configured share one bulkhead, so that a record cannot create its own.
    """
    ids = merchants.ids
    if merchant_id not in ids:
        return ""
    return merchant_id if len(ids) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The names of the topics that flows read and write."""

    orders_paid: str
    orders_deferred: str
    confirmations: str
    issuances: str
    tickets: str
    collected: str
    dead_letters: str
    reconciliations: str

    def topic_for(self, event: type[EventData]) -> str:
        """The name of the topic for events of this type."""
        return str(getattr(self, event.TOPIC))  # a role is the name of a topic's setting, as the fields here are


class FlowObserver(Protocol):
    """Gets the decisions of the flows, for metrics. Called on the loop: must be quick and must not raise."""

    def order_settled(self, outcome: str) -> None:
        """An order record was settled: `submitted`, `failed`, `deferred`, `skipped`, `parked`, `ignored`.

        Called once for each of these that applies.
        """

    def issuance_published(self, event: str, *, recovered: bool) -> None:
        """An issuance's event is about to be published: `submitted`, `issued`, `failed` or `delayed`."""

    def issued_after(self, merchant_id: str, *, since_paid: float | None, since_record: float | None) -> None:
        """An issuance is issued, so many seconds after its order's `paid_at` and after its record was written; None
        where that time is not known.
        """

    def recovered(self, merchant_id: str, after: str) -> None:
        """A query found an issuance whose Issue call brought no answer (`doubt`), or which an earlier owner of its
        partition may have sent (`takeover`).
        """

    def duplicate_avoided(self, merchant_id: str, reason: str) -> None:
        """A part is not sent, because its tickets exist: an earlier record of its order was issued
        (`earlier_record`), or the order was replayed and no Issue call of it is known (`replay`).
        """

    def ignored(self, plugin: str, reason: str) -> None:
        """A plugin's parse_order ignored a record; `reason` is one of a few texts."""

    def parked(self, stage: str, reason: str) -> None:
        """A record goes to the dead letters."""

    def deferred(self, reason: str) -> None:
        """A part is deferred to a later run."""

    def untrusted_headers(self, stage: str, trust: str) -> None:
        """A record's `ecticket-*` headers have no valid signature; `trust` is one of `signatures.Trust`."""

    def control_known(self, merchant_id: str) -> None:
        """ECTicket claimed to know a random number: an alarm, because no number is ever "not known" then."""

    def normalised(self, field: str, kind: str) -> None:
        """The spelling of an order's field was changed for ECTicket (`issuance.normalisation.Kind`)."""

    def no_known_number(self, merchant_id: str) -> None:
        """An order in doubt waits because no number of the merchant is known to exist."""

    def ticket_data_differs(self, merchant_id: str) -> None:
        """ECTicket accepted an Issue with other tickets than requested: an alarm."""

    def items_checked(self, merchant_id: str, result: str) -> None:
        """The products of an order were checked before it is sent: `issuable`, `unanswered` (nothing is known about
        some of them), or each rule that is broken (`issuance.item_check.ItemRule`).
        """

    def report_for_collecting(self, merchant_id: str, outcome: str) -> None:
        """A ticket report was needed for collecting: `read`, or `failed`."""

    def tickets_collected(self, merchant_id: str, count: int) -> None:
        """The numbers of so many tickets are about to be published."""
