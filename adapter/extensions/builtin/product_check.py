"""Compares a product in the catalogue with ECTicket's description of it (page "Query Product Information").

Does not query ECTicket and does not decide what a difference costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from adapter.extensions.builtin.catalogue_entry import CatalogueEntry
from adapter.issuance.order import Voucher
from adapter.protocol.query_item_info import ItemReply, ItemStatus, TicketType

Uses = Mapping[str, CatalogueEntry]
"""The catalogue's entries of one product, by sku."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A difference that will cause an error when the product is sold; `message` says what to do."""

    kind: Literal["delisted", "gift-sold-as-pickup", "pickup-sold-as-gift", "price", "issue-type"]
    message: str
    sku: str | None = None
    """The entry that differs; None: all entries of the product."""


def products(catalogue: Mapping[str, CatalogueEntry]) -> dict[str, dict[str, CatalogueEntry]]:
    """Return the catalogue's entries by item number, then by sku, without serial numbers."""
    found: dict[str, dict[str, CatalogueEntry]] = {}
    for sku, entry in catalogue.items():
        if entry.item_no is not None:
            found.setdefault(entry.item_no, {})[sku] = entry
    return found


def differences(reply: ItemReply, uses: Uses) -> Iterator[Difference]:
    """Return the differences of a product that ECTicket knows; `uses` are its entries, empty without a catalogue."""
    if reply.item_status is ItemStatus.DELISTED:
        yield Difference(
            kind="delisted",
            message=f"Product {reply.item_no} is delisted (ItemStatus 0), so ECTicket refuses to issue it. List it in "
            "ECPay's vendor management system, or stop selling it.",
        )
    for sku, entry in uses.items():
        yield from _of_entry(reply, sku, entry)


def _of_entry(reply: ItemReply, sku: str, entry: CatalogueEntry) -> Iterator[Difference]:
    offered = dict.fromkeys(instruction.issue_type.name.lower() for instruction in reply.instructions)
    if entry.issue_type is not None and offered and entry.issue_type.name.lower() not in offered:
        yield Difference(
            kind="issue-type",
            sku=sku,
            message=f"Product {reply.item_no} has instructions (InstructionsList) for {', '.join(offered)}, but the "
            f"catalogue sells it as {entry.issue_type.name.lower()} under sku '{sku}'. Correct issue_type, or add the "
            "type to the product at ECPay.",
        )
    if reply.ticket_type is TicketType.GIFT and entry.kind is not Voucher.GIFT:
        unless = "" if entry.voucher else ", unless the order's line gives expire_date"
        yield Difference(
            kind="gift-sold-as-pickup",
            sku=sku,
            message=f"Product {reply.item_no} is a gift voucher (TicketType 2), but the catalogue sells it as a pickup "
            f"voucher under sku '{sku}'{unless}. Write voucher: gift and a last day into the catalogue.",
        )
    if reply.ticket_type is TicketType.PICKUP and entry.kind is Voucher.GIFT:
        yield Difference(
            kind="pickup-sold-as-gift",
            sku=sku,
            message=f"Product {reply.item_no} is a pickup voucher (TicketType 1), but the catalogue sells it as a gift "
            f"voucher under sku '{sku}'. Remove voucher: gift and the last day from the catalogue.",
        )
    if entry.price is not None and reply.item_amount is not None and entry.price != reply.item_amount:
        yield Difference(
            kind="price",
            sku=sku,
            message=f"Product {reply.item_no} has a face value of {reply.item_amount} (ItemAmount), but the catalogue "
            f"says {entry.price} under sku '{sku}'. Correct one of the two.",
        )
