"""No text from outside moves a terminal's cursor, colours or reverses a line, or looks like the next line."""

from __future__ import annotations

import json
import sys
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.cli.output import JsonDocuments, note, print_entry, print_facts, print_json, print_json_list, print_line
from adapter.visible_text import visible, visible_json, visible_value

OBEYED = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
"""Control, format, surrogate, unassigned, private use, line and paragraph separator."""
EVIL = "A\x1b[2J\x1b]0;x\x07\x9b31m\u202e\u2066\u2028\x85\r\x00\ud800\x7f1"


def _obeyed(text: str, *, but: str = "") -> set[str]:
    return {each for each in text if category(each) in OBEYED and each not in but}


def test_every_code_point_is_harmless_or_escaped() -> None:
    """All 1,114,112 of them; letters, digits, blanks and symbols stay."""
    text = "".join(map(chr, range(sys.maxunicode + 1)))

    assert _obeyed(visible(text)) == set()
    assert _obeyed(visible_json(text), but="\n") == set()
    assert visible("票 é 😀 \u3000\u00a0~") == "票 é 😀 \u3000\u00a0~"


@given(
    st.recursive(st.text() | st.none() | st.integers(), lambda each: st.lists(each) | st.dictionaries(st.text(), each))
)
def test_json_keeps_its_meaning(value: object) -> None:
    """Each escape is JSON's own."""
    text = json.dumps(value, ensure_ascii=False, indent=1)

    assert json.loads(visible_json(text)) == value
    assert _obeyed(visible_json(text), but="\n") == set()


def test_json_with_half_a_surrogate_pair_can_be_written() -> None:
    """UTF-8 cannot encode it, but JSON's escape can."""
    written = visible_json(json.dumps({"id": "\ud800 \U000e0001"}, ensure_ascii=False))

    assert json.loads(written.encode("utf-8")) == {"id": "\ud800 \U000e0001"}


def test_values_are_escaped_at_every_depth() -> None:
    """Keys too; what is no text stays."""
    assert visible_value({EVIL: [EVIL, (EVIL, 1, None)]}) == {visible(EVIL): [visible(EVIL), [visible(EVIL), 1, None]]}


@pytest.mark.parametrize(
    "write",
    [
        print_line,
        note,
        print_json,
        lambda text: print_json({text: [text]}),
        lambda text: print_json_list([{"id": text}]),
        lambda text: JsonDocuments().print({"id": text}),
        lambda text: print_facts([("id", text)]),
        lambda text: print_entry("1", text, text),
    ],
)
def test_nothing_that_a_command_prints_is_obeyed(
    write: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the way to print it."""
    assert callable(write)
    write(EVIL)

    out, err = capsys.readouterr()
    assert _obeyed(out + err, but="\n") == set()
    assert "A" in out + err
