"""Which fields of an order go into an Issue request, and when.

Exists because ECTicket wants each field only with some issue types; what is not wanted is not sent, so that a
customer's data never travel further than they must. Refuses to judge values (`protocol.rules`): a request may well be a
wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from adapter.issuance.items import TicketItem
from adapter.issuance.normalisation import visible
from adapter.issuance.order import Customer, Order
from adapter.issuance.packing import Call
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo, TradeNo

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
    """The request for one call; its operator is empty when neither order nor policy names one (see `plan.check`)."""
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
