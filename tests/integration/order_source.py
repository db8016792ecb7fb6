"""The shop of the end-to-end tests: orders of every kind, each with a customer whom no event, log or metric may name.

Made from a seed, so that a run can be repeated. Names, phones and addresses are invented and nowhere else in the house,
so that finding one in a log proves that it leaked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

PICKUP = ("VQT04959", "VNS21400", "BR103218", "CK851236", "CHF80957", "VTMT5062")
GIFT = ("GFT00001", "GFT00002", "GFT00003")
NEXT_YEAR = (datetime.now(UTC).date() + timedelta(days=365)).isoformat()
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidOrder:
    """One order-paid event: the record's value, how many issuances it becomes (None: who knows), and its secrets.

    `secrets` are a word that is part of the customer's name, mail address and address, and the phone number.
    """

    order_id: str
    value: bytes
    parts: int | None = 1
    secrets: tuple[str, ...] = field(default=(), repr=False)


class OrderSource:
    """Sells tickets, always the same ones for the same seed."""

    def __init__(self, seed: int = 1, *, name: str = "S") -> None:
        self._chance = random.Random(seed)
        self._name = name
        self._sold = 0

    def orders(self, count: int) -> list[PaidOrder]:
        """`count` orders of all kinds."""
        return [self._any_order() for _ in range(count)]

    def _any_order(self) -> PaidOrder:
        kind, parts = self._chance.choice(KINDS)
        return self.order(parts, **kind(self._chance))

    def order(self, parts: int = 1, **content: object) -> PaidOrder:
        """One order with a customer of its own; plain electronic tickets unless `content` says otherwise."""
        self._sold += 1
        order_id = f"{self._name}-{self._sold:05}"
        word, phone = "".join(self._chance.choices(_ALPHABET, k=9)), f"09{self._chance.randrange(10**8):08}"
        customer = {
            "name": f"Wq {word.title()}",
            "phone": phone,
            "email": f"{word}.{self._sold}@example.com",
            "address": f"臺北市南港區{word}路{self._sold}號",
        }
        order: dict[str, object] = {"order_id": order_id, "customer": customer, "reference": {"cart": self._sold}}
        if "lines" not in content:
            order |= electronic(self._chance)
        order |= content
        value = json.dumps(order, ensure_ascii=False).encode()
        return PaidOrder(order_id=order_id, value=value, parts=parts, secrets=(word, phone))


def line(sku: str, quantity: int = 1, **more: object) -> dict[str, object]:
    """One line of an order."""
    return {"sku": sku, "quantity": quantity, **more}


def electronic(chance: random.Random) -> dict[str, object]:
    """Electronic tickets, usable at once."""
    return {"issue_type": "electronic", "lines": [line(sku, chance.randint(1, 4)) for sku in chance.sample(PICKUP, 2)]}


def till(chance: random.Random) -> dict[str, object]:
    """Tickets from a convenience store, few enough for one call."""
    return {"issue_type": "convenience_store", "lines": [line(sku, 2) for sku in chance.sample(PICKUP, 3)]}


def paper(chance: random.Random) -> dict[str, object]:
    """Paper tickets."""
    return {"issue_type": "paper", "print_by": "ecpay", "lines": [line(chance.choice(PICKUP), chance.randint(1, 20))]}


def serial(chance: random.Random) -> dict[str, object]:
    """Serial numbers, which are sold by name and price."""
    lines = [line("SERIAL", chance.randint(1, 3), name="SPA課程體驗券", unit_price=3200)]
    return {"issue_type": "serial_number", "lines": lines}


def gifts(chance: random.Random) -> dict[str, object]:
    """Gift vouchers only, so under a FreeTradeNo."""
    lines = [line(sku, 1, voucher="gift", expire_date=NEXT_YEAR) for sku in chance.sample(GIFT, 2)]
    return {"issue_type": "electronic", "lines": lines}


def presale(chance: random.Random) -> dict[str, object]:
    """Electronic tickets that are usable later."""
    lines = [line(chance.choice(PICKUP), 2, start_date=NEXT_YEAR)]
    return {"issue_type": "electronic", "immediate": False, "lines": lines}


def mixed(chance: random.Random) -> dict[str, object]:
    """Electronic tickets and serial numbers: two calls."""
    serials = [{**each, "issue_type": "serial_number"} for each in _lines(serial(chance))]
    return {"issue_type": "electronic", "lines": [*_lines(electronic(chance)), *serials]}


def many(chance: random.Random) -> dict[str, object]:
    """Twenty tickets at the till: three calls."""
    return {"issue_type": "convenience_store", "lines": [line(chance.choice(PICKUP), 20)]}


def _lines(content: Mapping[str, object]) -> Iterator[dict[str, object]]:
    lines = content["lines"]
    assert isinstance(lines, list)
    yield from lines


KINDS = (
    (electronic, 1),
    (till, 1),
    (paper, 1),
    (serial, 1),
    (gifts, 1),
    (presale, 1),
    (mixed, 2),
    (many, 3),
)
"""Every kind of order, and how many calls it takes."""
