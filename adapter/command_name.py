"""Finds the command among the arguments before any option is parsed.

It imports nothing: `adapter.__main__` needs it before its handlers for signals, which come before the other imports.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it as true; `typing` takes longer to import than all that is here
if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS_WITH_VALUE = ("--config", "--set")
"""Options that may stand before the command, each followed by its value."""


def command_name(arguments: Sequence[str]) -> str | None:
    """Return the first word that is neither an option nor the value of one; None behind `--help`, and without one."""
    words = iter(arguments)
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif word == "--help":
            return None
        elif not word.startswith("-"):
            return word
    return None
