"""Items on and off the shelf."""

from __future__ import annotations

import pytest

from adapter.dev.sandbox.catalogue import BUILT_IN_ITEMS, ItemCatalogue, describe
from adapter.errors import SettingsError
from adapter.protocol.issue import IssueType
from adapter.protocol.query_item_info import TicketType

from .helpers import START


@pytest.fixture
def catalogue() -> ItemCatalogue:
    return ItemCatalogue(BUILT_IN_ITEMS, max_items=len(BUILT_IN_ITEMS) + 1)


def test_there_are_items_of_both_kinds_on_and_off_the_shelf() -> None:
    """Each rule about items can be broken without preparing anything."""
    kinds = {(item.ticket_type, item.listed) for item in BUILT_IN_ITEMS}

    assert kinds == {(kind, listed) for kind in TicketType for listed in (True, False)}


def test_an_item_goes_off_the_shelf_and_says_when(catalogue: ItemCatalogue) -> None:
    """All else about it stays."""
    before = catalogue.find("VQT04959")

    after = catalogue.put("VQT04959", {"listed": False}, START)

    assert before is not None
    assert (after.listed, after.modified_at, after.name) == (False, START, before.name)
    assert catalogue.find("VQT04959") is after


def test_instructions_are_replaced_and_shown(catalogue: ItemCatalogue) -> None:
    """Each issue type may have several, and some may have none."""
    instructions = [{"issue_type": "paper", "description": "Show it."}, {"issue_type": "paper", "description": "Once."}]

    after = catalogue.put("VQT04959", {"instructions": instructions}, START)

    assert after.instructions == ((IssueType.PAPER, "Show it."), (IssueType.PAPER, "Once."))
    assert describe(after)["instructions"] == instructions


def test_a_new_item_needs_its_kind(catalogue: ItemCatalogue) -> None:
    """The kind decides which trade number is used, so it is never guessed."""
    with pytest.raises(SettingsError, match="ticket_type"):
        catalogue.put("NEW00001", {"listed": True}, START)

    made = catalogue.put("NEW00001", {"ticket_type": "gift", "price": 7, "name": "New"}, START)

    assert (made.ticket_type, made.price, made.name, made.listed) == (TicketType.GIFT, 7, "New", True)


@pytest.mark.parametrize(
    ("item_no", "change", "expected"),
    [
        ("VQT04959", {"lsited": False}, "'lsited'.* listed"),
        ("VQT04959", {"listed": 0}, r"^listed .*true"),
        ("VQT04959", {"price": -1}, r"^price "),
        ("VQT04959", {"price": True}, r"^price "),
        ("VQT04959", {"name": "x" * 21}, r"^name "),
        ("VQT04959", {"name": "\ud800"}, r"^name "),
        ("VQT04959", {"ticket_type": "1"}, r"^ticket_type .*pickup.* gift"),
        ("VQT04959", {"instructions": "show it"}, "^instructions "),
        ("VQT04959", {"instructions": [{"issue_type": "serial_number", "description": ""}]}, "^instructions .*paper"),
        ("VQT04959", {"instructions": [{"issue_type": "paper", "description": "x" * 101}]}, "^instructions .*100"),
        ("VQT04959", {"instructions": [{"issue_type": "paper"}]}, "^instructions .*description"),
        ("VQT049591", {"ticket_type": "gift"}, "1 to 8"),
        ("VQT-4959", {"ticket_type": "gift"}, "1 to 8"),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(
    catalogue: ItemCatalogue, item_no: str, change: dict[str, object], expected: str
) -> None:
    """The problem names the field, or what an item number may be."""
    before = catalogue.items()

    with pytest.raises(SettingsError, match=expected):
        catalogue.put(item_no, change, START)

    assert catalogue.items() == before


def test_a_full_catalogue_takes_no_new_item(catalogue: ItemCatalogue) -> None:
    """Memory is bounded."""
    catalogue.put("NEW00001", {"ticket_type": "gift"}, START)

    with pytest.raises(SettingsError, match="full"):
        catalogue.put("NEW00002", {"ticket_type": "gift"}, START)
    assert catalogue.put("NEW00001", {"listed": False}, START).listed is False
