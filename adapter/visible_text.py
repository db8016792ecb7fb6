"""Makes text safe to look at: characters that a terminal or viewer would obey become escapes.

Order ids, merchant ids, headers and messages come from outside. They may hold sequences that move a terminal's cursor,
colour or reverse a line, or look like the next line. Every text that reaches a terminal or a log passes through here.
Letters of every language, emoji and blanks stay.
"""

from __future__ import annotations

from unicodedata import category


def visible(text: str, *, keep: str = "") -> str:
    r"""Return the text with every control, format, surrogate and unassigned character escaped, but for those to keep.

    >>> visible("A\x1b[31m\n\u202e1"), visible("A\nB\n", keep="\n")
    ('A\\x1b[31m\\n\\u202e1', 'A\nB\n')
    """
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) or each in keep else _escape(each) for each in text)


def visible_value(value: object) -> object:
    """Return a JSON value, or any mix of dictionaries and sequences, with all its texts made visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible_value(key): visible_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [visible_value(each) for each in value]
    return value


def visible_json(text: str) -> str:
    r"""Return JSON text with the same meaning in which such characters are JSON's own escapes; line ends stay.

    >>> visible_json('{"id":"\u202e1"}')
    '{"id":"\\u202e1"}'
    """
    if text.isprintable():
        return text
    return "".join(each if _is_harmless(each) or each == "\n" else _json_escape(each) for each in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _json_escape(character: str) -> str:
    """Escape one character of a JSON string; there are none outside of strings."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
