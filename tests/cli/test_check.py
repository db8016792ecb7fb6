"""`check` looks at everything a start needs, and says of each thing how it is and what to do."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka import codec
from key_words import mentions

from adapter.dev.sandbox import RunningSandbox
from adapter.dev.sandbox.fault_types import Garbage, LockOut, Maintenance
from adapter.dev.sandbox.faults import FaultRule
from adapter.issuance.trade_numbers import derive_trade_no
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.topics import create
from adapter.protocol.endpoints import Endpoint
from adapter.settings import load
from adapter.testing.background import sandbox_in_a_thread
from adapter.wiring import topic_specs

from .command_runner import MERCHANT, Commands, Result
from .conftest import settings_for

ECTICKET = f"ecticket {MERCHANT.merchant_id}"
KNOWN = f"known_trade_no {MERCHANT.merchant_id}"
SETTING = f"merchants.{MERCHANT.merchant_id}.known_trade_no"


def _levels(result: Result) -> dict[str, str]:
    """The worst that was found about each thing."""
    findings = result.json["findings"]
    assert isinstance(findings, list)
    order = ["ok", "warning", "problem"]
    levels: dict[str, str] = {}
    for finding in findings:
        levels[finding["about"]] = max(levels.get(finding["about"], "ok"), finding["level"], key=order.index)
    return levels


def _message(result: Result, about: str) -> str:
    """What was found about one thing."""
    findings = result.json["findings"]
    assert isinstance(findings, list)
    return " ".join(finding["message"] for finding in findings if finding["about"] == about)


def test_everything_there_is_0(
    ask: Commands, ecticket: RunningSandbox, kafka: KafkaConnection, names: dict[str, str]
) -> None:
    """Broker, topics, keys, ECTicket: each is named as good."""
    good = settings_for(ecticket.base_url)
    ask.settings({**good, "kafka": {"bootstrap_servers": kafka.bootstrap_servers}, "topics": names})
    ask("topics", "--create")

    message = ask("check", "--json")

    assert message.code == 0
    assert message.json["ok"] is True
    assert _levels(message) == {
        "settings": "ok",
        "submit.operator": "ok",
        "merchants": "ok",
        "keys.signing_key": "ok",
        "plugins": "ok",
        "callbacks": "warning",  # public_url is not set
        "codecs": "ok",
        "kafka": "ok",
        "topics": "warning",  # one broker keeps no copies
        "records": "ok",
        "groups": "ok",
        "holds": "ok",
        ECTICKET: "ok",
        "clock": "ok",
        KNOWN: "warning",  # nothing was issued yet
    }


def test_a_missing_control_topic_is_only_a_warning(
    ask: Commands, ecticket: RunningSandbox, kafka: KafkaConnection, names: dict[str, str]
) -> None:
    """The adapter starts without it; then no merchant can be held."""
    values = {"kafka": {"bootstrap_servers": kafka.bootstrap_servers}, "topics": names}
    ask.settings({**settings_for(ecticket.base_url), **values})
    specs = topic_specs(load(ask.config))
    asyncio.run(create(kafka, [spec for spec in specs if not spec.optional]))

    message, topics = ask("check", "--json"), ask("topics")

    assert (message.code, _levels(message)["holds"]) == (0, "warning")
    assert mentions(_message(message, "holds"), f"{names['control']} topics --create")
    assert topics.code == 0
    assert names["control"] in topics.err


def test_a_known_trade_no_is_checked(ask: Commands, tmp_path: Path) -> None:
    """Without one a doubt about the first orders waits; one that ECTicket does not know helps as little."""
    without, wrong = ask("check", "--json"), ask("check", "--json", "--set", f"{SETTING}=NEVER1")
    line = {"sku": "parking", "quantity": 1, "name": "停車一日券", "unit_price": 200}
    order = tmp_path / "order.json"
    order.write_text(json.dumps({"order_id": "A-1", "issue_type": "serial_number", "lines": [line]}), encoding="utf-8")
    ask("issue", str(order))
    right = ask("check", "--json", "--set", f"{SETTING}={derive_trade_no(MERCHANT.merchant_id, 'A-1', 1)}")

    assert [_levels(message)[KNOWN] for message in (without, wrong, right)] == ["warning", "warning", "ok"]
    assert SETTING in _message(without, KNOWN)
    assert "NEVER1" in _message(wrong, KNOWN)


def test_missing_topics_are_a_problem(ask: Commands, kafka: KafkaConnection, names: dict[str, str]) -> None:
    """With the command that makes them."""
    message = ask(
        "check",
        "--set", f"kafka.bootstrap_servers={kafka.bootstrap_servers}",
        "--set", f"topics.orders_paid={names['orders_paid']}",
    )  # fmt: skip

    assert message.code == 1
    assert names["orders_paid"] in message.out
    assert f"topics --create --config {ask.config}" in message.out


def test_everything_missing_is_reported_in_one_run(run: Commands) -> None:
    """Without settings, broker and ECTicket each problem has its own line, and it ends soon."""
    run.settings({"kafka": {"bootstrap_servers": "127.0.0.1:1"}})
    began = time.monotonic()
    message = run("check", "--json")

    assert message.code == 1
    assert time.monotonic() - began < 30
    assert _levels(message) == {
        "settings": "ok",
        "submit.operator": "problem",
        "merchants": "problem",
        "keys.signing_key": "ok",
        "plugins": "ok",
        "callbacks": "warning",
        "codecs": "ok",
        "kafka": "problem",
    }


def test_people_see_marks_and_cures(run: Commands) -> None:
    """One line each, and the count at the end."""
    message, findings = run("check"), run("check", "--json").json["findings"]

    assert isinstance(findings, list)
    levels = [finding["level"] for finding in findings]
    assert message.code == 1
    assert [line.split()[0] for line in message.out.splitlines()] == levels
    assert "kafka.bootstrap_servers" in message.out
    assert re.findall(r"\d+", message.err) == [str(levels.count(level)) for level in ("problem", "warning", "ok")]
    assert set(levels) == {"problem", "warning", "ok"}


def test_settings_that_cannot_be_read_are_2(run: Commands) -> None:
    """As with every command."""
    message = run("check", "--json", "--set", "submit.operatr=web")

    assert (message.code, message.out) == (2, "")


def test_speed_for_safety_is_a_warning(run: Commands) -> None:
    """docs/delivery.md, "Waiting times": `check` says so."""
    levels = _levels(run("check", "--json", "--set", "submit.reissue_after_seconds=60"))

    assert levels["submit.reissue_after_seconds"] == "warning"


def test_an_unreachable_ecticket_is_a_problem(run: Commands) -> None:
    """ECTicket is queried once, about a number that was never used."""
    assert _levels(run("check", "--json"))[ECTICKET] == "problem"


@pytest.mark.parametrize(
    "fault",
    [Garbage(), LockOut(), Maintenance(rtn_code=1)],
    ids=["garbage", "locked out", "knows everything"],
)
def test_a_strange_ecticket_is_a_problem(
    ask: Commands, ecticket: RunningSandbox, fault: Garbage | LockOut | Maintenance
) -> None:
    """Unreadable, refusing, or claiming to know a number that was never used; whose keys were tried is said."""
    ecticket.faults.arm(FaultRule(behaviour=fault))
    message = ask("check", "--json")

    assert _levels(message)[ECTICKET] == "problem"
    assert _message(message, ECTICKET).count(f"keys of merchant {MERCHANT.merchant_id}") == 1


def test_each_merchants_keys_are_tried_and_named(ask: Commands) -> None:
    """One may be right and another wrong; where a platform signs, it is named too."""
    other, wrong = "3362787", "0" * 16
    keys = {"hash_key": wrong, "hash_iv": wrong}
    message = ask(
        *("check", "--json", "--set", f"merchants.{other}={json.dumps({**keys, 'platform_id': '3085672'})}"),
        *("--set", f"platforms.3085672={json.dumps(keys)}"),
    )

    assert _levels(message)[ECTICKET] == "ok"
    assert f"merchant {MERCHANT.merchant_id}" in _message(message, ECTICKET)
    assert "platform" not in _message(message, ECTICKET)
    assert _levels(message)[f"ecticket {other}"] == "problem"
    for signer in (f"merchant {other}", "platform 3085672"):
        assert signer in _message(message, f"ecticket {other}")


def test_wrong_keys_show(ask: Commands) -> None:
    """ECTicket does not take the envelope: keys or clock."""
    message = ask("check", "--json", "--set", f"merchants.{MERCHANT.merchant_id}.hash_iv={'0' * 16}")

    assert _levels(message)[ECTICKET] == "problem"
    for word in (f"merchant {MERCHANT.merchant_id}", "TransCode", "clock"):
        assert word in _message(message, ECTICKET)


@pytest.mark.parametrize(("behind", "level"), [(310, "warning"), (660, "problem"), (-660, "problem")])
def test_a_wrong_clock_is_measured(run: Commands, behind: int, level: str) -> None:
    """In seconds and with the limit, also when ECTicket rejects every envelope for it."""
    with sandbox_in_a_thread(now=lambda: datetime.now(UTC) + timedelta(seconds=behind)) as ecticket:
        run.settings(settings_for(ecticket.base_url))
        message = run("check", "--json")

    assert _levels(message)["clock"] == level
    assert _levels(message)[ECTICKET] == ("ok" if level == "warning" else "problem")
    measured, limit = map(float, re.findall(r"[0-9.]*[0-9]", _message(message, "clock")))
    assert measured == pytest.approx(abs(behind), abs=5)
    assert limit == 600
    assert mentions(_message(message, "clock"), "behind" if behind > 0 else "ahead")


def test_keys_that_are_none_are_named(run: Commands, tmp_path: Path) -> None:
    """Each merchant whose keys cannot be used, and why; never the key."""
    folder = tmp_path / "secrets" / "merchants" / "1"
    folder.mkdir(parents=True)
    (folder / "hash_key").write_text("short-key")
    message = run("check", "--set", f"secrets_dir={tmp_path / 'secrets'}")

    assert "hash_iv is missing" in message.out
    assert "short-key" not in message.out


def test_an_empty_secrets_folder_is_a_problem(run: Commands, tmp_path: Path) -> None:
    """A mount that brought nothing."""
    run.settings({"secrets_dir": str(tmp_path), "kafka": {"bootstrap_servers": "127.0.0.1:1"}})

    assert _levels(run("check", "--json"))["merchants"] == "problem"


def test_plugins_and_catalogue_are_looked_at(run: Commands, tmp_path: Path) -> None:
    """A refused plugin and a broken catalogue are problems, a good catalogue is named."""
    (tmp_path / "good.yaml").write_text("A: {item_no: VQT04959}\n")
    (tmp_path / "bad.yaml").write_text("A: {item: VQT04959}\n")

    good = _levels(run("check", "--json", "--set", f"submit.catalogue={tmp_path / 'good.yaml'}"))
    bad = _levels(run("check", "--json", "--set", f"submit.catalogue={tmp_path / 'bad.yaml'}"))
    refused = _levels(run("check", "--json", "--set", "plugins.modules=no_such_plugin"))

    assert (good["submit.catalogue"], bad["submit.catalogue"], refused["plugins"]) == ("ok", "problem", "problem")


def test_sinks_are_looked_at(run: Commands, tmp_path: Path) -> None:
    """Those that are there are named; one that cannot be used is a problem, and so are a built-in one's settings."""
    plugin = tmp_path / "chat.py"
    plugin.write_text("from adapter import hookimpl\n@hookimpl\ndef notification_sinks():\n    return [object()]\n")
    good = run("check", "--json", "--set", 'plugins.settings={"log": {"enabled": true}}')
    refused = _levels(run("check", "--json", "--set", f"plugins.paths={plugin}"))
    wrong = _levels(run("check", "--json", "--set", 'plugins.settings={"log": {"enable": true}}'))

    assert _levels(good)["sinks"] == "ok"
    assert "log" in re.findall(r"\w+", _message(good, "sinks"))
    assert (refused["sinks"], wrong["plugins"]) == ("problem", "problem")


def test_a_plugin_disabled_by_a_wrong_name_is_a_warning(run: Commands) -> None:
    """It would be loaded all the same."""
    assert _levels(run("check", "--json", "--set", "plugins.disabled=shpo"))["plugins"] == "warning"


def test_the_length_of_callback_urls_is_reported(run: Commands) -> None:
    """ECTicket takes 200 characters."""
    message = run("check", "--json", "--set", "callbacks.public_url=https://shop.example")
    longest = len("https://shop.example/callbacks/ecticket/use-status")

    assert _levels(message)["callbacks"] == "ok"
    assert re.findall(r"\d+", _message(message, "callbacks")) == [str(longest), "200"]


def test_a_codec_that_cannot_be_read_is_a_problem(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without its compression library is found before a shop's compressed batch stops a partition."""
    monkeypatch.setattr(codec, "cramjam", None)
    run.settings({"kafka": {"bootstrap_servers": "127.0.0.1:1"}})

    message = run("check", "--json")

    assert message.code == 1
    assert _levels(message)["codecs"] == "problem"
    for name in ("snappy", "lz4", "zstd"):
        assert name in message.out


CATALOGUE = """\
PARK: {item_no: VQT04959, price: 1200, voucher: pickup}
CHEAP: {item_no: VNS21400, price: 1}
OFF: {item_no: OFF00001}
COFFEE: {item_no: GFT00001}
DESSERT: {item_no: GFT00002, valid_days: 30}
BREAKFAST: {item_no: BR103218, expire_date: 2099-12-31}
NONE: {item_no: NOSUCH99}
SPA: {name: SPA課程體驗券, price: 3200, issue_type: serial_number}
"""


def _products(message: Result) -> list[tuple[str, str]]:
    """Level and message of what was found about products."""
    findings = message.json["findings"]
    assert isinstance(findings, list)
    return [(finding["level"], finding["message"]) for finding in findings if finding["about"] == "products"]


def test_products_that_are_not_as_the_catalogue_says_are_warnings(ask: Commands, tmp_path: Path) -> None:
    """Delisted, gift sold as pickup and the reverse, another price, unknown: each with its product and sku."""
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    found = _products(ask("check", "--json", "--set", f"submit.catalogue={tmp_path / 'catalogue.yaml'}"))

    assert {level for level, _ in found} == {"warning"}
    for number, facts in (
        ("OFF00001", ("ItemStatus 0",)),
        ("GFT00001", ("TicketType 2", "'COFFEE'")),
        ("BR103218", ("TicketType 1", "'BREAKFAST'")),
        ("VNS21400", ("680", "'CHEAP'")),
        ("NOSUCH99", ("'NONE'",)),
    ):
        (message,) = [message for _, message in found if number in message]
        assert [fact for fact in facts if fact not in message] == []
    assert len(found) == 5


def test_products_as_the_catalogue_says_are_ok(ask: Commands, tmp_path: Path) -> None:
    """One finding for all of them; serial numbers name no product."""
    (tmp_path / "catalogue.yaml").write_text("PARK: {item_no: VQT04959, price: 1200}\n" + CATALOGUE.splitlines()[-1])
    ((level, message),) = _products(ask("check", "--json", "--set", f"submit.catalogue={tmp_path / 'catalogue.yaml'}"))

    assert (level, re.findall(r"\d+", message)) == ("ok", ["1"])


def test_a_large_catalogue_is_queried_in_part(ask: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many calls and no more; the check says how many."""
    monkeypatch.setattr("adapter.operations.preflight.PRODUCTS", 2)
    (tmp_path / "catalogue.yaml").write_text("".join(f"S{n}: {{item_no: X{n}}}\n" for n in range(5)))
    found = _products(ask("check", "--json", "--set", f"submit.catalogue={tmp_path / 'catalogue.yaml'}"))

    *queried, (level, message) = found
    assert [set(re.findall(r"\bX\d\b", each)) for _, each in queried] == [{"X0"}, {"X1"}]
    assert (level, re.findall(r"\d+", message)) == ("warning", ["2", "5"])


def test_products_are_not_queried_where_ecticket_does_not_answer(run: Commands, tmp_path: Path) -> None:
    """The problem is named once, and not once for each product."""
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)

    assert _products(run("check", "--json", "--set", f"submit.catalogue={tmp_path / 'catalogue.yaml'}")) == []


def test_a_slow_ecticket_does_not_hold_the_check_up(
    ask: Commands, ecticket: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products are queried for so long and no longer; the check says that it is not complete."""
    monkeypatch.setattr("adapter.operations.preflight.PRODUCTS_SECONDS", 0.0)
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    ((level, message),) = _products(ask("check", "--json", "--set", f"submit.catalogue={tmp_path / 'catalogue.yaml'}"))

    assert (level, re.findall(r"\d+", message)) == ("warning", ["0"])


def test_a_lock_out_while_products_are_queried_is_a_warning(
    ask: Commands, ecticket: RunningSandbox, tmp_path: Path
) -> None:
    """What was found until then is shown."""
    ecticket.faults.arm(FaultRule(behaviour=LockOut(), endpoint=Endpoint.QUERY_ITEM_INFO))
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    found = _products(ask("check", "--json", "--set", f"submit.catalogue={tmp_path / 'catalogue.yaml'}"))

    ((level, message),) = found
    assert (level, "403" in message) == ("warning", True)
