"""The search finds a mark in every form in which a program may write it."""

from __future__ import annotations

import base64

import pytest

from redaction.search import Kind, Leak, Mark, find_leaks
from redaction.written import WRITTEN

KEY = Mark(name="hash key", text="Q7x2Lm9Vb4Tz8Kp3", kind=Kind.KEY)
NAME = Mark(name="name", text="瀧澤彗璃", kind=Kind.CUSTOMER)
PHONE = Mark(name="phone", text="0987612345", kind=Kind.CUSTOMER)

BEFORE = ("", "x", "ab", "a sentence: ", "key=\\")
CASES = [(mark, form) for mark in (KEY, NAME, PHONE) for form in WRITTEN if (mark, form) != (NAME, "UTF-16")]


@pytest.mark.parametrize(("mark", "form"), CASES, ids=lambda case: getattr(case, "name", case))
def test_a_mark_is_found_in_every_form(mark: Mark, form: str) -> None:
    """Whatever stands before and behind it, in the middle of other texts."""
    encoding = "latin-1" if form == "UTF-16" else "utf-8"
    outputs = {before: f"a line\n{before}{WRITTEN[form](mark.text)} and more\n".encode(encoding) for before in BEFORE}

    assert [(leak.output, leak.mark) for leak in find_leaks(outputs, [mark])] == [(each, mark.name) for each in BEFORE]


@pytest.mark.parametrize("start", range(0, 9, 2))
def test_a_piece_of_a_key_is_found(start: int) -> None:
    """Eight characters are enough to guess on, and seven are not a leak."""
    piece = KEY.text[start : start + 8]

    assert find_leaks({"log": piece.encode()}, [KEY])
    assert not find_leaks({"log": piece[:7].encode()}, [KEY])


def test_a_phone_number_is_found_as_people_write_it() -> None:
    """With blanks and hyphens."""
    assert find_leaks({"log": b"call 0987-612 345"}, [PHONE])


def test_each_mark_is_reported_once_in_each_output() -> None:
    """In its simplest form, with the kind that decides whether it may be there."""
    twice = f"{KEY.text} {KEY.text.encode().hex()}".encode()
    leaks = find_leaks({"log": twice, "metrics": b"nothing", "bundle": KEY.text.encode().hex().encode()}, [KEY])

    assert leaks == [
        Leak(output="log", mark="hash key", kind=Kind.KEY, form=""),
        Leak(output="bundle", mark="hash key", kind=Kind.KEY, form="hex"),
    ]


def test_nothing_is_found_where_nothing_is() -> None:
    """Not in random bytes, and not in texts like it."""
    noise = bytes(range(256)) * 40 + b"Q7x2Lm9-Vb4Tz8 0987 612 34 " + base64.b64encode(bytes(range(256)))

    assert find_leaks({"log": noise}, [KEY, NAME, PHONE]) == []
