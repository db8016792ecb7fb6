"""The orders in `schemas/order-paid.v1/examples` are not only well formed: they become tickets."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.fakes import MERCHANT
from flows.house import House

EXAMPLES = Path(__file__).parent.parent.parent / "schemas" / "order-paid.v1" / "examples"


@pytest.mark.parametrize(
    ("name", "content"),
    [(path.stem, path.read_bytes()) for path in sorted(EXAMPLES.glob("*.json"))],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_valid_orders_are_issued_and_invalid_ones_parked(name: str, content: bytes) -> None:
    """With nothing but the default mapping; the least that the schema asks for needs a catalogue that says more."""
    house = House(MERCHANT)

    told = await house.work(house.record(content))

    assert set(told.kinds) == {"submitted" if name.startswith("valid") and name != "valid-least" else "parked"}
