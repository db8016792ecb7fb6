"""Compares the products of an order with ECTicket's description of them (page "Query Product Information").

Finds only what makes ECTicket refuse the Issue call. Does not compare prices and instructions: an Issue call for listed
products has no price, and no page says that a product without instructions for an issue type is not issued as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique

from adapter.issuance.plan import Part
from adapter.protocol.issue import TicketInfo
from adapter.protocol.query_item_info import ItemReply, ItemStatus, TicketType
from adapter.protocol.rules import ITEM_PAGE, Violation


@unique
class ItemRule(StrEnum):
    """A rule that a product of an order can break."""

    NOT_FOUND = "not-found"
    """ECTicket does not know the product."""
    DELISTED = "delisted"
    """The product is off the shelf."""
    GIFT_WITHOUT_LAST_DAY = "gift-without-last-day"
    """It is a gift voucher, and the entry has no ExpireDate."""
    PICKUP_WITH_LAST_DAY = "pickup-with-last-day"
    """It is a pickup voucher, and the entry has an ExpireDate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFacts:
    """What decides whether a product can be issued. None: ECTicket's answer does not say."""

    exists: bool
    listed: bool | None = None
    ticket_type: TicketType | None = None

    @classmethod
    def from_reply(cls, reply: ItemReply) -> ItemFacts:
        """The facts in an answer with RtnCode 1."""
        listed = None if reply.item_status is None else reply.item_status is ItemStatus.LISTED
        return cls(exists=True, listed=listed, ticket_type=reply.ticket_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFinding:
    """A product of an order that cannot be issued; `violation` names the field, the rule and the page."""

    item_no: str
    rule: ItemRule
    violation: Violation


def queried_items(parts: Sequence[Part]) -> tuple[str, ...]:
    """The item numbers of the parts, each once; serial numbers have none."""
    entries = (entry for part in parts for entry in part.request.ticket_info)
    return tuple(dict.fromkeys(entry.item_no for entry in entries if entry.item_no is not None))


def item_findings(parts: Sequence[Part], facts: Mapping[str, ItemFacts]) -> tuple[ItemFinding, ...]:
    """What cannot be issued, in the order of the parts; a product without facts breaks no rule."""
    return tuple(
        finding
        for part in parts
        for position, entry in enumerate(part.request.ticket_info)
        if entry.item_no is not None and entry.item_no in facts
        for finding in _of_entry(f"TicketInfo[{position}]", entry.item_no, entry, facts[entry.item_no])
    )


def _of_entry(field: str, item_no: str, entry: TicketInfo, facts: ItemFacts) -> Iterator[ItemFinding]:
    if not facts.exists:
        yield _finding(item_no, ItemRule.NOT_FOUND, f"{field}.ItemNo", "must be a product of the merchant")
        return
    if facts.listed is False:
        yield _finding(item_no, ItemRule.DELISTED, f"{field}.ItemNo", "must be on the shelf (ItemStatus 1)")
    if facts.ticket_type is TicketType.GIFT and entry.expire_date is None:
        rule = "is required, because the product is a gift voucher (TicketType 2)"
        yield _finding(item_no, ItemRule.GIFT_WITHOUT_LAST_DAY, f"{field}.ExpireDate", rule)
    if facts.ticket_type is TicketType.PICKUP and entry.expire_date is not None:
        rule = "must be absent, because the product is a pickup voucher (TicketType 1)"
        yield _finding(item_no, ItemRule.PICKUP_WITH_LAST_DAY, f"{field}.ExpireDate", rule)


_SHAPES: Mapping[ItemRule, str] = {
    ItemRule.NOT_FOUND: "unknown to ECTicket",
    ItemRule.DELISTED: "delisted (ItemStatus 0)",
    ItemRule.GIFT_WITHOUT_LAST_DAY: "absent",
    ItemRule.PICKUP_WITH_LAST_DAY: "given",
}


def _finding(item_no: str, rule: ItemRule, field: str, text: str) -> ItemFinding:
    violation = Violation(field=f"{field} of product {item_no}", rule=text, page=ITEM_PAGE, shape=_SHAPES[rule])
    return ItemFinding(item_no=item_no, rule=rule, violation=violation)
