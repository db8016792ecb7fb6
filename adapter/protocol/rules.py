"""Checks a request against every field rule of the specification, before it is sent.

So a wrong request is rejected here, with a sentence that names field, rule and page, and not by an undocumented number
from ECTicket. Today's date is an argument. Checks never raise, whatever a request holds, because plugins make requests
too.

Where a page is ambiguous, the interpretation that cannot waste tickets is used; a comment says so.

The first half is a table of the rules that a single value keeps or breaks, with lengths, alphabets and value sets.
"Alphanumeric" means ASCII letters and digits: half-width, as the pages require, and never what Unicode calls
alphanumeric. Lengths count characters and not bytes, as the page's own item names show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import TypeGuard
from urllib.parse import urlsplit

from msgspec import Struct

from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.protocol.order_detail import ReportRequest, ReportType
from adapter.protocol.query_issue_result import ResultRequest
from adapter.protocol.query_item_info import ItemRequest
from adapter.protocol.value_descriptions import CHINESE, describe_shape, quoted


class Check(Struct, frozen=True, kw_only=True):
    """A rule: the words that follow a field's name, and the test."""

    rule: str
    accepts: Callable[[object], bool]


class TextCheck(Check, frozen=True, kw_only=True):
    """A rule about text; `fits` is the test of a value that is known to be text."""

    fits: Callable[[str], object]


def text_check(rule: str, pattern: re.Pattern[str]) -> TextCheck:
    """Require text that matches as a whole."""
    accepts = lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None  # noqa: E731
    return TextCheck(rule=rule, accepts=accepts, fits=pattern.fullmatch)


def alphanumeric(minimum: int, maximum: int) -> TextCheck:
    """Require `least` to `most` half-width letters or digits."""
    pattern = re.compile(f"[A-Za-z0-9]{{{minimum},{maximum}}}")
    return text_check(f"must be {minimum} to {maximum} half-width letters or digits", pattern)


def date_from(first: date, rule: str) -> Check:
    """Require a date not before `first`."""
    return Check(rule=rule, accepts=lambda value: is_date(value) and value >= first)


def date_after(last: date, rule: str) -> Check:
    """Require a date after `last`."""
    return Check(rule=rule, accepts=lambda value: is_date(value) and value > last)


def is_date(value: object) -> TypeGuard[date]:
    """Whether a value is a date; a datetime is not one, because the protocol has days only."""
    return isinstance(value, date) and not isinstance(value, datetime)


def _whole_number(minimum: int, maximum: int | None) -> Callable[[object], bool]:
    """Accept whole numbers of a range; true and false are not numbers."""
    return lambda value: (
        isinstance(value, int)
        and not isinstance(value, bool)
        and minimum <= value
        and (maximum is None or value <= maximum)
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
ITEM_NAME = text_check(
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
PAYMENT_PROVIDER = text_check("must be 1 (ECPay) or 2 (other)", re.compile("[12]"))
URL = Check(rule="must be an http or https URL of at most 200 ASCII characters without HTML", accepts=_is_url)
CUSTOMER_NAME = text_check("must be 2 to 20 characters, all Chinese or all English", _NAME)
CUSTOMER_PHONE = text_check("must be 10 digits that start with 09", re.compile("09[0-9]{8}"))
CUSTOMER_EMAIL = text_check("must be an ASCII mail address of at most 80 characters", _EMAIL)
CUSTOMER_ADDRESS = Check(rule="must be 1 to 100 characters without HTML tags", accepts=_is_address)


ISSUE_PAGE = "Ticket Issuance, developers.ecpay.com.tw/32163"
RESULT_PAGE = "Query Ticket Issuance Results, developers.ecpay.com.tw/32186"
ITEM_PAGE = "Query Product Information, developers.ecpay.com.tw/32184"
REPORT_PAGE = "Download Order Details, developers.ecpay.com.tw/48558"

MAX_TICKETS = {
    IssueType.CONVENIENCE_STORE: 8,
    IssueType.PAPER: 100,
    IssueType.ELECTRONIC: 100,
    IssueType.SERIAL_NUMBER: 100,
}
"""Maximum number of tickets of one Issue call, over all its items."""

TRADE_NO_LENGTHS = {TradeNoKind.MERCHANT: 25, TradeNoKind.FREE: 20}
"""The longest MerchantTradeNo and FreeTradeNo."""

REPORT_MONTHS = 3
"""The longest period of a report, in calendar months (the page says "3 months")."""

_PERSONAL = frozenset({"CustomerName", "CustomerPhone", "CustomerEmail", "CustomerAddress"})
# A URL may contain a password or a token of the merchant, so only its shape is shown, too.
_HIDDEN = _PERSONAL | {"RefundNotifyURL", "UseStatusNotifyURL"}
_REPORT_TYPE = Check(rule="must be 1 (orders) or 2 (tickets)", accepts=lambda found: isinstance(found, ReportType))
_TRADE_NOS = {kind: (kind.field_name, alphanumeric(1, length)) for kind, length in TRADE_NO_LENGTHS.items()}
_MERCHANT_TRADE_NO = _TRADE_NOS[TradeNoKind.MERCHANT][1]
_DAY = Check(rule="must be a date", accepts=is_date)


class Violation(Struct, frozen=True, kw_only=True):
    """A field that breaks a rule. `shape` is the value itself only where it is neither personal nor secret.

    >>> print(Violation(field="Operator", rule="must be 1 to 10 letters or digits", page=ISSUE_PAGE, shape="'A B'"))
    Operator must be 1 to 10 letters or digits; it is 'A B' (Ticket Issuance, developers.ecpay.com.tw/32163).
    """

    field: str
    rule: str
    page: str
    shape: str

    def __str__(self) -> str:
        """The violation as one sentence."""
        return f"{self.field} {self.rule}; it is {self.shape} ({self.page})."


class _Page(Struct, frozen=True, kw_only=True):
    """Makes the violations of one page."""

    name: str

    def broken(self, field: str, rule: str, found: object) -> Violation:
        """Return the violation of `found` in `field`; a personal or secret value is hidden."""
        description = describe_shape(found) if field in _HIDDEN else quoted(found)
        return Violation(field=field, rule=rule, page=self.name, shape=description)

    # These two return tuples: nearly every value follows its rule, and an empty tuple costs a third of a generator that
    # yields nothing.

    def holds(self, field: str, found: object, check: Check) -> tuple[Violation, ...]:
        """Check a required value against a rule."""
        return () if check.accepts(found) else (self.broken(field, check.rule, found),)

    def holds_if_present(self, field: str, found: object, check: Check) -> tuple[Violation, ...]:
        """Check an optional value against a rule."""
        return () if found is None else self.holds(field, found, check)


_ISSUE = _Page(name=ISSUE_PAGE)


def issue_violations(request: IssueRequest, *, today: date) -> tuple[Violation, ...]:
    """Return every rule that an Issue request breaks; `today` is Taipei's date, on which the tickets would be
    issued.
    """
    return () if is_usual_and_valid(request) else violations_rule_by_rule(request, today=today)


def is_usual_and_valid(request: IssueRequest) -> bool:
    """Whether a request has the usual form and breaks no rule: listed pickup vouchers, electronic, usable at once.

    False means a violation or another form: presale, gift vouchers, another type. `violations_rule_by_rule`, which
    takes longer, distinguishes them.
    """
    number, entries = request.trade_no, request.ticket_info
    name, phone, email = request.customer_name, request.customer_phone, request.customer_email
    if request.issue_type is not IssueType.ELECTRONIC or request.is_immediate is not True:
        return False
    if name is None or phone is None or email is None or not isinstance(number, TradeNo):
        return False
    try:
        return bool(
            MERCHANT_ID.fits(request.merchant_id)
            and number.kind is TradeNoKind.MERCHANT
            and _MERCHANT_TRADE_NO.fits(number.value)
            and OPERATOR.fits(request.operator)
            and CUSTOMER_NAME.fits(name)
            and CUSTOMER_PHONE.fits(phone)
            and CUSTOMER_EMAIL.fits(email)
            and (request.customer_address is None or _is_address(request.customer_address))
            and (request.payment_provider is None or PAYMENT_PROVIDER.fits(request.payment_provider))
            and (request.refund_notify_url is None or _is_url(request.refund_notify_url))
            and (request.use_status_notify_url is None or _is_url(request.use_status_notify_url))
            and (request.store_id is None or STORE_ID.fits(request.store_id))
            and _are_usual_and_valid(entries)
        )
    except TypeError:  # a field that must be text is none: plugins make requests too
        return False


def _are_usual_and_valid(entries: object) -> bool:
    """Whether these are entries of different listed products, with at most as many tickets as a call may have."""
    if not isinstance(entries, tuple):
        return False
    tickets = 0
    items = set()
    for entry in entries:
        if not isinstance(entry, TicketInfo) or entry.item_no is None or not ITEM_NO.fits(entry.item_no):
            return False
        if entry.item_name is not None or entry.ticket_price is not None or entry.expire_date is not None:
            return False
        if type(entry.ticket_amount) is not int or entry.ticket_amount < 1:
            return False
        tickets += entry.ticket_amount
        items.add(entry.item_no)
    return 0 < len(entries) == len(items) and tickets <= MAX_TICKETS[IssueType.ELECTRONIC]


def violations_rule_by_rule(request: IssueRequest, *, today: date) -> tuple[Violation, ...]:
    """As `issue_violations`, whose result it is for every request."""
    if not isinstance(request.issue_type, IssueType):
        return (_ISSUE.broken("IssueType", "must be one of the four IssueTypes", request.issue_type),)
    return (
        *_merchant_id(_ISSUE, request.merchant_id),
        *_trade_no(_ISSUE, request.trade_no),
        *_type_fields(request),
        *_ISSUE.holds_if_present("PaymentProvider", request.payment_provider, PAYMENT_PROVIDER),
        *_ISSUE.holds_if_present("RefundNotifyURL", request.refund_notify_url, URL),
        *_ISSUE.holds_if_present("UseStatusNotifyURL", request.use_status_notify_url, URL),
        *_ISSUE.holds_if_present("StoreID", request.store_id, STORE_ID),
        *_ISSUE.holds("Operator", request.operator, OPERATOR),
        *_customer(request),
        *_ticket_info(request, today),
    )


def result_violations(request: ResultRequest) -> tuple[Violation, ...]:
    """Return every rule that a QueryIssueResult request breaks."""
    page = _Page(name=RESULT_PAGE)
    return (*_merchant_id(page, request.merchant_id), *_trade_no(page, request.trade_no))


def is_trade_no(trade_no: TradeNo) -> bool:
    """Whether a number is valid for a query."""
    _, check = _TRADE_NOS[trade_no.kind]
    return check.accepts(trade_no.value)


def item_violations(request: ItemRequest) -> tuple[Violation, ...]:
    """Return every rule that a QueryItemInfo request breaks."""
    page = _Page(name=ITEM_PAGE)
    return (*_merchant_id(page, request.merchant_id), *page.holds("ItemNo", request.item_no, ITEM_NO))


def report_violations(request: ReportRequest) -> tuple[Violation, ...]:
    """Return every rule that an OrderDetail request breaks."""
    page = _Page(name=REPORT_PAGE)
    return (
        *_merchant_id(page, request.merchant_id),
        *page.holds("ReportType", request.report_type, _REPORT_TYPE),
        *_period(page, request.begin_date, request.end_date),
    )


def _merchant_id(page: _Page, merchant_id: object) -> tuple[Violation, ...]:
    """MerchantID String(10), required."""
    return page.holds("MerchantID", merchant_id, MERCHANT_ID)


def _trade_no(page: _Page, trade_no: object) -> Iterator[Violation]:
    """MerchantTradeNo String(25) or FreeTradeNo String(20): "upper and lower case alphanumeric characters"."""
    kind: object = trade_no.kind if isinstance(trade_no, TradeNo) else None
    if isinstance(trade_no, TradeNo) and isinstance(kind, TradeNoKind):
        field, check = _TRADE_NOS[kind]
        yield from page.holds(field, trade_no.value, check)
    else:
        yield page.broken("MerchantTradeNo", "or FreeTradeNo must be filled", None)


def _type_fields(request: IssueRequest) -> Iterator[Violation]:
    """PrintType is required for paper and IsImmediate for electronic tickets; elsewhere the page ignores them.

    "Other types of ticket issuance do not require filling out this field, and the system is fixed to set it as
    immediate issuance."
    """
    if request.issue_type is IssueType.PAPER:
        yield from _ISSUE.holds("PrintType", request.print_type, PRINT_TYPE)
    if request.issue_type is IssueType.ELECTRONIC:
        yield from _ISSUE.holds("IsImmediate", request.is_immediate, IS_IMMEDIATE)


def _customer(request: IssueRequest) -> Iterator[Violation]:
    """The customer's fields: required if the issue type needs them, and always well formed.

    Paper: "if paper tickets need to be sent to the customer" name and address are required. No field states whether
    they are sent, and public clients issue paper tickets without either. An address means that they are sent, so it
    needs a name; the page's own example has a name only.
    """
    electronic = request.issue_type is IssueType.ELECTRONIC
    mailed = request.issue_type is IssueType.PAPER and request.customer_address is not None
    by_mail = electronic or request.issue_type is IssueType.CONVENIENCE_STORE
    for field, found, check, required in (
        ("CustomerName", request.customer_name, CUSTOMER_NAME, electronic or mailed),
        ("CustomerPhone", request.customer_phone, CUSTOMER_PHONE, electronic),
        ("CustomerEmail", request.customer_email, CUSTOMER_EMAIL, by_mail),
        ("CustomerAddress", request.customer_address, CUSTOMER_ADDRESS, False),
    ):
        yield from (_ISSUE.holds if required else _ISSUE.holds_if_present)(field, found, check)


def _ticket_info(request: IssueRequest, today: date) -> Iterator[Violation]:
    """Check TicketInfo as a whole, then entry by entry."""
    if not _is_ticket_info(request.ticket_info):
        yield _ISSUE.broken("TicketInfo", "must hold at least one entry", request.ticket_info)
        return
    entries = request.ticket_info
    yield from _total(request.issue_type, entries)
    yield from _vouchers(request.trade_no, entries)
    seen: set[object] = set()
    for index, entry in enumerate(entries):
        prefix = f"TicketInfo[{index}]"
        yield from _product(request.issue_type, entry, prefix)
        yield from _ISSUE.holds(f"{prefix}.TicketAmount", entry.ticket_amount, TICKET_AMOUNT)
        yield from _dates(request, entry, prefix, today)
        if isinstance(entry.item_no, str):
            if entry.item_no in seen:
                yield _ISSUE.broken(f"{prefix}.ItemNo", "must not occur twice in one call", entry.item_no)
            seen.add(entry.item_no)


def _is_ticket_info(entries: object) -> bool:
    """Whether it is a tuple of entries that is not empty."""
    return isinstance(entries, tuple) and bool(entries) and all(isinstance(entry, TicketInfo) for entry in entries)


def _total(issue_type: IssueType, entries: Sequence[TicketInfo]) -> Iterator[Violation]:
    """The sum of TicketAmount: at most 8 for convenience stores, 100 otherwise."""
    total = sum(entry.ticket_amount for entry in entries if TICKET_AMOUNT.accepts(entry.ticket_amount))
    if total > MAX_TICKETS[issue_type]:
        yield _ISSUE.broken(
            "TicketAmount", f"must add up to at most {MAX_TICKETS[issue_type]} tickets in one call", total
        )


def _vouchers(trade_no: object, entries: Sequence[TicketInfo]) -> Iterator[Violation]:
    """Check that the kind of number matches the vouchers: entries with ExpireDate are gift vouchers, others are not."""
    if not isinstance(trade_no, TradeNo):
        return
    all_gifts = all(entry.expire_date is not None for entry in entries)
    if trade_no.kind == TradeNoKind.MERCHANT and all_gifts:
        rule = "is for orders with a pickup voucher, and every entry has ExpireDate as only gift vouchers have"
        yield _ISSUE.broken("MerchantTradeNo", rule, trade_no.value)
    if trade_no.kind == TradeNoKind.FREE and not all_gifts:
        for index, entry in enumerate(entries):
            if entry.expire_date is None:
                rule = "is required for gift vouchers, which FreeTradeNo says that all entries are"
                yield _ISSUE.broken(f"TicketInfo[{index}].ExpireDate", rule, None)


def _product(issue_type: IssueType, entry: TicketInfo, prefix: str) -> Iterator[Violation]:
    """The product: a listed ItemNo, or for serial numbers a name and a price."""
    serial = issue_type is IssueType.SERIAL_NUMBER
    listed, described = (_ISSUE.holds_if_present, _ISSUE.holds) if serial else (_ISSUE.holds, _ISSUE.holds_if_present)
    yield from listed(f"{prefix}.ItemNo", entry.item_no, ITEM_NO)
    yield from described(f"{prefix}.ItemName", entry.item_name, ITEM_NAME)
    yield from described(f"{prefix}.TicketPrice", entry.ticket_price, TICKET_PRICE)


def _dates(request: IssueRequest, entry: TicketInfo, prefix: str, today: date) -> Iterator[Violation]:
    """StartDate from the next day on for presale; ExpireDate not before the first day of the ticket.

    Without presale StartDate has no meaning: "this field is fixed as the date of ticket issuance".
    """
    presale = request.issue_type is IssueType.ELECTRONIC and request.is_immediate is False
    if presale:
        rule = f"must be a date after the day of issue, {today} in Taipei"
        yield from _ISSUE.holds(f"{prefix}.StartDate", entry.start_date, date_after(today, rule))
    if entry.expire_date is not None:
        start = entry.start_date if presale and is_date(entry.start_date) else today
        rule = f"must be a date not before the ticket's start, {start}"
        yield from _ISSUE.holds(f"{prefix}.ExpireDate", entry.expire_date, date_from(start, rule))


def _period(page: _Page, begin: object, end: object) -> Iterator[Violation]:
    """BeginDate to EndDate: at most 3 months, and not backwards."""
    if not is_date(begin) or not is_date(end):
        for field, day in (("BeginDate", begin), ("EndDate", end)):
            yield from page.holds(field, day, _DAY)
        return
    months = 12 * (end.year - begin.year) + end.month - begin.month
    if end < begin:
        yield page.broken("EndDate", f"must not be before BeginDate, {begin}", end)
    if months > REPORT_MONTHS or (months == REPORT_MONTHS and end.day > begin.day):
        yield page.broken("EndDate", f"must be at most {REPORT_MONTHS} months after BeginDate, {begin}", end)
