"""TicketData of ECTicket's answer, compared with the request."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapter.issuance.answers import TicketDifference, ticket_differences
from adapter.protocol.issue import IssuedItem, IssueRequest, IssueType, TicketInfo
from adapter.values import replace

from .samples import part

LISTED = replace(
    part().request,
    issue_type=IssueType.ELECTRONIC,
    ticket_info=(TicketInfo(item_no="VQT04959", ticket_amount=2), TicketInfo(item_no="BR103218", ticket_amount=3)),
)
SERIAL = replace(
    part().request,
    issue_type=IssueType.SERIAL_NUMBER,
    ticket_info=(
        TicketInfo(item_name="SPA", ticket_price=3200, ticket_amount=1),
        TicketInfo(item_name="SPA", ticket_price=6600, ticket_amount=2),
    ),
)


def listed(item_no: str | None, amount: int) -> IssuedItem:
    return IssuedItem(item_no=item_no, item_name=None, ticket_price=None, ticket_amount=amount)


def serial(name: str | None, price: int | None, amount: int) -> IssuedItem:
    return IssuedItem(item_no=None, item_name=name, ticket_price=price, ticket_amount=amount)


@pytest.mark.parametrize(
    ("request_", "issued"),
    [
        (LISTED, [listed("VQT04959", 2), listed("BR103218", 3)]),
        (LISTED, [listed("BR103218", 3), listed("VQT04959", 2)]),
        (LISTED, [listed("vqt04959 ", 2), listed("BR103218", 1), listed("BR103218", 2)]),
        (LISTED, [listed(None, 4), listed("BR103218", 1)]),
        (SERIAL, [serial("SPA", 3200, 1), serial(" SPA ", 6600, 2)]),
        (SERIAL, [serial("SPA", None, 1), serial(None, 6600, 2)]),
        (SERIAL, [listed("VQT04959", 3)]),
        (LISTED, []),
        (LISTED, None),
    ],
)
def test_the_same_tickets_are_no_difference(request_: IssueRequest, issued: Sequence[IssuedItem] | None) -> None:
    """In any order, added up; what does not say which item it is counts in the total; nothing said is nothing."""
    assert ticket_differences(request_, issued) == ()


@pytest.mark.parametrize(
    ("request_", "issued", "differences"),
    [
        (LISTED, [listed("VQT04959", 2)], [("BR103218", 3, 0)]),
        (LISTED, [listed("VQT04959", 2), listed("BR103218", 4)], [("BR103218", 3, 4)]),
        (LISTED, [listed("VQT04959", 3), listed("BR103218", 2)], [("VQT04959", 2, 3), ("BR103218", 3, 2)]),
        (
            LISTED,
            [listed("VQT04959", 2), listed("BR103218", 3), listed("CK851236", 1)],
            [("CK851236", 0, 1)],
        ),
        (LISTED, [listed(None, 4)], [("all items", 5, 4)]),
        (
            SERIAL,
            [serial("SPA", 3200, 2), serial("SPA", 6600, 1)],
            [("SPA at NT$3200", 1, 2), ("SPA at NT$6600", 2, 1)],
        ),
        (SERIAL, [serial("SPA", 3200, 3)], [("SPA at NT$3200", 1, 3), ("SPA at NT$6600", 2, 0)]),
        (SERIAL, [serial(None, None, 1)], [("all items", 3, 1)]),
    ],
)
def test_other_tickets_are_named(
    request_: IssueRequest, issued: Sequence[IssuedItem], differences: list[tuple[str, int, int]]
) -> None:
    """Each item with its requested and its issued number of tickets."""
    assert ticket_differences(request_, issued) == tuple(
        TicketDifference(item=item, requested=requested, issued=given) for item, requested, given in differences
    )
