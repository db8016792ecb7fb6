"""`plugins check` says what is wrong with a plugin, and what to correct, whatever is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .command_runner import MERCHANT, Commands, Result, in_own_process

GOOD = """
from adapter import Skip, hookimpl

@hookimpl
def accept_order(order):
    return Skip("test order") if order.order_id.startswith("ODD") else None
"""
BROKEN = """
from adapter import hookimpl

@hookimpl
def map_item(order, line):
    return [order.customer.name.upper()]
"""
CONFIGURED = """
from pydantic import BaseModel
from adapter import Skip, hookimpl

class settings_model(BaseModel):
    prefix: str

@hookimpl
def configure(settings):
    global prefix
    prefix = settings.prefix

@hookimpl
def accept_order(order):
    return Skip("test order") if order.order_id.startswith(prefix) else None
"""
STUCK = """
import threading
from adapter import hookimpl

@hookimpl
def accept_order(order):
    threading.Event().wait()
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """The file of a plugin."""
    return tmp_path / "shop.py"


def findings(result: Result) -> list[dict[str, str]]:
    """What was found about the only plugin."""
    plugins = result.json["plugins"]
    assert isinstance(plugins, list)
    (only,) = plugins
    found = only["findings"]
    assert isinstance(found, list)
    return found


def test_a_good_plugin_passes(run: Commands, plugin: Path) -> None:
    """Exit code 0, and each hook is named."""
    plugin.write_text(GOOD)
    result = run("plugins", "check", str(plugin))

    assert result.code == 0
    assert "ok       accept_order" in result.out


def test_it_is_data_too(run: Commands, plugin: Path) -> None:
    """JSON, and nothing else on standard output."""
    plugin.write_text(GOOD)
    result = run("plugins", "check", str(plugin), "--json")

    assert result.json["passed"] is True
    assert findings(result) == []


def test_what_a_plugin_prints_is_no_part_of_it(run: Commands, plugin: Path) -> None:
    """It goes to standard error."""
    plugin.write_text(f"print('hello')\n{GOOD}")
    result = run("plugins", "check", str(plugin), "--json")

    assert result.json["passed"] is True
    assert "hello" in result.err


def test_a_broken_plugin_fails_with_hook_and_cure(run: Commands, plugin: Path) -> None:
    """Exit code 1."""
    plugin.write_text(BROKEN)
    result = run("plugins", "check", str(plugin), "--json")

    assert result.code == 1
    assert {found["hook"] for found in findings(result)} == {"map_item"}
    facts = ("AttributeError", "shop.py line 6")
    assert any(all(fact in found["what"] for fact in facts) for found in findings(result))
    assert all(found["cure"] for found in findings(result))


@pytest.mark.parametrize("content", ["import no_such_package\n", "def (:\n", "raise SystemExit\n", "x = 1\n"])
def test_why_a_plugin_is_rejected_is_reported(run: Commands, plugin: Path, content: str) -> None:
    """Exit code 1 and a sentence, no traceback."""
    plugin.write_text(content)
    result = run("plugins", "check", str(plugin))

    assert result.code == 1
    assert "error" in result.out
    assert "Traceback" not in result.out + result.err


def test_hooks_in_a_class_of_a_file_are_pointed_at(run: Commands, plugin: Path) -> None:
    """A file is a plugin by its own functions; a class in it is named as module:Class."""
    plugin.write_text(
        "from adapter import hookimpl\n\nclass Other:\n    pass\n\n"
        "class Shop:\n    @hookimpl\n    def map_item(self, order, line):\n        return None\n"
    )
    result = run("plugins", "check", str(plugin), "--json")

    (found,) = findings(result)
    assert found["level"] == "error"
    assert not found["hook"]
    assert "shop:Shop" in str(found["cure"])
    assert "entry point" in str(found["cure"])


@pytest.mark.parametrize("target", ["no_such_module", "./no_such_file.py", "no such thing"])
def test_a_missing_plugin_is_reported(run: Commands, target: str) -> None:
    """With what to write instead."""
    result = run("plugins", "check", target)

    assert result.code == 1
    assert "error" in result.out


def test_settings_are_given_as_at_a_start(run: Commands, plugin: Path) -> None:
    """The section of its name."""
    plugin.write_text(CONFIGURED)

    assert run("plugins", "check", str(plugin), "--set", "plugins.settings.shop.prefix=ODD").code == 0


def test_wrong_settings_are_not_the_plugins_fault(run: Commands, plugin: Path) -> None:
    """Exit code 2, as for any wrong setting."""
    plugin.write_text(CONFIGURED)
    result = run("plugins", "check", str(plugin))

    assert result.code == 2
    assert "plugins.settings.shop.prefix is missing" in result.out


def test_the_budget_is_the_settings_one(run: Commands, plugin: Path) -> None:
    """A hook that never comes back fails it, and the command ends."""
    plugin.write_text(STUCK)
    result = run("plugins", "check", str(plugin), "--set", "plugins.budget_ms=50")

    assert result.code == 1
    assert "accept_order" in result.out
    assert "50 ms" in result.out


def test_an_order_of_ones_own_is_tried(run: Commands, plugin: Path, tmp_path: Path) -> None:
    """In the adapter's own format; what is written as the shop writes it goes to parse_order alone."""
    plugin.write_text(BROKEN.replace("order.customer", "order.lines[0] if line.sku == 'MINE' else order.customer"))
    order = tmp_path / "order.json"
    order.write_text(json.dumps({"order_id": "M-1", "lines": [{"sku": "MINE", "quantity": 1}]}))
    foreign = tmp_path / "foreign.json"
    foreign.write_text("{}")
    result = run("plugins", "check", str(plugin), "--order", str(order), "--order", str(foreign), "--json")

    assert any("order M-1" in found["what"] for found in findings(result))


def test_a_record_of_ones_own_has_the_headers_that_are_given(run: Commands, plugin: Path, tmp_path: Path) -> None:
    """Many shops say there what a record is; and the result is reported."""
    plugin.write_text(
        "from adapter import InvalidOrder, hookimpl\n"
        "@hookimpl\n"
        "def parse_order(record):\n"
        "    if ('event', b'shop=order') in record.headers:\n"
        "        raise InvalidOrder('Voided by hand.')\n"
    )
    order = tmp_path / "order.json"
    order.write_text("{}")
    command = ("plugins", "check", str(plugin), "--order", str(order), "--json")

    (unread,), (parked,) = findings(run(*command)), findings(run(*command, "--header", "event=shop=order"))

    assert (unread["hook"], "None" in unread["what"]) == ("parse_order", True)
    assert (parked["hook"], parked["level"]) == ("parse_order", "note")
    for fact in ("record 1", "invalid-order", "Voided by hand."):
        assert fact in parked["what"]


@pytest.mark.parametrize("header", ["event", "=order"])
def test_a_header_is_a_name_and_a_value(run: Commands, plugin: Path, header: str) -> None:
    """Exit code 2, and what was given."""
    result = run("plugins", "check", str(plugin), "--header", header)

    assert result.code == 2
    for fact in ("--header", "NAME=VALUE", repr(header)):
        assert fact in result.err


def test_every_plugin_of_a_folder_is_checked(run: Commands, tmp_path: Path) -> None:
    """One that fails does not hide the others."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "good.py").write_text(GOOD)
    (folder / "wrong.py").write_text(BROKEN)
    result = run("plugins", "check", str(folder), "--json")

    assert result.code == 1
    plugins = result.json["plugins"]
    assert isinstance(plugins, list)
    assert {each["name"]: each["passed"] for each in plugins} == {"good": True, "wrong": False}


def test_a_plugin_must_be_named(run: Commands) -> None:
    """Exit code 2."""
    assert run("plugins", "check").code == 2


def test_new_writes_a_project(run: Commands, tmp_path: Path) -> None:
    """And says what it wrote, and what to do next."""
    result = run("plugins", "new", "family-tickets", "--into", str(tmp_path))

    assert result.code == 0
    assert str(tmp_path / "family-tickets" / "family_tickets.py") in result.out.splitlines()
    assert "Next: cd" in result.err
    assert run("plugins", "check", str(tmp_path / "family-tickets" / "family_tickets.py")).code == 0


@pytest.mark.parametrize("name", ["Family Tickets", "json"])
def test_new_refuses_a_name_that_cannot_be_one(run: Commands, tmp_path: Path, name: str) -> None:
    """Exit code 2, and nothing is written."""
    assert run("plugins", "new", name, "--into", str(tmp_path / "here")).code == 2
    assert not (tmp_path / "here").exists()


def test_new_overwrites_nothing(run: Commands, tmp_path: Path) -> None:
    """Exit code 2 the second time."""
    run("plugins", "new", "family-tickets", "--into", str(tmp_path))
    result = run("plugins", "new", "family-tickets", "--into", str(tmp_path))

    assert result.code == 2
    assert "already exists" in result.err


PRINTS = """
import os
import threading

os.write(1, b"past Python\\n")

def prints():
    while True:
        print("a word", flush=True)

threading.Thread(target=prints, daemon=True).start()

"""


@pytest.mark.parametrize("words", [("plugins", "check", "{}"), ("plugins", "list", "--set", "plugins.paths={}")])
def test_json_stays_json_whatever_a_plugin_prints(plugin: Path, words: tuple[str, ...]) -> None:
    """While it is looked at and afterwards, and not through Python either."""
    plugin.write_text(PRINTS + GOOD)

    result = in_own_process(*(word.format(plugin) for word in words), "--json")

    assert result.returncode == 0
    assert "shop" in [each["name"] for each in json.loads(result.stdout)["plugins"]]


READS = """
import json
from adapter import IssueType, Line, Order, hookimpl

@hookimpl
def parse_order(record):
    if ("event", b"paid") not in record.headers:
        return None
    paid = json.loads(record.value)
    lines = tuple(Line(sku=sku, quantity=1) for sku in paid["cart"])
    return Order(order_id=paid["no"], merchant_id="", lines=lines, issue_type=IssueType.ELECTRONIC)
"""
MAPS = """
from datetime import date
from adapter import Skip, TicketItem, UnmappedItem, hookimpl

@hookimpl
def accept_order(order):
    if order.order_id == "W-7":
        assert isinstance(order.received_on, date)
        raise KeyError("accept")

@hookimpl
def map_item(order, line):
    if line.sku == "FAMILY":
        raise UnmappedItem("Not in the list of merchant " + order.merchant_id + ". Add it.")

@hookimpl
def shape_issue(order, request):
    if order.order_id == "W-7":
        raise KeyError("shape")
    return request
"""
EVENT = '{"no": "W-7", "cart": ["VQT04959"]}'


@pytest.mark.parametrize("together", [True, False], ids=["one plugin", "another plugin reads"])
def test_an_order_of_ones_own_goes_through_every_hook(
    together: bool, run: Commands, plugin: Path, tmp_path: Path
) -> None:
    """What parse_order makes of --order is what accept_order, map_item and shape_issue are asked about."""
    plugin.write_text(READS.lstrip() + MAPS if together else MAPS)
    (tmp_path / "reads.py").write_text(READS)
    (tmp_path / "event.json").write_text(EVENT)
    others = () if together else ("--set", f"plugins.paths={tmp_path / 'reads.py'}")
    result = run(
        *("plugins", "check", str(plugin), "--order", str(tmp_path / "event.json"), "--header", "event=paid"),
        *("--json", *others),
    )

    assert result.code == 1
    for hook, facts in (("accept_order", ("KeyError", "order W-7")), ("shape_issue", ("KeyError", "part 1", "W-7"))):
        (found,) = (each for each in findings(result) if each["hook"] == hook)
        assert [fact for fact in facts if fact not in found["what"]] == []


def test_an_order_of_ones_own_is_the_configured_merchants(run: Commands, plugin: Path, tmp_path: Path) -> None:
    """As it is when the adapter runs; and what parks it is said."""
    plugin.write_text(READS.lstrip() + MAPS)
    (tmp_path / "event.json").write_text(EVENT.replace("W-7", "W-8").replace("VQT04959", "FAMILY"))
    result = run(
        "plugins", "check", str(plugin), "--order", str(tmp_path / "event.json"), "--header", "event=paid", "--json"
    )

    assert result.code == 0
    (found,) = (each for each in findings(result) if each["hook"] == "map_item")
    assert found["level"] == "note"
    for fact in ("order W-8", "unmapped-item", f"merchant {MERCHANT.merchant_id}"):
        assert fact in found["what"]


def test_an_event_that_nothing_reads_is_reported(run: Commands, plugin: Path, tmp_path: Path) -> None:
    """Else one would think that the hooks had been tried with it."""
    plugin.write_text(MAPS)
    (tmp_path / "event.json").write_text(EVENT)
    result = run("plugins", "check", str(plugin), "--order", str(tmp_path / "event.json"), "--json")

    (unread,) = (found for found in findings(result) if "plugins.paths" in found["cure"])
    assert "Record 1" in unread["what"]
