"""Which numbers a liveness proof queries, and which it never queries again."""

from __future__ import annotations

import pytest

from adapter.flows.number_history import CONFIRMED_KEPT, DROPPED_KEPT, UNCONFIRMED_KEPT, KnownNumbers
from adapter.protocol.credentials import Merchant
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.testing.fakes import FakeMerchants
from adapter.testing.orders import MERCHANT

PICKUP, GIFT = TradeNoKind.MERCHANT, TradeNoKind.FREE


def number(value: str, kind: TradeNoKind = PICKUP) -> TradeNo:
    return TradeNo(kind=kind, value=value)


def merchant(known_trade_no: str | None = None) -> Merchant:
    found = FakeMerchants(MERCHANT, known_trade_no=known_trade_no).find(MERCHANT)
    assert found is not None
    return found


def asked(known: KnownNumbers, kind: TradeNoKind = PICKUP, *, setting: str | None = None) -> list[str]:
    """The numbers to query, as kind and text."""
    return [f"{each.kind} {each.value}" for each in known.to_query(merchant(setting), kind)]


@pytest.mark.parametrize(
    ("kind", "order"),
    [
        (PICKUP, ["merchant NEW", "merchant OLD", "free GIFT", "merchant SET", "free SET", "merchant M", "free F"]),
        (GIFT, ["free GIFT", "merchant NEW", "merchant OLD", "free SET", "merchant SET", "free F", "merchant M"]),
    ],
)
def test_confirmed_numbers_come_first_and_of_each_group_the_wanted_kind(kind: TradeNoKind, order: list[str]) -> None:
    """Then the settings' one, as both kinds; then what Issue accepted, which queries may not show yet."""
    known = KnownNumbers()
    known.add_candidate(MERCHANT, number("F", GIFT))
    known.add_candidate(MERCHANT, number("M"))
    for each in (number("OLD"), number("GIFT", GIFT), number("NEW")):
        known.record_known(MERCHANT, each)

    assert asked(known, kind, setting="SET") == order


def test_what_is_not_known_while_another_is_is_never_queried_again() -> None:
    """QueryIssueResult works, so the number is gone, or never was; it is not accepted again."""
    known = KnownNumbers()
    known.record_known(MERCHANT, number("GONE"))
    known.add_candidate(MERCHANT, number("FORGED"))

    known.record_known(MERCHANT, number("THERE"), not_known=[number("GONE"), number("FORGED")])
    for _ in range(2):
        known.add_candidate(MERCHANT, number("FORGED"))
        known.record_known(MERCHANT, number("GONE"))

    assert asked(known) == ["merchant THERE"]


def test_the_settings_number_is_dropped_as_any_other() -> None:
    """It was asked about as the wrong kind, or is wrong."""
    known = KnownNumbers()
    known.record_known(MERCHANT, number("SET", GIFT), not_known=[number("SET")])

    assert asked(known, setting="SET") == ["free SET"]


def test_nothing_is_dropped_while_nothing_is_known() -> None:
    """QueryIssueResult may be down."""
    known = KnownNumbers()
    known.record_known(MERCHANT, number("A"))
    known.add_candidate(MERCHANT, number("B"))

    known.record_not_known(MERCHANT, [number("A"), number("B")])

    assert asked(known) == ["merchant A", "merchant B"]


def test_a_candidate_that_is_not_shown_makes_room_for_a_newer_one() -> None:
    """Else three numbers that were never issued would keep every later one out."""
    known = KnownNumbers()
    for index in range(UNCONFIRMED_KEPT):
        known.add_candidate(MERCHANT, number(f"OLD{index}"))
    known.add_candidate(MERCHANT, number("NO-ROOM"))
    known.record_not_known(MERCHANT, [number("OLD1")])

    known.add_candidate(MERCHANT, number("NEW"))

    assert asked(known) == ["merchant OLD0", "merchant OLD2", "merchant NEW"]


def test_merchants_do_not_share_numbers() -> None:
    """A number belongs to one merchant."""
    known = KnownNumbers()
    known.record_known("3002607", number("A"))

    assert asked(known) == []


@pytest.mark.parametrize("text", ["", "A" * 26, "with blank", "日本"])
def test_a_setting_that_is_no_number_is_not_queried(text: str) -> None:
    """A number of the other kind's length is queried as the one kind only."""
    assert asked(KnownNumbers(), setting=text) == []
    assert asked(KnownNumbers(), setting="A" * 25) == [f"merchant {'A' * 25}"]


def test_memory_is_bounded() -> None:
    """However many numbers there are."""
    known = KnownNumbers()
    for index in range(1_000):
        known.add_candidate(MERCHANT, number(f"N{index}"))
        known.record_known(MERCHANT, number(f"C{index}"), not_known=[number(f"G{index}")])

    assert asked(known) == [
        "merchant C999", "merchant C998", "merchant C997", "merchant N0", "merchant N1", "merchant N2"
    ]  # fmt: skip
    assert CONFIRMED_KEPT == UNCONFIRMED_KEPT == 3
    known.add_candidate(MERCHANT, number("G999"))
    assert "merchant G999" not in asked(known)
    assert DROPPED_KEPT < 100
