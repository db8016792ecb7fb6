"""`report` shows ECTicket's list without customers, or saves it as it came."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from key_words import mentions

from adapter.dev.sandbox import RunningSandbox
from adapter.dev.sandbox.fault_types import Maintenance, OddReport, ServerError
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.order_store import tickets
from adapter.protocol.order_detail import ORDER_COLUMNS, TICKET_COLUMNS
from adapter.protocol.taipei import TAIPEI

from .command_runner import Commands


def _days(begin: str | None = None) -> tuple[str, ...]:
    """The options of a report from yesterday until today: the day may end in Taipei after the tickets are issued."""
    today = datetime.now(TAIPEI).date()
    yesterday = (today - timedelta(days=1)).isoformat()
    return ("--from", begin or yesterday, "--to", today.isoformat())


HEADER_BYTES = len((",".join(ORDER_COLUMNS) + "\r\n").encode("utf-8-sig"))
TICKETS_HEADER_BYTES = len((",".join(TICKET_COLUMNS) + "\r\n").encode("utf-8-sig"))
PERSONAL = ("王小明", "0900000000", "customer@example.com")


@pytest.fixture
def issued(ask: Commands, tmp_path: Path) -> Commands:
    """ECTicket with one electronic order in its books."""
    order = tmp_path / "order.json"
    order.write_text(
        '{"order_id": "A-1", "trade_no": "CBX20260302153064851", "issue_type": "electronic",'
        ' "customer": {"name": "王小明", "phone": "0900000000", "email": "customer@example.com"},'
        ' "lines": [{"sku": "VQT04959", "quantity": 2}]}',
        encoding="utf-8",
    )
    assert ask("issue", str(order)).code == 0
    return ask


def _report(commands: Commands, kind: str, *more: str, begin: str | None = None) -> tuple[int, str, str]:
    result = commands("report", "--type", kind, *_days(begin), *more)
    return result.code, result.out, result.err


@pytest.mark.parametrize(("kind", "lines"), [("orders", "1 line"), ("tickets", "2 lines")])
def test_lines_are_shown_without_customers(issued: Commands, kind: str, lines: str) -> None:
    """Numbers and what became of them, no names."""
    code, out, err = _report(issued, kind)

    assert (code, err) == (0, f"{lines}.\n")
    assert "CBX20260302153064851" in out
    assert not any(secret in out for secret in PERSONAL)


@pytest.mark.parametrize("kind", ["orders", "tickets"])
def test_lines_as_json(issued: Commands, kind: str) -> None:
    """Every column but customers, ticket numbers and redemption codes; words as in events."""
    rows = json.loads(_report(issued, kind, "--json")[1])

    assert rows[0]["issue_type"] == "electronic"
    assert {"customer_name", "ticket_no", "write_off_no"}.isdisjoint(rows[0])


def test_the_report_is_saved_as_it_came(issued: Commands, tmp_path: Path) -> None:
    """Byte for byte, customers included, which the note says."""
    code, out, err = _report(issued, "orders", "-o", str(tmp_path / "orders.csv"))

    assert (code, out) == (0, "")
    assert "1 line." in err
    assert "customer data" in err
    assert "王小明" in (tmp_path / "orders.csv").read_bytes().decode("utf-8-sig")


@pytest.mark.parametrize("minus", [("-o", "-"), ("--output=-",)])
def test_the_report_goes_to_standard_output_as_it_came(
    issued: Commands, minus: tuple[str, ...], tmp_path: Path
) -> None:
    """Byte for byte, and everything else on standard error; `-` is no file."""
    _report(issued, "orders", "-o", str(tmp_path / "orders.csv"))
    arguments = ("--type", "orders", *_days(), *minus)
    command = [sys.executable, "-m", "adapter", "--config", str(issued.config), "report", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        timeout=60,
        check=False,
    )

    assert done.returncode == 0
    assert done.stdout == (tmp_path / "orders.csv").read_bytes()
    assert b"1 line." in done.stderr
    assert not (tmp_path / "-").exists()


def test_a_file_that_cannot_be_written_is_a_sentence(issued: Commands, tmp_path: Path) -> None:
    """The path is named."""
    code, _, err = _report(issued, "orders", "-o", str(tmp_path / "nowhere" / "orders.csv"))

    assert code == 1
    assert "nowhere" in err


def test_a_period_too_long_is_wrong_usage(run: Commands) -> None:
    """Three months at most; ECTicket is not called."""
    code, _, err = _report(run, "orders", begin="2020-01-01")

    assert code == 2
    assert "3 months" in err


@pytest.mark.parametrize("kind", ["orders", "tickets"])
def test_what_is_odd_about_a_report_is_noted(issued: Commands, ecticket: RunningSandbox, kind: str) -> None:
    """Columns, cells and numbers by name and line; all that can be shown is shown, and the command succeeds."""
    cell = {"orders": "訂單金額", "tickets": "票券面額"}[kind]
    ecticket.faults.arm(
        FaultRule(
            behaviour=OddReport(
                encoding="cp950",
                without_columns=("出券類型",),
                additional_columns=3,
                unreadable_column=cell,
                repeat_lines=True,
            )
        )
    )
    code, out, err = _report(issued, kind, "--json")

    assert code == 0
    assert all(row["issue_type"] is None for row in json.loads(out))
    assert [
        word
        for word in ("出券類型", "ignored: 3", f"Line 2, {cell}", "Line 3 has the same number as line 2")
        if word not in err
    ] == []
    assert not any(secret in err for secret in (*PERSONAL, "?"))


def test_a_report_that_was_cut_off_shows_nothing(issued: Commands, ecticket: RunningSandbox, tmp_path: Path) -> None:
    """It fails, and says where; what came is kept if there is a file for it."""
    ecticket.faults.arm(FaultRule(behaviour=OddReport(additional_columns=0, keep_bytes=HEADER_BYTES + 50)))
    shown = _report(issued, "orders")
    as_json = _report(issued, "orders", "--json")
    code, _, err = _report(issued, "orders", "-o", str(tmp_path / "orders.csv"))

    assert [(shown[0], shown[1]), (as_json[0], as_json[1])] == [(1, ""), (1, "")]
    assert code == 1
    assert "cut off in line 2" in err
    assert (tmp_path / "orders.csv").stat().st_size == HEADER_BYTES + 50


def test_a_report_whose_last_line_has_no_end_is_noted(
    issued: Commands, ecticket: RunningSandbox, tmp_path: Path
) -> None:
    """Its last cell may be cut off, and nothing else shows it."""
    file = tmp_path / "orders.csv"
    _, _, whole = _report(issued, "orders", "-o", str(file))
    size = file.stat().st_size
    ecticket.faults.arm(FaultRule(behaviour=OddReport(additional_columns=0, keep_bytes=size - 2)))
    code, _, err = _report(issued, "orders", "-o", str(file))

    assert (code, file.stat().st_size) == (0, size - 2)
    assert mentions(err, "last cell cut off")
    assert not mentions(whole, "cut off")


def test_a_failed_download_leaves_the_file_as_it_was(
    issued: Commands, ecticket: RunningSandbox, tmp_path: Path
) -> None:
    """And nothing beside it."""
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "orders.csv").write_text("last month's")
    ecticket.faults.arm(FaultRule(behaviour=ServerError(status=500)))
    code, _, _ = _report(issued, "orders", "-o", str(folder / "orders.csv"))

    assert code == 1
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("orders.csv", "last month's")]


def test_a_full_disk_is_a_sentence_and_a_cure(issued: Commands, tmp_path: Path) -> None:
    """For the temporary file, and for the one that was asked for."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        shown = _report(issued, "orders")
        saved = _report(issued, "orders", "-o", str(tmp_path / "orders.csv"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    for code, out, err in (shown, saved):
        assert (code, out) == (1, "")
        assert "File too large" in err
        assert "TMPDIR" in err
    assert list(tmp_path.glob("*.csv")) == list(tmp_path.glob(".report*")) == []


def test_a_refused_report_says_why(ask: Commands, ecticket: RunningSandbox, tmp_path: Path) -> None:
    """An envelope instead of a report is a failure with ECTicket's own code and words, and no file."""
    ecticket.faults.arm(FaultRule(behaviour=Maintenance(rtn_code=777, message="Closed today.")))
    code, _, err = _report(ask, "orders", "-o", str(tmp_path / "orders.csv"))

    assert code == 1
    assert "777" in err
    assert "Closed today." in err
    assert not (tmp_path / "orders.csv").exists()


ODD_TICKETS = {
    "as documented": OddReport(additional_columns=0),
    "a number twice": OddReport(repeat_lines=True),
    "an unreadable number": OddReport(unreadable_column="票券序號"),
    "an unreadable price": OddReport(unreadable_column="票券面額"),
    "cut off": OddReport(additional_columns=0, keep_bytes=TICKETS_HEADER_BYTES + 300),
    "without a column": OddReport(without_columns=("核銷代碼",)),
}


@pytest.mark.parametrize("form", ODD_TICKETS)
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["table", "json"])
def test_no_ticket_number_or_code_is_shown(
    issued: Commands, ecticket: RunningSandbox, form: str, more: tuple[str, ...]
) -> None:
    """Not in a row, a note, an error or a traceback, whatever is wrong with the report."""
    serial = issued.config.with_name("serial.json")
    serial.write_text(
        '{"order_id": "S-1", "trade_no": "SERIAL1", "issue_type": "serial_number",'
        ' "lines": [{"sku": "SPA", "name": "SPA課程體驗券", "unit_price": 3200, "quantity": 3}]}',
        encoding="utf-8",
    )
    assert issued("issue", str(serial)).code == 0
    store = ecticket.order_store
    found = [each for key in store.numbers() for order in store.issuances(key) for each in tickets(order)]
    numbers = {text for each in found for text in (each.number, each.redemption_code) if text}
    ecticket.faults.arm(FaultRule(behaviour=ODD_TICKETS[form]))

    result = issued("--debug", "report", "--type", "tickets", *_days(), *more)

    assert result.code == (1 if form == "cut off" else 0)
    assert len(numbers) > 6
    assert not [number for number in numbers if number in result.out + result.err]
