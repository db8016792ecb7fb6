"""`plugins list` shows what is loaded, and why something is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .command_runner import Commands


def test_built_in_plugins_are_listed(run: Commands) -> None:
    """The mapping that is always there."""
    shown = run("plugins", "list")

    assert shown.code == 0
    assert "builtin.sku_is_item_no" in shown.out
    assert "map_item" in shown.out


def test_merchants_plugins_are_listed_in_the_order_in_which_they_are_asked(run: Commands, tmp_path: Path) -> None:
    """As data, with hooks and origin."""
    plugin = tmp_path / "shop.py"
    plugin.write_text("from adapter import hookimpl\n@hookimpl\ndef accept_order(order):\n    return None\n")
    listed = run("plugins", "list", "--json", "--set", f"plugins.paths={plugin}").json["plugins"]

    assert isinstance(listed, list)
    assert [(found["name"], found["hooks"], found["origin"]) for found in listed] == [
        ("shop", ["accept_order"], "path"),
        ("builtin.sku_is_item_no", ["map_item"], "built-in"),
        ("log", ["configure", "notification_sinks"], "built-in"),
        ("webhook", ["configure", "notification_sinks"], "built-in"),
    ]


def test_the_listing_shows_everything_known_about_a_plugin(run: Commands, tmp_path: Path) -> None:
    """Name, version, hooks with their kinds and who is asked first, source, commands, settings schema."""
    first, last = tmp_path / "first.py", tmp_path / "last.py"
    first.write_text("from adapter import hookimpl\n@hookimpl\ndef map_item(line):\n    return None\n")
    last.write_text(
        "from pydantic import BaseModel\nfrom adapter import hookimpl\n"
        "class Settings(BaseModel):\n    days: int = 3\nsettings_model = Settings\n"
        "@hookimpl\ndef configure(settings):\n    pass\n"
        "@hookimpl\ndef add_commands(cli):\n    @cli.command()\n    def stock() -> None:\n        'Tell the stock.'\n"
        "@hookimpl(tryfirst=True)\ndef map_item(line):\n    return None\n"
    )
    option = f"plugins.paths=[{first}, {last}]"
    listed = run("plugins", "list", "--json", "--set", option).json

    assert isinstance(listed["plugins"], list)
    assert isinstance(listed["hooks"], list)
    found = {plugin["name"]: plugin for plugin in listed["plugins"]}
    assert found["last"] == {
        "name": "last",
        "version": None,
        "origin": "path",
        "source": str(last),
        "hooks": ["configure", "add_commands", "map_item"],
        "commands": ["stock"],
        "settings_schema": {
            "properties": {"days": {"default": 3, "title": "Days", "type": "integer"}},
            "title": "Settings",
            "type": "object",
        },
    }
    called = {hook["name"]: (hook["kind"], hook["called"]) for hook in listed["hooks"]}
    assert called["map_item"] == ("choose", ["last", "first", "builtin.sku_is_item_no"])
    assert called["configure"] == ("provide", ["last", "log", "webhook"])
    shown = run("plugins", "list", "--set", option).out
    rows = [re.split(r" {2,}", line) for line in shown.splitlines()]
    assert ["map_item", "choose", ", ".join(("last", "first", "builtin.sku_is_item_no"))] in rows
    assert ["last stock", "Tell the stock."] in rows


def test_rejected_plugins_are_in_the_table_too(run: Commands) -> None:
    """This output alone shows that one is missing."""
    shown = run("plugins", "list", "--set", "plugins.modules=no_such_plugin")

    assert any({"no_such_plugin", "rejected"} <= set(line.split()) for line in shown.out.splitlines())


def test_a_rejected_plugin_is_named_with_its_cure(run: Commands) -> None:
    """Exit code 1; JSON stays JSON."""
    result = run("plugins", "list", "--json", "--set", "plugins.modules=no_such_plugin")

    assert result.code == 1
    rejected = result.json["rejected"]
    assert isinstance(rejected, list)
    assert [each["name"] for each in rejected] == ["no_such_plugin"]
    assert rejected[0]["message"] in result.err
    assert "'no_such_plugin'" in rejected[0]["message"]


HOOK = "from adapter import hookimpl\n@hookimpl\n"


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        (f"{HOOK}def map_items(line): pass", ("map_items", "'map_item'")),
        (f"{HOOK}def map_item(lines): pass", ("hook map_item", "lines", "'line'")),
        (f"{HOOK}async def map_item(line): pass", ("hook map_item", "coroutine")),
        (f"{HOOK}async def map_item(line): yield", ("hook map_item", "async generator")),
        ("import no_such_package", ("no_such_package",)),
        ("1 / 0", ("ZeroDivisionError",)),
        (f"{HOOK}def configure(settings): 1 / 0", ("configure(settings)", "ZeroDivisionError", "shop.py line 3")),
        (f"settings_model = 7\n{HOOK}def map_item(line): pass", ("settings_model",)),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_listed_and_stops_the_start(
    run: Commands, tmp_path: Path, code: str, facts: tuple[str, ...]
) -> None:
    """Plugin, hook and cure in one sentence, exit code 1, and no traceback."""
    (tmp_path / "shop.py").write_text(code)
    option = f"plugins.paths={tmp_path / 'shop.py'}"

    for words in (("plugins", "list"), ("run",)):
        result = run(*words, "--set", option)

        assert result.code == 1
        assert "Plugin 'shop': " in result.err
        assert [fact for fact in facts if fact not in result.err] == []
        assert "Traceback" not in result.err


def test_what_a_plugin_prints_while_it_is_loaded_is_no_data(run: Commands, tmp_path: Path) -> None:
    """JSON stays JSON, whatever plugins have to say."""
    (tmp_path / "shop.py").write_text(f"print('hello')\n{HOOK}def configure(settings): print('hello again')")

    listed = run("plugins", "list", "--json", "--set", f"plugins.paths={tmp_path / 'shop.py'}")

    assert "plugins" in listed.json
    assert listed.err == "hello\nhello again\n"


def test_the_second_plugin_of_a_name_is_reported_with_both_places(run: Commands, tmp_path: Path) -> None:
    """Only a person can decide which of the two is meant."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shop.py").write_text(f"{HOOK}def map_item(line): pass")
    option = f"plugins.paths=[{tmp_path / 'a'}, {tmp_path / 'b'}]"

    for words in (("plugins", "list"), ("run",)):
        result = run(*words, "--set", option)

        assert result.code == 1
        assert "'shop'" in result.err
        for folder in ("a", "b"):
            assert str(tmp_path / folder / "shop.py") in result.err


def test_wrong_settings_of_a_plugin_are_wrong_settings(run: Commands, tmp_path: Path) -> None:
    """Exit code 2 at the start; the listing shows the plugin as refused."""
    (tmp_path / "shop.py").write_text(
        "from pydantic import BaseModel\nclass settings_model(BaseModel):\n    token: str\n"
        f"{HOOK}def configure(settings): pass"
    )
    options = ("--set", f"plugins.paths={tmp_path / 'shop.py'}", "--set", "plugins.settings.shop.tokn=hush")

    result, listed = run("run", *options), run("plugins", "list", *options)

    assert (result.code, listed.code) == (2, 1)
    for err in (result.err, listed.err):
        assert "'shop'" in err
        for fact in ("plugins.settings.shop.token ", "plugins.settings.shop.tokn ", "'token'"):
            assert fact in err
        assert "hush" not in err


def test_a_wrong_catalogue_is_a_settings_error(run: Commands, tmp_path: Path) -> None:
    """Exit code 2, one line per mistake."""
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("A: {item_no: '!'}\nB: {pric: 5}\n")
    result = run("plugins", "list", "--set", f"submit.catalogue={catalogue}")

    assert result.code == 2
    assert len(result.err.splitlines()) >= 2
