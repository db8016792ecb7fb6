"""Plugins are found where they are installed, named or mounted, and each is loaded on its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from key_words import mentions

from adapter.extensions.builtin import built_in_sources
from adapter.extensions.manager import PluginManager, PluginSelection
from adapter.extensions.sources import PluginOrigin
from extensions.helpers import order

SOUND = dedent(
    """
    from adapter import Skip, hookimpl

    @hookimpl
    def accept_order(order):
        return Skip(__name__)
    """
)


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    """Modules that a test imported are gone after it."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on `sys.path`, as an installation's."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def install(site: Path, name: str, entry_points: str, *, version: str = "1.2.0") -> None:
    """An installed distribution, as far as its metadata goes."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[ecticket_adapter]\n{dedent(entry_points)}\n")


def load(**selection: object) -> PluginManager:
    return PluginManager(PluginSelection(**selection), built_in=built_in_sources())  # type: ignore[arg-type]  # each test its own


def names(manager: PluginManager) -> list[str]:
    return [info.name for info in manager.describe()]


def test_installed_plugins_are_loaded_by_their_entry_points(site: Path) -> None:
    """Name, version, hooks and source are there for `plugins list`."""
    (site / "shop_bundles.py").write_text(SOUND)
    install(site, "shop-bundles", "bundles = shop_bundles")

    first, *_, last = load().describe()

    assert (first.name, first.version, first.hooks) == ("bundles", "1.2.0", ("accept_order",))
    assert (first.origin, first.where) == (PluginOrigin.ENTRY_POINT, "shop-bundles 1.2.0 (shop_bundles)")
    assert (last.name, last.origin) == ("builtin.sku_is_item_no", PluginOrigin.BUILT_IN)


def test_one_broken_installed_plugin_leaves_the_others(site: Path) -> None:
    """Each entry point is loaded on its own, and its failure names it."""
    (site / "shop_sound.py").write_text(SOUND)
    (site / "shop_needs.py").write_text("import package_that_is_not_there")
    (site / "shop_breaks.py").write_text("1 / 0")
    (site / "shop_exits.py").write_text("raise SystemExit(3)")
    (site / "shop_syntax.py").write_text("def broken(:")
    install(
        site,
        "shop-all",
        """
        sound = shop_sound
        needs = shop_needs
        breaks = shop_breaks
        exits = shop_exits
        syntax = shop_syntax
        absent = shop_absent
        nameless = shop_sound:nothing
        """,
    )

    found = load()

    assert names(found) == ["sound", "builtin.sku_is_item_no"]
    messages = {refused.name: refused.message for refused in found.rejections}
    assert set(messages) == {"needs", "breaks", "exits", "syntax", "absent", "nameless"}
    assert "package_that_is_not_there" in messages["needs"]
    assert "ZeroDivisionError" in messages["breaks"]
    assert "SystemExit: 3" in messages["exits"]
    assert "SyntaxError" in messages["syntax"]
    assert mentions(messages["absent"], "no module shop_absent")
    assert "nothing" in messages["nameless"]


def test_two_distributions_with_one_plugin_name_are_distinguished(site: Path) -> None:
    """The second is refused without being imported, and both are named."""
    (site / "shop_one.py").write_text(SOUND)
    (site / "shop_two.py").write_text("raise AssertionError('was imported')")
    install(site, "shop-one", "bundles = shop_one")
    install(site, "shop-two", "bundles = shop_two")

    (refused,) = load().rejections

    assert mentions(refused.message, "twice shop-one 1.2.0 shop_one shop-two")


def test_disabled_plugins_are_not_even_imported(site: Path) -> None:
    """A plugin that breaks on import can be taken out by name."""
    (site / "shop_breaks.py").write_text("1 / 0")
    install(site, "shop-breaks", "breaks = shop_breaks")

    found = load(disabled=frozenset({"breaks"}))

    assert (names(found), found.rejections, found.warnings) == (["builtin.sku_is_item_no"], (), ())


def test_disabling_an_unknown_plugin_is_reported(site: Path) -> None:
    """A misspelt name would leave the plugin on in silence."""
    (site / "shop_bundles.py").write_text(SOUND)
    install(site, "shop-bundles", "bundles = shop_bundles")

    found = load(disabled=frozenset({"bundle", "builtin.sku_is_item_no"}))

    built_in, misspelt = found.warnings
    assert mentions(built_in, "'builtin.sku_is_item_no' built")
    assert "'bundles'?" in misspelt


def test_load_none_starts_with_the_built_in_mapping_alone(site: Path) -> None:
    """The way to start an adapter whose plugins are broken."""
    install(site, "shop-broken", "broken = shop_broken")

    found = load(load_any=False, modules=("also_broken",))

    assert (names(found), found.rejections) == (["builtin.sku_is_item_no"], ())


def test_modules_are_named_by_import_path(site: Path) -> None:
    """A module, or an object in one; a class is made into its object."""
    (site / "shop_plain.py").write_text(SOUND)
    (site / "shop_class.py").write_text(
        dedent(
            """
            from adapter import hookimpl

            class Bundles:
                @hookimpl
                def accept_order(self, order):
                    return None
            """
        )
    )

    found = load(modules=("shop_class:Bundles", "shop_plain"))

    assert names(found)[:2] == ["shop_class:Bundles", "shop_plain"]
    assert found.rejections == ()


@pytest.mark.parametrize(
    ("module", "expected_text"),
    [
        ("shop_absent", "no module shop_absent"),
        ("shop_absent.bundles", "no module shop_absent"),
        ("./bundles.py", "import path"),
        ("", "import path"),
    ],
)
def test_module_that_is_not_there_is_refused(module: str, expected_text: str) -> None:
    """With the cure that fits."""
    (refused,) = load(modules=(module,)).rejections

    assert expected_text in refused.message
    assert "plugins.modules" in refused.message


def test_paths_are_files_packages_or_folders_of_them(tmp_path: Path) -> None:
    """As a ConfigMap or an image layer brings them: what begins with `_` or `.` is not a plugin."""
    folder = tmp_path / "plugins"
    (folder / "wide").mkdir(parents=True)
    (folder / "wide" / "rules.py").write_text("REASON = 'wide'")
    (folder / "wide" / "__init__.py").write_text(
        "from adapter import Skip, hookimpl\nfrom .rules import REASON\n\n"
        "@hookimpl\ndef accept_order(order):\n    return Skip(REASON)\n"
    )
    (folder / "test-orders.py").write_text(SOUND)
    (folder / "_helper.py").write_text("1 / 0")
    (folder / "..data").mkdir()
    (folder / "README.md").write_text("text")
    single = tmp_path / "single.py"
    single.write_text(SOUND)

    found = load(paths=(single, str(folder)))

    assert found.rejections == ()
    assert names(found)[:3] == ["single", "test-orders", "wide"]
    wide = found.implementations["accept_order"][2]
    assert wide.function(order()) is not None


def test_path_without_a_plugin_is_refused(tmp_path: Path) -> None:
    """A forgotten mount stops the start; it would otherwise map orders without the plugin."""
    (tmp_path / "empty").mkdir()

    found = load(paths=(tmp_path / "absent.py", tmp_path / "empty"))

    assert [refused.name for refused in found.rejections] == ["absent", "empty"]
    assert all("plugins.paths" in refused.message for refused in found.rejections)


def test_broken_file_leaves_no_half_imported_module(tmp_path: Path) -> None:
    """A second load would otherwise find it."""
    (tmp_path / "broken.py").write_text("1 / 0")

    load(paths=(tmp_path / "broken.py",))

    assert "ecticket_plugin_broken" not in sys.modules


def test_fingerprint_follows_versions_code_and_content(site: Path, tmp_path: Path) -> None:
    """It changes whenever mapping may have changed, and not otherwise."""
    (site / "shop_bundles.py").write_text(SOUND)
    install(site, "shop-bundles", "bundles = shop_bundles")
    plugin = tmp_path / "rules.py"
    plugin.write_text(SOUND)
    first = load(paths=(plugin,)).fingerprint
    again = load(paths=(plugin,)).fingerprint
    plugin.write_text(SOUND + "# changed\n")
    changed_code = load(paths=(plugin,)).fingerprint
    (site / "shop_bundles-1.2.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shop-bundles\nVersion: 1.3\n"
    )
    changed_version = load(paths=(plugin,)).fingerprint
    without = load().fingerprint

    assert first == again
    assert len({first, changed_code, changed_version, without}) == 4
    assert first.isascii()
    assert len(first) == 16


BASE = """
from adapter import hookimpl
class Base:
    @hookimpl
    def accept_order(self, order):
        return None
"""
ANOTHERS_CLASS = """
from types import SimpleNamespace
from shop_base import Base
plugin = SimpleNamespace(accept_order=Base().accept_order)
"""


@pytest.mark.parametrize(
    "plugin", ["from shop_base import Base\nclass Plugin(Base): pass\nplugin = Plugin", ANOTHERS_CLASS]
)
def test_fingerprint_follows_the_code_of_a_hook_wherever_it_is(site: Path, plugin: str) -> None:
    """A hook that is inherited, or that of an object whose class is Python's own."""
    (site / "shop_base.py").write_text(BASE)
    (site / "shop_plugin.py").write_text(plugin)
    first = load(modules=("shop_plugin:plugin",)).fingerprint
    again = load(modules=("shop_plugin:plugin",)).fingerprint
    (site / "shop_base.py").write_text(f"{BASE}# changed")

    assert first == again != load(modules=("shop_plugin:plugin",)).fingerprint


def test_fingerprint_follows_the_content_that_a_plugin_declares(site: Path) -> None:
    """A plugin that reads a file says so itself."""
    (site / "shop_file.py").write_text(SOUND + "content_fingerprint = 'one'\n")
    first = load(modules=("shop_file",)).fingerprint
    sys.modules["shop_file"].content_fingerprint = "two"  # type: ignore[attr-defined]  # as a reading plugin sets it

    assert load(modules=("shop_file",)).fingerprint != first
