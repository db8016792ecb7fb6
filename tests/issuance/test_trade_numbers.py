"""Derived numbers are frozen: unfinished orders are queried under them."""

from __future__ import annotations

import doctest
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import InvalidOrder
from adapter.issuance import trade_numbers
from adapter.issuance.trade_numbers import derive_trade_no

VECTORS = [
    (("3085676", "A-1001", 1), {}, "Z3I7FVF5CMM5DFI7RFBK"),
    (("3085676", "A-1001", 2), {}, "PD6IZDI61NCHGKUYASYS"),
    (("3085676", "A-1001", 1), {"reissue": 1}, "TJOG19Q5UND3Y0HPVJZ9"),
    (("3085676", "A-1001", 1), {"prefix": "T1"}, "T1I7FVF5CMM5DFI7RFBK"),
    (("3085676", "訂單一", 1), {}, "IEOCENZ8AVL68V3AVKTG"),
]


@pytest.mark.parametrize(("arguments", "options", "number"), VECTORS)
def test_the_numbers_never_change(arguments: tuple[str, str, int], options: dict[str, object], number: str) -> None:
    """docs/orders.md, in literal numbers: changing one of these issues orders in flight a second time."""
    assert derive_trade_no(*arguments, **options) == number  # type: ignore[arg-type]


def test_a_number_is_derived_as_the_contract_defines() -> None:
    """SHA-256 of merchant, NUL, order id, NUL, part; base 36, upper case; the last 20 characters."""
    digest = hashlib.sha256(b"3085676\0A-1001\0" + b"7").hexdigest()

    number = derive_trade_no("3085676", "A-1001", 7)

    assert int(number, 36) == int(digest, 16) % 36**20


def test_a_reissue_adds_its_count_after_another_nul() -> None:
    """The n-th reissue has n in its digest, and the first issue has nothing there."""
    digest = hashlib.sha256(b"M\0O\0" + b"1\0" + b"3").hexdigest()

    assert int(derive_trade_no("M", "O", 1, reissue=3), 36) == int(digest, 16) % 36**20
    assert derive_trade_no("M", "O", 1, reissue=0) == derive_trade_no("M", "O", 1)


def test_a_short_number_is_filled_with_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest that is a small number still makes 20 characters."""
    monkeypatch.setattr(trade_numbers, "_base_36", lambda number: "Z")

    assert derive_trade_no("M", "O", 1) == "0" * 19 + "Z"
    assert derive_trade_no("M", "O", 1, prefix="AB") == "AB" + "0" * 17 + "Z"


@given(
    merchant=st.text(alphabet="0123456789", min_size=1, max_size=10),
    order_id=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=64),
    part=st.integers(1, 20),
    prefix=st.text(alphabet="ABCxyz019", max_size=4),
    reissue=st.integers(0, 5),
)
def test_every_number_fits_both_fields(merchant: str, order_id: str, part: int, prefix: str, reissue: int) -> None:
    """20 letters and digits for any order: FreeTradeNo is String(20), MerchantTradeNo String(25)."""
    number = derive_trade_no(merchant, order_id, part, prefix=prefix, reissue=reissue)

    assert len(number) == 20
    assert number.isascii()
    assert number.isalnum()
    assert number.startswith(prefix)


@pytest.mark.parametrize("order_id", ["A\x001", "A\ud800"])
def test_an_order_id_that_could_pass_for_another_is_refused(order_id: str) -> None:
    """With a NUL, order "A" part 1 reissued as 2 and order "A NUL 1" part 2 would share a number."""
    with pytest.raises(InvalidOrder, match="order_id"):
        derive_trade_no("M", order_id, 2)


@pytest.mark.parametrize("options", [{"prefix": "ABCDE"}, {"prefix": "A-"}, {"prefix": "Ａ"}, {"reissue": -1}])
def test_options_outside_the_contract_are_refused(options: dict[str, object]) -> None:
    """A prefix is at most four ASCII letters or digits, and reissues count from 0."""
    with pytest.raises(ValueError, match="derived"):
        derive_trade_no("M", "O", 1, **options)  # type: ignore[arg-type]


def test_the_example_in_the_docstring_is_true() -> None:
    """Examples are run."""
    assert doctest.testmod(trade_numbers) == (0, 1)
