"""`issue` asks before it sends, sends at most once, publishes nothing, and says what came of it."""

from __future__ import annotations

import asyncio
import io
import json
import signal
from pathlib import Path

import pytest

from adapter.dev.sandbox import RunningSandbox
from adapter.dev.sandbox.fault_types import AnswerLostAfter, Maintenance, QueryOutage
from adapter.dev.sandbox.faults import FaultRule
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.protocol.endpoints import Endpoint
from adapter.provider.client import EcticketClient

from .command_runner import MERCHANT, Commands, Result

PARKING = {"sku": "parking", "quantity": 3, "name": "停車一日券", "unit_price": 200}
SERIAL = {"order_id": "A-1005", "issue_type": "serial_number", "lines": [PARKING]}
NUMBER = derive_trade_no(MERCHANT.merchant_id, "A-1005", 1)
MIXED = {
    **SERIAL,
    "customer": {"name": "王小明", "phone": "0900000000", "email": "customer@example.com"},
    "lines": [PARKING, {"sku": "VQT04959", "quantity": 1, "issue_type": "electronic"}],
}
ALWAYS = ("--set", "submit.derive_trade_no=always")


def _file(tmp_path: Path, order: object) -> str:
    path = tmp_path / "order.json"
    path.write_text(json.dumps(order), encoding="utf-8")
    return str(path)


def _outcomes(result: Result) -> list[str]:
    parts = result.json["parts"]
    assert isinstance(parts, list)
    return [part["outcome"] for part in parts]


def test_an_order_is_issued_and_nothing_is_published(ask: Commands, ecticket: RunningSandbox, tmp_path: Path) -> None:
    """The broker is not even there; the note says what the adapter does not know of."""
    result = ask("issue", _file(tmp_path, SERIAL))

    assert result.code == 0
    assert "submitted" in result.out
    assert f"ecticket-adapter query {NUMBER}" in result.out
    assert "Kafka" in result.err
    (logged,) = result.logged
    assert (logged["event"], logged["outcome"]) == ("issue", "submitted")
    assert {"merchant_id", "order_id", "trade_no", "user"} <= logged.keys()
    assert len(ecticket.order_store) == 1


def test_a_second_time_nothing_is_sent(ask: Commands, ecticket: RunningSandbox, tmp_path: Path) -> None:
    """ECTicket is asked first, and what it knows is left alone."""
    order = _file(tmp_path, SERIAL)
    ask("issue", order)

    again = ask("issue", order, "--json")

    assert (again.code, _outcomes(again), again.json["published"]) == (0, ["known"], False)
    assert len(ecticket.order_store) == 1


def test_a_dry_run_sends_nothing(run: Commands, tmp_path: Path) -> None:
    """It shows every request without its customer, and needs neither ECTicket nor broker."""
    shown = run("issue", _file(tmp_path, MIXED), "--dry-run", *ALWAYS)

    assert shown.code == 0
    assert "part 2 of 2" in shown.out
    assert "VQT04959" in shown.out
    assert "Dry run" in shown.err
    assert shown.logged == []
    assert not any(secret in shown.out for secret in ("王小明", "0900000000", "customer@example.com"))


def test_a_dry_run_as_json(run: Commands, tmp_path: Path) -> None:
    """The requests as they would go out, customers hidden."""
    shown = run("issue", _file(tmp_path, MIXED), "--dry-run", "--json", *ALWAYS).json
    parts = shown["parts"]

    assert (shown["published"], shown["sent"]) == (False, False)
    assert isinstance(parts, list)
    assert parts[1]["request"]["CustomerName"] == "(hidden)"
    assert parts[0]["trade_no"] == NUMBER


def test_the_order_may_come_on_standard_input(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads it there."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(SERIAL).encode())))

    assert run("issue", "-", "--dry-run").code == 0


@pytest.mark.parametrize(
    ("order", "facts"),
    [
        ({**SERIAL, "lines": []}, ("lines", "order-paid.v1.json")),
        ({**SERIAL, "merchant_id": "999"}, ("999", MERCHANT.merchant_id, "--merchant")),
        ({**SERIAL, "issue_type": "electronic"}, ("trade_no", "submit.derive_trade_no")),
        (
            {**SERIAL, "lines": [{"sku": "x", "quantity": 1, "name": "no", "unit_price": 1}]},
            ("TicketInfo[0].ItemName", "'no'", "4", "20", "developers.ecpay.com.tw/32163"),
        ),
    ],
)
def test_an_order_that_cannot_be_issued_is_a_sentence(
    run: Commands, tmp_path: Path, order: object, facts: tuple[str, ...]
) -> None:
    """Nothing is asked and nothing sent; the sentence is the dead letter's."""
    result = run("issue", _file(tmp_path, order))

    assert result.code == 1
    assert [fact for fact in facts if fact not in result.err] == []


def test_an_order_of_another_merchant_is_wrong_usage(run: Commands, tmp_path: Path) -> None:
    """`--merchant` stands in where the order names none, and must not contradict the order."""
    result = run("issue", _file(tmp_path, {**SERIAL, "merchant_id": MERCHANT.merchant_id}), "--merchant", "1")

    assert result.code == 2


def test_a_skipped_order_says_which_plugin(run: Commands, tmp_path: Path) -> None:
    """Hooks have their say here as everywhere."""
    plugin = tmp_path / "shop.py"
    plugin.write_text(
        "from adapter import Skip, hookimpl\n@hookimpl\ndef accept_order(order):\n    return Skip('a test order')\n"
    )
    result = run("issue", _file(tmp_path, SERIAL), "--set", f"plugins.paths={plugin}")

    assert result.code == 1
    for fact in ("shop", "a test order"):
        assert fact in result.err


def test_an_ignored_record_says_which_plugin(run: Commands, tmp_path: Path) -> None:
    """Nothing is sent for it, and the exit code says that no ticket was issued."""
    plugin = tmp_path / "shop.py"
    plugin.write_text(
        "from adapter import Ignore, hookimpl\n@hookimpl\ndef parse_order(record):\n    return Ignore('a draft')\n"
    )
    result = run("issue", _file(tmp_path, SERIAL), "--set", f"plugins.paths={plugin}")

    assert result.code == 1
    for fact in ("shop", "a draft"):
        assert fact in result.err


def test_when_asking_fails_nothing_is_sent(run: Commands, tmp_path: Path) -> None:
    """The first query gets no answer, so there is no second one."""
    result = run("issue", _file(tmp_path, SERIAL), "--json")

    assert (result.code, _outcomes(result)) == (1, ["not sent"])


def test_a_lost_answer_is_a_doubt(ask: Commands, ecticket: RunningSandbox, tmp_path: Path) -> None:
    """Tickets may exist, so the next step is to ask; and asking then finds them."""
    ecticket.faults.arm(FaultRule(behaviour=AnswerLostAfter(reset=True), endpoint=Endpoint.ISSUE))
    order = _file(tmp_path, SERIAL)

    result = ask("issue", order, "--json")

    assert (result.code, _outcomes(result)) == (1, ["in doubt"])
    assert f"ecticket-adapter query {NUMBER}" in result.out
    assert _outcomes(ask("issue", order, "--json")) == ["known"]


def test_an_answer_that_is_not_the_usual_no_is_no_ground_for_sending(
    ask: Commands, ecticket: RunningSandbox, tmp_path: Path
) -> None:
    """In a maintenance everything is refused, which says nothing about this number."""
    ecticket.faults.arm(
        FaultRule(behaviour=Maintenance(rtn_code=999), endpoint=Endpoint.QUERY_ISSUE_RESULT, arrivals=frozenset({1}))
    )
    result = ask("issue", _file(tmp_path, SERIAL), "--json")

    assert (result.code, _outcomes(result)) == (1, ["not sent"])
    assert len(ecticket.order_store) == 0


def test_a_new_merchants_first_order_is_issued_and_called_unproven(ask: Commands, tmp_path: Path) -> None:
    """There is no number to prove by that queries work; the message names the setting."""
    result = ask("issue", _file(tmp_path, SERIAL), "--json")

    assert (result.code, _outcomes(result)) == (0, ["submitted"])
    assert "known_trade_no" in result.out


def test_with_a_known_number_only_what_is_trustworthily_not_known_is_sent(
    ask: Commands, ecticket: RunningSandbox, tmp_path: Path
) -> None:
    """While queries alone are down nothing is sent; afterwards it is, and is called proven."""
    ask("issue", _file(tmp_path, {**SERIAL, "order_id": "A-1"}))
    known = derive_trade_no(MERCHANT.merchant_id, "A-1", 1)
    setting = ("--set", f"merchants.{MERCHANT.merchant_id}.known_trade_no={known}")
    order = _file(tmp_path, SERIAL)
    ecticket.faults.arm(FaultRule(behaviour=QueryOutage()))

    down = ask("issue", order, "--json", *setting)
    ecticket.faults.clear()
    up = ask("issue", order, "--json", *setting)

    assert (down.code, _outcomes(down)) == (1, ["not sent"])
    assert "QueryIssueResult" in down.out
    assert (up.code, _outcomes(up)) == (0, ["submitted"])
    assert "known_trade_no" not in up.out


def test_a_refusal_is_shown_with_its_code(ask: Commands, tmp_path: Path) -> None:
    """A delisted item: ECTicket's own words, and the next part goes on."""
    order = {**MIXED, "lines": [{"sku": "OFF00001", "quantity": 1, "issue_type": "electronic"}, PARKING]}
    result = ask("issue", _file(tmp_path, order), "--json", *ALWAYS)

    assert result.code == 1
    assert sorted(_outcomes(result)) == ["refused", "submitted"]


@pytest.mark.parametrize(
    ("interrupt", "code"),
    [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 128 + signal.SIGINT), (None, 1)],
)
def test_a_call_that_is_interrupted_is_logged(
    interrupt: signal.Signals | None,
    code: int,
    ask: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By a signal or an unexpected error: the line is that of a doubt, and the exit code is that of the cause."""

    async def issue(*_: object, **__: object) -> None:
        if interrupt is None:
            raise RuntimeError
        assert signal.getsignal(interrupt) is not signal.SIG_DFL
        signal.raise_signal(interrupt)
        await asyncio.Event().wait()

    monkeypatch.setattr(EcticketClient, "issue", issue)
    try:
        result = ask("issue", _file(tmp_path, SERIAL))
    except SystemExit as error:
        result = Result(code=int(str(error.code)), out="", err=capsys.readouterr().err)

    (logged,) = result.logged
    assert result.code == code
    assert (logged["outcome"], logged["trade_no"]) == ("interrupted", NUMBER)
    assert f"ecticket-adapter query {NUMBER}" in str(logged["message"])
