"""What README.md and docs/operating.md show is true: the order, the settings, the plugin and the commands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from adapter import TicketItem
from adapter.cli.commands import build_app
from adapter.dev.demo.orders import sample_orders
from adapter.dev.demo.run import kept_facts
from adapter.settings.loading import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/operating.md")
_COMMON = {"--config", "--set", "--debug", "--version", "--help"}


def _block(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return str(block)


def _shown_commands() -> Iterator[list[str]]:
    """The words after `ecticket-adapter` in every console line of the pages."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for line in re.findall(r"^\$ (?:\.venv/bin/)?ecticket-adapter (.*)$", text, re.MULTILINE):
            yield shlex.split(line, comments=True)


def test_the_readme_fits_on_200_lines() -> None:
    """A first reader sees all of it."""
    assert len(README.splitlines()) <= 200


def test_the_order_fits_the_schema() -> None:
    """The JSON block is an order-paid event."""
    schema = json.loads((ROOT / "schemas" / "order-paid.v1.json").read_text(encoding="utf-8"))

    jsonschema.validate(json.loads(_block("json")), schema)


def test_the_settings_file_is_valid(tmp_path: Path) -> None:
    """The YAML block starts an adapter for ECPay's stage."""
    (tmp_path / "stage.yaml").write_text(_block("yaml"), encoding="utf-8")

    settings = load(tmp_path / "stage.yaml")

    assert settings.provider.environment == "stage"
    assert list(settings.merchants) == ["3085676"]
    assert settings.submit.operator == "web"


def test_the_plugin_maps_a_line() -> None:
    """The Python block is a plugin: one family day is four tickets."""
    plugin: dict[str, object] = {}
    exec(compile(_block("python"), "README.md", "exec"), plugin)  # noqa: S102  # the manual's own code
    map_item = plugin["map_item"]
    assert callable(map_item)

    (item,) = map_item(SimpleNamespace(), SimpleNamespace(sku="FAMILY-DAY", quantity=2))

    assert isinstance(item, TicketItem)
    assert item.quantity == 8
    assert map_item(SimpleNamespace(), SimpleNamespace(sku="VQT04959", quantity=2)) is None


@pytest.mark.parametrize("words", list(_shown_commands()), ids=" ".join)
def test_every_command_exists(words: list[str]) -> None:
    """Each command that is shown exists, with each of its options."""
    command = get_command(build_app())
    context, options = typer.Context(command), set(_COMMON)
    for word in words:
        if isinstance(command, TyperGroup) and not word.startswith("-"):
            found = command.get_command(context, word)
            assert found is not None, word
            command = found
        options.update(option for parameter in command.params for option in parameter.opts)

    assert not isinstance(command, TyperGroup)
    assert {word for word in words if word.startswith("--")} <= options


def test_the_demo_shows_the_dead_letter() -> None:
    """The number of orders in the demo command includes the dead letter that the README lists."""
    (count,) = re.findall(r"demo --orders (\d+) --keep", README)
    (order_id,) = re.findall(r"^  1  unreadable  (\S+)$", README, re.MULTILINE)

    samples = sample_orders(int(count), today=date(2026, 3, 1))

    assert [sample.order_id for sample in samples if sample.kind.name == "unreadable record"] == [order_id]


def test_what_keeps_running_is_shown_word_by_word() -> None:
    """Only ports and folders differ from run to run."""
    (shown,) = re.findall(r"^Everything keeps running until Ctrl-C\.\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    settings = load(None, {"kafka.bootstrap_servers": "127.0.0.1:1", "callbacks.public_url": "http://127.0.0.1:2"})
    log = Path("/", "tmp", "ecticket-demo-abc", "adapter.log")
    facts = kept_facts(settings, sandbox_url="http://127.0.0.1:3", log=log)

    kept = [(name, re.sub(r"127\.0\.0\.1:\d+|demo-\w+", "…", value)) for name, value in facts]
    lines = [re.sub(r"127\.0\.0\.1:\d+|demo-\w+", "…", line) for line in shown.splitlines()]
    assert [tuple(re.split(r"  +", line.strip(), maxsplit=1)) for line in lines] == kept
