"""Searches outputs for marked texts, in every form in which a program may write them.

The outputs are decoded, not the marks encoded: a decoder finds a text of which only some characters are escaped, or
that stands in the middle of a longer one (`adapter.operations.decodings`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from adapter.operations.decodings import decoded

SHORTEST_PIECE = 8
"""So many characters of a key in a row are a leak."""


class Kind(StrEnum):
    """What a mark stands for."""

    KEY = "key"
    CUSTOMER = "customer"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A text that appears nowhere else, so that finding it proves where it comes from."""

    name: str
    text: str
    kind: Kind

    def needles(self) -> frozenset[bytes]:
        """What is looked for: of a key every piece, of other data the whole text; forwards and backwards."""
        text = self.text.casefold()
        pieces = {text}
        if self.kind is Kind.KEY:
            pieces = {text[at : at + SHORTEST_PIECE] for at in range(max(1, len(text) - SHORTEST_PIECE + 1))}
        return frozenset(each.encode() for piece in pieces for each in (piece, piece[::-1]))


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Leak:
    """A mark in an output; `form` names the decoders that showed it, none for the plain text."""

    output: str
    mark: str
    kind: Kind
    form: str


def find_leaks(outputs: Mapping[str, bytes], marks: Iterable[Mark]) -> list[Leak]:
    """Return each mark in each output once, in the simplest form."""
    needles = [(mark, mark.needles()) for mark in marks]
    leaks = []
    for name, content in outputs.items():
        left = needles
        for form, text in decoded(content):
            lowered = _folded(text)
            found = [each for each in left if any(needle in lowered for needle in each[1])]
            leaks += [Leak(output=name, mark=mark.name, kind=mark.kind, form=form) for mark, _ in found]
            left = [each for each in left if each not in found]
    return leaks


def _folded(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").casefold().encode()
