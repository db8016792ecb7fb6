"""The items on sale: number, voucher kind, price, and whether each is listed.

The voucher kind of an order's items decides between MerchantTradeNo and FreeTradeNo (spec, Issue), so the sandbox needs
items of both kinds. Every merchant sells the same items.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adapter.errors import SettingsError
from adapter.protocol.issue import IssueType
from adapter.protocol.query_item_info import TicketType
from adapter.protocol.taipei import TAIPEI
from adapter.values import replace

ITEM_NO: Final = re.compile(r"[0-9A-Za-z]{1,8}")
"""ItemNo: String(8), alphanumeric (spec, Issue)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueItem:
    """One item as QueryItemInfo describes it; `price` is the face value of one ticket in NT$."""

    item_no: str
    name: str
    ticket_type: TicketType
    price: int
    listed: bool = True
    modified_at: datetime = datetime(2022, 8, 1, 15, 30, tzinfo=TAIPEI)
    instructions: tuple[tuple[IssueType, str], ...] = ()


INSTRUCTIONS: Final = (
    (IssueType.CONVENIENCE_STORE, "Convenience store ticket instruction1"),
    (IssueType.CONVENIENCE_STORE, "Convenience store ticket instruction2"),
    (IssueType.PAPER, "Paper ticket instruction1"),
    (IssueType.ELECTRONIC, "Electronic ticket instruction1"),
)
"""Several entries per issue type are allowed (spec, QueryItemInfo)."""
INSTRUCTED: Final[Mapping[str, IssueType]] = {
    kind.name.lower(): kind for kind in IssueType if kind is not IssueType.SERIAL_NUMBER
}
"""The issue types that InstructionsList can name."""
MAX_INSTRUCTIONS: Final = 30


def _pickup(item_no: str, name: str, price: int, *, listed: bool = True) -> CatalogueItem:
    kind = TicketType.PICKUP
    return CatalogueItem(
        item_no=item_no, name=name, ticket_type=kind, price=price, listed=listed, instructions=INSTRUCTIONS
    )


def _gift(item_no: str, name: str, price: int, *, listed: bool = True) -> CatalogueItem:
    kind = TicketType.GIFT
    return CatalogueItem(
        item_no=item_no, name=name, ticket_type=kind, price=price, listed=listed, instructions=INSTRUCTIONS
    )


BUILT_IN_ITEMS: Final = (
    # The item numbers of the specification's examples.
    _pickup("VQT04959", "主題樂園一日券", 1200),
    _pickup("VNS21400", "海景下午茶套餐券", 680),
    _pickup("BR103218", "早餐券", 250),
    _pickup("CK851236", "Cooking class", 3200),
    _pickup("CHF80957", "溫泉泡湯券", 900),
    _pickup("VTMT5062", "Holiday meal voucher", 1200),
    _gift("GFT00001", "咖啡兌換贈品券", 120),
    _gift("GFT00002", "Free dessert", 90),
    _gift("GFT00003", "停車抵用贈品券", 60),
    _pickup("OFF00001", "已下架提貨券", 500, listed=False),
    _gift("OFF00002", "已下架贈品券", 100, listed=False),
)
"""Items at start: six pickup and three gift items that are listed, and one of each that is delisted."""


class ItemCatalogue:
    """The items by number; at most `max_items`, so that memory stays bounded."""

    def __init__(self, items: Iterable[CatalogueItem], *, max_items: int) -> None:
        self._items = {item.item_no: item for item in items}
        self._max_items = max_items

    def find(self, item_no: str) -> CatalogueItem | None:
        """The item with this number, listed or not."""
        return self._items.get(item_no)

    def items(self) -> tuple[CatalogueItem, ...]:
        """Every item, in the order of creation."""
        return tuple(self._items.values())

    def put(self, item_no: str, change: Mapping[str, object], now: datetime) -> CatalogueItem:
        """Change an item, or create one (then `ticket_type` is required), from the JSON of `PUT /_/items/{item_no}`.

        Raises:
            SettingsError: an unknown field, a wrong value, a bad number, or the catalogue is full.
        """
        known = self._items.get(item_no)
        problems = [*_item_no_problems(item_no), *_change_problems(change)]
        if known is None and "ticket_type" not in change:
            problems.append(f"{item_no} is a new item: give its ticket_type (pickup or gift)")
        if known is None and len(self._items) >= self._max_items:
            problems.append(f"the catalogue is full: it holds {self._max_items} items")
        if problems:
            raise SettingsError(*problems)
        fresh = CatalogueItem(
            item_no=item_no, name=item_no, ticket_type=TicketType.PICKUP, price=100, instructions=INSTRUCTIONS
        )
        self._items[item_no] = replace(known or fresh, **_values(change), modified_at=now)  # type: ignore[arg-type] # each value was checked by its field's test
        return self._items[item_no]


def describe(item: CatalogueItem) -> dict[str, object]:
    """The item as `/_/items` shows it."""
    return {
        "item_no": item.item_no,
        "name": item.name,
        "ticket_type": item.ticket_type.name.lower(),
        "price": item.price,
        "listed": item.listed,
        "modified_at": item.modified_at.isoformat(),
        "instructions": [
            {"issue_type": issue_type.name.lower(), "description": description}
            for issue_type, description in item.instructions
        ],
    }


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= 20 and value.isprintable()


def _is_price(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 999_999_999


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_ticket_type(value: object) -> bool:
    return value in ("pickup", "gift")


def _is_instructions(value: object) -> bool:
    return isinstance(value, list) and len(value) <= MAX_INSTRUCTIONS and all(map(_is_instruction, value))


def _is_instruction(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"issue_type", "description"}:
        return False
    description = value["description"]
    return (
        value["issue_type"] in INSTRUCTED
        and isinstance(description, str)
        and len(description) <= 100
        and description.isprintable()
    )


FIELDS: Final = {
    "listed": (_is_flag, "true or false"),
    "name": (_is_name, "1 to 20 printable characters"),
    "ticket_type": (_is_ticket_type, "pickup or gift"),
    "price": (_is_price, "a whole number from 0 to 999999999"),
    "instructions": (
        _is_instructions,
        f"a list of at most {MAX_INSTRUCTIONS} objects with issue_type ({', '.join(INSTRUCTED)}) and description (at "
        "most 100 printable characters)",
    ),
}


def _change_problems(change: Mapping[str, object]) -> list[str]:
    unknown = [f"unknown field {name!r}; allowed: {', '.join(FIELDS)}" for name in change if name not in FIELDS]
    wrong = [
        f"{name} must be {FIELDS[name][1]}" for name in change if name in FIELDS and not FIELDS[name][0](change[name])
    ]
    return unknown + wrong


def _item_no_problems(item_no: str) -> list[str]:
    return [] if ITEM_NO.fullmatch(item_no) else ["an item number has 1 to 8 letters and digits"]


def _values(change: Mapping[str, object]) -> dict[str, object]:
    values = dict(change)
    if "ticket_type" in values:
        values["ticket_type"] = TicketType[str(values["ticket_type"]).upper()]
    instructions = values.get("instructions")
    if isinstance(instructions, list):
        values["instructions"] = tuple((INSTRUCTED[each["issue_type"]], each["description"]) for each in instructions)
    return values
