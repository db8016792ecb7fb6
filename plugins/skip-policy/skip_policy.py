"""Skips what gets no tickets: test orders, products without tickets and free lines.

An order without remaining lines is skipped, with the reason. In any other order the excluded lines become no tickets,
and the others are issued.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from adapter import Line, Order, Skip, TicketItem, Voucher, hookimpl


class Settings(BaseModel):
    """The section `plugins.settings.skip_policy`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test_prefixes: Annotated[tuple[str, ...], Field(description="prefixes of test orders' ids")] = ("TEST-",)
    test_reference: Annotated[
        str | None, Field(description="field of `reference` that is true for a test order; null looks at none")
    ] = "test"
    skus: Annotated[
        tuple[str, ...], Field(description="products without tickets, * and ? stand for anything: SHIP-*")
    ] = ()
    zero_priced: Annotated[bool, Field(description="whether lines at a price of 0 get no tickets; gifts do")] = True


class SkipPolicy:
    """The plugin."""

    settings_model = Settings

    def __init__(self) -> None:
        self._settings = Settings()

    @hookimpl
    def configure(self, settings: Settings) -> None:
        """Remember them."""
        self._settings = settings

    @hookimpl
    def accept_order(self, order: Order) -> Skip | None:
        """Skip test orders, and orders without remaining lines."""
        if self._is_test(order):
            return Skip("a test order")
        if all(self._is_excluded(line) for line in order.lines):
            return Skip("no line of it is a ticket")
        return None

    @hookimpl(tryfirst=True)
    def map_item(self, line: Line) -> list[TicketItem] | None:
        """No tickets for an excluded line, whatever the catalogue says."""
        return [] if self._is_excluded(line) else None

    def _is_test(self, order: Order) -> bool:
        if order.order_id.startswith(self._settings.test_prefixes):
            return True
        field = self._settings.test_reference
        return field is not None and isinstance(order.reference, Mapping) and order.reference.get(field) is True

    def _is_excluded(self, line: Line) -> bool:
        if any(fnmatchcase(line.sku, pattern) for pattern in self._settings.skus):
            return True
        return self._settings.zero_priced and line.unit_price == 0 and line.voucher is not Voucher.GIFT
