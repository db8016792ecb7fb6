"""The comparison of a catalogue with an ECTicket in memory: when a product counts as not found, and when as unknown."""

from __future__ import annotations

import pytest

from adapter.errors import BreakerOpen, CallError, InDoubt
from adapter.extensions.builtin.catalogue_entry import CatalogueEntry
from adapter.operations.catalogue_check import CatalogueCheck, CatalogueFinding
from adapter.protocol.credentials import Merchant
from adapter.protocol.query_item_info import ItemReply
from adapter.provider.client import Purpose
from adapter.testing.clock import NOON, Clock
from adapter.testing.ecticket import BUSY, FakeEcticket
from adapter.testing.fakes import FakeMerchants

FIRST, SECOND = "3085676", "3002607"


class PerMerchant:
    """Each merchant has products of its own, and may not answer."""

    def __init__(self, **items: set[str]) -> None:
        self.ecticket = FakeEcticket(Clock())
        self.items = {name.removeprefix("m"): numbers for name, numbers in items.items()}
        self.errors: dict[str, CallError] = {}
        self.calls: list[tuple[str, str]] = []

    async def item(self, merchant: Merchant, item_no: str, *, purpose: Purpose) -> ItemReply:
        self.calls.append((merchant.merchant_id, item_no))
        if merchant.merchant_id in self.errors:
            raise self.errors[merchant.merchant_id]
        known = item_no in self.items[merchant.merchant_id]
        self.ecticket.unknown_items = set() if known else {item_no}
        return await self.ecticket.item(merchant, item_no, purpose=purpose)


async def _findings(ecticket: PerMerchant, *item_nos: str, merchants: tuple[str, ...]) -> list[CatalogueFinding]:
    book = FakeMerchants(*merchants)
    products = {item_no: {f"sku {item_no}": CatalogueEntry(item_no=item_no)} for item_no in item_nos}
    check = CatalogueCheck(ecticket, [each for each in map(book.find, merchants) if each], products)
    return [finding async for found in check.run() for finding in found]


async def test_products_of_different_merchants_are_all_found() -> None:
    """The catalogue does not say whose each product is."""
    ecticket = PerMerchant(m3085676={"A", "B"}, m3002607={"C"})

    assert await _findings(ecticket, "A", "B", "C", merchants=(FIRST, SECOND)) == []
    assert ecticket.ecticket.purposes.keys() == {Purpose.ITEM}


@pytest.mark.parametrize("item_nos", [("NONE", "A"), ("A", "NONE")])
async def test_a_product_that_no_merchant_has_is_not_found(item_nos: tuple[str, ...]) -> None:
    """In whichever order: that QueryItemInfo works is proven with a product that exists."""
    ecticket = PerMerchant(m3085676={"A"}, m3002607={"A"})
    (finding,) = await _findings(ecticket, *item_nos, merchants=(FIRST, SECOND))

    assert (finding.kind, finding.item_no, finding.merchant_id) == ("not-found", "NONE", None)


async def test_a_refusal_of_every_product_is_unknown() -> None:
    """Maintenance refuses all; it is no difference of the products."""
    ecticket = PerMerchant(m3085676=set())
    findings = await _findings(ecticket, "A", "B", merchants=(FIRST,))

    assert [(each.kind, each.item_no) for each in findings] == [("unknown", "A"), ("unknown", "B")]
    assert len(ecticket.calls) == 2


async def test_a_maintenance_that_begins_in_the_middle_finds_no_product_missing() -> None:
    """The product that existed before is refused as well by then."""
    ecticket = PerMerchant(m3085676={"A"})
    answered = ecticket.item

    async def then_maintenance(merchant: Merchant, item_no: str, *, purpose: Purpose) -> ItemReply:
        reply = await answered(merchant, item_no, purpose=purpose)
        ecticket.ecticket.outages["item"] = BUSY
        return reply

    ecticket.item = then_maintenance  # type: ignore[method-assign]  # the fault of this test
    findings = await _findings(ecticket, "A", "B", merchants=(FIRST,))

    assert [(each.kind, each.item_no) for each in findings] == [("unknown", "B")]


async def test_a_merchant_without_answers_hides_nothing_of_the_others() -> None:
    """Its products are unknown; those of the other are compared."""
    ecticket = PerMerchant(m3085676={"A"}, m3002607={"B"})
    ecticket.errors[SECOND] = InDoubt("read timed out")
    ecticket.ecticket.delisted.add("A")
    findings = await _findings(ecticket, "A", "B", merchants=(FIRST, SECOND))

    assert [(each.kind, each.merchant_id, each.item_no) for each in findings] == [
        ("unknown", SECOND, "A"),
        ("delisted", FIRST, "A"),
        ("unknown", SECOND, "B"),
    ]


async def test_a_merchant_whose_breaker_is_open_is_left_alone() -> None:
    """One finding says how many of its products were not queried; no further call is made."""
    ecticket = PerMerchant(m3085676={"A"})
    ecticket.errors[FIRST] = BreakerOpen("The breaker is open.", retry_at=NOON)
    (finding,) = await _findings(ecticket, *"ABCDEFGH", merchants=(FIRST,))

    assert (finding.kind, finding.merchant_id, finding.item_no) == ("unknown", FIRST, None)
    assert "8 products" in finding.message
    assert len(ecticket.calls) == 1
