"""Every log line of the adapter has a name and fields that docs/logs.md explains, and the page has no others."""

from __future__ import annotations

import ast
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from log_calls import HELPERS, PACKAGE, ROOT, LogCall, log_calls

from adapter import Event
from adapter.extensions.log_fields import event_fields
from adapter.flows.order_log import order_fields
from adapter.log_limits import LIBRARY
from adapter.values import replace

PAGE = ROOT / "docs" / "logs.md"
EVENT = re.compile(r"[a-z]+(-[a-z]+)*")
_LINE = re.compile(r"\bline `([a-z]+(?:-[a-z]+)+)`")
OF_EVERY_LINE = {"event", "level", "timestamp", "logger", "exception", "message"}
"""Fields that the format adds."""
RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime", *OF_EVERY_LINE}
"""Names that a field would clash with: the logging library raises KeyError, or the format replaces it."""


def _by_event() -> dict[str, list[LogCall]]:
    found: dict[str, list[LogCall]] = defaultdict(list)
    for call in log_calls():
        found[str(call.event)].append(call)
    return found


def _rows(columns: int) -> Iterator[list[str]]:
    """The rows of the page's tables with so many columns, without their heads."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == columns:
            yield cells


def test_every_line_is_a_name_with_fields() -> None:
    """The message is a literal name and nothing else: what varies is a field."""
    assert [
        call.place
        for call in log_calls()
        if call.level is None or call.positional != 1 or not EVENT.fullmatch(str(call.event))
    ] == []


def test_what_ties_a_line_to_its_order_has_one_name_each() -> None:
    """Wherever the order is known from: from its run, or from an event about it."""
    traceparent = f"00-{32 * '1'}-{16 * '1'}-01"
    event = Event(
        id="e",
        type="t",
        source="/s",
        subject=None,
        time=datetime.now(UTC),
        data={"merchant_id": "m", "trade_no": "t"},
        extensions={"orderid": "o", "traceparent": traceparent},
    )
    fields = {"merchant_id": "m", "order_id": "o", "trade_no": "t", "trace_id": 32 * "1"}

    assert order_fields("m", "o", traceparent, trade_no="t") == fields
    assert event_fields(event) == {**fields, "event_id": "e", "event_type": "t"}
    assert {
        name: (*fields, *more)
        for name, more in {"order_fields": (), "event_fields": ("event_id", "event_type")}.items()
    } == HELPERS
    hostile = replace(event, data={"merchant_id": 7}, extensions={"traceparent": "\x1b[31m" * 11})
    assert event_fields(hostile) == {"event_id": "e", "event_type": "t"}


def test_an_event_has_one_level() -> None:
    """An operator filters by level and looks up the name."""
    assert {event: calls for event, calls in _by_event().items() if len({call.level for call in calls}) > 1} == {}


def test_no_field_has_a_name_that_logging_uses() -> None:
    """The logging library would raise KeyError when the line is written."""
    assert {call.place: call.fields & RESERVED for call in log_calls() if call.fields & RESERVED} == {}


def test_the_page_explains_exactly_the_lines_of_the_code() -> None:
    """Event, level and fields, in both directions."""
    code = {
        event: (calls[0].level, frozenset[str]().union(*(call.fields for call in calls)))
        for event, calls in _by_event().items()
    }
    page = {cells[0].strip("`"): (cells[1], frozenset(re.findall(r"`(\w+)`", cells[2]))) for cells in _rows(4)}

    assert page == code


def test_the_page_explains_exactly_the_fields() -> None:
    """Each once: the same name means the same in every line."""
    page = [name for cells in _rows(2) for name in re.findall(r"`(\w+)`", cells[0])]
    used = {name for call in log_calls() for name in call.fields}

    fields = page[page.index("event") :]
    assert sorted(fields) == sorted(used | OF_EVERY_LINE)


def test_the_page_explains_lines_of_others() -> None:
    """Those of libraries and plugins."""
    assert f"`{LIBRARY}`" in PAGE.read_text(encoding="utf-8")


def test_pages_name_lines_that_exist() -> None:
    """Where the manual sends an operator to a line of the log, the line has that name."""
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page != PAGE]
    named = {name for page in pages for name in _LINE.findall(page.read_text(encoding="utf-8"))}

    assert len(named) > 5
    assert named <= _by_event().keys()


def test_commands_log_their_name() -> None:
    """A command that changes something logs under its own name, which the page lists."""
    page = PAGE.read_text(encoding="utf-8").rpartition("\n\n")[2]
    commands = set((PACKAGE / "cli").glob("*.py")) - {PACKAGE / "cli" / "audit.py"}
    names = {name for path in commands for name in _audited(path)}

    assert None not in names
    assert names == set(re.findall(r"`([a-z][a-z-]+)`", page))


def _audited(path: Path) -> Iterator[str | None]:
    """The event of each call of `audit` and `log_action`; None if it is no literal."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"audit", "log_action"}:
            first = node.args[0]
            yield str(first.value) if isinstance(first, ast.Constant) else None


def test_only_the_format_and_the_commands_use_another_logger() -> None:
    """Everything else logs through the standard library, where `log_calls` finds it."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "import structlog" in path.read_text(encoding="utf-8")
    }

    assert users == {"log.py", "cli/audit.py"}
