"""`catalogue check`: compares the catalogue with ECTicket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from adapter import event_loop
from adapter.cli.context import CommandContext, Json, MerchantId, command
from adapter.cli.ecticket import all_merchants, ecticket_client, pick_merchant
from adapter.cli.help import group
from adapter.cli.output import counting, note, print_json, print_table
from adapter.errors import SettingsError

if TYPE_CHECKING:
    from adapter.extensions.builtin.product_check import Uses
    from adapter.operations.catalogue_check import CatalogueFinding
    from adapter.protocol.credentials import Merchant
    from adapter.settings import Settings


def add(app: typer.Typer, *, panel: str) -> None:
    """Add the group."""
    checking = (
        "ecticket-adapter catalogue check --config settings.yaml",
        "ecticket-adapter catalogue check --merchant 3085676 --json",
    )
    catalogue = group("Compare the catalogue (submit.catalogue) with ECTicket.", checking)
    command(catalogue, "check", examples=checking)(check)
    app.add_typer(catalogue, name="catalogue", rich_help_panel=panel)


def check(context: CommandContext, merchant: MerchantId = None, json: Json = False) -> int:
    """Compare each product of the catalogue with ECTicket; exit code 1 if anything differs or was not answered.

    Compared are whether the product exists and is on the shelf, the kind of voucher, the price, and whether it has
    instructions for the issue type. With several merchants and without --merchant, a product must exist for one of
    them, and is compared for each that has it. Products are queried one after another within the rate limit.
    """
    from adapter.extensions.builtin.catalogue_file import read_catalogue
    from adapter.extensions.builtin.product_check import products
    from adapter.operations.catalogue_check import UNKNOWN

    settings = context.settings()
    if settings.submit.catalogue is None:
        raise SettingsError(
            "submit.catalogue is not set, so there is nothing to compare. Set it to the catalogue file."
        )
    merchants = all_merchants(settings) if merchant is None else [pick_merchant(settings, merchant)]
    entries = read_catalogue(settings.submit.catalogue)
    by_item_no = products(entries)
    findings = event_loop.run(_compare(settings, merchants, by_item_no))
    not_compared = [sku for sku, entry in entries.items() if entry.item_no is None]
    if json:
        facts = {
            "ok": not findings,
            "complete": not any(finding.kind == UNKNOWN for finding in findings),
            "merchants": [each.merchant_id for each in merchants],
            "products": len(by_item_no),
            "not_compared": not_compared,
            "findings": [asdict(finding) for finding in findings],
        }
        print_json(facts)
    else:
        _print(findings)
        counts = f"Products: {len(by_item_no)}, merchants: {len(merchants)}, findings: {len(findings)}."
        note(f"{counts} Entries without item_no, not compared: {len(not_compared)}.")
    return 1 if findings else 0


def _print(findings: Sequence[CatalogueFinding]) -> None:
    if findings:
        columns = ("product", "sku", "merchant", "kind", "finding")
        rows = [(each.item_no, each.sku, each.merchant_id, each.kind, each.message) for each in findings]
        print_table(columns, rows)


async def _compare(
    settings: Settings, merchants: Sequence[Merchant], products: Mapping[str, Uses]
) -> list[CatalogueFinding]:
    from adapter.operations.catalogue_check import CatalogueCheck

    findings: list[CatalogueFinding] = []
    async with ecticket_client(settings) as provider:
        with counting("products queried", total=len(products)) as queried:
            async with aclosing(CatalogueCheck(provider, merchants, products).run()) as by_product:
                async for found in by_product:
                    findings += found
                    queried()
    order = {item_no: position for position, item_no in enumerate(products)}
    return sorted(findings, key=lambda finding: order.get(finding.item_no or "", len(order)))
