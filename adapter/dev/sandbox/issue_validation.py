"""Whether an Issue request may become tickets: the field rules, and the rules that need the server's data.

The field rules are those of `protocol.rules`, which clients use too. Added are the rules about items and their kinds,
listing, and branches. `services` checks trade numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from adapter.dev.sandbox.catalogue import ItemCatalogue
from adapter.dev.sandbox.codes import CallRefusal, Reason
from adapter.dev.sandbox.order_store import StoredLine
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.rules import Violation, issue_violations


def field_refusal(violations: Iterable[Violation]) -> CallRefusal | None:
    """The refusal for broken field rules, if there are any."""
    message = " ".join(str(violation) for violation in violations)
    return CallRefusal(reason=Reason.FIELD, message=message) if message else None


class IssueValidator:
    """Checks Issue requests against the rules, the catalogue and the branches of `settings`."""

    def __init__(self, settings: SandboxSettings, catalogue: ItemCatalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue

    def lines(self, request: IssueRequest, family: Family, today: date) -> tuple[StoredLine, ...] | CallRefusal:
        """The lines to store, or the first reason to refuse the request; `today` is the date in Taipei."""
        refusal = (
            field_refusal(issue_violations(request, today=today))
            or self._provider_problem(request, family)
            or self._not_open_problem(request)
            or _store_problem(request.store_id, self._settings.stores)
        )
        if refusal:
            return refusal
        lines: list[StoredLine] = []
        for entry in request.ticket_info:
            line = self._line(request, entry, today)
            if isinstance(line, CallRefusal):
                return line
            lines.append(line)
        return _voucher_problem(lines) or tuple(lines)

    def _provider_problem(self, request: IssueRequest, family: Family) -> CallRefusal | None:
        required = family is Family.ISSUANCE and self._settings.payment_provider_required
        if required and request.payment_provider is None:
            return CallRefusal(reason=Reason.FIELD, message="PaymentProvider is missing: this path asks for 1 or 2")
        return None

    def _not_open_problem(self, request: IssueRequest) -> CallRefusal | None:
        if request.issue_type is IssueType.SERIAL_NUMBER and not self._settings.serial_numbers_open:
            return CallRefusal(reason=Reason.NOT_OPEN, message="IssueType 4 is not open yet")
        return None

    def _line(self, request: IssueRequest, entry: TicketInfo, today: date) -> StoredLine | CallRefusal:
        # IsImmediate 1: "this field is fixed as the date of ticket issuance" (spec, Issue); the same holds for all
        # types that are always immediate.
        presale = request.issue_type is IssueType.ELECTRONIC and request.is_immediate is False
        start = entry.start_date if presale and entry.start_date else today
        if request.issue_type is IssueType.SERIAL_NUMBER:
            return _serial_line(entry, start)
        item = self._catalogue.find(entry.item_no or "")
        if item is None:
            return CallRefusal(reason=Reason.ITEM_UNKNOWN, message=f"ItemNo {entry.item_no} does not exist")
        if not item.listed:
            return CallRefusal(reason=Reason.ITEM_OFF_SHELF, message=f"ItemNo {entry.item_no} is delisted")
        return StoredLine(
            item_no=item.item_no,
            name=item.name,
            ticket_type=item.ticket_type,
            price=item.price,
            quantity=entry.ticket_amount,
            start_date=start,
            expire_date=entry.expire_date,
        )


def _serial_line(entry: TicketInfo, start: date) -> StoredLine:
    """Serial numbers name no listed item; ExpireDate, which only gift vouchers may have, decides their kind."""
    return StoredLine(
        item_no=None,
        name=entry.item_name or "",
        ticket_type=TicketType.PICKUP if entry.expire_date is None else TicketType.GIFT,
        price=entry.ticket_price or 0,
        quantity=entry.ticket_amount,
        start_date=start,
        expire_date=entry.expire_date,
    )


def _store_problem(store_id: str | None, stores: Mapping[str, bool]) -> CallRefusal | None:
    if store_id is None or stores.get(store_id):
        return None
    state = "is not active" if store_id in stores else "does not exist"
    return CallRefusal(reason=Reason.STORE, message=f"StoreID {store_id} {state}")


def _voucher_problem(lines: Iterable[StoredLine]) -> CallRefusal | None:
    """ExpireDate is given for gift vouchers and for nothing else, according to the items' kinds.

    The field rules require FreeTradeNo for orders in which every entry expires, and MerchantTradeNo for all others; so
    with this rule the items also decide the kind of number.
    """
    for line in lines:
        gift = line.ticket_type is TicketType.GIFT
        if gift and line.expire_date is None:
            return CallRefusal(
                reason=Reason.FIELD, message=f"ExpireDate is required for the gift voucher {line.item_no}"
            )
        if not gift and line.expire_date is not None:
            return CallRefusal(
                reason=Reason.FIELD, message=f"ExpireDate is only for gift vouchers; {line.item_no} is none"
            )
    return None
