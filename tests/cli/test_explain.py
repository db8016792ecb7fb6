"""`explain` shows an order's timeline as a table or as JSON, and exits 1 for an unknown order."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapter.cli.explain import rows
from adapter.flows.messages.events import IssuanceSubmitted, Item, Origin, issuance_event
from adapter.kafka.topic_reader import KafkaTopicReader
from adapter.operations.timeline import FactKind, TimelineFact
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.stream.records import Record
from adapter.testing.fakes import TOPICS
from adapter.values import replace

from .command_runner import MERCHANT, Commands, Result

NUMBER = "CBX20260302153064851"
SINCE = timedelta(days=30)


@pytest.fixture
def begins(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """When each read began; the topics hold one submitted issuance and need no broker."""
    found: list[datetime] = []
    data = IssuanceSubmitted(
        merchant_id=MERCHANT.merchant_id,
        order_id="A-1",
        reference=None,
        trade_no=NUMBER,
        trade_no_kind="merchant",
        issue_type="electronic",
        part=1,
        parts=1,
        items=(Item(item_no="VQT04959", name=None, quantity=2),),
        ticket_count=2,
        ticket_trade_no=None,
        recovered=False,
    )
    origin, now = Origin(topic=TOPICS.orders_paid, partition=0, offset=4), datetime.now(UTC)
    event = issuance_event(data, topic=TOPICS.issuances, origin=origin, now=now)
    record = Record(
        topic=TOPICS.issuances,
        partition=3,
        offset=7,
        timestamp=now,
        key=event.key,
        value=event.value,
        headers=event.headers,
    )

    async def partitions_of(_: object, keys: Mapping[str, object]) -> dict[str, frozenset[int]]:
        return dict.fromkeys(keys, frozenset({3}))

    async def read(
        _: object, partitions: Mapping[str, Collection[int]], *, since: datetime, **_callbacks: object
    ) -> AsyncGenerator[Record, None]:
        found.append(since)
        if TOPICS.issuances in partitions:
            yield record

    async def read_one(*_: object) -> None:
        return None

    monkeypatch.setattr(KafkaTopicReader, "partitions_of", partitions_of)
    monkeypatch.setattr(KafkaTopicReader, "read_partitions", read)
    monkeypatch.setattr(KafkaTopicReader, "read_one", read_one)
    return found


def _only_order(result: Result) -> dict[str, Any]:
    orders = result.json["orders"]
    assert isinstance(orders, list)
    (order,) = orders
    assert isinstance(order, dict)
    return order


def test_an_order_is_shown_with_its_records_and_the_next_actor(run: Commands, begins: list[datetime]) -> None:
    """Each fact has its coordinates; a month is read unless an option says otherwise."""
    shown = run("explain", "A-1")

    assert shown.code == 0
    for words in ("A-1", f"{TOPICS.issuances}/3/7", NUMBER, "submitted", "adapter"):
        assert words in shown.out
    assert {round((datetime.now(UTC) - begin) / SINCE) for begin in begins} == {1}


def test_an_order_as_json(run: Commands, begins: list[datetime]) -> None:
    """The same, for machines; ECTicket is not queried without --ask."""
    order = _only_order(run("explain", NUMBER, "--json"))

    assert (order["merchant_id"], order["order_id"]) == (MERCHANT.merchant_id, "A-1")
    assert [(each["kind"], each["record"]) for each in order["facts"]] == [("submitted", f"{TOPICS.issuances}/3/7")]
    assert [(each["trade_no"], each["state"]) for each in order["parts"]] == [(NUMBER, "submitted")]
    assert [each["actor"] for each in order["next"]] == ["adapter"]


def test_a_command_is_one_line_whatever_the_width_of_the_terminal(
    run: Commands, begins: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person copies it; the issuance waits since long ago."""
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr("adapter.operations.next_actions.OVERDUE", -timedelta(days=1))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert "  ecticket-adapter check" in run("explain", "A-1").out.splitlines()


def test_equal_facts_share_a_row() -> None:
    """A day of deferrals must not hide what happened before and after it; the event of a dead letter has no row."""
    at, number = datetime(2026, 3, 2, tzinfo=UTC), TradeNo(kind=TradeNoKind.MERCHANT, value=NUMBER)
    fact = TimelineFact(at=at, kind=FactKind.DEFERRED, record="a/0/1", text="Not sent.", trade_no=number)
    deferrals = [replace(fact, at=at + timedelta(minutes=minute)) for minute in range(1440)]
    end = at + timedelta(days=1)
    parked = replace(fact, at=end, kind=FactKind.DEAD_LETTER, reason="gave-up")
    event = replace(parked, kind=FactKind.PARKED, trade_no=None)

    assert [len(row) for row in rows([*deferrals, event, parked])] == [1440, 1]


def test_ecticket_is_queried_on_request(ask: Commands, begins: list[datetime]) -> None:
    """Its answer is one more fact; one that proves nothing."""
    order = _only_order(ask("explain", "A-1", "--ask", "--json"))

    answers = [each for each in order["facts"] if each["kind"] == "answer"]
    assert [(each["trade_no"], each["details"]["known"]) for each in answers] == [(NUMBER, None)]


def test_an_unknown_order_is_one_sentence(run: Commands, begins: list[datetime]) -> None:
    """On standard error, with exit code 1."""
    shown = run("explain", "A-2", "--json")

    assert (shown.code, shown.out) == (1, "")
    assert len(shown.err.splitlines()) == 1
    assert "A-2" in shown.err


def test_a_time_that_cannot_be_read_is_a_usage_error(run: Commands) -> None:
    """Before anything is read."""
    assert run("explain", "A-1", "--since", "soon").code == 2


def test_a_broker_that_is_not_there_is_named(run: Commands) -> None:
    """Exit code 1, and no traceback."""
    shown = run("explain", "A-1")

    assert shown.code == 1
    assert "127.0.0.1:1" in shown.err
    assert "Traceback" not in shown.err
