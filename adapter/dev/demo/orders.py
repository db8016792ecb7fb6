"""The demo's sample orders: every kind of order and of fault, each with its expected result.

A seed makes the list repeatable. All people in it are invented.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

ExpectedResult = Literal["issued", "failed at submit", "failed at confirm", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderKind:
    """One kind of sample order, and its expected result.

    `share` is its number in a thousand orders (at least one of each kind is made), `parts` the number of its issuances.
    `trouble` is the sandbox fault that its first Issue call meets; the sandbox recognises such orders by their trade
    numbers, which begin with `marked`. `recovered`: it must be found by a query, not sent again.
    """

    name: str
    share: int
    result: ExpectedResult
    reason: str
    parts: int = 1
    marked: str | None = None
    fault: Mapping[str, object] | None = None
    recovered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOrder:
    """One sample order: its number, kind and the record's value."""

    order_id: str
    kind: OrderKind
    value: bytes


_PLAIN = "ECTicket's job makes the tickets"

KINDS: tuple[OrderKind, ...] = (
    OrderKind(name="convenience store", share=160, result="issued", reason=_PLAIN),
    OrderKind(name="paper", share=110, result="issued", reason="issued during the call"),
    OrderKind(name="electronic", share=190, result="issued", reason=_PLAIN),
    OrderKind(name="electronic, pre-sale", share=60, result="issued", reason="usable from a later day"),
    OrderKind(name="serial number", share=130, result="issued", reason=_PLAIN),
    OrderKind(name="gift vouchers", share=80, result="issued", reason="under a FreeTradeNo; they expire"),
    OrderKind(name="mixed, splits in two", share=70, result="issued", parts=2, reason="one issue type per call"),
    OrderKind(name="pre-sale beside immediate", share=30, result="issued", parts=2, reason="one IsImmediate per call"),
    OrderKind(name="20 tickets at the till", share=20, result="issued", parts=3, reason="at most 8 tickets per call"),
    OrderKind(
        name="answer lost after effect",
        share=40,
        result="issued",
        reason="in doubt; queried and found: not sent again",
        marked="LOSTAFTER",
        fault={"fault": "answer_lost_after"},
        recovered=True,
    ),
    OrderKind(
        name="answer lost before effect",
        share=25,
        result="issued",
        reason="in doubt; queried, still unknown after the wait: sent again",
        marked="LOSTBEFORE",
        fault={"fault": "answer_lost_before"},
    ),
    OrderKind(
        name="late effect",
        share=25,
        result="issued",
        reason="in doubt; queried, found later: not sent again",
        marked="LATE",
        fault={"fault": "late_effect", "seconds": 1.5},
        recovered=True,
    ),
    OrderKind(name="delisted item", share=20, result="failed at submit", reason="refused at submit; stays unknown"),
    OrderKind(
        name="job that fails",
        share=20,
        result="failed at confirm",
        reason="submitted; ECTicket's job failed",
        marked="JOBFAILS",
        fault={"fault": "job_fails", "remark": "the transaction amount must match the total of the products"},
    ),
    OrderKind(name="invalid order", share=15, result="parked", reason="no mobile number; nothing sent"),
    OrderKind(name="unreadable record", share=5, result="parked", reason="not JSON; nothing sent"),
)

_NAMES = ("王小明", "陳 美玲", "林志豪", "Alice Chen", "José O’Neil", "Ｂｏｂ　Ｌｉｎ")
_PHONES = ("09{0}{1}", "+886 9{0} {1}", "09{0}-{1}")
_PICKUP = ("VQT04959", "VNS21400", "BR103218", "CK851236", "CHF80957", "VTMT5062")
_GIFT = ("GFT00001", "GFT00002", "GFT00003")


def sample_orders(count: int, *, today: date, seed: int = 1) -> Sequence[SampleOrder]:
    """About `count` orders of all kinds, shuffled; at least one of each kind."""
    chance = random.Random(seed)  # a repeatable demo, not a secret
    kinds = [kind for kind in KINDS for _ in range(max(1, round(kind.share * count / 1000)))]
    kinds = kinds[:count] if count < len(KINDS) else _exactly(kinds, count)
    chance.shuffle(kinds)
    return [_sample(f"DEMO-{number:05}", kind, chance, today) for number, kind in enumerate(kinds, 1)]


def sandbox_faults(samples: Sequence[SampleOrder]) -> list[dict[str, object]]:
    """The sandbox's faults for these orders: each marked order meets its fault once."""
    found = []
    for kind in KINDS:
        count = sum(1 for sample in samples if sample.kind is kind)
        if kind.fault is not None and count:
            found.append({**kind.fault, "endpoint": "issue", "trade_no_prefix": kind.marked, "count": count})
    return found


def _exactly(kinds: list[OrderKind], count: int) -> list[OrderKind]:
    """Cut the list, or fill it with the first, plainest kind, so that `--orders N` means N."""
    while len(kinds) > count:
        kinds.remove(max(kinds, key=kinds.count))
    return kinds + [KINDS[0]] * (count - len(kinds))


def _sample(order_id: str, kind: OrderKind, chance: random.Random, today: date) -> SampleOrder:
    if kind.name == "unreadable record":
        return SampleOrder(order_id=order_id, kind=kind, value=b'{"order_id": "' + order_id.encode() + b'", "lines": [')
    number = {"trade_no": kind.marked + order_id[-5:]} if kind.marked else {}
    order = {
        "order_id": order_id,
        **number,
        "customer": {
            "name": chance.choice(_NAMES),
            "phone": chance.choice(_PHONES).format(f"{chance.randrange(100):02}", f"{chance.randrange(10**6):06}"),
            "email": f"buyer{chance.randrange(1000)}@example.com",
            "address": "臺北市南港區三重路19之2號",
        },
        "reference": {"cart": chance.randrange(10**6)},
        **_CONTENTS.get(kind.name, _electronic)(chance, today),
    }
    return SampleOrder(order_id=order_id, kind=kind, value=json.dumps(order, ensure_ascii=False).encode())


def _line(sku: str, quantity: int, **more: object) -> dict[str, object]:
    return {"sku": sku, "quantity": quantity, **more}


def _electronic(chance: random.Random, _today: date) -> dict[str, object]:
    lines = [_line(sku, chance.randint(1, 4)) for sku in chance.sample(_PICKUP, chance.randint(1, 3))]
    return {"issue_type": "electronic", "lines": lines}


def _convenience_store(chance: random.Random, _today: date) -> dict[str, object]:
    lines = [_line(sku, chance.randint(1, 4)) for sku in chance.sample(_PICKUP, 2)]
    return {"issue_type": "convenience_store", "lines": lines}


def _paper(chance: random.Random, _today: date) -> dict[str, object]:
    return {
        "issue_type": "paper",
        "print_by": chance.choice(("ecpay", "merchant")),
        "lines": [_line(chance.choice(_PICKUP), chance.randint(1, 20))],
    }


def _presale(chance: random.Random, today: date) -> dict[str, object]:
    start = (today + timedelta(days=30)).isoformat()
    return {
        "issue_type": "electronic",
        "lines": [_line(chance.choice(_PICKUP), chance.randint(1, 4), start_date=start)],
    }


def _partly_presale(chance: random.Random, today: date) -> dict[str, object]:
    start = (today + timedelta(days=30)).isoformat()
    first, second = chance.sample(_PICKUP, 2)
    return {"issue_type": "electronic", "lines": [_line(first, 2, start_date=start), _line(second, 1)]}


def _serial(chance: random.Random, _today: date) -> dict[str, object]:
    name, price = chance.choice((("五星渡假飯店假日住宿券", 6600), ("SPA課程體驗券", 3200), ("Cooking_class(A)", 1800)))
    return {
        "issue_type": "serial_number",
        "lines": [_line("SERIAL", chance.randint(1, 3), name=name, unit_price=price)],
    }


def _gift(chance: random.Random, today: date) -> dict[str, object]:
    expire = (today + timedelta(days=365)).isoformat()
    lines = [_line(sku, 1, expire_date=expire) for sku in chance.sample(_GIFT, 2)]
    return {"issue_type": "electronic", "lines": lines}


def _mixed(chance: random.Random, today: date) -> dict[str, object]:
    electronic = _electronic(chance, today)["lines"]
    serial = _serial(chance, today)["lines"]
    assert isinstance(electronic, list)  # noqa: S101  # narrows the type of our own dictionaries
    assert isinstance(serial, list)  # noqa: S101
    return {
        "issue_type": "electronic",
        "lines": [*electronic, *({**line, "issue_type": "serial_number"} for line in serial)],
    }


def _many(chance: random.Random, _today: date) -> dict[str, object]:
    return {"issue_type": "convenience_store", "lines": [_line(chance.choice(_PICKUP), 20)]}


def _delisted(_chance: random.Random, _today: date) -> dict[str, object]:
    return {"issue_type": "electronic", "lines": [_line("OFF00001", 1)]}


def _invalid(chance: random.Random, today: date) -> dict[str, object]:
    customer = {"name": "王小明", "phone": "02-2655-1775", "email": "buyer@example.com"}
    return {**_electronic(chance, today), "customer": customer}


_CONTENTS: Mapping[str, Callable[[random.Random, date], dict[str, object]]] = {
    "convenience store": _convenience_store,
    "paper": _paper,
    "electronic, pre-sale": _presale,
    "pre-sale beside immediate": _partly_presale,
    "serial number": _serial,
    "gift vouchers": _gift,
    "mixed, splits in two": _mixed,
    "20 tickets at the till": _many,
    "delisted item": _delisted,
    "invalid order": _invalid,
}
