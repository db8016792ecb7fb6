"""Reports in any order, pieces and encoding give the same events, and reconciling finds what a dict finds."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import examples

from adapter.flows import reconciliation_table
from adapter.flows.messages.events import DifferenceCounts, ReconciliationDifference
from adapter.flows.reconciliation_table import ReconciliationTable
from adapter.issuance.reconciliation import (
    IssuanceDifference,
    PublishedFact,
    PublishedState,
    ReconciledDays,
    ReconcilePolicy,
    ReportedRow,
    belongs_to,
    compare,
    merge_published,
    merge_reported,
)
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.order_detail import TICKET_COLUMNS, TicketRow, ticket_rows
from adapter.protocol.query_issue_result import IssueStatus
from adapter.protocol.report_csv import ReportRows
from adapter.protocol.taipei import TAIPEI
from adapter.testing.orders import MERCHANT
from flows.collecting import Collecting, Row, serial_row

NAMES = ("SPA課程體驗券", '多行\r\n"名", 稱', "王堃珊", "")
ENCODINGS = ("utf-8", "utf-8-sig", "cp950")

# --- collecting -------------------------------------------------------------------------------------------------------


class Pieces:
    """A ticket report that comes in these pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def ticket_rows(self) -> ReportRows[TicketRow]:
        return ticket_rows(iter(self._pieces), merchant_id=MERCHANT)


def _report(rows: Iterable[Row], columns: Sequence[str], encoding: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding, errors="replace")


def _pieces(content: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    for size in sizes:
        yield content[:size]
        content = content[size:]
    yield content


async def _collected(counts: Sequence[int], content: bytes) -> list[tuple[str, object]]:
    """What becomes of issuances of so many tickets after one report: the event's tickets, or how it was parked."""
    collecting = Collecting()
    collecting.policy = type(collecting.policy)(give_up_after_seconds=1)
    collecting.restart()
    collecting.reports.alter = lambda _: content
    waiting = [
        each
        for number, count in enumerate(counts)
        for each in await collecting.waiting(f"T{number}", ticket_count=count)
    ]
    collecting.clock.passes(5)
    results: list[tuple[str, object]] = []
    for each in await collecting.run(*waiting):
        (kind,) = each.types
        results.append((kind, each.event(kind).data["tickets" if kind == "collected" else "reason"]))
    return results


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_the_same_tickets_are_collected_however_a_report_is_written(data: st.DataObject) -> None:
    """Order of rows and columns, encoding and pieces change nothing; only a complete set of numbers is published."""
    counts = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    rows: list[Row] = []
    expected: list[tuple[str, list[str]]] = []
    for issuance, count in enumerate(counts):
        number = f"T{issuance}"
        listed = data.draw(st.lists(st.integers(1, count), min_size=count - 1, max_size=count + 1))
        rows += [serial_row(number, each, 商品名稱=data.draw(st.sampled_from(NAMES))) for each in listed]
        complete = sorted(listed) == list(range(1, count + 1))
        expected.append(
            ("collected", [f"SECRETC{number}{each}" for each in sorted(listed)]) if complete else ("parked", [])
        )
    rows += [serial_row("OTHER", each) for each in range(data.draw(st.integers(0, 2)))]
    plain = _report(rows, TICKET_COLUMNS, "utf-8")
    written = _report(
        data.draw(st.permutations(rows)),
        data.draw(st.permutations(TICKET_COLUMNS)),
        data.draw(st.sampled_from(ENCODINGS)),
    )

    first = asyncio.run(_collected(counts, plain))
    found = [
        (kind, [each["redemption_code"] for each in tickets] if isinstance(tickets, list) else [])
        for kind, tickets in first
    ]
    assert found == expected
    second = asyncio.run(_collected(counts, written))
    assert [kind for kind, _ in second] == [kind for kind, _ in first]
    assert [_without_names(each) for each in second] == [_without_names(each) for each in first]


def _without_names(result: tuple[str, object]) -> object:
    """CP950 lacks some characters of names, and only of names."""
    tickets = result[1]
    return [{**each, "name": None} for each in tickets] if isinstance(tickets, list) else tickets


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(1, 3), max_size=3), st.sampled_from(ENCODINGS), st.lists(st.integers(1, 90), max_size=9))
def test_pieces_that_end_anywhere_give_the_same_rows(counts: list[int], encoding: str, sizes: list[int]) -> None:
    """Within a character of several bytes, a line end or a quoted cell."""
    rows = [
        serial_row(f"T{number}", each, 商品名稱=NAMES[each])
        for number, count in enumerate(counts)
        for each in range(count)
    ]
    content = _report(rows, TICKET_COLUMNS, encoding)

    assert list(Pieces(list(_pieces(content, sizes))).ticket_rows()) == list(Pieces([content]).ticket_rows())


# --- reconciling ------------------------------------------------------------------------------------------------------

REQUESTED = datetime(2026, 3, 5, 5, tzinfo=TAIPEI)
DAYS = ReconciledDays(first=REQUESTED.date() - timedelta(days=3), last=REQUESTED.date(), requested_at=REQUESTED)
POLICY = ReconcilePolicy(
    settles_after=timedelta(minutes=10), result_within=timedelta(hours=24), ignore_prefixes=("shop2",)
)
_MOMENTS = st.integers(0, 7 * 86_400 - 1).map(
    lambda seconds: datetime(2026, 2, 27, tzinfo=TAIPEI) + timedelta(seconds=seconds)
)
_NUMBERS = st.builds(
    TradeNo, kind=st.sampled_from(TradeNoKind), value=st.sampled_from(["A1", "a1", "B2", "SHOP2X", "shop2y", "C'3"])
)
_FACTS = st.builds(
    PublishedFact,
    trade_no=_NUMBERS,
    order_id=st.sampled_from(["A-1", "B-1"]),
    state=st.sampled_from(PublishedState),
    learned_at=_MOMENTS,
    submitted_at=st.none() | _MOMENTS,
    ticket_count=st.integers(1, 3),
    recovered=st.booleans(),
)
_ROWS = st.builds(
    ReportedRow,
    trade_no=_NUMBERS,
    status=st.none() | st.sampled_from(IssueStatus),
    ticket_count=st.none() | st.integers(0, 3),
    issued_at=st.none() | _MOMENTS,
    ticket_trade_no=st.none() | st.sampled_from(["ECT1", "ECT2"]),
)
_Found = tuple[str, str, str, object, bool]
"""Kind of the number, number in upper case, kind of the difference, issue date, and whether it is new."""


def _naive(
    facts: Iterable[PublishedFact], rows: Iterable[ReportedRow], known: Iterable[tuple[str, str, str]]
) -> Counter[_Found]:
    """The differences by a dict in memory."""
    sides: defaultdict[tuple[TradeNoKind, str], tuple[list[PublishedFact], list[ReportedRow]]]
    sides = defaultdict(lambda: ([], []))
    for fact in facts:
        sides[fact.trade_no.kind, fact.trade_no.value.upper()][0].append(fact)
    for row in rows:
        sides[row.trade_no.kind, row.trade_no.value.upper()][1].append(row)
    before = set(known)
    found: Counter[_Found] = Counter()
    for (kind, number), (of_number, reported_rows) in sides.items():
        published, reported = merge_published(of_number), merge_reported(reported_rows)
        judgement = compare(published, reported, DAYS, POLICY)
        if isinstance(judgement, IssuanceDifference):
            assert belongs_to(DAYS, published, reported)
            is_new = (kind.value, number, judgement.kind.value) not in before
            found[kind.value, number, judgement.kind.value, judgement.issue_date, is_new] += 1
    return found


def _by_table(
    facts: Sequence[PublishedFact], rows: Sequence[ReportedRow], known: Iterable[tuple[str, str, str]]
) -> Counter[_Found]:
    with closing(ReconciliationTable()) as table:
        table.add_reported(rows[:1])
        table.add_published(facts)
        table.add_known(_known(*each) for each in known)
        table.add_reported(rows[1:])
        counts = table.compare(MERCHANT, DAYS, POLICY, all_rows_read=True)
        found = list(table.found())
        new = list(table.found(only_new=True, by_date=False))
    assert counts.differences == len(found)
    assert counts.new_by_kind.total() == len(new) == sum(each.is_new for each in found)
    assert DifferenceCounts.model_validate(Counter(each.data.kind for each in found)) == counts.as_data()
    return Counter(
        (each.data.trade_no_kind, each.data.trade_no.upper(), each.data.kind, each.data.issue_date, each.is_new)
        for each in found
    )


def _known(trade_no_kind: str, trade_no: str, kind: str) -> ReconciliationDifference:
    return ReconciliationDifference.model_validate(
        {
            "merchant_id": MERCHANT, "issue_date": None, "trade_no": trade_no, "trade_no_kind": trade_no_kind,
            "order_id": None, "kind": kind, "published": None, "reported": None, "message": "",
        }
    )  # fmt: skip


_KNOWN = st.tuples(
    st.sampled_from(["merchant", "free"]),
    st.sampled_from(["A1", "B2", "C'3"]),
    st.sampled_from(["not-published", "not-reported", "state", "ticket-count"]),
)


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(_FACTS, max_size=8),
    st.lists(_ROWS, max_size=8),
    st.lists(_KNOWN, max_size=3),
    st.randoms(use_true_random=False),
)
def test_the_table_finds_what_a_dict_finds(
    facts: list[PublishedFact], rows: list[ReportedRow], known: list[tuple[str, str, str]], chance: random.Random
) -> None:
    """In any order, with numbers in any case, with duplicates, and with differences that were published before."""
    expected = _naive(facts, rows, known)
    facts, rows = [*facts, *facts[:2]], [*rows, *(row for row in rows[:2] if row.ticket_trade_no is not None)]
    chance.shuffle(facts)
    chance.shuffle(rows)

    assert _by_table(facts, rows, known) == expected


def _many(count: int, chance: random.Random) -> tuple[list[PublishedFact], list[ReportedRow]]:
    """Issuances on both sides, one of ten with something that differs."""
    facts, rows = [], []
    for number in range(count):
        trade_no = TradeNo(kind=TradeNoKind.MERCHANT, value=f"CBX{chance.randrange(10**12):012}{number}")
        at = DAYS.requested_at - timedelta(hours=chance.randrange(30, 60))
        different = chance.randrange(40)
        if different != 1:
            tickets = 3 if different == 2 else 2
            facts += [
                PublishedFact(trade_no=trade_no, order_id=f"O{number}", state=state, learned_at=at, submitted_at=at,
                              ticket_count=tickets, recovered=False)
                for state in (PublishedState.SUBMITTED, PublishedState.ISSUED)
            ]  # fmt: skip
        if different != 3:
            status = IssueStatus.FAILED if different == 4 else IssueStatus.ISSUED
            rows.append(
                ReportedRow(
                    trade_no=trade_no, status=status, ticket_count=2, issued_at=at, ticket_trade_no=f"E{number}"
                )
            )
    chance.shuffle(facts)
    chance.shuffle(rows)
    return facts, rows


def _temporary_files() -> int:
    """How many deleted files this process has open."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{number}").endswith("(deleted)")
        except OSError:
            continue
    return count


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_table_finds_the_same_when_it_sorts_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 64 KiB of memory for pages and for sorting, a table of 2 MB is sorted in runs that are merged."""
    monkeypatch.setattr(reconciliation_table, "CACHE_KIB", 64)
    facts, rows = _many(15_000, random.Random(5))
    before, most = _temporary_files(), 0
    judged = compare

    def counting(*arguments: object) -> object:
        nonlocal most
        if most <= before:
            most = max(most, _temporary_files())
        return judged(*arguments)  # type: ignore[arg-type]  # as they come

    monkeypatch.setattr(reconciliation_table, "compare", counting)
    found = _by_table(facts, rows, [])

    assert found == _naive(facts, rows, [])
    assert {kind for _, _, kind, _, _ in found} == {"not-published", "not-reported", "state", "ticket-count"}
    assert most >= before + 2  # the table and the runs of the sort
    assert _temporary_files() == before
