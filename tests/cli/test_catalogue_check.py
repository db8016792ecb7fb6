"""`catalogue check` compares the catalogue with ECTicket: one finding for each difference."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from adapter.dev.sandbox import RunningSandbox
from adapter.dev.sandbox.fault_types import AnswerLostBefore, LockOut, Maintenance
from adapter.dev.sandbox.faults import FaultRule
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.protocol.endpoints import Endpoint

from .command_runner import MERCHANT, Commands, Result
from .conftest import settings_for

CATALOGUE = """\
PARK: {item_no: VQT04959, price: 1200, voucher: pickup, issue_type: electronic}
CHEAP: {item_no: VNS21400, price: 1}
DEAR: {item_no: VNS21400, price: 680}
OFF: {item_no: OFF00001}
COFFEE: {item_no: GFT00001}
DESSERT: {item_no: GFT00002, valid_days: 30}
BREAKFAST: {item_no: BR103218, expire_date: 2099-12-31}
PAPER: {item_no: CK851236, issue_type: paper}
NONE: {item_no: NOSUCH99}
SPA: {name: SPA課程體驗券, price: 3200, issue_type: serial_number}
"""
GOOD = "PARK: {item_no: VQT04959, price: 1200}\nTEA: {item_no: VNS21400}\n"


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """The file of the catalogue, with every kind of difference."""
    path = tmp_path / "catalogue.yaml"
    path.write_text(CATALOGUE, encoding="utf-8")
    return path


def _check(ask: Commands, catalogue: Path, *more: str) -> Result:
    return ask("catalogue", "check", "--set", f"submit.catalogue={catalogue}", *more)


def _findings(result: Result) -> list[dict[str, object]]:
    findings = result.json["findings"]
    assert isinstance(findings, list)
    return findings


def _no_paper(ecticket: RunningSandbox) -> None:
    instructions = [{"issue_type": "electronic", "description": "Show it."}]
    ecticket.catalogue.put("CK851236", {"instructions": instructions}, datetime.now(UTC))


def test_each_difference_is_one_finding(ask: Commands, ecticket: RunningSandbox, catalogue: Path) -> None:
    """In the catalogue's order, with product, sku, merchant and kind; the exit code is 1."""
    _no_paper(ecticket)
    result = _check(ask, catalogue, "--json")

    assert result.code == 1
    assert [(each["item_no"], each["sku"], each["merchant_id"], each["kind"]) for each in _findings(result)] == [
        ("VNS21400", "CHEAP", MERCHANT.merchant_id, "price"),
        ("OFF00001", None, MERCHANT.merchant_id, "delisted"),
        ("GFT00001", "COFFEE", MERCHANT.merchant_id, "gift-sold-as-pickup"),
        ("BR103218", "BREAKFAST", MERCHANT.merchant_id, "pickup-sold-as-gift"),
        ("CK851236", "PAPER", MERCHANT.merchant_id, "issue-type"),
        ("NOSUCH99", None, None, "not-found"),
    ]
    facts = result.json
    assert (facts["ok"], facts["complete"], facts["products"]) == (False, True, 8)
    assert facts["not_compared"] == ["SPA"]


def test_the_table_has_a_row_for_each_finding(ask: Commands, ecticket: RunningSandbox, catalogue: Path) -> None:
    """The same for people; the counts are on standard error."""
    _no_paper(ecticket)
    result = _check(ask, catalogue)

    assert result.code == 1
    for kind in ("price", "delisted", "gift-sold-as-pickup", "pickup-sold-as-gift", "issue-type", "not-found"):
        assert sum(f" {kind} " in row for row in result.out.splitlines()) == 1
    assert "findings: 6" in result.err


def test_a_catalogue_without_differences_is_0(ask: Commands, catalogue: Path) -> None:
    """Nothing on standard output."""
    catalogue.write_text(GOOD)
    result = _check(ask, catalogue)

    assert (result.code, result.out) == (0, "")
    assert _check(ask, catalogue, "--json").json["ok"] is True


@pytest.mark.parametrize(
    "behaviour", [AnswerLostBefore(), LockOut(), Maintenance()], ids=lambda each: type(each).__name__
)
def test_a_missing_answer_is_unknown_and_no_difference(
    ask: Commands, ecticket: RunningSandbox, catalogue: Path, behaviour: AnswerLostBefore | LockOut | Maintenance
) -> None:
    """ECTicket does not answer, or refuses everything: nothing is known about any product, so the result is not 0."""
    ecticket.faults.arm(FaultRule(behaviour=behaviour, endpoint=Endpoint.QUERY_ITEM_INFO))
    result = _check(ask, catalogue, "--json")

    assert result.code == 1
    assert {each["kind"] for each in _findings(result)} == {"unknown"}
    assert result.json["complete"] is False


def test_ecticket_is_not_called_for_long_if_it_does_not_answer(
    ask: Commands, ecticket: RunningSandbox, catalogue: Path
) -> None:
    """After five queries without an answer, or a lock-out, the rest is one finding with the number of products."""
    catalogue.write_text("".join(f"S{n}: {{item_no: X{n}}}\n" for n in range(30)))
    fault = ecticket.faults.arm
    fault(FaultRule(behaviour=AnswerLostBefore(), endpoint=Endpoint.QUERY_ITEM_INFO))
    findings = _findings(_check(ask, catalogue, "--json"))

    assert [each["item_no"] for each in findings] == ["X0", "X1", "X2", "X3", None]
    assert "26 products" in str(findings[-1]["message"])


def test_a_product_must_exist_for_one_of_several_merchants(
    ask: Commands, ecticket: RunningSandbox, catalogue: Path
) -> None:
    """It is compared for each that has it; --merchant compares for one."""
    merchants = {
        each.merchant_id: {"hash_key": each.credentials.hash_key, "hash_iv": each.credentials.hash_iv}
        for each in PUBLIC_TEST_MERCHANTS
    }
    merchants = dict(islice(merchants.items(), 2))
    ask.settings({**settings_for(ecticket.base_url), "merchants": merchants})
    catalogue.write_text("OFF: {item_no: OFF00001}\nNONE: {item_no: NOSUCH99}\nPARK: {item_no: VQT04959}\n")
    both = [(each["merchant_id"], each["kind"]) for each in _findings(_check(ask, catalogue, "--json"))]
    first, second = merchants
    one = [
        (each["merchant_id"], each["kind"])
        for each in _findings(_check(ask, catalogue, "--json", "--merchant", second))
    ]

    assert sorted(both[:2]) == sorted([(first, "delisted"), (second, "delisted")])
    assert both[2:] == [(None, "not-found")]
    assert one == [(second, "delisted"), (None, "not-found")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "submit.catalogue"), ("A: {item: VQT04959}\n", "'item'"), ("", "no entry")],
    ids=["no catalogue", "a mistake in it", "an empty one"],
)
def test_wrong_settings_are_2(ask: Commands, tmp_path: Path, content: str | None, expected: str) -> None:
    """ECTicket is not called."""
    path = tmp_path / "catalogue.yaml"
    path.write_text(content or "")
    result = ask("catalogue", "check") if content is None else _check(ask, path)

    assert result.code == 2
    assert expected in result.err
