"""Parses the payload as it was sent into the protocol's requests, or refuses it for its form.

The types of `adapter.protocol` cannot hold a payload with TicketAmount "4", two trade numbers or the date 31 February,
so they cannot be used to check one. Here the types on the wire are checked against the pages: a String must be a JSON
string, an Int a JSON number without a fraction. Absent, null and "" are equal (docs/ecticket-protocol.md, 9.13).
Does not check the meaning of a request or the allowed values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from enum import Enum
from typing import Final, TypeVar

from adapter.dev.sandbox.codes import CallRefusal, Reason
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.protocol.query_issue_result import ResultRequest
from adapter.protocol.query_item_info import ItemRequest
from adapter.protocol.taipei import parse_date

_Member = TypeVar("_Member", bound=Enum)
_Key = TypeVar("_Key")
_Found = TypeVar("_Found")

_YYYYMMDD: Final = re.compile(r"[0-9]{8}")
_IMMEDIATE: Final = {"1": True, "2": False}
_NO_DATE: Final = date.min
_NO_TRADE_NO: Final = TradeNo(kind=TradeNoKind.MERCHANT, value="")
MAX_LINES: Final = 200
"""More TicketInfo entries than can ever be allowed; longer arrays are not read."""


class Fields:
    """One JSON object, read field by field; `problems` collects what is wrong."""

    def __init__(self, payload: Mapping[str, object], *, where: str = "", problems: list[str] | None = None) -> None:
        self._payload = payload
        self._where = where
        self.problems: list[str] = [] if problems is None else problems

    def text(self, name: str) -> str | None:
        """An optional String."""
        value = self._value(name)
        if value is None or isinstance(value, str):
            return value
        self._wrong(name, "must be a String")
        return None

    def required_text(self, name: str) -> str:
        """A String that must be there."""
        return self._required(name, self.text(name), "")

    def integer(self, name: str) -> int | None:
        """An optional Int."""
        value = self._value(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self._wrong(name, "must be an Int")
        return None

    def required_integer(self, name: str) -> int:
        """An Int that must be there."""
        return self._required(name, self.integer(name), 0)

    def day(self, name: str) -> date | None:
        """An optional date, exactly `yyyymmdd`."""
        text = self.text(name)
        if text is None:
            return None
        found = parse_date(text) if _YYYYMMDD.fullmatch(text) else None
        if found is None:
            self._wrong(name, "must be a date yyyymmdd")
        return found

    def required_day(self, name: str) -> date:
        """A date that must be there."""
        return self._required(name, self.day(name), _NO_DATE)

    def member(self, name: str, kind: type[_Member]) -> _Member | None:
        """An optional String from a documented set."""
        return self._one_of(name, self.text(name), {str(each.value): each for each in kind})

    def issue_type(self) -> IssueType:
        """The IssueType, which must be there."""
        return self._required("IssueType", self.member("IssueType", IssueType), IssueType.PAPER)

    def flag(self, name: str) -> bool | None:
        """An optional String "1" (true) or "2" (false)."""
        return self._one_of(name, self.text(name), _IMMEDIATE)

    def report_type(self) -> ReportType:
        """The ReportType, an Int that must be there."""
        found = self._one_of("ReportType", self.integer("ReportType"), {each.value: each for each in ReportType})
        return self._required("ReportType", found, ReportType.ORDERS)

    def trade_no(self) -> TradeNo:
        """The one of the two trade numbers that is filled."""
        given = [(kind, self.text(kind.field_name)) for kind in TradeNoKind]
        filled = [TradeNo(kind=kind, value=value) for kind, value in given if value]
        if len(filled) != 1:
            self.problems.append("exactly one of MerchantTradeNo and FreeTradeNo must be filled")
            return _NO_TRADE_NO
        return filled[0]

    def objects(self, name: str) -> Sequence[Fields]:
        """A required Array of objects."""
        value = self._value(name)
        if not isinstance(value, list) or not 0 < len(value) <= MAX_LINES:
            self._wrong(name, f"must be an Array of 1 to {MAX_LINES} objects")
            return ()
        if not all(isinstance(each, dict) for each in value):
            self._wrong(name, "must hold objects only")
            return ()
        return [
            Fields(each, where=f"{self._where}{name}[{index}].", problems=self.problems)
            for index, each in enumerate(value)
        ]

    def refusal(self) -> CallRefusal | None:
        """The refusal for all problems together, if there are any."""
        return CallRefusal(reason=Reason.FIELD, message="; ".join(self.problems)) if self.problems else None

    def _value(self, name: str) -> object:
        value = self._payload.get(name)
        return None if value == "" else value

    def _required(self, name: str, value: _Found | None, substitute: _Found) -> _Found:
        """Note a required field that is absent, unless its form is already known to be wrong."""
        if value is not None:
            return value
        if not any(problem.startswith(f"{self._where}{name} ") for problem in self.problems):
            self._wrong(name, "is missing")
        return substitute

    def _wrong(self, name: str, rule: str) -> None:
        self.problems.append(f"{self._where}{name} {rule}")

    def _one_of(self, name: str, value: _Key | None, members: Mapping[_Key, _Found]) -> _Found | None:
        if value is None:
            return None
        found = members.get(value)
        if found is None:
            self._wrong(name, f"must be one of {', '.join(str(each) for each in members)}")
        return found


def read_issue(payload: Mapping[str, object]) -> IssueRequest | CallRefusal:
    """An Issue request, or what is wrong with its form."""
    fields = Fields(payload)
    request = IssueRequest(
        merchant_id=fields.required_text("MerchantID"),
        trade_no=fields.trade_no(),
        issue_type=fields.issue_type(),
        operator=fields.required_text("Operator"),
        ticket_info=tuple(_ticket_info(entry) for entry in fields.objects("TicketInfo")),
        print_type=fields.member("PrintType", PrintType),
        is_immediate=fields.flag("IsImmediate"),
        store_id=fields.text("StoreID"),
        refund_notify_url=fields.text("RefundNotifyURL"),
        use_status_notify_url=fields.text("UseStatusNotifyURL"),
        customer_name=fields.text("CustomerName"),
        customer_phone=fields.text("CustomerPhone"),
        customer_email=fields.text("CustomerEmail"),
        customer_address=fields.text("CustomerAddress"),
        payment_provider=fields.text("PaymentProvider"),
    )
    return fields.refusal() or request


def read_result(payload: Mapping[str, object]) -> ResultRequest | CallRefusal:
    """A QueryIssueResult request, or what is wrong with its form."""
    fields = Fields(payload)
    request = ResultRequest(merchant_id=fields.required_text("MerchantID"), trade_no=fields.trade_no())
    return fields.refusal() or request


def read_item(payload: Mapping[str, object]) -> ItemRequest | CallRefusal:
    """A QueryItemInfo request, or what is wrong with its form."""
    fields = Fields(payload)
    request = ItemRequest(merchant_id=fields.required_text("MerchantID"), item_no=fields.required_text("ItemNo"))
    return fields.refusal() or request


def read_report(payload: Mapping[str, object]) -> ReportRequest | CallRefusal:
    """An OrderDetail request, or what is wrong with its form."""
    fields = Fields(payload)
    request = ReportRequest(
        merchant_id=fields.required_text("MerchantID"),
        report_type=fields.report_type(),
        begin_date=fields.required_day("BeginDate"),
        end_date=fields.required_day("EndDate"),
    )
    return fields.refusal() or request


def _ticket_info(fields: Fields) -> TicketInfo:
    return TicketInfo(
        item_no=fields.text("ItemNo"),
        item_name=fields.text("ItemName"),
        ticket_price=fields.integer("TicketPrice"),
        ticket_amount=fields.required_integer("TicketAmount"),
        start_date=fields.day("StartDate"),
        expire_date=fields.day("ExpireDate"),
    )
