"""Queries products at ECTicket, and proves that a product does not exist.

"ECTicket does not know the product" needs two answers of QueryItemInfo: RtnCode ≠ 1 for the product, and after that
RtnCode 1 for another product of the merchant. In a maintenance every product is refused, and no RtnCode ≠ 1 has a fixed
meaning (docs/delivery.md, "Not known").
"""

from __future__ import annotations

from msgspec import Struct

from adapter.flows.ports import ItemQueries
from adapter.issuance.answers import SUCCESS
from adapter.protocol.credentials import Merchant
from adapter.protocol.query_item_info import ItemReply
from adapter.provider.client import Purpose


class ItemAnswer(Struct, frozen=True, kw_only=True):
    """An answer about a product. `is_certain`: it exists, or it is proven that it does not."""

    reply: ItemReply
    is_certain: bool

    @property
    def is_found(self) -> bool:
        """Whether ECTicket knows the product."""
        return self.reply.rtn_code == SUCCESS


class ItemLookup:
    """Queries products; remembers one product of each merchant that exists, for the proof."""

    def __init__(self, ecticket: ItemQueries) -> None:
        self._ecticket = ecticket
        self._existing: dict[str, str] = {}

    def can_prove(self, merchant_id: str) -> bool:
        """Whether a product of this merchant is known to exist."""
        return merchant_id in self._existing

    async def query(self, merchant: Merchant, item_no: str) -> ItemAnswer:
        """Query a product with one call, or two if ECTicket does not know it. Raises CallError: there is no answer."""
        reply = await self._ecticket.item(merchant, item_no, purpose=Purpose.ITEM)
        if reply.rtn_code == SUCCESS:
            self._existing[merchant.merchant_id] = item_no
            return ItemAnswer(reply=reply, is_certain=True)
        existing = self._existing.get(merchant.merchant_id)
        if existing is None or existing == item_no:
            return ItemAnswer(reply=reply, is_certain=False)
        proof = await self._ecticket.item(merchant, existing, purpose=Purpose.ITEM)
        return ItemAnswer(reply=reply, is_certain=proof.rtn_code == SUCCESS)
