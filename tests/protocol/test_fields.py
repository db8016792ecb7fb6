"""Single fields: what is one in meaning is one in reading, and what is not is refused without showing the value."""

from __future__ import annotations

import pytest

from adapter.errors import UnreadableReply
from adapter.protocol.fields import integer, objects, optional_integer, optional_text


@pytest.mark.parametrize("payload", [{}, {"A": None}, {"A": ""}])
def test_absent_null_and_empty_are_one(payload: dict[str, object]) -> None:
    """A production client sends "" for what it leaves out, and the pages say null."""
    assert optional_text(payload, "A") is None
    assert optional_integer(payload, "A") is None
    assert objects(payload, "A") == ()


@pytest.mark.parametrize(("value", "text"), [("x", "x"), (" ", " "), (7, "7"), (7.0, "7"), (-1, "-1"), ("王", "王")])
def test_text_may_come_as_a_number(value: object, text: str) -> None:
    """TicketTradeNo, for one, has only digits."""
    assert optional_text({"A": value}, "A") == text


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1), ("1", 1), (1.0, 1), (" 12 ", 12), ("-3", -3), ("007", 7), (0, 0), ("0", 0), (10**18 - 1, 10**18 - 1)],
)
def test_numbers_may_come_as_decimal_text(value: object, number: int) -> None:
    """And as numbers with an empty fraction, as some JSON writers have it."""
    assert optional_integer({"A": value}, "A") == number
    assert integer({"A": value}, "A") == number


@pytest.mark.parametrize(
    "value",
    [True, False, 1.5, 2.0**60, 10**18, -(10**18), 10**5000, "1.0", "1e3", "0x1", "١", "１", "1_000", "1,000", "--1",
     "one", "1" * 19, [], {}, [1], "\x00", " "],
    ids=lambda value: ascii(value)[:30] if not isinstance(value, int) else type(value).__name__,
)  # fmt: skip
def test_what_is_no_whole_number_is_unreadable(value: object) -> None:
    """Booleans, fractions, what only Unicode calls a digit, and numbers beyond 18 digits."""
    with pytest.raises(UnreadableReply, match=r"^A\b.*whole"):
        optional_integer({"A": value}, "A")


@pytest.mark.parametrize("value", [True, 1.5, [], {}, ["x"], 10**18])
def test_what_is_no_text_is_unreadable(value: object) -> None:
    """Nothing is turned into text that was none."""
    with pytest.raises(UnreadableReply, match=r"^A must be text"):
        optional_text({"A": value}, "A")


@pytest.mark.parametrize("payload", [{}, {"A": None}, {"A": ""}])
def test_required_number_must_be_there(payload: dict[str, object]) -> None:
    """RtnCode is never guessed."""
    with pytest.raises(UnreadableReply, match="A is missing"):
        integer(payload, "A")


@pytest.mark.parametrize("value", ["x", 1, True, {}, {"a": 1}, [1], [{}, None], [[]], ["{}"]])
def test_what_is_no_array_of_objects_is_unreadable(value: object) -> None:
    """One odd entry is enough."""
    with pytest.raises(UnreadableReply, match="array of objects"):
        objects({"A": value}, "A")


def test_messages_name_the_type_and_never_the_value() -> None:
    """What ECTicket sends may be a customer's."""
    for value in ("0912345678x", ["0912345678"], {"0912345678": 1}, 912345678.5):
        with pytest.raises(UnreadableReply) as caught:
            integer({"A": value}, "A")

        assert "912345678" not in str(caught.value)
