"""`reconcile` shows differences between events and report, exits 1 if there are any, and publishes on request."""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from adapter import wiring
from adapter.cli import reconcile as cli_reconcile
from adapter.protocol.taipei import TAIPEI
from adapter.stream.records import ProducerRecord, Record

from .command_runner import Commands

NUMBER = "CBX20260302153064851"
AT_ONCE = ("--set", "submit.reissue_after_seconds=0")
"""The command waits for nothing."""


def _day(ago: int) -> str:
    return (datetime.now(TAIPEI).date() - timedelta(days=ago)).isoformat()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[ProducerRecord]:
    """What is written; the topics are empty and need no broker."""
    found: list[ProducerRecord] = []

    async def read(_connection: object, topics: Collection[str], *, since: datetime) -> AsyncGenerator[Record, None]:
        for offset, each in enumerate(list(found)):
            if each.topic in topics:
                yield Record(
                    topic=each.topic,
                    partition=0,
                    offset=offset,
                    timestamp=since,
                    key=each.key,
                    value=each.value,
                    headers=each.headers,
                )

    class Writer:
        async def write(self, producer_records: Iterable[ProducerRecord]) -> None:
            found.extend(producer_records)

    @asynccontextmanager
    async def open_writer(_connection: object, name: str, **_: object) -> AsyncIterator[Writer]:
        assert name.endswith(".reconcile.3085676")
        yield Writer()

    monkeypatch.setattr(wiring, "read_to_end", read)
    monkeypatch.setattr(wiring, "exclusive_producer", open_writer)
    return found


@pytest.fixture
def outside(ask: Commands, tmp_path: Path, written: list[ProducerRecord]) -> Commands:
    """An order that was issued without the adapter: the command `issue` publishes nothing."""
    order = tmp_path / "order.json"
    order.write_text(
        json.dumps(
            {
                "order_id": "A-1",
                "trade_no": NUMBER,
                "issue_type": "electronic",
                "customer": {"name": "王小明", "phone": "0900000000", "email": "customer@example.com"},
                "lines": [{"sku": "VQT04959", "quantity": 2}],
            }
        ),
        encoding="utf-8",
    )
    assert ask("issue", str(order)).code == 0
    return ask


def test_without_differences_it_exits_0(ask: Commands, written: list[ProducerRecord]) -> None:
    """And prints no table."""
    result = ask("reconcile", "--merchant", "3085676")

    assert (result.code, result.out) == (0, "")
    assert "0 differences" in result.err
    assert written == []


def test_a_difference_is_shown_with_its_next_step(outside: Commands, written: list[ProducerRecord]) -> None:
    """Exit code 1; nothing is written and no customer is shown."""
    result = outside("reconcile", "--merchant", "3085676", *AT_ONCE)

    assert result.code == 1
    assert all(word in result.out for word in (NUMBER, "not-published", "resolve", "reconcile.ignore_prefixes"))
    assert "王小明" not in result.out + result.err
    assert written == []


def test_json_has_the_comparison_and_its_differences(outside: Commands, written: list[ProducerRecord]) -> None:
    """One document for each merchant; the fields are those of the events."""
    result = outside("reconcile", "--merchant", "3085676", "--json", "--from", _day(1), *AT_ONCE)

    (document,) = json.loads(result.out)
    (difference,) = document["differences"]
    assert result.code == 1
    assert (document["from"], document["to"], document["reported"]) == (_day(1), _day(0), 1)
    assert (difference["trade_no"], difference["kind"], difference["new"]) == (NUMBER, "not-published", True)


def test_publish_writes_what_is_new_once(outside: Commands, written: list[ProducerRecord]) -> None:
    """The difference and `completed`; the second time nothing, and still exit code 1."""
    results = [outside("reconcile", "--merchant", "3085676", "--publish", *AT_ONCE) for _ in range(2)]

    types = [dict(each.headers)["ce_type"] for each in written]
    logged = [line for result in results for line in result.logged]
    assert [result.code for result in results] == [1, 1]
    assert [(line["event"], line["merchant_id"]) for line in logged] == [("reconcile", "3085676")] * 2
    assert [sum(cast("dict[str, int]", line["new_differences"]).values()) for line in logged] == [1, 0]
    assert types == [b"ecticket.reconciliation.difference.v1", b"ecticket.reconciliation.completed.v1"]


def test_what_is_published_is_logged_although_it_cannot_be_shown(
    outside: Commands, written: list[ProducerRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Printing may fail, on a full disk for example."""

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(cli_reconcile, "_print", full)
    result = outside("reconcile", "--merchant", "3085676", "--publish", *AT_ONCE)

    assert (result.code, len(written)) == (1, 2)
    assert [line["event"] for line in result.logged] == ["reconcile"]


def test_a_prefix_accepts_the_numbers_of_other_programs(outside: Commands, written: list[ProducerRecord]) -> None:
    """They are counted in the summary."""
    ignore = ("--set", "reconcile.ignore_prefixes=cbx")
    result = outside("reconcile", "--merchant", "3085676", *AT_ONCE, *ignore)

    assert result.code == 0
    assert "reconcile.ignore_prefixes: 1" in result.err


@pytest.mark.parametrize(
    "period",
    [
        ("--from", _day(1), "--to", _day(2)),
        ("--to", _day(-2)),
        ("--from", _day(200)),
    ],
    ids=["backwards", "future", "too-long"],
)
def test_an_impossible_period_is_refused(ask: Commands, period: tuple[str, ...]) -> None:
    """Before anything is downloaded."""
    assert ask("reconcile", *period).code == 2
