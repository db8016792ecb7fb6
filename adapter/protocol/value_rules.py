"""The rules for single values, each with the text of its violation: lengths, alphabets and value sets of `spec/`.

"Alphanumeric" means ASCII letters and digits: half-width, as the pages require, not what Unicode calls alphanumeric.
Lengths count characters and not bytes, as the page's own item names show. A check never raises: it accepts a value of
any type or rejects it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeGuard
from urllib.parse import urlsplit

from adapter.protocol.issue import PrintType
from adapter.protocol.value_descriptions import CHINESE


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule: the words that follow a field's name, and the test."""

    rule: str
    accepts: Callable[[object], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCheck(Check):
    """A rule about text; `fits` is the test of a value that is known to be text."""

    fits: Callable[[str], object]


def text(rule: str, pattern: re.Pattern[str]) -> TextCheck:
    """Require text that matches as a whole."""
    accepts = lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None  # noqa: E731
    return TextCheck(rule=rule, accepts=accepts, fits=pattern.fullmatch)


def alphanumeric(least: int, most: int) -> TextCheck:
    """Require `least` to `most` half-width letters or digits."""
    pattern = re.compile(f"[A-Za-z0-9]{{{least},{most}}}")
    return text(f"must be {least} to {most} half-width letters or digits", pattern)


def date_from(first: date, rule: str) -> Check:
    """Require a date not before `first`."""
    return Check(rule=rule, accepts=lambda value: is_date(value) and value >= first)


def date_after(last: date, rule: str) -> Check:
    """Require a date after `last`."""
    return Check(rule=rule, accepts=lambda value: is_date(value) and value > last)


def is_date(value: object) -> TypeGuard[date]:
    """Whether a value is a date; a datetime is not one, because the protocol has days only."""
    return isinstance(value, date) and not isinstance(value, datetime)


def _whole_number(least: int, most: int | None) -> Callable[[object], bool]:
    """Accept whole numbers of a range; true and false are not numbers."""
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most)
    )


def _is_url(value: object) -> bool:
    """Accept an absolute http(s) URL of visible ASCII: IDN hosts must be punycode, HTML is refused (page 32155)."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        return False
    try:
        return bool(urlsplit(value).hostname)
    except ValueError:
        return False


def _is_address(value: object) -> bool:
    """Accept up to 100 characters of text, without the start of an HTML tag (page 32155) or half a character."""
    return (
        isinstance(value, str)
        and value.strip() != ""
        and len(value) <= 100
        and _NOT_TEXT.search(value) is None
        and _HTML_TAG.search(value) is None
    )


_HTML_TAG = re.compile("<[A-Za-z/!?]")
_NOT_TEXT = re.compile("[\ud800-\udfff]")
_URL = re.compile(r"(?=.{1,200}\Z)[Hh][Tt][Tt][Pp][Ss]?://[!#-;=?-~]+")
# Names of indigenous people have a middle dot between their Chinese parts; which one depends on the keyboard.
_CHINESE_NAME = f"[{CHINESE}]+(?:[·‧•・．][{CHINESE}]+)*"
_ENGLISH_NAME = r"[A-Za-z]+(?:[ .,'-]+[A-Za-z]+)*\.?"
_NAME = re.compile(rf"(?=.{{2,20}}\Z)(?:{_CHINESE_NAME}|{_ENGLISH_NAME})")
# Only ASCII: a ticket mailed to a full-width look-alike of an address is lost.
_EMAIL = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")

MERCHANT_ID = alphanumeric(1, 10)
ITEM_NO = alphanumeric(1, 8)
STORE_ID = alphanumeric(2, 20)
OPERATOR = alphanumeric(1, 10)
ITEM_NAME = text(
    "must be 4 to 20 Chinese characters, half-width letters, digits or ()_/,.$%-",
    re.compile(rf"[{CHINESE}A-Za-z0-9()_/,.$%-]{{4,20}}"),
)
TICKET_PRICE = Check(rule="must be a whole number from 0 to 999999999", accepts=_whole_number(0, 999_999_999))
TICKET_AMOUNT = Check(rule="must be a whole number of at least 1", accepts=_whole_number(1, None))
PRINT_TYPE = Check(
    rule="is required for paper tickets and must be 1 (ECPay) or 2 (merchant)",
    accepts=lambda value: isinstance(value, PrintType),
)
IS_IMMEDIATE = Check(
    rule="is required for electronic tickets and must be 1 (true) or 2 (false)",
    accepts=lambda value: isinstance(value, bool),
)
PAYMENT_PROVIDER = text("must be 1 (ECPay) or 2 (other)", re.compile("[12]"))
URL = Check(rule="must be an http or https URL of at most 200 ASCII characters without HTML", accepts=_is_url)
CUSTOMER_NAME = text("must be 2 to 20 characters, all Chinese or all English", _NAME)
CUSTOMER_PHONE = text("must be 10 digits that start with 09", re.compile("09[0-9]{8}"))
CUSTOMER_EMAIL = text("must be an ASCII mail address of at most 80 characters", _EMAIL)
CUSTOMER_ADDRESS = Check(rule="must be 1 to 100 characters without HTML tags", accepts=_is_address)
