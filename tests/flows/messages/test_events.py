"""Events are CloudEvents that say the same of the same fact, for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from pydantic import ValidationError

from adapter.flows.messages.events import (
    EVENTS,
    IssuanceData,
    IssuanceDelayed,
    IssuanceFailed,
    IssuanceIssued,
    IssuanceSubmitted,
    Item,
    OrderParked,
    OrderRefunded,
    OrderSkipped,
    Origin,
    ReconciliationCompleted,
    ReconciliationData,
    ReconciliationDifference,
    TicketCollected,
    TicketStatusChanged,
    issuance_event,
    issuance_event_id,
    notification_event,
    notification_event_id,
    order_event,
    order_event_id,
    reconciliation_event_id,
    rfc3339,
)
from adapter.settings.groups import TopicSettings
from adapter.stream.records import ProducerRecord

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ORIGIN = Origin(topic="orders.paid", partition=3, offset=41)
COMMON: dict[str, object] = {
    "merchant_id": "3085676",
    "order_id": "A-1001",
    "reference": {"channel": "web", "n": [1, None, 1.5]},
    "trade_no": "CBX20220302153064851",
    "trade_no_kind": "merchant",
    "issue_type": "electronic",
    "part": 1,
    "parts": 2,
    "items": (Item(item_no="VQT04959", name="兩人套票", quantity=2),),
    "ticket_count": 2,
    "ticket_trade_no": None,
}
PARKED: dict[str, object] = {
    "order_id": "A-1001",
    "reason": "unmapped-item",
    "stage": "map",
    "plugin": None,
    "message": "No ticket is known for sku A-1. Add it to the catalogue.",
    "parts_done": 0,
}


def _submitted(**changes: object) -> IssuanceSubmitted:
    return IssuanceSubmitted.model_validate({**COMMON, "recovered": False, **changes})


def _parked(**changes: object) -> OrderParked:
    return OrderParked.model_validate({**PARKED, **changes})


def _read(event: IssuanceData, **more: str) -> ProducerRecord:
    return issuance_event(event, topic="ecticket.issuances", origin=ORIGIN, now=NOW, **more)


def _context(event: ProducerRecord) -> dict[str, str]:
    return {name.removeprefix("ce_"): (value or b"").decode() for name, value in event.headers}


TICKET = {
    "ticket_no": "CB2SY2026030215301",
    "redemption_code": None,
    "item_no": "VQT04959",
    "name": None,
    "face_value": 1280,
    "start_date": None,
    "expire_date": None,
    "status": "unused",
}
RECONCILED: dict[type[ReconciliationData], dict[str, object]] = {
    ReconciliationDifference: {
        "merchant_id": "3085676",
        "issue_date": "2026-03-01",
        "trade_no": "CBX20260302153064851",
        "trade_no_kind": "merchant",
        "order_id": "A-1",
        "kind": "state",
        "published": {"state": "failed", "ticket_count": 2},
        "reported": {"state": "issued", "ticket_count": 2},
        "message": "x",
    },
    ReconciliationCompleted: {
        "merchant_id": "3085676",
        "from": "2026-02-26",
        "to": "2026-03-01",
        "reported": 1,
        "published": 1,
        "differences": 1,
        "by_kind": {"state": 1},
    },
}

FROZEN = {
    "ecticket.issuance.submitted.v1": "33567499-34f2-5427-adbf-848070138e5d",
    "ecticket.issuance.issued.v1": "cee792ae-3116-589f-9196-93624ca01aec",
    "ecticket.issuance.failed.v1": "7b7c34c7-c506-5f9c-b20a-53cac446e793",
    "ecticket.issuance.delayed.v1": "6e2db914-395f-5cef-8208-196ecd7156bf",
    "ecticket.ticket.collected.v1": "ef5b72bd-bece-588e-9068-3af8a6effc66",
    "ecticket.order.skipped.v1": "db48eed1-00ff-5d0b-81c4-f7381fc61bc7",
    "ecticket.order.parked.v1": "dc8f0992-65de-58b8-a8ca-0a376bd73002",
    "ecticket.ticket.status-changed.v1": "2709d0fd-6e0d-5d9c-a8d1-69c3bad25df3",
    "ecticket.order.refunded.v1": "34b97624-ad4f-5892-a030-7b76dc196e14",
    "ecticket.reconciliation.difference.v1": "ceb139b5-7347-5365-bc2a-9b89d1832eab",
    "ecticket.reconciliation.completed.v1": "79fccde0-703d-55ac-99f2-c5b5b1206c09",
}


def _one_of_each() -> dict[str, str]:
    issuances: tuple[tuple[type[IssuanceData], dict[str, object]], ...] = (
        (IssuanceSubmitted, {"recovered": True}),
        (IssuanceIssued, {"recovered": True, "submitted_at": NOW, "queries": 1}),
        (IssuanceFailed, {"stage": "submit", "rtn_code": 10100001, "rtn_msg": "x", "remark": None}),
        (IssuanceDelayed, {"submitted_at": NOW, "queries": 1}),
        (TicketCollected, {"tickets": (TICKET,)}),
    )
    ids = {kind.TYPE: issuance_event_id(kind.model_validate({**COMMON, **more})) for kind, more in issuances}
    ids |= {kind.TYPE: order_event_id(ORIGIN, kind.TYPE) for kind in (OrderSkipped, OrderParked)}
    return ids | {
        TicketStatusChanged.TYPE: notification_event_id("3085676", "0" * 32, date(2026, 3, 1)),
        OrderRefunded.TYPE: notification_event_id("3085676", "1" * 32, date(2026, 3, 1)),
        **{kind.TYPE: reconciliation_event_id(kind.model_validate(data)) for kind, data in RECONCILED.items()},
    }


def test_ids_are_frozen() -> None:
    """Readers have stored these ids to drop what they have seen; another formula would publish every fact twice."""
    assert _one_of_each() == FROZEN
    assert set(FROZEN) == {event.TYPE for event in EVENTS}


@pytest.mark.parametrize(
    "changes",
    [
        {"recovered": True},
        {"ticket_trade_no": "2022030215301234"},
        {"order_id": "other"},
        {"reference": None},
        {"part": 2},
    ],
)
def test_the_same_fact_has_the_same_id(changes: dict[str, object]) -> None:
    """Whatever else is known about it, merchant, trade number and type are the fact."""
    assert issuance_event_id(_submitted(**changes)) == issuance_event_id(_submitted())


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"message": "y"}, True),
        ({"order_id": None}, True),
        ({"reported": None}, True),
        ({"trade_no": "cbx20260302153064851"}, True),
        ({"kind": "ticket-count"}, False),
        ({"issue_date": "2026-03-02"}, False),
        ({"issue_date": None}, False),
        ({"merchant_id": "2"}, False),
        ({"trade_no_kind": "free"}, False),
        ({"trade_no": "OTHER1"}, False),
    ],
)
def test_a_difference_is_its_merchant_date_number_and_kind(changes: dict[str, object], same: bool) -> None:
    """What else is known about it may change from day to day."""
    known = RECONCILED[ReconciliationDifference]
    first = reconciliation_event_id(ReconciliationDifference.model_validate(known))
    second = reconciliation_event_id(ReconciliationDifference.model_validate({**known, **changes}))

    assert (first == second) == same


@pytest.mark.parametrize(("changes", "same"), [({"reported": 9}, True), ({"from": "2026-02-25"}, False)])
def test_a_completed_comparison_is_its_merchant_and_period(changes: dict[str, object], same: bool) -> None:
    """A repeated one has the same id."""
    known = RECONCILED[ReconciliationCompleted]
    first = reconciliation_event_id(ReconciliationCompleted.model_validate(known))
    second = reconciliation_event_id(ReconciliationCompleted.model_validate({**known, **changes}))

    assert (first == second) == same


@pytest.mark.parametrize("changes", [{"merchant_id": "2"}, {"trade_no": "OTHER1"}])
def test_another_fact_has_another_id(changes: dict[str, object]) -> None:
    """Another merchant or another number is another issuance."""
    assert issuance_event_id(_submitted(**changes)) != issuance_event_id(_submitted())


def test_an_issuances_event_is_a_cloudevent() -> None:
    """Binary mode of the Kafka binding: context in `ce_` headers, data alone in the value."""
    event = _read(_submitted())

    assert event.topic == "ecticket.issuances"
    assert event.key == b"3085676/CBX20220302153064851"
    assert _context(event) == {
        "content-type": "application/json",
        "specversion": "1.0",
        "type": "ecticket.issuance.submitted.v1",
        "time": "2026-03-01T12:00:00.000Z",
        "dataschema": "urn:ecticket-adapter:schema:issuance-submitted.v1",
        "id": issuance_event_id(_submitted()),
        "source": "/ecticket-adapter/merchants/3085676",
        "subject": "CBX20220302153064851",
        "orderid": "A-1001",
        "orderref": "orders.paid/3/41",
        "partitionkey": "3085676/CBX20220302153064851",
    }


def test_data_is_the_model_as_json() -> None:
    """Snake case, nothing left out, the shop's reference untouched."""
    event = _read(_submitted())

    assert json.loads(event.value or b"") == {
        **{name: value for name, value in COMMON.items() if name != "items"},
        "items": [{"item_no": "VQT04959", "name": "兩人套票", "quantity": 2}],
        "recovered": False,
    }


def test_the_trace_goes_out() -> None:
    """`traceparent` is there only when the order brought one."""
    assert _context(_read(_submitted(), traceparent="00-a-b-01"))["traceparent"] == "00-a-b-01"
    assert "traceparent" not in _context(_read(_submitted()))


def _order_event(data: OrderParked, merchant_id: str | None) -> ProducerRecord:
    return order_event(data, topic="ecticket.issuances", origin=ORIGIN, now=NOW, merchant_id=merchant_id)


def test_an_orders_event_goes_by_order_id() -> None:
    """Key and subject are the order's id."""
    event = _order_event(_parked(), "3085676")
    context = _context(event)

    assert event.key == b"A-1001"
    assert (context["subject"], context["orderid"], context["partitionkey"]) == ("A-1001", "A-1001", "A-1001")
    assert context["source"] == "/ecticket-adapter/merchants/3085676"


def test_an_unreadable_order_goes_by_its_coordinates() -> None:
    """Without order id and merchant the record's name stands in, and nothing is invented."""
    event = _order_event(_parked(order_id=None), None)
    context = _context(event)

    assert event.key == b"orders.paid/3/41"
    assert (context["subject"], context["source"]) == ("orders.paid/3/41", "/ecticket-adapter")
    assert "orderid" not in context


def test_odd_order_ids_can_be_published() -> None:
    """Half a surrogate pair or a NUL in an order id, as a plugin may read it, does not break the telling."""
    event = _order_event(_parked(order_id="a\ud800\x00"), None)

    assert event.key == b"a?\x00"


REFUNDED: dict[str, object] = {
    "merchant_id": "3085676",
    "trade_no": "CBX20220302153064851",
    "trade_no_kind": "merchant",
    "ticket_trade_no": "2022030215301234",
    "raw": {"RefundAmount": 200},
    "withheld": (),
    "trade_amount": 1000,
    "refund_amount": 200,
    "total_refund_amount": 500,
}
CHANGED = {name: REFUNDED[name] for name in list(REFUNDED)[:6]} | {
    "ticket_ref": "0" * 32,
    "use_status": 2,
    "may_mean": ("redeemed", "refunded"),
}


def _notified(**changes: object) -> ProducerRecord:
    data = TicketStatusChanged.model_validate({**CHANGED, **changes})
    return notification_event(data, topic="ecticket.tickets", event_id="an-id", now=NOW)


def test_a_notification_is_a_cloudevent_with_the_key_of_its_issuance() -> None:
    """Its key is the issuance's, so that one partition holds all of its events; no order record is its origin."""
    event = _notified()

    assert (event.topic, event.key) == ("ecticket.tickets", b"3085676/CBX20220302153064851")
    assert _context(event) == {
        "content-type": "application/json",
        "specversion": "1.0",
        "type": "ecticket.ticket.status-changed.v1",
        "time": "2026-03-01T12:00:00.000Z",
        "dataschema": "urn:ecticket-adapter:schema:ticket-status-changed.v1",
        "id": "an-id",
        "source": "/ecticket-adapter/merchants/3085676",
        "subject": "CBX20220302153064851",
        "partitionkey": "3085676/CBX20220302153064851",
    }


@pytest.mark.parametrize(
    ("changes", "subject"),
    [
        ({"trade_no": None}, "2022030215301234"),
        ({"trade_no": None, "ticket_trade_no": None}, "0" * 32),
        ({"trade_no": None, "ticket_trade_no": None, "ticket_ref": None}, "an-id"),
    ],
)
def test_a_notification_that_names_no_order_goes_by_the_next_best(changes: dict[str, object], subject: str) -> None:
    """The events of one ticket stay in order even then."""
    event = _notified(**changes)

    assert (event.key, _context(event)["subject"]) == (f"3085676/{subject}".encode(), subject)


def test_a_refunds_data_is_the_model_as_json() -> None:
    """Raw values beside what was read of them."""
    data = OrderRefunded.model_validate(REFUNDED)

    event = notification_event(data, topic="ecticket.tickets", event_id="an-id", now=NOW)

    assert json.loads(event.value or b"") == {**REFUNDED, "withheld": []}


@pytest.mark.parametrize(
    "build",
    [
        lambda: _notified(ticket_no="CB2SY20220302153"),
        lambda: _submitted(customer_name="x"),
        lambda: _submitted(items=({"item_no": None, "name": None, "quantity": 1, "ticket_no": "x"},)),
        lambda: _parked(payload="x"),
    ],
)
def test_events_have_no_room_for_more(build: Callable[[], object]) -> None:
    """Closed models: customer data cannot be added by accident."""
    with pytest.raises(ValidationError, match="extra"):
        build()


def test_events_cannot_be_changed() -> None:
    """A fact stays what it is."""
    with pytest.raises(ValidationError, match="frozen"):
        _submitted().order_id = "other"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_every_event_is_published_to_a_topic_that_can_be_set(event: type[IssuanceData]) -> None:
    """Which topic it is stands with the event and nowhere else; its name is a setting."""
    assert event.TOPIC in TopicSettings.model_fields


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.TYPE)
def test_every_field_is_explained(event: type[IssuanceData]) -> None:
    """The schemas are documentation too."""
    assert event.__doc__
    assert all(field.description for field in event.model_fields.values())


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 3, 1, 20, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=8))),
        datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC),
    ],
)
def test_times_are_utc_in_milliseconds(moment: datetime) -> None:
    """One form, so that texts compare as times do."""
    assert rfc3339(moment) == "2026-03-01T12:00:00.123Z"


offsets = st.just(UTC) | st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=offsets))
def test_any_time_is_written_as_the_standard_library_writes_it(moment: datetime) -> None:
    """In milliseconds, cut and not rounded."""
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError:
        reject()  # the first or the last hours of the calendar

    assert rfc3339(moment) == f"{in_utc.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
