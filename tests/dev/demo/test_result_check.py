"""The demo's check notices every disagreement; a demo that cannot fail shows nothing."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from key_words import mentions

from adapter.dev.demo.orders import KINDS, SampleOrder, sample_orders, sandbox_faults
from adapter.dev.demo.result_check import ResultCheck
from adapter.flows.messages.order_paid import parse_order_paid
from adapter.stream.records import Record

TODAY = date(2026, 11, 22)
PLAIN, PARKED = KINDS[0], next(kind for kind in KINDS if kind.name == "invalid order")


def _event(order_id: str | None, event_type: str, *, event_id: str, **data: object) -> Record:
    value = json.dumps({"order_id": order_id, **data}).encode()
    headers = (("ce_id", event_id.encode()), ("ce_type", event_type.encode()), ("ce_subject", b"A1"))
    return Record(
        topic="issuances", partition=0, offset=0, timestamp=datetime.now(UTC), key=None, value=value, headers=headers
    )


def _issued(results: ResultCheck, order_id: str = "1", *, event_id: str = "b") -> None:
    results.note(_event(order_id, "ecticket.issuance.issued.v1", event_id=event_id, trade_no="A1"))


def _results(kind: object = PLAIN) -> ResultCheck:
    return ResultCheck([SampleOrder(order_id="1", kind=kind, value=b"{}")], issuances="issuances")  # type: ignore[arg-type]


def _there(**changes: object) -> dict[str, object]:
    return {"trade_no": "A1", "status": "issued", "times_issued": 1, **changes}


def test_a_run_that_went_well_has_no_disagreements() -> None:
    """Published once, and the sandbox has it once."""
    results = _results()
    _issued(results)

    assert results.disagreements([_there()]) == []
    assert not results.open


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ([], "A1 issued no"),
        ([_there(times_issued=2)], "A1 issued 2"),
        ([_there(), _there(trade_no="B2")], "B2 no event"),
        ([_there(status="failed")], "A1 issued no"),
    ],
)
def test_results_that_differ_are_named(there: list[dict[str, object]], words: str) -> None:
    """Missing, twice, unpublished: one disagreement each, with the trade number."""
    results = _results()
    _issued(results)

    (disagreement,) = results.disagreements(there)
    assert mentions(disagreement, words)


def test_an_event_published_twice_is_noticed() -> None:
    """Readers of committed records see each event once."""
    results = _results()
    _issued(results)
    _issued(results)

    (disagreement,) = results.disagreements([_there()])
    assert mentions(disagreement, "1 events more once")


def test_an_order_without_an_end_is_noticed() -> None:
    """Silence is no success."""
    results = _results()

    assert len(results.open) == 1
    (disagreement,) = results.disagreements([])
    assert mentions(disagreement, f"1 {PLAIN.name} None {PLAIN.result}")


def test_a_wrong_end_is_noticed() -> None:
    """An invalid order that is issued is as wrong as a good one that is parked."""
    results = _results(PARKED)
    _issued(results)

    assert any(mentions(each, f"1 {PARKED.name} issued {PARKED.result}") for each in results.disagreements([_there()]))


def test_an_order_that_was_sent_again_instead_of_found_is_noticed() -> None:
    """After a lost answer the effect is there, and must be found by asking."""
    results = _results(next(kind for kind in KINDS if kind.recovered))
    _issued(results)

    (disagreement,) = results.disagreements([_there()])
    assert mentions(disagreement, "1 answer lost effect not recovered")


def test_an_event_about_an_unknown_order_is_noticed() -> None:
    """No event may be about an order that was not sent."""
    results = _results()
    _issued(results)
    _issued(results, "stranger", event_id="c")

    assert any(mentions(each, "event A1 no order") for each in results.disagreements([_there()]))


@pytest.mark.parametrize("count", [1, 15, 200, 1000])
def test_there_are_as_many_orders_as_asked_for(count: int) -> None:
    """`--orders N` means N, with every kind in it as soon as there is room for all."""
    samples = sample_orders(count, today=TODAY)

    assert len(samples) == count
    if count >= len(KINDS):
        assert {sample.kind.name for sample in samples} == {kind.name for kind in KINDS}


def test_samples_are_orders_of_the_schema() -> None:
    """All but the unreadable one are read by the adapter's own parser."""
    for sample in sample_orders(200, today=TODAY):
        if sample.kind.name != "unreadable record":
            assert parse_order_paid(sample.value, (), "3085676").order_id == sample.order_id


def test_every_trouble_is_met_as_often_as_there_are_orders_for_it() -> None:
    """The sandbox's faults are counted, so that an order which is sent again goes through."""
    samples = sample_orders(200, today=TODAY)

    for fault in sandbox_faults(samples):
        marked = [sample for sample in samples if sample.kind.marked == fault["trade_no_prefix"]]
        assert fault["count"] == len(marked) > 0
