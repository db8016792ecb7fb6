"""Whatever subclasses a plugin answers with, what goes on is of the plain types, by their code alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timezone
from enum import Enum
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from key_words import mentions
from msgspec import Struct
from msgspec.structs import force_setattr

from adapter import (
    Customer,
    Ignore,
    InvalidOrder,
    IssueRequest,
    IssueType,
    Line,
    Order,
    OrderRecord,
    Skip,
    TicketItem,
    TradeNo,
    TradeNoKind,
    Unreadable,
    hookimpl,
)
from adapter.errors import HookFailed, OrderError, SettingsError
from adapter.extensions.type_check import plain
from adapter.issuance.plan import Part
from adapter.protocol.issue import TicketInfo
from adapter.testing import Level, conformance
from adapter.values import replace
from extensions.helpers import NOON, PLAN, RECORD, manager, order, parsed, runner_with, ticket
from extensions.odd_types import EvilCount, EvilDay, EvilText, EvilTime, Number, OwnZone, UnknownZone
from extensions.plugins import mapping, parsing, raises, shaping

# mypy: disable-error-code="no-untyped-call"
# The makers of plugins are untyped, as what merchants write is.

PLAIN_TYPES = {str, int, float, bool, date, datetime, type(None)}


class OwnOrder(Order, frozen=True):
    """An order with equality of the shop's own, and so without a hash."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("王小明")

    __hash__ = None  # type: ignore[assignment]  # as Python has it for a class with an __eq__ alone


class OwnIgnore(Ignore):
    """An answer of the shop's own kind."""


class OwnTuple(tuple[Line, ...]):
    """Lines of the shop's own kind."""


class OwnList(list[TicketItem]):
    """Items of the shop's own kind."""


def odd(value: object) -> object:
    """The same value, with code of its own wherever there can be any."""
    if isinstance(value, Enum | bool) or value is None:
        return value
    if isinstance(value, datetime):
        return EvilTime.combine(value.date(), value.time(), value.tzinfo)
    if isinstance(value, date):
        return EvilDay(value.year, value.month, value.day)
    if isinstance(value, str):
        return EvilText(value)
    if isinstance(value, int):
        return EvilCount(value)
    if isinstance(value, tuple):
        return tuple(odd(member) for member in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = copy(value)
        for field in fields(value):
            inside = odd(getattr(value, field.name))
            if isinstance(changed, Struct):
                force_setattr(changed, field.name, inside)
            else:
                object.__setattr__(changed, field.name, inside)
        return changed
    return value


def not_plain(value: object) -> list[str]:
    """The types in a value that are none of the plain ones nor of the adapter's own."""
    if isinstance(value, list | tuple):
        inside = [name for member in value for name in not_plain(member)]
        return inside if type(value) in (list, tuple) else [type(value).__name__, *inside]
    if is_dataclass(value) or isinstance(value, Struct):
        names = value.__struct_fields__ if isinstance(value, Struct) else [field.name for field in fields(value)]
        inside = [name for field in names for name in not_plain(getattr(value, field))]
        return inside if type(value).__module__.startswith("adapter.") else [type(value).__name__, *inside]
    is_member = isinstance(value, Enum) and type(value).__module__.startswith("adapter.")
    return [] if is_member or type(value) in PLAIN_TYPES else [type(value).__name__]


TEXTS = st.none() | st.text(max_size=9)
DAYS = st.none() | st.dates()
TIMES = st.none() | st.datetimes(timezones=st.just(UTC) | st.just(ZoneInfo("Asia/Taipei")))
COUNTS = st.integers(1, 10**20)
TYPES = st.none() | st.sampled_from(IssueType)
CUSTOMERS = st.builds(Customer, name=TEXTS, phone=TEXTS, email=TEXTS, address=TEXTS)
LINES = st.builds(
    Line, sku=st.text(), quantity=COUNTS, name=TEXTS, unit_price=st.none() | COUNTS, start_date=DAYS, expire_date=DAYS
)
ORDERS = st.builds(
    Order,
    order_id=st.text(),
    merchant_id=st.text(),
    lines=st.lists(LINES, max_size=3).map(tuple),
    trade_no=TEXTS,
    paid_at=TIMES,
    issue_type=TYPES,
    immediate=st.none() | st.booleans(),
    customer=CUSTOMERS,
)
ITEMS = st.builds(
    TicketItem,
    item_no=TEXTS,
    name=TEXTS,
    price=st.none() | COUNTS,
    quantity=COUNTS,
    issue_type=st.sampled_from(IssueType),
)
REQUESTS = st.builds(
    IssueRequest,
    merchant_id=st.text(),
    trade_no=st.builds(TradeNo, kind=st.sampled_from(TradeNoKind), value=st.text()),
    issue_type=st.sampled_from(IssueType),
    operator=st.text(),
    ticket_info=st.lists(st.builds(TicketInfo, item_no=TEXTS, ticket_amount=COUNTS, start_date=DAYS)).map(tuple),
    customer_name=TEXTS,
)
ANSWERS = ORDERS | ITEMS | REQUESTS | st.builds(Ignore, st.text(min_size=1)) | st.builds(Skip, st.text(min_size=1))


@given(ANSWERS)
def test_an_answer_of_odd_types_becomes_the_plain_answer(answer: object) -> None:
    """The same value, of which every text, number, day and time is Python's own."""
    found, wrong = plain(odd(answer), type(answer))

    assert wrong is None
    assert not_plain(found) == []
    assert found == answer


@given(ANSWERS)
def test_a_plain_answer_stays_the_same_object(answer: object) -> None:
    """Nothing is built for the many plugins whose answers are plain already."""
    assert plain(answer, type(answer))[0] is answer


@pytest.mark.parametrize(
    ("value", "expected", "found"),
    [
        (lambda: Number("A-1"), str, "A-1"),
        (lambda: IssueType.PAPER, str, "2"),
        (lambda: IssueType.PAPER, IssueType, IssueType.PAPER),
        (lambda: EvilCount(3), int, 3),
        (lambda: EvilDay(2026, 3, 1), date, date(2026, 3, 1)),
        (lambda: EvilTime(2026, 3, 1, 4, tzinfo=UTC), datetime, NOON),
        (lambda: datetime(2026, 3, 1, 12, tzinfo=OwnZone()), datetime, NOON),
        (lambda: OwnIgnore(Number("draft")), Ignore, Ignore("draft")),
        (lambda: OwnTuple(), tuple[Line, ...], ()),
        (lambda: OwnList([ticket()]), Sequence[TicketItem], [ticket()]),
        (lambda: {"shop": Number("A")}, object, {"shop": "A"}),
        (lambda: [EvilText("A"), (EvilCount(1),)], object, ["A", [1]]),
    ],
)
def test_subclasses_become_their_plain_types(value: Callable[[], object], expected: object, found: object) -> None:
    """By the plain type's own code: none of theirs is run."""
    made, wrong = plain(value(), expected)

    assert wrong is None
    assert type(made) is type(found)
    assert made == found


def test_a_time_zone_of_the_plugins_becomes_its_offset() -> None:
    """The zone's code would be run wherever the time is written or compared."""
    made, _ = plain(datetime(2026, 3, 1, 12, tzinfo=OwnZone()), datetime)

    assert isinstance(made, datetime)
    assert type(made.tzinfo) is timezone
    assert made.isoformat() == "2026-03-01T12:00:00+08:00"


def test_a_value_that_only_pretends_to_be_of_a_type_is_none_of_it() -> None:
    """`__class__` is what the value says of itself."""

    class Pretends:
        __class__ = str  # type: ignore[assignment]  # a mock does this

    made, mismatch = plain(Pretends(), str)

    assert made is None
    assert mentions(mismatch or "", "Pretends str")


async def test_an_order_of_odd_types_is_planned_as_the_plain_one() -> None:
    """Its number has no hash and its customer cannot be written; its request is the plain order's."""
    usual = order(customer=Customer(name="王小明", phone="0912345678"), reference={"shop": ["A", 1]})

    class Shop:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> object:
            answer = odd(replace(usual, reference=None))
            assert isinstance(answer, Order)
            force_setattr(answer, "reference", {"shop": [EvilText("A"), EvilCount(1)]})
            return answer

        @hookimpl
        def map_item(self, line: Line) -> object:
            return OwnList([odd(ticket(line.quantity))])  # type: ignore[list-item]  # that is the test

        @hookimpl
        def shape_issue(self, request: IssueRequest) -> object:
            return odd(replace(request, store_id="TAIPEI01"))

    class Usual:
        @hookimpl
        def parse_order(self, record: OrderRecord) -> object:
            return usual

        @hookimpl
        def map_item(self, line: Line) -> object:
            return [ticket(line.quantity)]

        @hookimpl
        def shape_issue(self, request: IssueRequest) -> object:
            return replace(request, store_id="TAIPEI01")

    async def parts(plugin: object) -> tuple[Part, ...]:
        plugins = runner_with(shop=plugin)
        return await plugins.parts(await parsed(plugins, RECORD), PLAN)

    found = await parts(Shop())

    assert found == await parts(Usual())
    assert not_plain(found) == []


async def test_an_order_of_another_class_goes_on_as_an_order() -> None:
    """Its class would bring its equality along."""
    answer = OwnOrder(order_id="A-1", merchant_id="3085676", lines=(Line(sku="VQT04959", quantity=1),))

    found = await parsed(runner_with(shop=parsing(lambda record: answer)), RECORD)

    assert type(found) is Order
    assert found.order_id == "A-1"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: datetime(2026, 3, 1, tzinfo=UnknownZone()),
        lambda: datetime(2026, 3, 1),
        lambda: Number("2026-03-01"),
    ],
)
async def test_what_cannot_be_made_plain_is_the_plugins_mistake(answer: Callable[[], object]) -> None:
    """It costs this order alone, and the message does not repeat what the value's code says."""
    plugins = runner_with(shop=parsing(lambda record: order(paid_at=answer())))

    with pytest.raises(HookFailed) as failed:
        await plugins.parse(RECORD)

    assert failed.value.plugin == "shop"
    assert "王小明" not in str(failed.value)


class OwnUnreadable(Unreadable):
    """An error whose reason is not one of the dead letters' reasons."""

    reason = "of-the-shop"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (InvalidOrder(Number("no lines")), InvalidOrder("no lines")),
        (OwnUnreadable("no JSON"), Unreadable("no JSON")),
        (Unreadable("no JSON"), Unreadable("no JSON")),
        (Unreadable(5), Unreadable("5")),
    ],
)
async def test_an_error_on_purpose_is_of_the_adapters_own_class(raised: OrderError, expected: OrderError) -> None:
    """Its text is a plain one, because the dead letter repeats it."""
    with pytest.raises(OrderError) as found:
        await runner_with(shop=parsing(raises(raised))).parse(RECORD)

    assert type(found.value) is type(expected)
    assert found.value.args == expected.args
    assert type(found.value.args[0]) is str


async def test_an_error_whose_text_raises_says_that_it_did_not_say_why() -> None:
    """The order is parked for the error's reason, and the sentence is the adapter's."""
    with pytest.raises(InvalidOrder, match="without a text") as found:
        await runner_with(shop=parsing(raises(InvalidOrder(EvilText("x"))))).parse(RECORD)

    assert "王小明" not in str(found.value)


def test_settings_that_are_wrong_are_reported_in_plain_text() -> None:
    """The start says them, and does not end in them."""

    class Shop:
        @hookimpl
        def configure(self, settings: object) -> None:
            raise SettingsError(EvilText("no shop"))

    (refused,) = manager(shop=Shop()).rejections

    assert refused.by_settings
    assert "no shop" in refused.message


@pytest.mark.parametrize(
    "plugin",
    [
        parsing(lambda record: odd(order())),
        parsing(lambda record: order(reference=[EvilText("A")])),
        parsing(lambda record: odd(Ignore("draft"))),
        parsing(raises(InvalidOrder(Number("no lines")))),
        mapping(lambda order, line: [odd(ticket())]),
        shaping(odd),
    ],
)
def test_the_conformance_suite_takes_them_as_the_adapter_does(plugin: object) -> None:
    """It ends, and finds no mistake in them."""
    found = conformance(plugin, records=[RECORD], orders=[order()])

    assert [finding for finding in found if finding.level is Level.ERROR] == []


def test_the_conformance_suite_reports_what_cannot_be_made_plain() -> None:
    """It names the hook."""
    found = conformance(parsing(lambda record: order(paid_at=datetime(2026, 3, 1, tzinfo=UnknownZone()))))

    assert {finding.hook for finding in found if finding.level is Level.ERROR} == {"parse_order"}


@pytest.mark.parametrize("reference", [b"x", {1, 2}, float("nan")])
def test_the_conformance_suite_reports_an_order_that_is_refused(reference: object) -> None:
    """What the adapter refuses is no sample for the other hooks."""
    found = conformance(parsing(lambda record: order(reference=reference)), records=[RECORD])

    assert {finding.hook for finding in found if finding.level is Level.ERROR} == {"parse_order"}
