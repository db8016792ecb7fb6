"""Plan an order as one or more parts, each one Issue call with its number and its complete request.

Every later query, resend, confirmation and event depends on the part's number. So the plan is made once and stays with
the order (`plan_codec`). Does not know what has happened to a part (see `state`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum, unique

from msgspec import Struct

from adapter.errors import DoesNotFit, InvalidOrder, TradeNoMissing
from adapter.issuance.normalisation import Change, visible
from adapter.issuance.order import Order, TicketItem, Voucher
from adapter.issuance.packing import Call, only_gifts, pack
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.issuance.validity import due, presale_problem, settle
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.rules import ISSUE_PAGE, Violation, issue_violations
from adapter.values import replace

CUSTOMER_FIELDS: Mapping[IssueType, tuple[str, ...]] = {
    IssueType.CONVENIENCE_STORE: ("email",),
    IssueType.PAPER: ("name", "address"),
    IssueType.ELECTRONIC: ("name", "phone", "email"),
    IssueType.SERIAL_NUMBER: (),
}
"""The customer fields that each issue type uses, as the notes of the page "Ticket Issuance" say.

Paper: name and address are for sending the printed tickets; the page's own example of PrintType 2 has the name. The
rules decide whether they are required.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """The fields of requests that come from the settings and not from the order."""

    family: Family = Family.TICKET
    operator: str | None = None
    """For orders without one."""
    store_id: str | None = None
    """For orders without one."""
    refund_notify_url: str | None = None
    """Goes into every request if it is set."""
    use_status_notify_url: str | None = None
    """Goes into every request if it is set."""
    payment_provider: str | None = None
    """Sent in family `issuance` only."""


def issue_request(order: Order, call: Call, trade_no: TradeNo, policy: RequestPolicy) -> IssueRequest:
    """Return the request for one call; its operator is empty if neither order nor policy names one (see `check`).

    ECTicket needs each field only with some issue types. Other fields are not sent, so that customer data go no further
    than necessary; a blank text counts as none.
    """
    issue_type = call[0].issue_type
    electronic = issue_type is IssueType.ELECTRONIC
    customer = {name: visible(getattr(order.customer, name)) for name in CUSTOMER_FIELDS[issue_type]}
    return IssueRequest(
        merchant_id=order.merchant_id,
        trade_no=trade_no,
        issue_type=issue_type,
        operator=visible(order.operator) or policy.operator or "",
        ticket_info=tuple(map(_entry, call)),
        print_type=order.print_type if issue_type is IssueType.PAPER else None,
        is_immediate=not call[0].is_presale if electronic else None,
        store_id=visible(order.store_id) or policy.store_id or None,
        refund_notify_url=policy.refund_notify_url or None,
        use_status_notify_url=policy.use_status_notify_url or None,
        customer_name=customer.get("name"),
        customer_phone=customer.get("phone"),
        customer_email=customer.get("email"),
        customer_address=customer.get("address"),
        payment_provider=policy.payment_provider if policy.family is Family.ISSUANCE else None,
    )


def _entry(item: TicketItem) -> TicketInfo:
    """Return one entry: a listed product by number, a serial number's product by name and price."""
    serial = item.issue_type is IssueType.SERIAL_NUMBER
    return TicketInfo(
        item_no=None if serial else item.item_no,
        item_name=item.name if serial else None,
        ticket_price=item.price if serial else None,
        ticket_amount=item.quantity,
        start_date=item.start_date,
        expire_date=item.expire_date,
    )


_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
"""No event can name such an order id."""
NAME_MAX_CHARACTERS = 255
"""The characters of an item's name that events contain; a shop's titles are no longer."""


@unique
class DeriveTradeNo(StrEnum):
    """When a part whose order brings no trade number gets a derived one (`submit.derive_trade_no`)."""

    NEVER = "never"
    SERIAL_AND_GIFT = "serial_and_gift"
    """Only serial numbers and calls of nothing but gift vouchers, which need no payment through ECPay."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPolicy(RequestPolicy):
    """The settings that planning needs; `prefix` begins each derived number."""

    derive: DeriveTradeNo = DeriveTradeNo.SERIAL_AND_GIFT
    prefix: str = ""


class PlannedItem(Struct, frozen=True, kw_only=True):
    """Some tickets of a part, as events show them, in the request's order."""

    item_no: str | None
    """None for serial numbers."""
    name: str | None
    quantity: int
    voucher: Voucher = Voucher.PICKUP
    start_moves: bool = False
    """As in `TicketItem`; the request holds the day that moves."""
    expire_moves: bool = False
    """As in `TicketItem`; the request holds the day that moves."""


class Part(Struct, frozen=True, kw_only=True):
    """One Issue call of an order."""

    number: int
    """The position of the part, from 1."""
    of: int
    """How many parts the order has."""
    trade_no: TradeNo
    request: IssueRequest
    items: tuple[PlannedItem, ...]
    reissue: int = 0
    """How many new numbers the part was given."""
    changes: tuple[Change, ...] = ()
    """What normalising its request changed; counted when the order is first planned."""

    @property
    def ticket_count(self) -> int:
        """How many tickets the part requests."""
        return sum([item.quantity for item in self.items])

    def request_on(self, today: date) -> IssueRequest:
        """Return the request for `today`, Taipei's date: no start that moves is before tomorrow."""
        if not any([item.start_moves for item in self.items]):  # noqa: C419  # a generator takes twice as long
            return self.request
        return due(self.request, [(item.start_moves, item.expire_moves) for item in self.items], today)


def plan(order: Order, items: Sequence[TicketItem], policy: PlanPolicy) -> tuple[Part, ...]:
    """Plan an order's calls; the same order, items and policy always give the same plan.

    Raises DoesNotFit for more than 20 calls, or more than one that needs the order's own trade number; TradeNoMissing
    when a part needs a number that may not be derived; InvalidOrder when the order contradicts itself, when there is
    nothing to issue, or when no number can be made.
    """
    if _HALF_A_PAIR.search(order.order_id):
        raise InvalidOrder("order_id holds half a surrogate pair. Send an order_id of ordinary characters.")
    calls = pack(settle(order, items))
    if order.trade_no and len(calls) > 1:
        paid = [call for call in calls if not only_gifts(call)]
        if len(paid) > 1:
            raise DoesNotFit(_one_number_only(paid))
    return tuple([_part(order, call, number, len(calls), policy) for number, call in enumerate(calls, 1)])


def check(parts: Sequence[Part], today: date) -> None:
    """Check all parts against every field rule of the specification; `today` is Taipei's date.

    Raises InvalidOrder with all violations of all parts, so that nothing is sent and all can be fixed at once.
    """
    found = [
        f"part {part.number} of {part.of}: {violation}" if part.of > 1 else str(violation)
        for part in parts
        for violation in _violations(part, today)
    ]
    if found:
        raise InvalidOrder(f"{' '.join(found)} Correct the order or its mapping, and send it again.")


def renumbered(part: Part, *, order_id: str, prefix: str) -> Part:
    """Return a finally failed part under its next derived number, because ECPay accepts no number twice."""
    reissue = part.reissue + 1
    value = derive_trade_no(part.request.merchant_id, order_id, part.number, prefix=prefix, reissue=reissue)
    trade_no = replace(part.trade_no, value=value)
    return replace(part, trade_no=trade_no, request=replace(part.request, trade_no=trade_no), reissue=reissue)


def _part(order: Order, call: Call, number: int, of: int, policy: PlanPolicy) -> Part:
    trade_no = _trade_no(order, call, number, policy)
    return Part(
        number=number,
        of=of,
        trade_no=trade_no,
        request=issue_request(order, call, trade_no, policy),
        items=tuple(map(_planned, call)),
    )


def _planned(item: TicketItem) -> PlannedItem:
    item_no = None if item.issue_type is IssueType.SERIAL_NUMBER else item.item_no
    return PlannedItem(
        item_no=item_no,
        name=_event_name(item.name),
        quantity=item.quantity,
        voucher=item.voucher,
        start_moves=item.start_moves,
        expire_moves=item.expire_moves,
    )


def _event_name(name: str | None) -> str | None:
    """Return a name that an event can contain: cut, and `?` for half a surrogate pair.

    The name decides nothing, so it is no reason to park an order. But a name that no event can contain would leave
    bought tickets without an event. (ECTicket gets the request's name, which is checked against its rules.)
    """
    return None if name is None else name[:NAME_MAX_CHARACTERS].encode("utf-8", "replace").decode()


def _trade_no(order: Order, call: Call, number: int, policy: PlanPolicy) -> TradeNo:
    """Return the order's own number for the first call, and derived numbers for the others.

    If any call needs a MerchantTradeNo, the first one does.
    """
    gifts = only_gifts(call)
    kind = TradeNoKind.FREE if gifts else TradeNoKind.MERCHANT
    if order.trade_no and number == 1:
        return TradeNo(kind=kind, value=order.trade_no)
    unpaid = gifts or call[0].issue_type is IssueType.SERIAL_NUMBER
    if policy.derive is DeriveTradeNo.NEVER or (policy.derive is DeriveTradeNo.SERIAL_AND_GIFT and not unpaid):
        raise TradeNoMissing(_no_number(order, call, number, policy.derive))
    return TradeNo(kind=kind, value=derive_trade_no(order.merchant_id, order.order_id, number, prefix=policy.prefix))


def _violations(part: Part, today: date) -> Iterator[str]:
    """Yield the request's violations, and those that only the plan can find: missing last days of gift vouchers."""
    request = part.request_on(today)
    for violation in issue_violations(request, today=today):
        cure = " Set submit.operator (ECTICKET_SUBMIT__OPERATOR) or send `operator` with the order."
        yield f"{violation}{cure if violation.field == 'Operator' else ''}"
    if problem := presale_problem(request):
        yield problem
    if part.trade_no.kind is TradeNoKind.MERCHANT:
        for position, (item, entry) in enumerate(zip(part.items, request.ticket_info, strict=False)):
            if item.voucher is Voucher.GIFT and entry.expire_date is None:
                field, rule = f"TicketInfo[{position}].ExpireDate", "is required for a gift voucher"
                yield str(Violation(field=field, rule=rule, page=ISSUE_PAGE, shape="absent"))


def _contents(call: Call) -> str:
    """Describe a call, for messages."""
    kind = call[0].issue_type.name.lower().replace("_", " ")
    return f"{sum(item.quantity for item in call)} {kind} tickets"


def _one_number_only(calls: Sequence[Call]) -> str:
    return (
        f"The order brings one trade_no but needs {len(calls)} Issue calls that carry a MerchantTradeNo "
        f"({'; '.join(map(_contents, calls))}), and ECPay accepts a number once. Split the order in the shop, or "
        "send it without trade_no where submit.derive_trade_no allows that."
    )


def _no_number(order: Order, call: Call, number: int, derive: DeriveTradeNo) -> str:
    if order.trade_no:
        return (
            f"The order's trade_no belongs to part 1, and submit.derive_trade_no is {derive}, so part {number} "
            f"({_contents(call)}, gift vouchers only) has no FreeTradeNo. Set submit.derive_trade_no to "
            "serial_and_gift, or split the order in the shop."
        )
    return (
        f"The order brings no trade_no, and submit.derive_trade_no is {derive}, so part {number} "
        f"({_contents(call)}) has no number. Send the payment's number as trade_no, or set submit.derive_trade_no to "
        "always if ECPay did not take the payment."
    )
