"""The header `ecticket-plan` (docs/delivery.md, "Deferring"): what goes in comes out, and nothing else is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.errors import Unreadable
from adapter.issuance.next_step import Unverified
from adapter.issuance.order import Customer, Voucher
from adapter.issuance.plan import Part, PlannedItem, plan, renumbered
from adapter.issuance.plan_codec import (
    DeferredPart,
    DeferredPlan,
    decode_plan,
    deferred_part,
    encode_plan,
    resume,
)
from adapter.issuance.state import IssueRefusal, PartHistory, Phase, WaitReason, initial_state
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.issue import IssueRequest, IssueType, PrintType, TicketInfo, TradeNo, TradeNoKind
from adapter.values import replace

from .samples import ALWAYS, CUSTOMER, CVS, ELECTRONIC, GIFT, MERCHANT, PAPER, T0, at, item, order

TEXT = st.text(max_size=12)
ORDER_IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
MAYBE_TEXT = st.none() | TEXT
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(8999, 12, 30), timezones=st.just(UTC))
DAYS = st.none() | st.dates()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)

ITEMS = st.builds(
    PlannedItem,
    item_no=MAYBE_TEXT,
    name=MAYBE_TEXT,
    quantity=st.integers(1),
    voucher=st.sampled_from(Voucher),
    start_moves=st.booleans(),
    expire_moves=st.booleans(),
)
ENTRIES = st.builds(
    TicketInfo,
    item_no=MAYBE_TEXT,
    item_name=MAYBE_TEXT,
    ticket_price=st.none() | st.integers(),
    ticket_amount=st.integers(),
    start_date=DAYS,
    expire_date=DAYS,
)
PASTS = st.builds(
    PartHistory,
    first_attempt_at=st.none() | MOMENTS,
    last_attempt_at=st.none() | MOMENTS,
    possibly_sent_since=st.none() | MOMENTS,
    doubt=MAYBE_TEXT,
    refusal=st.none() | st.builds(IssueRefusal, code=st.integers(), message=TEXT, at=MOMENTS),
    control_known=st.booleans(),
    unaccepted=st.integers(0, 99),
    retry_at=st.none() | MOMENTS,
)
REQUEST_TEXTS = (
    "store_id",
    "refund_notify_url",
    "use_status_notify_url",
    "customer_name",
    "customer_phone",
    "customer_email",
    "customer_address",
    "payment_provider",
)


UNVERIFIED = st.builds(
    Unverified, skip=MAYBE_TEXT, plugin=MAYBE_TEXT, mapping_changed=st.booleans(), issued_before=st.booleans()
)


@st.composite
def deferred_part_of(draw: st.DrawFn, merchant_id: str, order_id: str, number: int, of: int) -> DeferredPart:
    """Any part that a plan of this order could hold, whatever a shape_issue hook made of its request."""
    reissue = draw(st.integers(0, 3))
    trade_no = TradeNo(
        kind=draw(st.sampled_from(TradeNoKind)),
        value=derive_trade_no(merchant_id, order_id, number, prefix=draw(st.sampled_from(["", "AB"])), reissue=reissue),
    )
    request = draw(
        st.builds(
            IssueRequest,
            merchant_id=st.just(merchant_id),
            trade_no=st.just(trade_no),
            issue_type=st.sampled_from(IssueType),
            operator=TEXT,
            ticket_info=st.lists(ENTRIES, min_size=1, max_size=3).map(tuple),
            print_type=st.none() | st.sampled_from(PrintType),
            is_immediate=st.none() | st.booleans(),
            **dict.fromkeys(
                (
                    "store_id",
                    "customer_name",
                    "customer_phone",
                    "customer_email",
                    "customer_address",
                    "payment_provider",
                ),
                MAYBE_TEXT,
            ),
        )
    )
    part = Part(
        number=number,
        of=of,
        trade_no=trade_no,
        request=request,
        items=tuple(draw(st.lists(ITEMS, min_size=1, max_size=3))),
        reissue=reissue,
    )
    return DeferredPart(part=part, history=draw(PASTS), reason=draw(st.none() | st.sampled_from(WaitReason)))


@st.composite
def plans(draw: st.DrawFn) -> DeferredPlan:
    """Any plan."""
    merchant_id, order_id = draw(TEXT), draw(ORDER_IDS)
    of = draw(st.integers(1, 20))
    numbers = draw(st.lists(st.integers(1, of), min_size=1, max_size=3, unique=True))
    return DeferredPlan(
        order_id=order_id,
        merchant_id=merchant_id,
        reference=draw(JSON),
        parts_done=draw(st.integers(0, 20)),
        parts=tuple(draw(deferred_part_of(merchant_id, order_id, number, of)) for number in numbers),
        unverified=draw(st.none() | UNVERIFIED),
    )


@given(deferred=plans())
# Slow drawing is the machine's, and no test fails on time.
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_plan_comes_out_as_it_went_in(deferred: DeferredPlan) -> None:
    """Each request exactly, so that what is sent again is what was sent before."""
    assert decode_plan(encode_plan(deferred)) == deferred


def an_order(parts: int = 2) -> DeferredPlan:
    """An order with a refused part and others in doubt."""
    items = [item(f"A{number:07}", 8, CVS) for number in range(parts)]
    history = PartHistory(possibly_sent_since=at(5), doubt="reset", first_attempt_at=at(1), last_attempt_at=at(5))
    first, *rest = plan(order(), items, ALWAYS)
    refused = DeferredPart(part=first, history=PartHistory(refusal=IssueRefusal(code=9, message="no", at=at(3))))
    doubtful = (DeferredPart(part=each, history=history) for each in rest)
    return DeferredPlan(
        order_id="A-1001", merchant_id=MERCHANT, reference={"cart": 7}, parts_done=0, parts=(refused, *doubtful)
    )


def test_customer_data_stand_in_it_once() -> None:
    """ "customer data once, then for each of its parts ..."."""
    parts = plan(order(), [item("A"), item("B", 20, CVS), item("C", 1, PAPER)], ALWAYS)
    deferred = DeferredPlan(
        order_id="A-1001",
        merchant_id=MERCHANT,
        reference=None,
        parts_done=0,
        parts=tuple(DeferredPart(part=part, history=PartHistory()) for part in parts),
    )

    text = json.dumps(json.loads(encode_plan(deferred)), ensure_ascii=False)

    assert len(parts) == 5
    for value in (CUSTOMER.name, CUSTOMER.phone, CUSTOMER.email, CUSTOMER.address):
        assert text.count(str(value)) == 1


def test_times_are_rfc_3339_utc() -> None:
    """People who read a dead letter read its times."""
    text = encode_plan(an_order()).decode()

    assert '"possibly_sent_since":"2024-01-01T04:00:05Z"' in text
    assert '"at":"2024-01-01T04:00:03Z"' in text


def test_the_largest_order_fits_a_header() -> None:
    """200 lines over 20 parts with long names stay far below the 1 MiB of a record (measured: 116 kB)."""
    lines = [item(f"A{number:07}", 10, PAPER, name="五星渡假飯店假日住宿券" * 3) for number in range(200)]
    customer = Customer(name="王" * 20, address="臺" * 100)
    parts = plan(order(customer=customer, order_id="訂" * 64), lines, ALWAYS)
    history = PartHistory(
        possibly_sent_since=T0, first_attempt_at=T0, last_attempt_at=T0, doubt="逾" * 200,
        refusal=IssueRefusal(code=-2_147_483_648, message="拒" * 200, at=T0),
    )  # fmt: skip
    deferred = DeferredPlan(
        order_id="訂" * 64,
        merchant_id=MERCHANT,
        reference="x" * 1_022,
        parts_done=0,
        parts=tuple(DeferredPart(part=part, history=history) for part in parts),
    )

    size = len(encode_plan(deferred))

    assert len(parts) == 20
    assert 100_000 < size < 160_000


def document() -> dict[str, object]:
    """A readable plan as JSON."""
    loaded = json.loads(encode_plan(an_order()))
    assert isinstance(loaded, dict)
    return loaded


def changed(change: Callable[[dict[str, object]], object]) -> bytes:
    """The plan with one thing changed."""
    plan_document = document()
    change(plan_document)
    return json.dumps(plan_document).encode()


def part_of(plan_document: dict[str, object]) -> dict[str, object]:
    parts = plan_document["parts"]
    assert isinstance(parts, list)
    first = parts[0]
    assert isinstance(first, dict)
    return first


def request_of(plan_document: dict[str, object]) -> dict[str, object]:
    request = part_of(plan_document)["request"]
    assert isinstance(request, dict)
    return request


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5_000, "not JSON"),
        (b"[]", "it: "),
        (b"{}", "v: "),
        (changed(lambda plan: plan.update(v=2)), "v: "),
        (changed(lambda plan: plan.update(v=True)), "v: "),
        (changed(lambda plan: plan.pop("order_id")), "order_id: "),
        (changed(lambda plan: plan.update(parts=[])), "parts: "),
        (changed(lambda plan: plan.update(parts=[7])), r"parts\.0: "),
        (changed(lambda plan: plan.update(customer={"name": [1]})), r"customer\.name\.0: "),
        (changed(lambda plan: plan.update(unproven={"remapped": "no"})), r"unproven\.remapped: "),
        (changed(lambda plan: part_of(plan).update(kind="other")), r"parts\.0\.kind: "),
        (changed(lambda plan: part_of(plan).update(number=3)), r"number beyond `of`"),
        (changed(lambda plan: part_of(plan).pop("request")), r"parts\.0\.request: "),
        (changed(lambda plan: part_of(plan).update(possibly_sent_since="2024-01-01T00:00:00")), "_since: .*timezone"),
        (changed(lambda plan: part_of(plan).update(possibly_sent_since="0001-01-01T00:00:00+23:59")), "from 1970 on"),
        (changed(lambda plan: part_of(plan).update(possibly_sent_since="9999-12-31T23:59:59-23:59")), "from 1970 on"),
        (changed(lambda plan: part_of(plan).update(possibly_sent_since="yesterday")), "possibly_sent_since: "),
        (changed(lambda plan: part_of(plan).update(refusal={"code": 9})), r"refusal\.message: "),
        (changed(lambda plan: request_of(plan).update(customer={"email": 5})), "customer data"),
        (changed(lambda plan: request_of(plan).update(ticket_info=[{"ticket_amount": 1, "start_date": 5}])), "_date"),
    ],
)  # fmt: skip
def test_what_is_not_as_written_is_refused(data: bytes, expected: str) -> None:
    """One documented error that names the position, whatever is wrong."""
    with pytest.raises(Unreadable, match=expected) as caught:
        decode_plan(data)

    assert caught.value.reason == "unreadable"


@given(data=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """No record on the deferred topic can stop the adapter."""
    with pytest.raises(Unreadable):
        decode_plan(data)


@given(data=st.data())
def test_no_damage_raises_anything_else(data: st.DataObject) -> None:
    """Any value anywhere replaced by any other is read as a plan or refused."""
    damaged = document()
    _damage(damaged, data)

    with suppress(Unreadable):
        decode_plan(json.dumps(damaged).encode())


def test_the_error_shows_no_customer_data() -> None:
    """If a customer's mail address is in the wrong field, the message names the field and not the address."""
    with pytest.raises(Unreadable) as caught:
        decode_plan(changed(lambda plan: plan.update(parts_done=CUSTOMER.email)))

    assert str(CUSTOMER.email) not in str(caught.value)


def _damage(value: object, data: st.DataObject) -> None:
    """Walk down to some position and replace its value."""
    while True:
        positions: list[object] = []
        if isinstance(value, dict):
            positions = sorted(value)
        elif isinstance(value, list):
            positions = list(range(len(value)))
        if not positions:
            return
        position = data.draw(st.sampled_from(positions))
        inner = value[position]  # type: ignore[index]  # a dict or a list, and one of its places
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            value[position] = data.draw(JSON)  # type: ignore[index]
            return
        value = inner


@pytest.mark.parametrize(
    ("header", "fence", "since"),
    [
        (None, None, [None, at(5)]),
        (at(5), None, [None, at(5)]),
        (at(4.9), None, [None, at(5)]),
        (at(50), None, [at(50), at(50)]),
        (None, at(70), [None, at(70)]),
        (at(50), at(70), [at(50), at(70)]),
    ],
)
def test_the_next_run_knows_what_may_have_been_sent(
    header: datetime | None, fence: datetime | None, since: list[datetime | None]
) -> None:
    """Each part has its own history; a replay (header later than the plan) counts for all, a fence not for refused."""
    deferred = decode_plan(encode_plan(an_order()))
    assert deferred.possibly_sent_at == at(5)

    states = resume(deferred, first_seen_at=T0, possibly_sent_at=header, fenced_at=fence)

    assert [state.phase for state in states] == [Phase.REFUSED, Phase.IN_DOUBT]
    assert [state.history.possibly_sent_since for state in states] == since


def test_a_part_that_was_never_sent_stays_so_next_to_one_in_doubt() -> None:
    """The order's header is about the order; the plan records which part it was."""
    deferred = an_order(3)
    never = replace(deferred.parts[1], history=PartHistory())
    deferred = replace(deferred, parts=(deferred.parts[0], never, deferred.parts[2]))

    states = resume(deferred, first_seen_at=T0, possibly_sent_at=deferred.possibly_sent_at, fenced_at=None)
    replayed = resume(deferred, first_seen_at=T0, possibly_sent_at=at(500), fenced_at=None)

    assert [state.phase for state in states] == [Phase.REFUSED, Phase.PLANNED, Phase.IN_DOUBT]
    assert [state.phase for state in replayed] == [Phase.REFUSED, Phase.IN_DOUBT, Phase.IN_DOUBT]


def test_a_replayed_order_that_was_never_sent_counts_as_possibly_sent() -> None:
    """ "a replayed order counts as possibly sent" (section 11): two replays of one dead letter issue once."""
    deferred = replace(an_order(), parts=(replace(an_order().parts[1], history=PartHistory()),))

    (state,) = resume(deferred, first_seen_at=T0, possibly_sent_at=at(9), fenced_at=None)

    assert state.history.possibly_sent_since == at(9)


def test_times_of_other_zones_are_the_same_times() -> None:
    """The header is UTC whatever the clock that was read."""
    deferred = an_order()
    (first, *_) = deferred.parts
    taipei = at(5).astimezone(datetime.fromisoformat("2024-01-01T00:00:00+08:00").tzinfo)
    elsewhere = replace(deferred, parts=(replace(first, history=PartHistory(possibly_sent_since=taipei)),))

    assert b'"possibly_sent_since":"2024-01-01T04:00:05Z"' in encode_plan(elsewhere)
    assert decode_plan(encode_plan(elsewhere)) == elsewhere


def test_a_reissued_gift_travels() -> None:
    """Reissue count and voucher kind are there when they are there."""
    (gift,) = plan(order(), [item("G", voucher=GIFT, expire_date=date(2024, 2, 29))], ALWAYS)
    again = renumbered(gift, order_id="A-1001", prefix="")
    state = initial_state(again, first_seen_at=T0 - timedelta(days=1))
    deferred = DeferredPlan(
        order_id="A-1001", merchant_id=MERCHANT, reference=None, parts_done=2, parts=(deferred_part(state),)
    )

    (part,) = decode_plan(encode_plan(deferred)).parts

    assert part.part == again
    assert part.part.reissue == 1


def test_days_that_move_travel() -> None:
    """The next process moves the same days, and only those."""
    days = {"start_date": date(2024, 2, 1), "expire_date": date(2024, 3, 1), "voucher": GIFT}
    moving = [item("A", 1, ELECTRONIC, start_moves=moves, expire_moves=moves, **days) for moves in (True, False)]
    parts = plan(order(), moving, ALWAYS)
    plan_ = DeferredPlan(
        order_id="A-1001",
        merchant_id=MERCHANT,
        reference=None,
        parts_done=0,
        parts=tuple(DeferredPart(part=part, history=PartHistory()) for part in parts),
    )

    again = [deferred.part for deferred in decode_plan(encode_plan(plan_)).parts]

    assert again == list(parts)
    assert [part.request_on(date(2024, 2, 10)).ticket_info[0].start_date for part in again] == [
        date(2024, 2, 11),
        date(2024, 2, 1),
    ]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_reference_that_json_does_not_define_is_unreadable(number: str) -> None:
    """It would be published in every event of the order, and their readers would fail."""
    data = encode_plan(an_order()).replace(b'"reference":', b'"reference":[%s,' % number.encode(), 1)
    data = data.replace(b',"parts_done"', b'],"parts_done"', 1)

    with pytest.raises(Unreadable, match="reference"):
        decode_plan(data)
