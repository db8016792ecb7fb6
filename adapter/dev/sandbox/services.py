"""The four endpoints without faults: a payload in; an answer's payload, a report or a refusal out.

`simulator` adds the faults. Time is an argument; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from adapter.dev.sandbox.catalogue import ItemCatalogue
from adapter.dev.sandbox.codes import SUCCESS, CallRefusal, Reason
from adapter.dev.sandbox.fault_types import JobFails, JobNeverFinishes
from adapter.dev.sandbox.faults import InjectedFaults
from adapter.dev.sandbox.issue_validation import IssueValidator, field_refusal
from adapter.dev.sandbox.order_store import Job, OrderStore, StoredOrder
from adapter.dev.sandbox.payload_parsing import read_issue, read_item, read_report, read_result
from adapter.dev.sandbox.reports import report_chunks, report_form
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.dev.sandbox.ticket_states import TicketStates
from adapter.protocol.endpoints import Endpoint, Family
from adapter.protocol.issue import IssueRequest, IssueType, TradeNo, TradeNoKind
from adapter.protocol.query_item_info import ItemStatus
from adapter.protocol.rules import item_violations, report_violations, result_violations
from adapter.protocol.taipei import TAIPEI

Payload: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvReport:
    """A CSV file, generated while it is sent."""

    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCall:
    """One accepted envelope: its endpoint, its sender, and its payload."""

    endpoint: Endpoint
    family: Family
    merchant_id: str
    platform_id: str | None
    payload: Payload


class Services:
    """ECTicket without faults: rules, order store and catalogue."""

    def __init__(
        self, settings: SandboxSettings, store: OrderStore, ticket_states: TicketStates, catalogue: ItemCatalogue
    ) -> None:
        self._settings = settings
        self._store = store
        self._ticket_states = ticket_states
        self._catalogue = catalogue
        self._validator = IssueValidator(settings, catalogue)
        self._last_report: dict[str, datetime] = {}

    def carry_out(
        self, call: ServiceCall, injected: InjectedFaults, now: datetime
    ) -> Payload | CsvReport | CallRefusal:
        """Carry out the call, now."""
        if call.payload.get("MerchantID") != call.merchant_id:
            message = "MerchantID inside Data is not the envelope's"
            return CallRefusal(reason=Reason.MERCHANT_MISMATCH, message=message)
        match call.endpoint:
            case Endpoint.ISSUE:
                return self._issue(call, injected, now)
            case Endpoint.QUERY_ISSUE_RESULT:
                return self._query(call, now)
            case Endpoint.QUERY_ITEM_INFO:
                return self._item(call)
            case Endpoint.ORDER_DETAIL:
                return self._report(call, injected, now)

    def _issue(self, call: ServiceCall, injected: InjectedFaults, now: datetime) -> Payload | CallRefusal:
        request = read_issue(call.payload)
        if isinstance(request, CallRefusal):
            return request
        lines = self._validator.lines(request, call.family, now.astimezone(TAIPEI).date())
        if isinstance(lines, CallRefusal):
            return lines
        if self._store.knows((call.merchant_id, request.trade_no)) and not injected.accept_repeats:
            return CallRefusal(
                reason=Reason.REPEATED_TRADE_NO, message=f"{request.trade_no.kind.field_name} was used before"
            )
        visible_at = now + timedelta(seconds=self._settings.visible_after_seconds)
        job = self._job(request, injected, now)
        order = self._store.add(
            request, lines, received_at=now, visible_at=visible_at, job=job, platform_id=call.platform_id
        )
        if order is None:
            return CallRefusal(reason=Reason.ORDER_STORE_FULL, message="the sandbox holds as many orders as it may")
        return _issued(order)

    def _job(self, request: IssueRequest, injected: InjectedFaults, now: datetime) -> Job:
        # "For paper tickets, [...] will execute the issuance immediately upon calling the API" (spec, Issue).
        seconds = 0.0 if request.issue_type is IssueType.PAPER else self._settings.job_seconds
        ends_at = now + timedelta(seconds=seconds)
        match injected.job:
            case JobNeverFinishes():
                return Job(ends_at=None)
            case JobFails(remark=remark):
                return Job(ends_at=ends_at, failure=remark)
            case None:
                return Job(ends_at=ends_at)

    def _query(self, call: ServiceCall, now: datetime) -> Payload | CallRefusal:
        request = read_result(call.payload)
        if isinstance(request, CallRefusal):
            return request
        if refusal := field_refusal(result_violations(request)):
            return refusal
        order = self._store.visible((call.merchant_id, request.trade_no), now)
        if order is None:
            return CallRefusal(reason=Reason.UNKNOWN_TRADE_NO, message="no order has this number")
        answer = {"Status": int(order.status(now)), "Remark": order.remark(now)}
        return {"RtnCode": SUCCESS, "RtnMsg": "成功", **_both_numbers(request.trade_no), **answer}

    def _item(self, call: ServiceCall) -> Payload | CallRefusal:
        request = read_item(call.payload)
        if isinstance(request, CallRefusal):
            return request
        if refusal := field_refusal(item_violations(request)):
            return refusal
        item = self._catalogue.find(request.item_no)
        if item is None:
            return CallRefusal(reason=Reason.ITEM_UNKNOWN, message=f"ItemNo {request.item_no} does not exist")
        return {
            "RtnCode": SUCCESS,
            "RtnMsg": "success",
            "MerchantID": call.merchant_id,
            "ItemNo": item.item_no,
            "ItemName": item.name,
            "TicketType": item.ticket_type.value,
            "ItemAmount": item.price,
            "ItemStatus": (ItemStatus.LISTED if item.listed else ItemStatus.DELISTED).value,
            "ModifyDate": f"{item.modified_at.astimezone(TAIPEI):%Y%m%d %H:%M}",
            "InstructionsList": [{"IssueType": kind.value, "Description": text} for kind, text in item.instructions],
        }

    def _report(self, call: ServiceCall, injected: InjectedFaults, now: datetime) -> CsvReport | CallRefusal:
        request = read_report(call.payload)
        if isinstance(request, CallRefusal):
            return request
        if refusal := field_refusal(report_violations(request)):
            return refusal
        last, interval = self._last_report.get(call.merchant_id), self._settings.report_interval_seconds
        if last is not None and now - last < timedelta(seconds=interval):
            return CallRefusal(
                reason=Reason.REPORT_TOO_SOON, message=f"one report in {interval:g} seconds per MerchantID"
            )
        self._last_report[call.merchant_id] = now
        orders = self._store.received(call.merchant_id, request.begin_date, request.end_date, now)
        form = report_form(request.report_type, self._settings.report_encoding, injected.report)
        return CsvReport(chunks=report_chunks(orders, self._ticket_states, form, now))


def _issued(order: StoredOrder) -> Payload:
    return {
        "RtnCode": SUCCESS,
        "RtnMsg": "success",
        **_both_numbers(order.request.trade_no),
        "TicketTradeNo": order.ticket_trade_no,
        "TicketData": [
            {"ItemName": line.name, "TicketPrice": line.price, "TicketAmount": line.quantity}
            if line.item_no is None
            else {"ItemNo": line.item_no, "TicketAmount": line.quantity}
            for line in order.lines
        ],
    }


def _both_numbers(trade_no: TradeNo) -> dict[str, str]:
    """Both fields, the unused one empty, as in the specification's examples."""
    return {kind.field_name: trade_no.value if kind is trade_no.kind else "" for kind in TradeNoKind}
