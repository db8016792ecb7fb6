"""Confirmations and collections are the adapter's own records; what another program writes there is unreadable."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from adapter.errors import Unreadable
from adapter.flows.messages.collection import read_collection
from adapter.flows.messages.confirmation import read_confirmation

ISSUANCE = {
    "merchant_id": "3085676",
    "order_id": "A-1",
    "reference": "REFERENCE",
    "trade_no": "CBX1",
    "trade_no_kind": "merchant",
    "issue_type": "electronic",
    "part": 1,
    "parts": 1,
    "items": [{"item_no": "VQT04959", "name": None, "quantity": 1}],
    "ticket_count": 1,
    "ticket_trade_no": None,
}
MOMENT = "2026-03-01T04:00:00Z"
ORIGIN = {"topic": "orders.paid", "partition": 0, "offset": 1}
COMMON = {"issuance": ISSUANCE, "recovered": False, "submitted_at": MOMENT, "not_before": MOMENT, "origin": ORIGIN}
RECORDS: dict[Callable[[bytes], object], str] = {
    read_confirmation: json.dumps(COMMON),
    read_collection: json.dumps({"collection": 1, **COMMON, "issued_at": MOMENT, "since": MOMENT}),
}


@pytest.mark.parametrize("read", RECORDS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("reference", ["null", '"a"', '{"a": [1, 2.5, "NaN"]}', "[" * 64 + "]" * 64])
def test_a_reference_comes_back_as_it_is(read: Callable[[bytes], object], reference: str) -> None:
    """Whatever JSON the shop gave."""
    found = read(RECORDS[read].replace('"REFERENCE"', reference).encode())

    assert found.issuance.reference == json.loads(reference)  # type: ignore[attr-defined]  # of both records


@pytest.mark.parametrize("read", RECORDS, ids=lambda read: read.__name__)
@pytest.mark.parametrize(
    "reference",
    ["NaN", "-Infinity", "1e999", '{"a": [NaN]}', '"\\ud800"', "1" * 5000, "[" * 65 + "]" * 65, "[" * 5000, "x"],
    ids=lambda text: text[:12],
)
def test_a_reference_that_no_event_can_hold_is_unreadable(read: Callable[[bytes], object], reference: str) -> None:
    """Otherwise each later event of the order would be no JSON, and its readers would fail."""
    with pytest.raises(Unreadable):
        read(RECORDS[read].replace('"REFERENCE"', reference).encode())
