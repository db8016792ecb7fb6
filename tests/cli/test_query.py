"""`query` and `item` ask one question and print the answer, whatever it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapter.dev.sandbox.catalogue import INSTRUCTIONS

from .command_runner import KEYS, MERCHANT, Commands


def test_an_item_is_shown(ask: Commands) -> None:
    """Name, price, whether it is listed, and how its tickets are used."""
    shown = ask("item", "VQT04959")

    assert shown.code == 0
    for words in ("主題樂園一日券", "1200", "listed", "Paper ticket instruction1"):
        assert words in shown.out


def test_an_item_as_json(ask: Commands) -> None:
    """The same, for machines."""
    shown = ask("item", "OFF00001", "--json").json

    assert (shown["item_no"], shown["status"], shown["voucher"]) == ("OFF00001", "delisted", "pickup")


def test_all_instructions_of_an_item_are_shown(ask: Commands) -> None:
    """InstructionsList, in ECTicket's order: several for one issue type, each with its type."""
    expected = [(issue_type.name.lower(), description) for issue_type, description in INSTRUCTIONS]
    text, instructions = ask("item", "VQT04959").out, ask("item", "VQT04959", "--json").json["instructions"]

    assert isinstance(instructions, list)
    assert [(each["issue_type"], each["description"]) for each in instructions] == expected
    for issue_type, description in expected:
        assert re.search(rf"^{issue_type} +{description}$", text, re.MULTILINE)


def test_a_delisted_item_says_so(ask: Commands) -> None:
    """The output for a product says that it cannot be issued."""
    result, findings = ask("item", "OFF00001"), ask("item", "OFF00001", "--json").json["findings"]

    assert isinstance(findings, list)
    assert result.code == 0
    assert [found["kind"] for found in findings] == ["delisted"]
    assert findings[0]["message"] in result.out


@pytest.mark.parametrize(
    ("item_no", "entry", "kinds"),
    [
        ("VQT04959", "price: 1200", []),
        ("VQT04959", "price: 999", ["price"]),
        ("VQT04959", "voucher: gift, valid_days: 3", ["pickup-sold-as-gift"]),
        ("GFT00001", "voucher: pickup", ["gift-sold-as-pickup"]),
        ("GFT00001", "name: Coffee", ["gift-sold-as-pickup"]),
        ("GFT00001", "valid_days: 3, price: 120", []),
        ("VQT04959", "issue_type: paper", []),
        ("OFF00002", "price: 1", ["delisted", "gift-sold-as-pickup", "price"]),
    ],
)
def test_an_item_is_compared_with_the_catalogue(
    ask: Commands, tmp_path: Path, item_no: str, entry: str, kinds: list[str]
) -> None:
    """TicketType, ItemAmount and ItemStatus against what the catalogue sells."""
    (tmp_path / "catalogue.yaml").write_text(f"SKU: {{item_no: {item_no}, {entry}}}\nOTHER: {{item_no: CK851236}}\n")
    shown = ask("item", item_no, "--json", "--set", f"submit.catalogue={tmp_path / 'catalogue.yaml'}").json

    findings = shown["findings"]
    assert isinstance(findings, list)
    assert [found["kind"] for found in findings] == kinds


def test_an_unknown_item_is_1(ask: Commands) -> None:
    """What ECTicket says of it is shown."""
    result = ask("item", "NOSUCH99", "--json")

    assert result.code == 1
    assert result.json["rtn_code"] != 1
    assert "NOSUCH99" in str(result.json["rtn_msg"])


def test_an_unknown_number_is_1(ask: Commands) -> None:
    """An answer came, so it is on standard output; the exit code says that it was no."""
    result = ask("query", "--json", "CBX20220302153064851")

    assert result.code == 1
    assert result.json["rtn_code"] != 1
    assert result.json["status"] is None


def test_a_free_number_is_asked_for_as_such(ask: Commands) -> None:
    """`--free` puts it into FreeTradeNo."""
    assert ask("query", "--json", "--free", "ABC123").json["trade_no_kind"] == "free"


@pytest.mark.parametrize(
    "arguments", [("query", "A-1"), ("query", "--free", "A" * 21), ("query", "A" * 26), ("item", "TOOLONG99")]
)
def test_a_question_that_breaks_a_rule_is_not_asked(run: Commands, arguments: tuple[str, ...]) -> None:
    """The rule and its page are named, and ECTicket is not called."""
    result = run(*arguments)

    assert result.code == 2
    assert "developers.ecpay.com.tw" in result.err


def test_among_several_merchants_one_must_be_named(run: Commands) -> None:
    """All of them are in the sentence."""
    second = [word for name, key in KEYS.items() for word in ("--set", f"merchants.1.{name}={key}")]
    result = run("query", "ABC", *second)

    assert result.code == 2
    assert f"--merchant: 1, {MERCHANT.merchant_id}" in result.err


def test_the_nearest_merchant_is_named(run: Commands) -> None:
    """For a typo."""
    result = run("query", "ABC", "--merchant", "308567")

    assert result.code == 2
    assert f"Did you mean {MERCHANT.merchant_id}?" in result.err


def test_no_merchant_is_a_settings_error(run: Commands) -> None:
    """The cure names the variables."""
    run.settings({})
    result = run("query", "ABC")

    assert result.code == 2
    assert "ECTICKET_MERCHANTS" in result.err


def test_wrong_keys_show_before_anything_is_asked(run: Commands) -> None:
    """A key of another length is named, and not shown."""
    result = run("query", "ABC", "--set", f"merchants.{MERCHANT.merchant_id}.hash_key=short")

    assert result.code == 2
    assert f"merchant {MERCHANT.merchant_id}" in result.err
    assert "hash_key" in result.err
    assert {"16", "5"} <= set(re.findall(r"\d+", result.err))
    assert "short" not in result.err


def test_no_answer_is_1(run: Commands) -> None:
    """What happened, and what to look at."""
    result = run("query", "ABC")

    assert result.code == 1
    assert "not sent" in result.err
    assert "provider.base_url" in result.err
    assert result.out == ""


def test_another_merchants_keys_are_1(ask: Commands) -> None:
    """ECTicket does not take the envelope."""
    result = ask("item", "VQT04959", "--set", f"merchants.{MERCHANT.merchant_id}.hash_key={'0' * 16}")

    assert result.code == 1
    assert "TransCode" in result.err


def test_chinese_stays_chinese(ask: Commands) -> None:
    """JSON for machines is readable by people too."""
    shown = ask("item", "VQT04959", "--json")

    assert "主題樂園一日券" in shown.out
    assert shown.json["name"] == "主題樂園一日券"
