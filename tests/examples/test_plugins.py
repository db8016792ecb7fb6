"""The example plugins are what they claim: each installs, passes its own tests, and uses public names only."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import adapter
import adapter.testing
from adapter.extensions.hookspecs import PROJECT
from examples.fresh import Fresh, fresh_environment

ROOT = Path(__file__).parent.parent.parent
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PUBLIC = {"adapter": set(adapter.__all__), "adapter.testing": set(adapter.testing.__all__)}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """A fresh environment with all of them, side by side."""
    fresh = fresh_environment(tmp_path_factory.mktemp("plugins") / "venv")
    fresh.must("pip", "install", *PLUGINS)
    return fresh


def module_of(plugin: Path) -> str:
    """The name by which it is found, which is its module's."""
    return plugin.name.replace("-", "_")


def test_these_are_the_examples() -> None:
    """Those that the manual names."""
    assert [plugin.name for plugin in PLUGINS] == [
        "catalogue-bundles",
        "chat-sink",
        "msk-iam",
        "outbox-orders",
        "shopify-orders",
        "skip-policy",
        "woocommerce-orders",
    ]


@pytest.mark.parametrize(
    "plugin",
    [
        pytest.param(plugin, id=plugin.name, marks=() if plugin.name == "chat-sink" else pytest.mark.slow)
        for plugin in PLUGINS
    ],
)
def test_its_own_tests_pass_where_it_is_installed(plugin: Path, installed: Fresh, tmp_path: Path) -> None:
    """Not as a file that lies about, but as what pip made of it."""
    result = installed.must(
        *("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'own'}"),
        *("--override-ini", "pythonpath=", "-W", "error", "-p", "no:asyncio", plugin / "tests"),
        cwd=plugin,
    )

    assert re.search(r"[0-9]+ passed in", result)
    assert "skipped" not in result


@pytest.mark.slow
def test_the_adapter_finds_all_of_them(installed: Fresh, tmp_path: Path) -> None:
    """By their entry points, side by side; the one that needs a file is given one."""
    bundles = tmp_path / "bundles.yaml"
    bundles.write_text("FAMILY-DAY: [{item_no: VQT04959, quantity: 2}]\n")
    settings = tmp_path / "settings.yaml"
    own = {
        "catalogue_bundles": {"file": str(bundles)},
        "chat_sink": {"webhook_url": "https://chat.example/hook"},
        "msk_iam": {"region": "ap-northeast-1"},
    }
    settings.write_text(json.dumps({"plugins": {"settings": own}}))
    listed = json.loads(installed.must("ecticket-adapter", "plugins", "list", "--json", "--config", settings))

    found = {found["name"] for found in listed["plugins"]}
    assert {module_of(plugin) for plugin in PLUGINS} <= found
    assert listed["rejected"] == []
    for plugin in PLUGINS:
        installed.must("ecticket-adapter", "plugins", "check", module_of(plugin), "--config", settings)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_it_uses_public_names_only(plugin: Path) -> None:
    """What `adapter` lists; its tests also what `adapter.testing` lists."""
    for file in plugin.rglob("*.py"):
        own_tests = file.parent.name == "tests"
        for module, name in imported(file):
            assert module in (PUBLIC if own_tests else {"adapter"}), f"{file}: {module} is not public"
            assert name in PUBLIC[module], f"{file}: {module}.{name} is not public"


def imported(file: Path) -> Iterator[tuple[str, str | None]]:
    """What a file imports of the adapter: module and name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "adapter":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names if alias.name.split(".")[0] == "adapter")


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_it_is_complete(plugin: Path) -> None:
    """Project, manual, tests; and its name is the same everywhere."""
    project = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["name"] == f"ecticket-{plugin.name}"
    assert list(project["entry-points"][PROJECT]) == [module_of(plugin)]
    readme = (plugin / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {plugin.name}\n")
    assert f"pip install ./plugins/{plugin.name}" in readme
    assert list(plugin.glob("tests/test_*.py"))
