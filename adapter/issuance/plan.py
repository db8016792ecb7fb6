"""The plan: an order as one or more parts, each one Issue call with its number and its complete request.

Exists because everything that is later asked, sent again, confirmed or told hangs on the part's number: the plan is
made once and travels with the order (`plan_codec`). Refuses to know what has already happened to a part (`state`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum, unique

from adapter.errors import DoesNotFit, InvalidOrder, TradeNoMissing
from adapter.issuance.normalisation import Change, visible
from adapter.issuance.order import Customer, Order, TicketItem, Voucher
from adapter.issuance.packing import Call, only_gifts, pack
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.issuance.validity import due, presale_problem, settle
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.rules import ISSUE_PAGE, Violation, issue_violations

CUSTOMER_FIELDS: Mapping[IssueType, tuple[str, ...]] = {
    IssueType.CONVENIENCE_STORE: ("email",),
    IssueType.PAPER: ("name", "address"),
    IssueType.ELECTRONIC: ("name", "phone", "email"),
    IssueType.SERIAL_NUMBER: (),
}
"""The customer fields that each issue type uses, as the notes of the page "Ticket Issuance" say.

Paper: name and address are for sending tickets, by whoever prints them; the page's own example of PrintType 2 carries
the name. Whether they must be there is the rules' question.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """What requests carry that orders do not say; `operator` and `store_id` stand in where an order has none.

    `payment_provider` is sent in family `issuance` only. The notification URLs go into every request when they are set.
    """

    family: Family = Family.TICKET
    operator: str | None = None
    store_id: str | None = None
    refund_notify_url: str | None = None
    use_status_notify_url: str | None = None
    payment_provider: str | None = None


def issue_request(order: Order, call: Call, trade_no: TradeNo, policy: RequestPolicy) -> IssueRequest:
    """The request for one call; its operator is empty when neither order nor policy names one (see `check`).

    ECTicket wants each field only with some issue types. What is not wanted is not sent, so that a customer's data
    never travel further than they must.
    """
    issue_type = call[0].issue_type
    electronic = issue_type is IssueType.ELECTRONIC
    customer = used_customer(order.customer, issue_type)
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
        customer_name=customer.name,
        customer_phone=customer.phone,
        customer_email=customer.email,
        customer_address=customer.address,
        payment_provider=policy.payment_provider if policy.family is Family.ISSUANCE else None,
    )


def used_customer(customer: Customer, issue_type: IssueType) -> Customer:
    """The customer, reduced to what the issue type uses; a blank text is as good as none."""
    return Customer(**{name: visible(getattr(customer, name)) for name in CUSTOMER_FIELDS[issue_type]})


def _entry(item: TicketItem) -> TicketInfo:
    """One entry: a listed product by number, a serial number's product by name and price."""
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
"""What of an item's name is told; a shop's titles are no longer."""


@unique
class DeriveTradeNo(StrEnum):
    """When a part whose order brings no trade number gets a derived one (`submit.derive_trade_no`)."""

    NEVER = "never"
    SERIAL_AND_GIFT = "serial_and_gift"
    """Only serial numbers and calls of nothing but gift vouchers, which need no payment through ECPay."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanPolicy(RequestPolicy):
    """What planning is told by the settings; `prefix` begins each derived number."""

    derive: DeriveTradeNo = DeriveTradeNo.SERIAL_AND_GIFT
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedItem:
    """Some tickets of a part, as events tell of them; `item_no` is None for serial numbers. In the request's order.

    `start_moves`, `expire_moves`: as `TicketItem` has them; the request holds the days from which they are counted.
    """

    item_no: str | None
    name: str | None
    quantity: int
    voucher: Voucher = Voucher.PICKUP
    start_moves: bool = False
    expire_moves: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Issue call of an order: the `number`-th (from 1) `of` all; `reissue` counts the new numbers it was given.

    `changes` are what normalising its request changed, to be counted when the order is first planned.
    """

    number: int
    of: int
    trade_no: TradeNo
    request: IssueRequest
    items: tuple[PlannedItem, ...]
    reissue: int = 0
    changes: tuple[Change, ...] = field(default=(), compare=False)

    @property
    def ticket_count(self) -> int:
        """How many tickets the part asks for."""
        return sum(item.quantity for item in self.items)

    def request_on(self, today: date) -> IssueRequest:
        """The request as it is checked and sent `today`, Taipei's date: no start that moves lies before tomorrow."""
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
    paid = [call for call in calls if not only_gifts(call)]
    if order.trade_no and len(paid) > 1:
        raise DoesNotFit(_one_number_only(paid))
    return tuple(_part(order, call, number, len(calls), policy) for number, call in enumerate(calls, 1))


def check(parts: Sequence[Part], today: date) -> None:
    """Hold all parts against every field rule of the specification; `today` is Taipei's date.

    Raises InvalidOrder with all violations of all parts, so that nothing is sent and everything is mended at once.
    """
    found = [
        f"part {part.number} of {part.of}: {violation}" if part.of > 1 else str(violation)
        for part in parts
        for violation in _violations(part, today)
    ]
    if found:
        raise InvalidOrder(f"{' '.join(found)} Mend the order, or the mapping behind it, and send it again.")


def renumbered(part: Part, *, order_id: str, prefix: str) -> Part:
    """The part under its next derived number, for when it finally failed: ECPay takes no number twice."""
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
        items=tuple(_planned(item) for item in call),
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
    """A name as it can be told: cut, and `?` for half a surrogate pair.

    It decides nothing, so it is no reason to park an order. But what could not be told once the tickets are bought
    would leave them without an event for ever. (What ECTicket gets is the request's, and held against its rules.)
    """
    return None if name is None else name[:NAME_MAX_CHARACTERS].encode("utf-8", "replace").decode()


def _trade_no(order: Order, call: Call, number: int, policy: PlanPolicy) -> TradeNo:
    """The order's own number for the first call, which is the one that needs a MerchantTradeNo if any does.

    Other calls get derived numbers.
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
    """The request's violations, and what only the plan knows: which tickets are gifts, and whose operator is meant."""
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
    """A call in words, for messages."""
    kind = call[0].issue_type.name.lower().replace("_", " ")
    return f"{sum(item.quantity for item in call)} {kind} tickets"


def _one_number_only(calls: Sequence[Call]) -> str:
    return (
        f"The order brings one trade_no but needs {len(calls)} Issue calls that carry a MerchantTradeNo "
        f"({'; '.join(map(_contents, calls))}), and ECPay takes a number only once. Split the order in the shop, or "
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
