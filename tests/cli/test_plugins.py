"""`plugins list` shows what is loaded, and why something is not."""

from __future__ import annotations

from pathlib import Path

from .running import Commands


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
    ]


def test_the_listing_tells_all_that_is_known_of_a_plugin(run: Commands, tmp_path: Path) -> None:
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
    asked = {hook["name"]: (hook["kind"], hook["asked"]) for hook in listed["hooks"]}
    assert asked["map_item"] == ("choose", ["last", "first", "builtin.sku_is_item_no"])
    assert asked["configure"] == ("provide", ["last"])
    shown = run("plugins", "list", "--set", option).out
    assert "map_item      choose   last, first, builtin.sku_is_item_no" in shown
    assert "last stock  Tell the stock." in shown


def test_refused_plugins_stand_in_the_table_too(run: Commands) -> None:
    """Whoever looks only there sees that one is missing."""
    shown = run("plugins", "list", "--set", "plugins.modules=no_such_plugin")

    assert any({"no_such_plugin", "refused"} <= set(line.split()) for line in shown.out.splitlines())


def test_a_refused_plugin_is_named_with_its_cure(run: Commands) -> None:
    """Exit code 1; JSON stays JSON."""
    told = run("plugins", "list", "--json", "--set", "plugins.modules=no_such_plugin")

    assert told.code == 1
    assert "there is no module no_such_plugin" in told.err
    refused = told.json["refused"]
    assert isinstance(refused, list)
    assert refused[0]["name"] == "no_such_plugin"


def test_a_wrong_catalogue_is_a_settings_error(run: Commands, tmp_path: Path) -> None:
    """Exit code 2, one line per mistake."""
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("A: {item_no: '!'}\nB: {pric: 5}\n")
    told = run("plugins", "list", "--set", f"submit.catalogue={catalogue}")

    assert told.code == 2
    assert len(told.err.splitlines()) >= 2
