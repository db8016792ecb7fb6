"""The version of the planner: under one version, the same order and items always give the same plan.

After a crash an order's numbers are computed again. A release that plans differently would query other numbers than
those that were used, and buy twice. So the mapping's fingerprint holds this version, and a release with another one is
treated as another mapping.

The version has two parts. `VERSION` is counted up by hand: a test compares the plans of thousands of sample orders with
those recorded for it. The digest of a few sample plans is computed at every start, so that a change is
noticed even if it was not counted.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from adapter.errors import OrderError
from adapter.issuance.normalisation import normalised_item, normalised_request
from adapter.issuance.order import Customer, Line, Order, TicketItem, Voucher
from adapter.issuance.plan import DeriveTradeNo, Part, PlanPolicy, plan
from adapter.protocol.endpoints import Family
from adapter.protocol.issue import IssueType, PrintType
from adapter.values import replace

_T = TypeVar("_T")

VERSION = 1
"""Count it up when plans change, and record the new digest in `tests/issuance/planner_versions.json`."""
SAMPLES = 60
"""Sample orders planned at every start: some milliseconds."""

_DAY = date(2030, 1, 1)
_ITEM_NOS = ("VQT04959", "vqt04959", "VNS21400", " VNS21400 ", "\uff36\uff2e\uff33\uff1221400")
_NAMES = ("SPA Gutschein", "Caf\u00e9 Ticket", "SPA\u8ab2\u7a0b \u9ad4\u9a57\u5238")


def planner_version() -> str:
    """Return the version for the mapping's fingerprint."""
    return f"{VERSION}.{plans_digest(SAMPLES)}"


def plans_digest(samples: int) -> str:
    """Return the digest of the plans of so many sample orders: numbers, and what is bought under each."""
    plans = [_planned(sample) for sample in _samples(samples)]
    return hashlib.sha256(json.dumps(plans).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    order: Order
    items: tuple[TicketItem, ...]
    policy: PlanPolicy


def _planned(sample: _Sample) -> object:
    """Return the plan as JSON without texts, or the kind of error of an order that has none."""
    try:
        items = tuple(normalised_item(item)[0] for item in sample.items)
        return [_part(part) for part in plan(sample.order, items, sample.policy)]
    except OrderError as error:
        return type(error).__name__


def _part(part: Part) -> Mapping[str, object]:
    request, _ = normalised_request(part.request)
    return {
        "part": (part.number, part.of),
        "trade_no": (part.trade_no.kind.value, part.trade_no.value),
        "issue_type": request.issue_type.value,
        "print_type": request.print_type and request.print_type.value,
        "immediate": request.is_immediate,
        "tickets": [entry.to_payload() for entry in request.ticket_info],
        "moves": [(item.quantity, item.start_moves, item.expire_moves) for item in part.items],
    }


def _samples(count: int) -> Iterator[_Sample]:
    """Yield always the same sample orders; of Random only `random` is the same in every version of Python."""
    for number in range(count):
        chance = _Chance(random.Random(number))
        items = tuple(_item(chance) for _ in range(chance.below(6) or chance.below(2)))
        if items and chance.below(2):
            items = (*items, _repeated(items[0], chance))
        yield _Sample(order=_order(number, chance), items=items, policy=_policy(chance))


class _Chance:
    """Choices that are the same for the same seed."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def below(self, limit: int) -> int:
        """A number from 0 on."""
        return int(self._source.random() * limit)

    def one_of(self, *choices: _T) -> _T:
        """One of these."""
        return choices[self.below(len(choices))]


def _order(number: int, chance: _Chance) -> Order:
    return Order(
        order_id=chance.one_of(f"A-{number}", f"\u8a02\u55ae {number}", "x" * 64),
        merchant_id=chance.one_of("3085676", "3002607"),
        lines=(Line(sku="X", quantity=1),),
        trade_no=chance.one_of(*[None] * 6, f"CBX{number:017}", f"pay{number}"),
        paid_at=datetime(2029, 12, 31, 16, 30, tzinfo=UTC),
        issue_type=chance.one_of(None, *IssueType),
        print_type=chance.one_of(None, *PrintType),
        immediate=chance.one_of(*[None] * 20, True, False),
        customer=Customer(name="Ming", phone="0912345678", email="ming@example.com", address="Taipei"),
    )


def _item(chance: _Chance) -> TicketItem:
    issue_type = chance.one_of(*IssueType)
    serial = issue_type is IssueType.SERIAL_NUMBER
    gift = chance.one_of(False, False, True)
    starts = chance.one_of(None, None, _DAY, _DAY + timedelta(days=1))
    return TicketItem(
        item_no=None if serial else chance.one_of(*_ITEM_NOS),
        name=chance.one_of(*_NAMES) if serial else chance.one_of(None, *_NAMES),
        price=chance.one_of(3200, 6600) if serial else None,
        quantity=1 + chance.below(chance.one_of(2, 5, 12, 12, 130)),
        issue_type=issue_type,
        voucher=Voucher.GIFT if gift else Voucher.PICKUP,
        start_date=starts,
        expire_date=_DAY + timedelta(days=30 + chance.below(3)) if gift else None,
        start_moves=starts is not None and chance.one_of(False, True),
        expire_moves=gift and chance.one_of(False, True),
    )


def _repeated(item: TicketItem, chance: _Chance) -> TicketItem:
    """The same item once more, as another line of the order has it."""
    spelt = item.item_no and chance.one_of(item.item_no, f" {item.item_no} ")
    return replace(item, item_no=spelt, quantity=1 + chance.below(3))


def _policy(chance: _Chance) -> PlanPolicy:
    return PlanPolicy(
        family=chance.one_of(*Family),
        operator="clerk",
        derive=chance.one_of(*[DeriveTradeNo.ALWAYS] * 5, *DeriveTradeNo),
        prefix=chance.one_of("", "AB"),
    )
