"""What a test demands of a message: fields, numbers and single words, so that its wording can improve."""

from __future__ import annotations

import re


def mentions(text: str, words: str) -> bool:
    """Whether a text has each of these words, which blanks separate, in any order and not as a part of a longer one."""
    return all(re.search(_whole(word), text) for word in words.split())


def _whole(word: str) -> str:
    before = r"(?<!\w)" if re.match(r"\w", word) else ""
    after = r"(?!\w)" if re.search(r"\w$", word) else ""
    return before + re.escape(word) + after


def line_mentions(text: str, words: str) -> bool:
    """Whether one line of a text, such as a log, has each of these words."""
    return any(mentions(line, words) for line in text.splitlines())
