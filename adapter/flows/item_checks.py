"""Checks the products of an order before it is sent (`submit.check_items`).

`issuance.item_check` says what cannot be issued; this module gets the facts and does what the setting says: `warn` logs
and counts, `require` rejects the order. An order whose products are unknown in time is sent unchecked and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from adapter.errors import InvalidOrder
from adapter.flows.item_information import ItemInformation
from adapter.flows.messages.events import OrderRef
from adapter.flows.order_log import order_fields
from adapter.flows.ports import Clock, FlowObserver
from adapter.issuance.item_check import ItemFacts, ItemFinding, item_findings, queried_items
from adapter.issuance.plan import Part
from adapter.protocol.credentials import Merchant

OLDEST_REFUSAL_SECONDS: Final = 30.0
"""A product counts as not issuable only by an answer that is not older than this; an older one is queried again."""

_log = logging.getLogger(__name__)


class ItemChecks:
    """The checks of one process."""

    def __init__(
        self,
        information: ItemInformation,
        *,
        mode: Literal["warn", "require"],
        observer: FlowObserver,
        now: Clock,
    ) -> None:
        self._information = information
        self._mode = mode
        self._observer = observer
        self._now = now

    async def check(
        self, merchant: Merchant, order_ref: OrderRef, parts: Sequence[Part], *, replayed_at: datetime | None = None
    ) -> None:
        """Check the products of all parts of an order that was never sent.

        `replayed_at`: the order came back from the dead letters then; a product may be on the shelf again since.

        Raises InvalidOrder in mode `require` if ECTicket would refuse a product; the message names all of them.
        """
        item_nos = queried_items(parts)
        if not item_nos:
            return
        facts = await self._information.facts(merchant, item_nos)
        findings = item_findings(parts, facts)
        if findings:
            facts |= await self._confirmed(merchant, findings, facts, replayed_at)
            findings = item_findings(parts, facts)
        self._report(merchant, order_ref, findings, complete=len(facts) == len(item_nos))
        if findings and self._mode == "require":
            raise InvalidOrder(_message(findings))

    async def close(self) -> None:
        """End the queries in progress."""
        await self._information.close()

    async def _confirmed(
        self,
        merchant: Merchant,
        findings: Iterable[ItemFinding],
        facts: dict[str, ItemFacts],
        replayed_at: datetime | None,
    ) -> dict[str, ItemFacts]:
        """The facts about the products with findings, by answers that are young enough; removes older facts."""
        since = self._now() - timedelta(seconds=OLDEST_REFUSAL_SECONDS)
        if replayed_at is not None:
            since = max(since, replayed_at)
        found = tuple(dict.fromkeys(finding.item_no for finding in findings))
        for item_no in found:
            del facts[item_no]
        return await self._information.facts(merchant, found, queried_since=since)

    def _report(
        self, merchant: Merchant, order_ref: OrderRef, findings: Sequence[ItemFinding], *, complete: bool
    ) -> None:
        """Count each rule that is broken, and log it if the order is sent all the same."""
        if not complete:
            self._observer.items_checked(merchant.merchant_id, "unanswered")
        elif not findings:
            self._observer.items_checked(merchant.merchant_id, "issuable")
        for rule in dict.fromkeys(finding.rule for finding in findings):
            self._observer.items_checked(merchant.merchant_id, rule.value)
            if self._mode == "warn":
                _log.warning(
                    "product-not-issuable",
                    extra={
                        **order_fields(merchant.merchant_id, order_ref.order_id, None),
                        "reason": rule.value,
                        "item_nos": [finding.item_no for finding in findings if finding.rule is rule],
                    },
                )


def _message(findings: Iterable[ItemFinding]) -> str:
    broken = " ".join(dict.fromkeys(str(finding.violation) for finding in findings))
    return (
        f"{broken} Nothing was sent. Correct the product at ECPay or the mapping, then replay the order "
        "(`ecticket-adapter dead-letters replay --reason invalid-order`)."
    )
