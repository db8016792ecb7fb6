"""The search finds a mark in every form in which a program may write it."""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Callable

import pytest

from redaction.search import Kind, Leak, Mark, find_leaks

KEY = Mark(name="hash key", text="Q7x2Lm9Vb4Tz8Kp3", kind=Kind.KEY)
NAME = Mark(name="name", text="瀧澤彗璃", kind=Kind.CUSTOMER)
PHONE = Mark(name="phone", text="0987612345", kind=Kind.CUSTOMER)

WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "upper case": str.upper,
    "backwards": lambda text: text[::-1],
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "every character escaped": lambda text: "".join(f"\\u{ord(each):04X}" for each in text),
    "bytes of Python": lambda text: repr(text.encode()),
    "bytes escaped": lambda text: "".join(f"\\x{each:02x}" for each in text.encode()),
    "URL": lambda text: urllib.parse.quote(text, safe=""),
    "every byte of a URL": lambda text: "".join(f"%{each:02x}" for each in text.encode()),
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#x{ord(each):x};" for each in text),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of URLs": lambda text: base64.urlsafe_b64encode(f"?>?>{text}".encode()).decode().rstrip("="),
    "base64 in JSON": lambda text: base64.b64encode(json.dumps({"a": text}).encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex upper case": lambda text: text.encode().hex().upper(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "hex of base64": lambda text: base64.b64encode(text.encode()).hex(),
    "UTF-16": lambda text: text.encode("utf-16-le").decode("latin-1"),
}


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
