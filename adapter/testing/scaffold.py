"""The project that `plugins new` writes: the least that can be installed, tested and shipped.

Its tests pass unchanged, so that an author starts from code that works.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Final

from adapter.errors import SettingsError
from adapter.extensions.builtin_sinks import sink_sources

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_NAME_MAX: Final = 50
_TAKEN: Final = frozenset({"adapter", "conftest", "pluggy", "pydantic", "pytest", "test", "tests"})


def module_name(name: str) -> str:
    """The module name of a project of this name."""
    return name.replace("-", "_")


def write_project(name: str, into: Path) -> Path:
    """Write the project into a new folder of its name below `into` and return the folder.

    Raises SettingsError for an unusable name and for a folder that exists.
    """
    refuse_name(name)
    folder = into / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise SettingsError(f"{folder} already exists; nothing was overwritten. Choose another name.") from None
    for path, text in project_files(name).items():
        file = folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def refuse_name(name: str) -> None:
    """Check a project's name.

    Raises SettingsError.
    """
    if not _NAME.fullmatch(name) or len(name) > _NAME_MAX:
        raise SettingsError(
            f"'{name}' cannot be the name of a plugin. Use lower-case letters, digits and hyphens, as in "
            f"family-tickets: at most {_NAME_MAX} characters, the first a letter."
        )
    if name in {source.name for source in sink_sources()}:
        raise SettingsError(f"'{name}' is taken: it is the name of a built-in plugin. Choose another name.")
    module = module_name(name)
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in _TAKEN:
        raise SettingsError(f"'{name}' is taken: its module {module} would hide another one. Choose another name.")


def project_files(name: str) -> Mapping[str, str]:
    """The project's files, by path below its folder."""
    names = {"name": name, "module": module_name(name), "sku": f"{name.upper()}"}
    return {
        "README.md": _README.substitute(names),
        "pyproject.toml": _PYPROJECT.substitute(names),
        f"{names['module']}.py": _MODULE.substitute(names),
        f"tests/test_{names['module']}.py": _TEST.substitute(names),
    }


_PYPROJECT: Final = Template("""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1.0"
description = "A plugin for ecticket-adapter."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["ecticket-adapter"]

[project.optional-dependencies]
test = ["pytest>=8"]

# The adapter finds the installed plugin by this entry point. The name on the left is the plugin's name in
# `plugins list`, in plugins.disabled, in plugins.settings and on dead letters.
[project.entry-points.ecticket_adapter]
$module = "$module"

[tool.hatch.build]
dev-mode-dirs = ["."]

[tool.hatch.build.targets.wheel]
include = ["$module.py"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
""")

_MODULE: Final = Template('''\
"""Maps the shop's products to tickets."""

from adapter import IssueType, TicketItem, hookimpl


@hookimpl
def map_item(order, line):
    """One $sku is two tickets; other products are left to the next plugin."""
    if line.sku != "$sku":
        return None
    return [TicketItem(item_no="VQT04959", quantity=2 * line.quantity, issue_type=IssueType.ELECTRONIC)]
''')

_TEST: Final = Template('''\
"""Tests of the plugin, alone and in the adapter. The fixtures come with the adapter: docs/testing-plugins.md."""

import $module

from adapter import Line


def test_one_is_two_tickets(orders):
    """The hook is a plain function."""
    line = Line(sku="$sku", quantity=3)
    (item,) = $module.map_item(orders.electronic(line), line)

    assert (item.item_no, item.quantity) == ("VQT04959", 6)


def test_an_order_is_issued(orders, memory_stream):
    """The order is mapped, planned, checked, sent, and published as issued."""
    result = memory_stream($module).run(orders.electronic(Line(sku="$sku", quantity=1)))

    assert result.types == ["submitted", "issued"]
    assert result.event("issued").data["ticket_count"] == 2


def test_it_keeps_the_rules_of_plugins(orders, conforms):
    """The checks of `ecticket-adapter plugins check`, with an order of this plugin."""
    conforms($module, orders=[orders.electronic(Line(sku="$sku", quantity=1))])
''')

_README: Final = Template("""\
# $name

A plugin for ecticket-adapter. It maps the shop's products to tickets.

```console
$$ pip install -e '.[test]'
$$ pytest
$$ ecticket-adapter plugins check $module
```

To use it, install it where the adapter runs, or mount `$module.py` there and name it in `plugins.paths`.
""")
