"""Both sides of a reconciliation in a temporary file, so that a million rows need little memory.

Theory of operation. Each event, each row of the report and each difference that was published before is one short row
of a table in a temporary SQLite database, in the order in which it comes. One query then sorts the table by trade
number; SQLite does that as an external merge sort, with sorted runs in temporary files. So everything about one number
comes together, and `issuance.reconciliation` judges number after number. What differs goes into a second table.

SQLite keeps at most `CACHE_KIB` in memory and the rest in files without a name, in the folder for temporary files
(SQLITE_TMPDIR or TMPDIR), which disappear with the process. They hold numbers, states and times, and no customer data.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Final

from adapter.errors import NoTemporarySpace
from adapter.flows.messages.events import (
    DifferenceCounts,
    PublishedSide,
    ReconciliationDifference,
    ReportedSide,
    kind_name,
)
from adapter.issuance.reconciliation import (
    DifferenceKind,
    IssuanceDifference,
    IssuedElsewhere,
    NotYet,
    PublishedFact,
    PublishedIssuance,
    PublishedState,
    ReconciledDays,
    ReconcilePolicy,
    ReportedIssuance,
    ReportedRow,
    belongs_to,
    compare,
    merge_published,
    merge_reported,
)
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.protocol.query_issue_result import IssueStatus

CACHE_KIB: Final = 32 * 1024
"""The memory that SQLite may use for its pages, and again for sorting."""
_CHECK_EVERY: Final = 1000
"""Numbers between two looks at whether the work is to stop."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PUBLISHED, _REPORTED, _KNOWN = range(3)
_STATES: Final = tuple(PublishedState)
_KINDS: Final = tuple(TradeNoKind)
_STATUS_NAMES: Final[Mapping[IssueStatus | None, str | None]] = {
    **{status: status.name.lower() for status in IssueStatus},
    None: None,
}

_INSERT_FACT: Final = "INSERT INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_Row = tuple[str, int, str, str | None, int | None, int | None, int | None, int | None, int]


class Interrupted(Exception):
    """The table was interrupted in its work."""


@dataclass(slots=True)
class ComparedCounts:
    """What a comparison has counted."""

    reported: int = 0
    published: int = 0
    ignored: int = 0
    """Numbers of other programs, which are accepted by rule."""
    not_yet: int = 0
    """Numbers that may differ, and are too young to be judged."""
    not_yet_until: datetime | None = None
    """When a new report can judge some of them; None if only a later day does."""
    by_kind: Counter[DifferenceKind] = field(default_factory=Counter)
    new_by_kind: Counter[DifferenceKind] = field(default_factory=Counter)
    """Differences that were not published before."""

    @property
    def differences(self) -> int:
        """All differences, those included that were published before."""
        return self.by_kind.total()

    def as_data(self) -> DifferenceCounts:
        """The differences by kind, as an event has them."""
        return DifferenceCounts.model_validate({kind.value: self.by_kind[kind] for kind in DifferenceKind})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundDifference:
    """One row of the result."""

    row: int
    data: ReconciliationDifference
    is_new: bool
    """It was not published before."""
    to_query: bool
    """The report lacks it and need not have it, or not in a readable row: a query shows whether it was issued."""


class ReconciliationTable:
    """The facts of one merchant. Its methods block; one thread at a time may call them, except `interrupt`.

    They raise NoTemporarySpace if the temporary files cannot be written, and Interrupted.
    """

    def __init__(self) -> None:
        self._interrupted = False
        with _temporary_space():
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._database.executescript(
                f"""
                PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;
                PRAGMA cache_size = -{CACHE_KIB};
                CREATE TABLE fact (number TEXT, side INTEGER, spelled TEXT, name TEXT, state INTEGER, at INTEGER,
                                   since INTEGER, tickets INTEGER, recovered INTEGER);
                CREATE TABLE found (data TEXT, is_new INTEGER, to_query INTEGER);
                """
            )

    def close(self) -> None:
        """Delete everything."""
        self._database.close()

    def interrupt(self) -> None:
        """Let the call that is running in another thread end soon, with Interrupted."""
        self._interrupted = True
        self._database.interrupt()

    # --- facts -------------------------------------------------------------------------------------------------------

    def add_published(self, facts: Iterable[PublishedFact]) -> None:
        """Add events."""
        self._insert(
            (
                _key(fact.trade_no),
                _PUBLISHED,
                fact.trade_no.value,
                fact.order_id,
                _STATES.index(fact.state),
                _ms(fact.learned_at),
                _ms(fact.submitted_at),
                fact.ticket_count,
                int(fact.recovered),
            )
            for fact in facts
        )

    def add_reported(self, rows: Iterable[ReportedRow]) -> None:
        """Add rows of the report."""
        self._insert(
            (
                _key(row.trade_no),
                _REPORTED,
                row.trade_no.value,
                row.ticket_trade_no,
                row.status,
                _ms(row.issued_at),
                None,
                row.ticket_count,
                0,
            )
            for row in rows
        )

    def add_known(self, differences: Iterable[ReconciliationDifference]) -> None:
        """Add differences that were published before."""
        self._insert(
            (
                _key(TradeNo(kind=TradeNoKind(difference.trade_no_kind), value=difference.trade_no)),
                _KNOWN,
                difference.trade_no,
                difference.kind,
                None,
                None,
                None,
                None,
                0,
            )
            for difference in differences
        )

    def _insert(self, rows: Iterable[_Row]) -> None:
        with _temporary_space():
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._until_interrupted(rows)
            )
            self._database.execute("COMMIT")

    def _until_interrupted(self, rows: Iterable[_Row]) -> Iterator[_Row]:
        for count, row in enumerate(rows):
            if count % _CHECK_EVERY == 0:
                self._check_interrupted()
            yield row

    def _check_interrupted(self) -> None:
        if self._interrupted:
            raise Interrupted

    # --- comparison --------------------------------------------------------------------------------------------------

    def compare(
        self, merchant_id: str, days: ReconciledDays, policy: ReconcilePolicy, all_rows_read: bool
    ) -> ComparedCounts:
        """Judge every number, and keep the differences. `all_rows_read`: no row of the report lacks its number."""
        counts = ComparedCounts()
        with _temporary_space():
            facts: Iterator[_Row] = iter(self._database.execute("SELECT * FROM fact ORDER BY number, side"))
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO found VALUES (?, ?, ?)",
                self._differences(merchant_id, facts, days, policy, counts, all_rows_read=all_rows_read),
            )
            self._database.execute("COMMIT")
        return counts

    def _differences(
        self,
        merchant_id: str,
        facts: Iterator[_Row],
        days: ReconciledDays,
        policy: ReconcilePolicy,
        counts: ComparedCounts,
        *,
        all_rows_read: bool,
    ) -> Iterator[tuple[str, int, int]]:
        for position, (_, group) in enumerate(groupby(facts, key=itemgetter(0))):
            if position % _CHECK_EVERY == 0:
                self._check_interrupted()
            rows = list(group)
            published = merge_published(_published_facts(rows))
            reported = merge_reported(_reported_rows(rows))
            if not belongs_to(days, published, reported):
                continue
            judgement = compare(published, reported, days, policy)
            _count(counts, published, reported, judgement)
            if isinstance(judgement, IssuanceDifference):
                is_new = judgement.kind.value not in {row[3] for row in rows if row[1] == _KNOWN}
                counts.by_kind[judgement.kind] += 1
                counts.new_by_kind[judgement.kind] += is_new
                may_be_reported = not all_rows_read or (published is not None and published.recovered)
                to_query = judgement.kind is DifferenceKind.NOT_REPORTED and may_be_reported
                data = _difference_data(merchant_id, judgement)
                yield data.model_dump_json(), int(is_new), int(to_query)

    # --- result ------------------------------------------------------------------------------------------------------

    def found(
        self, *, only_new: bool = False, only_to_query: bool = False, by_date: bool = True
    ) -> Iterator[FoundDifference]:
        """The differences, by issue date and number, or in any order."""
        conditions = [name for name, wanted in (("is_new", only_new), ("to_query", only_to_query)) if wanted]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        order = "ORDER BY json_extract(data, '$.issue_date'), json_extract(data, '$.trade_no')" if by_date else ""
        with _temporary_space():
            query = f"SELECT rowid, data, is_new, to_query FROM found {where} {order}"  # noqa: S608  # texts from above
            for row, data, is_new, to_query in self._database.execute(query):
                self._check_interrupted()
                yield FoundDifference(
                    row=row,
                    data=ReconciliationDifference.model_validate_json(data),
                    is_new=bool(is_new),
                    to_query=bool(to_query),
                )

    def remove(self, difference: FoundDifference, counts: ComparedCounts) -> None:
        """Remove a difference that turned out to be none."""
        kind = DifferenceKind(difference.data.kind)
        counts.by_kind[kind] -= 1
        counts.new_by_kind[kind] -= difference.is_new
        with _temporary_space():
            self._database.execute("DELETE FROM found WHERE rowid = ?", (difference.row,))


def _count(
    counts: ComparedCounts,
    published: PublishedIssuance | None,
    reported: ReportedIssuance | None,
    judgement: object,
) -> None:
    if isinstance(judgement, IssuedElsewhere):
        counts.ignored += 1
        return
    counts.reported += reported is not None
    counts.published += published is not None and published.submitted_at is not None
    if isinstance(judgement, NotYet):
        counts.not_yet += 1
        if judgement.until is not None:
            counts.not_yet_until = max(counts.not_yet_until or judgement.until, judgement.until)


def _published_facts(rows: Sequence[_Row]) -> Iterator[PublishedFact]:
    for number, side, spelled, name, state, at, since, tickets, recovered in rows:
        if side == _PUBLISHED:
            yield PublishedFact(
                trade_no=TradeNo(kind=_KINDS[int(number[0])], value=spelled),
                order_id=name or "",
                state=_STATES[state or 0],
                learned_at=_moment(at) or _EPOCH,
                submitted_at=_moment(since),
                ticket_count=tickets or 0,
                recovered=bool(recovered),
            )


def _reported_rows(rows: Sequence[_Row]) -> Iterator[ReportedRow]:
    for number, side, spelled, name, state, at, _, tickets, _ in rows:
        if side == _REPORTED:
            yield ReportedRow(
                trade_no=TradeNo(kind=_KINDS[int(number[0])], value=spelled),
                status=None if state is None else IssueStatus(state),
                ticket_count=tickets,
                issued_at=_moment(at),
                ticket_trade_no=name,
            )


def _difference_data(merchant_id: str, difference: IssuanceDifference) -> ReconciliationDifference:
    published, reported = difference.published, difference.reported
    return ReconciliationDifference.model_validate(
        {
            "merchant_id": merchant_id,
            "issue_date": difference.issue_date,
            "trade_no": difference.trade_no.value,
            "trade_no_kind": kind_name(difference.trade_no.kind),
            "order_id": difference.order_id,
            "kind": difference.kind.value,
            "published": published
            and PublishedSide.model_validate({"state": published.state.value, "ticket_count": published.ticket_count}),
            "reported": reported
            and ReportedSide.model_validate(
                {"state": _STATUS_NAMES[reported.status], "ticket_count": reported.ticket_count}
            ),
            "message": difference.message,
        }
    )


def _key(trade_no: TradeNo) -> str:
    """By what facts are sorted and matched: kind and number; upper and lower case are the same."""
    return f"{_KINDS.index(trade_no.kind)}{trade_no.value.upper()}"


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds)


class _temporary_space:  # noqa: N801  # used as a context manager
    """Raise what SQLite raises as one of our errors."""

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, sqlite3.OperationalError):
            if "interrupted" in str(error):
                raise Interrupted from error
            raise NoTemporarySpace(
                f"A temporary file could not be written or read ({error}). Give the folder for temporary files "
                "(TMPDIR) room for about 200 bytes for each event, and 400 for each row of the report."
            ) from error
