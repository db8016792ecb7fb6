"""Commands of plugins: below the plugin's name, and whatever is wrong with them costs no other command anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import typer

from adapter import hookimpl
from adapter.cli.plugin_commands import commands_of
from adapter.extensions.manager import PluginManager, PluginSelection

from .command_runner import Commands

SOUND = """
    import typer
    from pydantic import BaseModel
    from adapter import hookimpl

    class Settings(BaseModel):
        days: int = 3

    settings_model = Settings

    @hookimpl
    def configure(settings):
        global days
        days = settings.days

    @hookimpl
    def add_commands(cli):
        @cli.command()
        def stock(sku: str = "FAMILY") -> int:
            \"\"\"Show the days.\"\"\"
            typer.echo(f"{sku} lasts {days} days")
            return 3

        @cli.command()
        def raises() -> None:
            raise KeyError("王小明")

        @cli.command()
        async def later() -> None:
            pass

        @cli.command()
        def refuses() -> None:
            raise typer.BadParameter("no such sku.")
    """


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """The option that loads a plugin called `shop`."""
    return plugin(tmp_path, "shop", SOUND)


def plugin(folder: Path, name: str, code: str) -> str:
    file = folder / f"{name}.py"
    file.write_text(dedent(code))
    return f"plugins.paths={file}"


def test_command_of_a_plugin_runs_configured_below_its_name(run: Commands, shop: str) -> None:
    """What it prints is its own, and a number that it returns is the exit code."""
    expected = run("--set", shop, "--set", "plugins.settings.shop.days=9", "shop", "stock", "--sku", "A")

    assert (expected.code, expected.out, expected.err) == (3, "A lasts 9 days\n", "")


def test_plugin_that_is_an_object_adds_commands_too() -> None:
    """`commands_of` is what the command line uses; a plugin without the hook has none."""

    class Stock:
        @hookimpl
        def add_commands(self, cli: typer.Typer) -> None:
            cli.command("count")(lambda: None)

    class Quiet:
        @hookimpl
        def accept_order(self) -> None:
            return None

    found = PluginManager(PluginSelection(objects={"stock": Stock(), "quiet": Quiet()}), built_in=())
    made = commands_of(found, "stock")

    assert made is not None
    assert list(made.commands) == ["count"]
    assert commands_of(found, "quiet") is None


def test_commands_of_a_plugin_are_listed_by_its_help(run: Commands, shop: str) -> None:
    """As for any group."""
    assert "Show the days." in run("--set", shop, "shop", "--help").out
    assert "--sku" in run("--set", shop, "shop", "stock", "--help").out


@pytest.mark.parametrize(
    ("command", "code", "expected"),
    [
        ("raises", 1, ("`ecticket-adapter shop raises`", "KeyError", "shop.py line ")),
        ("later", 1, ("`ecticket-adapter shop later`", "coroutine", "asyncio.run")),
        ("refuses", 2, ("no such sku", "ecticket-adapter shop refuses --help")),
        ("stick", 2, ("'stick'", "'stock'", "ecticket-adapter shop --help")),
    ],
)
def test_an_error_in_a_command_is_reported_as_the_plugins(
    run: Commands, shop: str, command: str, code: int, expected: tuple[str, ...]
) -> None:
    """So no author reports it as an error of the adapter."""
    ended = run("--set", shop, "shop", command)

    assert ended.code == code
    assert [fact for fact in expected if fact not in ended.err] == []
    assert "王小明" not in ended.err
    assert "Traceback" not in ended.err


def test_debug_shows_the_plugins_own_traceback(run: Commands, shop: str) -> None:
    """For the author of the plugin."""
    assert "KeyError" in run("--debug", "--set", shop, "shop", "raises").err


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1 / 0", ("broken.py", "ZeroDivisionError")),
        (
            "from adapter import hookimpl\n@hookimpl\ndef add_commands(cli):\n    raise ValueError\n",
            ("add_commands(cli)", "ValueError", "broken.py line 4"),
        ),
        (
            "from adapter import hookimpl\n@hookimpl\ndef add_commands(cli):\n"
            "    @cli.command()\n    def odd(what: int | str) -> None: ...\n",
            ("add_commands", "AssertionError"),
        ),
        (
            "from adapter import hookimpl\n@hookimpl\ndef add_commands(cli):\n    return [1]\n",
            ("add_commands(cli)", "list", "None"),
        ),
    ],
)
def test_a_plugin_that_cannot_add_commands_is_reported_only_where_it_is_named(
    run: Commands, tmp_path: Path, code: str, expected: tuple[str, ...]
) -> None:
    """Its group and `plugins list` say it; other commands, and other plugins' commands, work."""
    broken = plugin(tmp_path, "broken", code)
    paths = f"plugins.paths=[{tmp_path / 'broken.py'}, {tmp_path / 'sound.py'}]"
    plugin(tmp_path, "sound", SOUND)

    named, listed = run("--set", broken, "broken", "x"), run("plugins", "list", "--set", broken)

    assert (named.code, listed.code) == (1, 1)
    for err in (named.err, listed.err):
        assert [fact for fact in (*expected, "'broken'") if fact not in err] == []
    assert all("plugins.disabled" in err for err in (named.err, listed.err))
    assert run("--set", broken, "--help").code == 0
    assert run("--set", broken, "settings", "show").code == 0
    assert run("--set", paths, "sound", "stock").code == 3


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("plugins.disabled=shop",), "plugins.disabled"),
        (("plugins.settings.shop.dais=1",), "'days'"),
        (("submit.operatr=x",), "submit.operatr"),
        (("plugins.load=none",), "'shop'"),
    ],
)  # fmt: skip
def test_commands_that_cannot_be_had_are_wrong_usage_or_settings(
    run: Commands, shop: str, more: tuple[str, ...], expected: str
) -> None:
    """Exit code 2, and what to do."""
    ended = run("--set", shop, *(word for setting in more for word in ("--set", setting)), "shop", "stock")

    assert ended.code == 2
    assert expected in ended.err


def test_plugin_without_commands_says_so(run: Commands, tmp_path: Path) -> None:
    """Its name alone is no command."""
    quiet = plugin(tmp_path, "quiet", "from adapter import hookimpl\n@hookimpl\ndef map_item():\n    return None\n")

    assert "add_commands" in run("--set", quiet, "quiet").err


def test_a_plugin_with_the_name_of_a_command_is_reported_as_hidden(run: Commands, tmp_path: Path) -> None:
    """The adapter's own command stays what it is."""
    hidden = plugin(tmp_path, "check", SOUND)

    listed = run("plugins", "list", "--set", hidden)

    assert listed.code == 1
    assert "Plugin 'check'" in listed.err


def test_other_commands_and_help_load_no_plugin(tmp_path: Path) -> None:
    """They cost what they cost without plugins: a plugin with a mark on being imported leaves none."""
    mark = tmp_path / "imported"
    option = plugin(tmp_path, "marks", f"open({str(mark)!r}, 'w')")
    for words in (("--help",), ("settings", "show"), ("plugins", "--help"), ("frobnicate",)):
        subprocess.run(
            [sys.executable, "-m", "adapter", "--set", option, *words], capture_output=True, timeout=60, check=False
        )

    assert not mark.exists()
