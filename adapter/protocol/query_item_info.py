"""QueryItemInfo: describes a listed product (page "Query Product Information", developers.ecpay.com.tw/32184).

It shows before a sale whether an item can be issued. It also serves as a probe of whether ECTicket answers this
merchant at all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum, unique
from typing import Self, TypeVar

from msgspec import Struct

from adapter.errors import UnreadableReply
from adapter.protocol.fields import Payload, as_objects, integer, optional_integer, optional_text
from adapter.protocol.issue import IssueType
from adapter.protocol.json_text import read_json
from adapter.protocol.taipei import parse_time
from adapter.protocol.value_descriptions import quoted

_Value = TypeVar("_Value")


@unique
class TicketType(StrEnum):
    """TicketType, String(1): what kind of voucher an item is."""

    PICKUP = "1"
    GIFT = "2"


@unique
class ItemStatus(StrEnum):
    """ItemStatus, String(1): whether an item can be issued.

    The English page says "out of stock" for 0; the Chinese one says delisted (已下架), which is right.
    """

    DELISTED = "0"
    LISTED = "1"


class ItemRequest(Struct, frozen=True, kw_only=True):
    """Queries one item by its number, String(8)."""

    merchant_id: str
    item_no: str

    def to_payload(self) -> dict[str, object]:
        """Write the plaintext of `Data`."""
        return {"MerchantID": self.merchant_id, "ItemNo": self.item_no}


class Instruction(Struct, frozen=True, kw_only=True):
    """One paragraph, String(100), of how tickets of a type are used; a type may have several."""

    issue_type: IssueType
    description: str

    @classmethod
    def from_payload(cls, payload: Payload) -> Self:
        """Read one entry of InstructionsList.

        Raises:
            UnreadableReply: IssueType is not documented, or a field is of another type.
        """
        issue_type = _member(payload, "IssueType", IssueType)
        if issue_type is None:
            raise UnreadableReply("IssueType of an instruction is missing.")
        return cls(issue_type=issue_type, description=optional_text(payload, "Description") or "")


class ItemReply(Struct, frozen=True, kw_only=True):
    """The answer: with `rtn_code` 1, the item.

    `item_amount` is its face value in NT$, `modify_date` its last change (aware, in Taipei's time).
    """

    rtn_code: int
    rtn_msg: str
    item_no: str | None
    item_name: str | None
    ticket_type: TicketType | None
    item_amount: int | None
    item_status: ItemStatus | None
    modify_date: datetime | None
    instructions: tuple[Instruction, ...]

    @classmethod
    def from_payload(cls, payload: Payload) -> Self:
        """Read the answer; the item is read only if RtnCode is 1.

        Raises:
            UnreadableReply: RtnCode is missing, a value is not documented, or a field is of another type.
        """
        rtn_code = integer(payload, "RtnCode")
        item: Payload = payload if rtn_code == 1 else {}
        return cls(
            rtn_code=rtn_code,
            rtn_msg=optional_text(payload, "RtnMsg") or "",
            item_no=optional_text(item, "ItemNo"),
            item_name=optional_text(item, "ItemName"),
            ticket_type=_member(item, "TicketType", TicketType),
            item_amount=optional_integer(item, "ItemAmount"),
            item_status=_member(item, "ItemStatus", ItemStatus),
            modify_date=_modify_date(item),
            instructions=_instructions(item),
        )


def _member(payload: Payload, name: str, of: Callable[[str], _Value]) -> _Value | None:
    """Read a field with a documented set of values."""
    text = optional_text(payload, name)
    if text is None:
        return None
    try:
        return of(text)
    except ValueError as error:
        raise UnreadableReply(f"{name} is none of the documented values; it is {quoted(text)}.") from error


def _modify_date(item: Payload) -> datetime | None:
    """Read ModifyDate, "yyyymmdd hh:mm", as Taipei's time."""
    text = optional_text(item, "ModifyDate")
    if text is None:
        return None
    moment = parse_time(text)
    if moment is None:
        raise UnreadableReply(f"ModifyDate must be yyyymmdd hh:mm, and it is {quoted(text)}.")
    return moment


def _instructions(item: Payload) -> tuple[Instruction, ...]:
    """Read InstructionsList: the array of the example, the "JSON format string" of the text, or a single object."""
    value = item.get("InstructionsList")
    if isinstance(value, str) and value:
        value = read_json(value)
        if value is None:
            raise UnreadableReply("InstructionsList is text, and that text is not JSON.")
    entries = as_objects([value] if isinstance(value, dict) else value, "InstructionsList")
    return tuple(Instruction.from_payload(entry) for entry in entries)
