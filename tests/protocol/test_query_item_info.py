"""QueryItemInfo: the page's example, the instructions in all their forms, the time as a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from adapter.errors import UnreadableReply
from adapter.protocol.issue import IssueType
from adapter.protocol.query_item_info import Instruction, ItemReply, ItemRequest, ItemStatus, TicketType

INSTRUCTIONS = [
    {"IssueType": "1", "Description": "Convenience store ticket instruction1"},
    {"IssueType": "1", "Description": "Convenience store ticket instruction2"},
    {"IssueType": "2", "Description": "Paper ticket instruction1"},
    {"IssueType": "3", "Description": "Electronic ticket instruction1"},
]
ANSWER: dict[str, object] = {
    "RtnCode": 1,
    "RtnMsg": "success",
    "MerchantID": "2000132",
    "ItemNo": "VTMT5062",
    "ItemName": "Holiday meal voucher",
    "TicketType": "1",
    "ItemAmount": 1200,
    "ItemStatus": "1",
    "ModifyDate": "20220801 15:30",
    "InstructionsList": INSTRUCTIONS,
}
"""The page's example of an answer, with four of its eight instructions."""

READ = (
    Instruction(issue_type=IssueType.CONVENIENCE_STORE, description="Convenience store ticket instruction1"),
    Instruction(issue_type=IssueType.CONVENIENCE_STORE, description="Convenience store ticket instruction2"),
    Instruction(issue_type=IssueType.PAPER, description="Paper ticket instruction1"),
    Instruction(issue_type=IssueType.ELECTRONIC, description="Electronic ticket instruction1"),
)


def test_request_example_of_the_page() -> None:
    """Merchant and item, nothing else."""
    request = ItemRequest(merchant_id="2000132", item_no="CHF80957")

    assert request.to_payload() == {"MerchantID": "2000132", "ItemNo": "CHF80957"}


def test_answer_example_of_the_page() -> None:
    """Every field in its own type."""
    reply = ItemReply.from_payload(ANSWER)

    assert reply == ItemReply(
        rtn_code=1,
        rtn_msg="success",
        item_no="VTMT5062",
        item_name="Holiday meal voucher",
        ticket_type=TicketType.PICKUP,
        item_amount=1200,
        item_status=ItemStatus.LISTED,
        modify_date=datetime(2022, 8, 1, 7, 30, tzinfo=UTC),
        instructions=READ,
    )
    assert reply.modify_date is not None
    assert reply.modify_date.utcoffset() == timedelta(hours=8)


@pytest.mark.parametrize(
    "written",
    [INSTRUCTIONS, json.dumps(INSTRUCTIONS), json.dumps(INSTRUCTIONS, indent=1)],
    ids=["array", "text", "spaced text"],
)
def test_instructions_are_read_as_array_or_as_json_text(written: object) -> None:
    """The page's example has the one, the page's words ("a JSON format string") the other."""
    assert ItemReply.from_payload(ANSWER | {"InstructionsList": written}).instructions == READ


def test_single_instruction_is_read_without_its_array() -> None:
    """The field is typed "Object"."""
    for written in (INSTRUCTIONS[0], json.dumps(INSTRUCTIONS[0])):
        assert ItemReply.from_payload(ANSWER | {"InstructionsList": written}).instructions == READ[:1]


@pytest.mark.parametrize("written", [None, "", [], "[]"])
def test_item_without_instructions_has_none(written: object) -> None:
    """Absent, null, empty text, empty array, empty array as text."""
    assert ItemReply.from_payload(ANSWER | {"InstructionsList": written}).instructions == ()


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("ticket_type", "2", TicketType.GIFT),
        ("ticket_type", 2, TicketType.GIFT),
        ("item_status", "0", ItemStatus.DELISTED),
        ("item_status", 0, ItemStatus.DELISTED),
        ("item_status", None, None),
        ("item_amount", "1200", 1200),
        ("item_amount", 1200.0, 1200),
        ("item_amount", 0, 0),
        ("modify_date", "", None),
    ],
)
def test_values_are_read_as_number_or_text(field: str, value: object, expected: object) -> None:
    """Zero is a value, and "" is none."""
    wire = {"ticket_type": "TicketType", "item_status": "ItemStatus", "item_amount": "ItemAmount"}
    reply = ItemReply.from_payload(ANSWER | {wire.get(field, "ModifyDate"): value})

    assert getattr(reply, field) == expected


def test_refusal_has_no_item_whatever_it_says() -> None:
    """Only RtnCode 1 describes an item."""
    reply = ItemReply.from_payload({"RtnCode": 5, "RtnMsg": "no", "ItemNo": "A", "TicketType": "9", "ModifyDate": "x"})

    assert (reply.rtn_code, reply.rtn_msg) == (5, "no")
    assert (reply.item_no, reply.ticket_type, reply.modify_date, reply.instructions) == (None, None, None, ())


@pytest.mark.parametrize(
    "changed",
    [
        {"RtnCode": None},
        {"TicketType": "3"},
        {"TicketType": []},
        {"ItemStatus": "2"},
        {"ItemStatus": True},
        {"ItemAmount": "dear"},
        {"ModifyDate": "yesterday"},
        {"ModifyDate": "20220801"},
        {"ModifyDate": "20221301 15:30"},
        {"ModifyDate": 20220801},
        {"InstructionsList": "not JSON"},
        {"InstructionsList": "1"},
        {"InstructionsList": "null"},
        {"InstructionsList": 7},
        {"InstructionsList": ["x"]},
        {"InstructionsList": [{}]},
        {"InstructionsList": [{"IssueType": "9"}]},
        {"InstructionsList": [{"IssueType": "1", "Description": []}]},
    ],
    ids=str,
)
def test_answer_of_another_form_is_unreadable(changed: dict[str, object]) -> None:
    """As with Issue."""
    with pytest.raises(UnreadableReply):
        ItemReply.from_payload(ANSWER | changed)
