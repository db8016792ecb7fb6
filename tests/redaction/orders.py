"""The orders of the scene: one of each kind, and one for each way to fail; each has the marked customer."""

from __future__ import annotations

import json
from collections.abc import Mapping

from integration.order_source import PICKUP, line

from redaction.marks import BY_PLATFORM, CUSTOMER, MERCHANT

PERSON: Mapping[str, object] = {name: CUSTOMER[name] for name in ("name", "phone", "email", "address")}
UNKNOWN_FIELDS: Mapping[str, object] = {"national_id": CUSTOMER["national id"], "birthday": CUSTOMER["birthday"]}
UNFINISHED, FAILING, LOST, DROPPED, GARBAGE = "UNFINISHED1", "FAILING1", "LOST1", "DROPPED1", "GARBAGE1"
"""Trade numbers for which the sandbox has a fault."""
IN_DOUBT = "NEVERANSWERED1"
"""The trade number of an order that ends unresolved."""


def _order(order_id: str, **content: object) -> bytes:
    order = {
        "order_id": order_id,
        "merchant_id": MERCHANT.merchant_id,
        "issue_type": "electronic",
        "customer": {**PERSON, **UNKNOWN_FIELDS},
        "lines": [line(PICKUP[0], 1)],
        **content,
    }
    return json.dumps(order, ensure_ascii=order_id.startswith("A")).encode()


def _customer(**fields: object) -> dict[str, object]:
    return {**PERSON, **UNKNOWN_FIELDS, **fields}


CHINESE = _customer(name=CUSTOMER["Chinese name"], phone=CUSTOMER["mobile of Taiwan"])

GOOD: Mapping[str, bytes] = {
    "A-electronic": _order("A-electronic"),
    "A-serial": _order(
        "A-serial", issue_type="serial_number", lines=[line("S", 2, name="SPA課程體驗券", unit_price=3200)]
    ),
    "A-store": _order("A-store", issue_type="convenience_store", customer=CHINESE),
    "A-paper": _order("A-paper", issue_type="paper", print_by="ecpay", customer=CHINESE),
    "A-platform": _order("A-platform", merchant_id=BY_PLATFORM.merchant_id, customer=CHINESE),
    "A-failing": _order("A-failing", trade_no=FAILING),
    "A-lost": _order("A-lost", trade_no=LOST),
    "A-dropped": _order("A-dropped", trade_no=DROPPED),
    "A-garbage": _order("A-garbage", trade_no=GARBAGE),
    "A-refused": _order("A-refused", lines=[line("OFF00001", 1)]),
    "SPREAD-1": _order("SPREAD-1"),
}
"""These become tickets, or fail at ECTicket."""

PARKED: Mapping[str, bytes] = {
    "B-phone": _order("B-phone", customer=_customer(phone=f"{CUSTOMER['phone']}12345678901")),
    "B-letters": _order("B-letters", customer=_customer(phone=f"x{CUSTOMER['phone']}")),
    "B-email": _order("B-email", customer=_customer(email=str(CUSTOMER["email"]).replace("@", " at "))),
    "B-name": _order("B-name", customer=_customer(name=f"{CUSTOMER['name']} " * 20)),
    "B-control": _order("B-control", customer=_customer(name=f"{CUSTOMER['name']}\x1b[31m")),
    "B-address": _order("B-address", issue_type="paper", print_by="merchant", customer=_customer(name=None)),
    "B-text": _order("B-text", customer=" ".join(map(str, PERSON.values()))),
    "B-list": _order("B-list", customer=_customer(name=[CUSTOMER["name"]], phone=987612345)),
    "B-merchant": _order("B-merchant", merchant_id="9999999"),
    "B-item": _order("B-item", lines=[line("tea for two", 1)]),
    "B-quantity": _order("B-quantity", lines=[line(PICKUP[0], 100_000)]),
    "B-json": _order("B-json")[:-3],
    "B-bytes": _order("B-bytes").replace(b"B-bytes", b"B-\xff"),
    "B-twice": _order("B-twice").replace(b'"lines"', b'"customer": 1, "lines"'),
    "PARSE-1": _order("PARSE-1"),
    "ACCEPT-1": _order("ACCEPT-1"),
    "BASE-1": _order("BASE-1"),
    "MAP-1": _order("MAP-1"),
    "ODD-1": _order("ODD-1"),
    "SHAPE-1": _order("SHAPE-1"),
    "C-doubt": _order("C-doubt", trade_no=IN_DOUBT),
}
"""These become dead letters."""

WAITING: Mapping[str, bytes] = {"D-unfinished": _order("D-unfinished", trade_no=UNFINISHED)}
"""Its job does not finish."""
