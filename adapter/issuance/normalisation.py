"""Normalise values that people and shops write in many ways to the form that ECTicket accepts.

    a value that is valid                       stays unchanged
    one that another spelling makes valid       is rewritten, and each kind of change is recorded
    anything else                               stays unchanged, and breaks its rule later

So a valid value never changes, and a second run changes nothing. It runs after mapping and after `shape_issue`, so that
the output of plugins is covered. It does not change trade numbers, dates and quantities. Item numbers change before
packing, so this is part of the planner's version.

Does not check (`protocol.rules`), log or count; a `Change` holds the field and the kind, never the value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum, unique
from operator import is_not
from typing import TypeVar

from adapter.issuance.order import TicketItem
from adapter.protocol import rules
from adapter.protocol.issue import IssueRequest, IssueType, TicketInfo
from adapter.protocol.value_descriptions import CHINESE
from adapter.values import replace

_Value = TypeVar("_Value", IssueRequest, TicketInfo, TicketItem)

LONGEST = 1000
"""Longer texts break every rule and are left alone."""


@unique
class ChangeKind(StrEnum):
    """The kind of a change."""

    INVISIBLE = "invisible"
    """Zero-width characters, byte order marks, soft hyphens, marks of direction, controls, variation selectors."""
    OUTER_BLANKS = "outer_blanks"
    """Blanks of any kind at the ends."""
    BLANKS = "blanks"
    """No-break, ideographic and other blanks, tabs and line ends inside."""
    INNER_BLANKS = "inner_blanks"
    """Blanks beside Chinese characters, and around the signs of a mail address."""
    FULL_WIDTH = "full_width"
    """Full-width letters, digits and signs, digits of other scripts, radicals for characters, split accents."""
    PUNCTUATION = "punctuation"
    """Typographic apostrophes, dashes and dots."""
    ACCENTS = "accents"
    """Latin letters with accents and ligatures."""
    PHONE_FORM = "phone_form"
    """Separators, brackets and Taiwan's country code in a mobile number."""
    MAIL_FORM = "mail_form"
    """A mail address as a link or with the name of its owner."""
    ANGLE_BRACKETS = "angle_brackets"
    """`<` and `>` in an address, which ECPay refuses as HTML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One kind of change in one field."""

    field: str
    kind: ChangeKind


Rewrite = Callable[[str], str]
Rewrites = Sequence[tuple[ChangeKind, Rewrite]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spelling:
    """A field's rule, and the steps that may make a value valid, in their order."""

    fits: Callable[[str], object]
    rewrites: Rewrites

    def of(self, text: str) -> tuple[str, tuple[ChangeKind, ...]]:
        """Return the valid text with the kinds of its changes; the text itself if no step makes it valid."""
        if self.fits(text) or len(text) > LONGEST:
            return text, ()
        kinds: list[ChangeKind] = []
        changed = text
        for kind, rewrite in self.rewrites:
            before, changed = changed, rewrite(changed)
            if changed == before:
                continue
            kinds.append(kind)
            if self.fits(changed):
                return changed, tuple(kinds)
        return text, ()


def normalised_request(request: IssueRequest) -> tuple[IssueRequest, tuple[Change, ...]]:
    """Return the request without unused fields and with each text as its rule requires, and what changed."""
    kind = request.issue_type
    normalised, changes = _respelt(_without(request, _UNNEEDED[kind]), _REQUEST_FIELDS)
    entries = []
    for before in request.ticket_info:
        entry, entry_changes = _respelt(_without(before, _UNNEEDED_OF_ENTRY[kind]), _ENTRY_FIELDS)
        entries.append(entry)
        changes += entry_changes
    if any(map(is_not, entries, request.ticket_info)):
        normalised = replace(normalised, ticket_info=tuple(entries))
    return normalised, changes


def normalised_item(item: TicketItem) -> tuple[TicketItem, tuple[Change, ...]]:
    """Return the item with its number or name as its rule requires, and what changed."""
    return _respelt(item, _ITEM_FIELDS[item.issue_type is IssueType.SERIAL_NUMBER])


def _respelt(of: _Value, fields: Mapping[str, tuple[str, _Spelling]]) -> tuple[_Value, tuple[Change, ...]]:
    found: dict[str, str] = {}
    changes: list[Change] = []
    for attribute, (name, spelling) in fields.items():
        text = getattr(of, attribute)
        if not isinstance(text, str) or spelling.fits(text):
            continue
        changed, kinds = spelling.of(text)
        if kinds:
            found[attribute] = changed
            changes += (Change(field=name, kind=kind) for kind in kinds)
    return (replace(of, **found) if found else of), tuple(changes)  # type: ignore[arg-type]  # texts for texts


def _without(of: _Value, unneeded: Sequence[str]) -> _Value:
    """Leave out fields; a value that has none of them is returned as it is."""
    found = [name for name in unneeded if getattr(of, name) is not None]
    return replace(of, **dict.fromkeys(found)) if found else of  # type: ignore[arg-type]  # all may be None


_UNNEEDED: Mapping[IssueType, Sequence[str]] = {
    IssueType.CONVENIENCE_STORE: ("print_type", "is_immediate"),
    IssueType.PAPER: ("is_immediate",),
    IssueType.ELECTRONIC: ("print_type",),
    IssueType.SERIAL_NUMBER: ("print_type", "is_immediate"),
}
"""The fields of a request that the page ignores for a type."""
_UNNEEDED_OF_ENTRY: Mapping[IssueType, Sequence[str]] = {
    IssueType.CONVENIENCE_STORE: ("item_name", "ticket_price", "start_date"),
    IssueType.PAPER: ("item_name", "ticket_price", "start_date"),
    IssueType.ELECTRONIC: ("item_name", "ticket_price"),
    IssueType.SERIAL_NUMBER: ("item_no", "start_date"),
}
"""The fields of an entry that the page ignores for a type: the other kind of product, and StartDate.

A StartDate beside IsImmediate 1 stays: on an electronic ticket it is a contradiction (`validity.presale_problem`).
"""


# --- steps ------------------------------------------------------------------------------------------------------------

_ASCII_FORMS: dict[int, int | str] = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    0x3002: ".",
    0xFF61: ".",
}
_APOSTROPHES = "\u2018\u2019\u201a\u201b\u02b9\u02bb\u02bc\u02bd\u2032\u2035`\u00b4\ua78c"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63\uff0d"
_CHINESE_DOTS = "\uff65\u2219\u22c5"
_TYPOGRAPHIC = str.maketrans(
    {**dict.fromkeys(_APOSTROPHES, "'"), **dict.fromkeys(_DASHES, "-"), **dict.fromkeys(_CHINESE_DOTS, "·")}
)
_LATIN = str.maketrans(
    {
        "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
        "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "ħ": "h", "Ħ": "H",
    }
)  # fmt: skip
_BLANKS = re.compile(r"\s+")
_BESIDE_CHINESE = re.compile(rf"(?<=[{CHINESE}·‧•・．])\s+|\s+(?=[{CHINESE}·‧•・．])")
_RADICALS = re.compile("[\u2e80-\u2fdf]")
_SEPARATORS = re.compile(r"[\s().,'\-/~_\u30fb\u30fc\u00b7]+")
_MOBILE = re.compile(r"(?:\+|00|002)?8860?(9[0-9]{8})")
_AROUND_SIGNS = re.compile(r"\s*([@.])\s*")
_OWNED = re.compile(r"[^<>]*<\s*([^<>\s]+)\s*>")


def _visible(text: str) -> str:
    return "".join(character for character in text if not _is_invisible(character))


def _is_invisible(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cf" or (category == "Cc" and not character.isspace()):
        return True
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef" or character == "\u034f"


def _stripped(text: str) -> str:
    return text.strip()


def _plain_blanks(text: str) -> str:
    return _BLANKS.sub(" ", text)


def _without_inner_blanks(text: str) -> str:
    return _BESIDE_CHINESE.sub("", text)


def _half_width(text: str) -> str:
    """Write full-width forms as ASCII and any script's digits as 0 to 9; join letters with their split accents."""
    return "".join(map(_plain_character, unicodedata.normalize("NFC", _ascii(text))))


def _ascii(text: str) -> str:
    """Write full-width forms and full stops as ASCII, and nothing else: other letters may be another mailbox."""
    return text.translate(_ASCII_FORMS)


def _plain_character(character: str) -> str:
    if _RADICALS.match(character):
        return unicodedata.normalize("NFKC", character)
    if not character.isascii() and unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    return character


def _plain_punctuation(text: str) -> str:
    return text.translate(_TYPOGRAPHIC)


def _without_accents(text: str) -> str:
    split = unicodedata.normalize("NFKD", text)
    return "".join(character for character in split if unicodedata.category(character) != "Mn").translate(_LATIN)


def _mobile(text: str) -> str:
    """Write a Taiwanese mobile number in the national form, 09 and eight digits."""
    digits = _SEPARATORS.sub("", re.sub(r"^\s*tel:", "", text, flags=re.IGNORECASE))
    international = _MOBILE.fullmatch(digits)
    return f"0{international[1]}" if international else digits


def _joined_mail(text: str) -> str:
    """Remove blanks around the signs, which mean nothing in a mail address (RFC 5322, 4.4)."""
    return _AROUND_SIGNS.sub(r"\1", text)


def _bare_mail(text: str) -> str:
    owned = _OWNED.fullmatch(text)
    return re.sub(r"^mailto:", "", owned[1] if owned else text, flags=re.IGNORECASE)


def _without_tags(text: str) -> str:
    """Write brackets in full width: they look the same on a label and begin no HTML tag."""
    return text.replace("<", "＜").replace(">", "＞")


def visible(text: str | None) -> str | None:
    """Return the text, or None if it has no visible character; letters and digits are visible."""
    return text if text and (text[0].isalnum() or _ends_visible(text)) else None


def _ends_visible(text: str) -> str:
    start, end = 0, len(text)
    while start < end and (text[start].isspace() or _is_invisible(text[start])):
        start += 1
    while end > start and (text[end - 1].isspace() or _is_invisible(text[end - 1])):
        end -= 1
    return text[start:end]


def _is_tidy_address(value: str) -> bool:
    """Whether an address is valid and has no blanks at its ends, which the page's rule does not forbid."""
    return rules.CUSTOMER_ADDRESS.accepts(value) and _ends_visible(value) == value


_PLAIN: Rewrites = ((ChangeKind.INVISIBLE, _visible), (ChangeKind.OUTER_BLANKS, _stripped))
_CODE: Rewrites = (*_PLAIN, (ChangeKind.FULL_WIDTH, _half_width))

_NAME = _Spelling(
    fits=rules.CUSTOMER_NAME.fits,
    rewrites=(
        *_PLAIN,
        (ChangeKind.BLANKS, _plain_blanks),
        (ChangeKind.INNER_BLANKS, _without_inner_blanks),
        (ChangeKind.FULL_WIDTH, _half_width),
        (ChangeKind.PUNCTUATION, _plain_punctuation),
        (ChangeKind.ACCENTS, _without_accents),
    ),
)
_PHONE = _Spelling(
    fits=rules.CUSTOMER_PHONE.fits,
    rewrites=(*_CODE, (ChangeKind.PUNCTUATION, _plain_punctuation), (ChangeKind.PHONE_FORM, _mobile)),
)
_MAIL = _Spelling(
    fits=rules.CUSTOMER_EMAIL.fits,
    rewrites=(
        *_PLAIN,
        (ChangeKind.FULL_WIDTH, _ascii),
        (ChangeKind.MAIL_FORM, _bare_mail),
        (ChangeKind.INNER_BLANKS, _joined_mail),
    ),
)
_ADDRESS = _Spelling(
    fits=_is_tidy_address,
    rewrites=(
        (ChangeKind.OUTER_BLANKS, _ends_visible),
        (ChangeKind.ANGLE_BRACKETS, _without_tags),
        (ChangeKind.INVISIBLE, _visible),
    ),
)
_ITEM_NAME = _Spelling(
    fits=rules.ITEM_NAME.fits,
    rewrites=(
        *_PLAIN,
        (ChangeKind.BLANKS, _plain_blanks),
        (ChangeKind.INNER_BLANKS, _without_inner_blanks),
        (ChangeKind.FULL_WIDTH, _half_width),
        (ChangeKind.PUNCTUATION, _plain_punctuation),
    ),
)


def _code(check: rules.TextCheck) -> _Spelling:
    return _Spelling(fits=check.fits, rewrites=_CODE)


_REQUEST_FIELDS: Mapping[str, tuple[str, _Spelling]] = {
    "operator": ("Operator", _code(rules.OPERATOR)),
    "store_id": ("StoreID", _code(rules.STORE_ID)),
    "customer_name": ("CustomerName", _NAME),
    "customer_phone": ("CustomerPhone", _PHONE),
    "customer_email": ("CustomerEmail", _MAIL),
    "customer_address": ("CustomerAddress", _ADDRESS),
}
_ENTRY_FIELDS: Mapping[str, tuple[str, _Spelling]] = {
    "item_no": ("ItemNo", _code(rules.ITEM_NO)),
    "item_name": ("ItemName", _ITEM_NAME),
}
_ITEM_FIELDS: Mapping[bool, Mapping[str, tuple[str, _Spelling]]] = {
    False: {"item_no": _ENTRY_FIELDS["item_no"]},
    True: {"name": _ENTRY_FIELDS["item_name"]},
}
CHANGES: Set[Change] = {
    Change(field=name, kind=kind)
    for fields in (_REQUEST_FIELDS, _ENTRY_FIELDS)
    for name, spelling in fields.values()
    for kind, _ in spelling.rewrites
}
"""Every change that can be made; `_ITEM_FIELDS` has the same fields."""
