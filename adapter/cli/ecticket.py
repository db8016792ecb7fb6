"""What the commands that query ECTicket share: the merchant, and a client for one command."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

from adapter.errors import SettingsError

if TYPE_CHECKING:
    from adapter.extensions.builtin.catalogue_entry import CatalogueEntry
    from adapter.protocol.credentials import Merchant
    from adapter.protocol.rules import Violation
    from adapter.provider.client import EcticketClient
    from adapter.settings import Settings
    from adapter.settings.merchants import MerchantBook


def pick_merchant(settings: Settings, merchant_id: str | None) -> Merchant:
    """The merchant of this id, or the only one.

    Raises SettingsError when keys are missing or wrong, a usage error when the merchant is ambiguous or unknown.
    """
    book = _checked_book(settings)
    known = ", ".join(book.ids)
    if merchant_id is None and len(book.ids) > 1:
        raise typer.BadParameter(f"Several merchants are configured; say which with --merchant: {known}.")
    merchant = book.find(merchant_id or book.ids[0])
    if merchant is None:
        close = difflib.get_close_matches(merchant_id or "", book.ids, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Configured: {known}."
        raise typer.BadParameter(f"Merchant {merchant_id} is not configured. {hint}")
    return merchant


def all_merchants(settings: Settings) -> list[Merchant]:
    """All merchants. Raises SettingsError when keys are missing or wrong, or if no merchant is configured."""
    book = _checked_book(settings)
    return [merchant for merchant in map(book.find, book.ids) if merchant is not None]


def _checked_book(settings: Settings) -> MerchantBook:
    from adapter.wiring import merchant_book

    book = merchant_book(settings)
    book.check()
    if not book.ids:
        raise SettingsError("No merchant is configured. Set ECTICKET_MERCHANTS, or key files and ECTICKET_SECRETS_DIR.")
    return book


def refuse_violations(violations: Iterable[Violation]) -> None:
    """Raises a usage error for a query that violates a field rule."""
    message = " ".join(str(violation) for violation in violations)
    if message:
        raise typer.BadParameter(message)


def catalogue_products(settings: Settings) -> dict[str, dict[str, CatalogueEntry]]:
    """The entries of `submit.catalogue` by item number, then by sku; none without a catalogue.

    Raises SettingsError for mistakes in the catalogue.
    """
    from adapter.extensions.builtin.catalogue_file import read_catalogue
    from adapter.extensions.builtin.product_check import products

    return products(read_catalogue(settings.submit.catalogue)) if settings.submit.catalogue else {}


@asynccontextmanager
async def ecticket_client(settings: Settings) -> AsyncIterator[EcticketClient]:
    """ECTicket, for as long as the block lasts."""
    from adapter.wiring import make_provider

    provider = make_provider(settings)
    try:
        yield provider
    finally:
        await provider.close()
