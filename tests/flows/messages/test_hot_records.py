"""What every order publishes is written without its model; the model is the judge of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import cast, get_args
from uuid import uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.flows.messages.confirmation import (
    AwaitedIssuance,
    Confirmation,
    OriginData,
    confirmation_record,
    first_confirmation_record,
    read_confirmation,
)
from adapter.flows.messages.events import (
    NAMESPACE,
    IssuanceFields,
    IssuanceSubmitted,
    IssueTypeName,
    Origin,
    fact_id,
    issuance_event,
    submitted_event,
    write_json,
)
from adapter.stream.records import ProducerRecord

thorough = settings(max_examples=examples(200), deadline=None)
texts = st.text(max_size=30)
numbers = st.integers(1, 100)
references = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)
issuances = st.fixed_dictionaries(
    {
        "merchant_id": st.from_regex(r"[0-9]{1,10}", fullmatch=True),
        "order_id": texts,
        "reference": references,
        "trade_no": st.from_regex(r"[A-Za-z0-9]{1,25}", fullmatch=True),
        "trade_no_kind": st.sampled_from(("merchant", "free")),
        "issue_type": st.sampled_from(get_args(IssueTypeName)),
        "part": numbers,
        "parts": numbers,
        "items": st.lists(
            st.fixed_dictionaries({"item_no": st.none() | texts, "name": st.none() | texts, "quantity": numbers}),
            min_size=1,
            max_size=3,
        ).map(tuple),
        "ticket_count": numbers,
        "ticket_trade_no": st.none() | texts,
    }
).map(lambda fields: cast("IssuanceFields", fields))
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
origins = st.builds(Origin, topic=texts, partition=st.integers(0, 99), offset=st.integers(0, 2**62))
traces = st.none() | st.just("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


def _same(written: ProducerRecord, judged: ProducerRecord) -> None:
    """Equal in all, and in value as JSON."""
    assert (written.topic, written.key, written.headers) == (judged.topic, judged.key, judged.headers)
    assert json.loads(written.value or b"") == json.loads(judged.value or b"")


@thorough
@given(issuances, st.booleans(), origins, moments, traces)
def test_a_submitted_event_is_that_of_its_model(
    issuance: IssuanceFields, recovered: bool, origin: Origin, now: datetime, trace: str | None
) -> None:
    """For every order that the model accepts."""
    model = IssuanceSubmitted.model_validate({**issuance, "recovered": recovered})

    written = submitted_event(issuance, recovered=recovered, topic="t", origin=origin, now=now, traceparent=trace)

    _same(written, issuance_event(model, topic="t", origin=origin, now=now, traceparent=trace))


@thorough
@given(issuances, st.booleans(), moments, moments, origins, st.none() | moments, st.none() | moments, traces)
def test_a_first_confirmation_is_that_of_its_model(
    issuance: IssuanceFields,
    recovered: bool,
    submitted_at: datetime,
    not_before: datetime,
    origin: Origin,
    written_at: datetime | None,
    paid_at: datetime | None,
    trace: str | None,
) -> None:
    """And the stage that reads it finds the same values."""
    model = Confirmation(
        issuance=AwaitedIssuance.model_validate(issuance),
        recovered=recovered,
        submitted_at=submitted_at,
        not_before=not_before,
        origin=OriginData(topic=origin.topic, partition=origin.partition, offset=origin.offset, timestamp=written_at),
        paid_at=paid_at,
    )

    written = first_confirmation_record(
        issuance,
        recovered=recovered,
        submitted_at=submitted_at,
        not_before=not_before,
        origin=origin,
        origin_timestamp=written_at,
        paid_at=paid_at,
        topic="t",
        traceparent=trace,
    )

    judged = confirmation_record(model, topic="t", traceparent=trace)
    _same(written, judged)
    assert read_confirmation(written.value) == read_confirmation(judged.value)


@thorough
@given(texts)
def test_an_id_is_a_uuid_of_version_5(text: str) -> None:
    """As the standard library makes it."""
    assert fact_id(text) == str(uuid5(NAMESPACE, text))


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ({"a": "A\ud83d"}, b'{"a":"A?"}'),
        ({"a": 2**64, "b": -(2**63) - 1}, b'{"a":18446744073709551616,"b":-9223372036854775809}'),
        ({"a": {"b": ["券", None, True, 1.5]}}, '{"a":{"b":["券",null,true,1.5]}}'.encode()),
    ],
)
def test_anything_that_a_plugin_gives_can_be_written(data: dict[str, object], written: bytes) -> None:
    """Half a surrogate pair and integers of any size have a slower way."""
    assert write_json(data) == written
