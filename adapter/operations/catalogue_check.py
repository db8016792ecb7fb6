"""Compares the products of the catalogue with ECTicket's descriptions of them (QueryItemInfo).

The catalogue does not name merchants, so each product is queried for every merchant. It must exist for one of them at
least; it is compared for each merchant that has it. Products are queried one after another, so that orders keep their
share of the calls; merchants, whose shares are separate, are queried at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from adapter.errors import BreakerOpen, CallError, Throttled
from adapter.extensions.builtin.product_check import Uses, differences
from adapter.flows.item_lookup import ItemAnswer, ItemLookup
from adapter.flows.ports import ItemQueries
from adapter.protocol.credentials import Merchant

UNKNOWN: Final = "unknown"
"""The kind of a finding about an answer that is missing."""
UNANSWERED_MAX: Final = 5
"""A merchant is given up after so many queries in a row without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueFinding:
    """A difference between the catalogue and ECTicket, or an answer that is missing (`kind` is `unknown`).

    The other kinds: `not-found`, and those of `product_check.Difference`.
    """

    kind: str
    message: str
    """What differs, and what to do."""
    merchant_id: str | None = None
    """None: no merchant has the product."""
    item_no: str | None = None
    """None: several products, which were not queried."""
    sku: str | None = None
    """None: all entries of the product."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers of all merchants that were queried about one product."""

    item_no: str
    by_merchant: Mapping[str, ItemAnswer]

    @property
    def found(self) -> bool:
        return any(answer.is_found for answer in self.by_merchant.values())

    @property
    def refusal(self) -> str:
        replies = [answer.reply for answer in self.by_merchant.values() if not answer.is_found]
        return next((reply.rtn_msg or f"RtnCode {reply.rtn_code}" for reply in replies), "")


class CatalogueCheck:
    """One comparison of `products`, the catalogue's entries by item number and then by sku."""

    def __init__(self, ecticket: ItemQueries, merchants: Sequence[Merchant], products: Mapping[str, Uses]) -> None:
        self._lookup = ItemLookup(ecticket)
        self._merchants = {merchant.merchant_id: merchant for merchant in merchants}
        self._products = products
        self._errors: dict[str, list[CallError]] = {merchant_id: [] for merchant_id in self._merchants}
        self._unproven: list[_Answers] = []

    async def run(self) -> AsyncGenerator[tuple[CatalogueFinding, ...], None]:
        """Yield the findings of each product, in the catalogue's order; then those that were not certain before."""
        for position, item_no in enumerate(self._products):
            if not self._merchants:
                return
            answers, findings = await self._query(item_no, left=len(self._products) - position)
            yield (*findings, *self._of_product(answers))
        for answers in self._unproven:
            if any(self._lookup.can_prove(merchant_id) for merchant_id in self._merchants):
                # Products that exist were found since, so that "not found" can be proven now.
                answers, findings = await self._query(answers.item_no, left=1)
                yield (*findings, *self._of_product(answers, final=True))
            else:
                yield tuple(self._of_product(answers, final=True))

    async def _query(self, item_no: str, *, left: int) -> tuple[_Answers, list[CatalogueFinding]]:
        """Query one product for all merchants; also returns a finding for each merchant without an answer."""
        merchants = tuple(self._merchants.values())
        results = await asyncio.gather(
            *(self._lookup.query(merchant, item_no) for merchant in merchants), return_exceptions=True
        )
        by_merchant: dict[str, ItemAnswer] = {}
        findings: list[CatalogueFinding] = []
        for merchant_id, result in zip((each.merchant_id for each in merchants), results, strict=True):
            if isinstance(result, CallError):
                findings.append(self._unanswered(merchant_id, item_no, result, left))
            elif isinstance(result, BaseException):
                raise result
            else:
                by_merchant[merchant_id] = result
                self._errors[merchant_id].clear()
        return _Answers(item_no, by_merchant), findings

    def _unanswered(self, merchant_id: str, item_no: str, error: CallError, left: int) -> CatalogueFinding:
        """Record a missing answer; after several in a row, or if ECTicket asks to wait, give the merchant up."""
        errors = self._errors[merchant_id]
        errors.append(error)
        if left > 1 and (isinstance(error, BreakerOpen | Throttled) or len(errors) >= UNANSWERED_MAX):
            del self._merchants[merchant_id]
            message = f"{left} products of merchant {merchant_id} were not queried: {error} Check again later."
            return CatalogueFinding(kind=UNKNOWN, merchant_id=merchant_id, message=message)
        message = f"Product {item_no} could not be queried for merchant {merchant_id}: {error} Check again later."
        return CatalogueFinding(kind=UNKNOWN, merchant_id=merchant_id, item_no=item_no, message=message)

    def _of_product(self, answers: _Answers, *, final: bool = False) -> Iterator[CatalogueFinding]:
        """The findings of one product; one that may not exist is kept for later, unless this is `final`."""
        item_no, uses = answers.item_no, self._products[answers.item_no]
        for merchant_id, answer in answers.by_merchant.items():
            for found in differences(answer.reply, uses) if answer.is_found else ():
                yield CatalogueFinding(
                    kind=found.kind, message=found.message, merchant_id=merchant_id, item_no=item_no, sku=found.sku
                )
        if answers.found or answers.by_merchant.keys() != self._errors.keys():
            return
        skus = ", ".join(f"'{sku}'" for sku in islice(uses, 3))
        refused = f"ECTicket does not know product {item_no} (sku {skus}): {answers.refusal}."
        if all(answer.is_certain for answer in answers.by_merchant.values()):
            message = f"{refused} Correct item_no in the catalogue, or add the product at ECPay."
            yield CatalogueFinding(kind="not-found", item_no=item_no, message=message)
        elif final:
            message = f"{refused} It knows no other product either, so QueryItemInfo may be unavailable. Check again."
            yield CatalogueFinding(kind=UNKNOWN, item_no=item_no, message=message)
        else:
            self._unproven.append(answers)
