"""Where plugins come from: installed distributions, importable modules, files, and the adapter itself.

Finding a source imports nothing, so a plugin can be disabled, or found twice, before its code runs. Loading runs its
code; every error then becomes one sentence with the plugin's name and a cure.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from msgspec import Struct

from adapter.errors import PluginRejected
from adapter.extensions.hookspecs import PROJECT

FILE_MODULE: Final = "ecticket_plugin_"
"""Plugins from files are imported under this prefix, so that they hide no other module."""


class PluginOrigin(StrEnum):
    """The kinds of sources, in the order in which their plugins are called."""

    OBJECT = "object"
    MODULE = "module"
    PATH = "path"
    ENTRY_POINT = "entry point"
    BUILT_IN = "built-in"


class Source(Struct, frozen=True, kw_only=True):
    """One plugin that can be loaded."""

    name: str
    origin: PluginOrigin
    where: str
    """Where it comes from, for people."""
    load: Callable[[], object]
    """Imports it and returns the object with the hooks. Raises PluginRejected."""
    version: str | None = None


def from_objects(plugins: Mapping[str, object]) -> Iterator[Source]:
    """Plugins given as objects, by name: for tests, and for programs that start the adapter themselves."""
    for name, plugin in plugins.items():
        load = partial(_object, name, name, partial(_itself, plugin))
        yield Source(name=name, origin=PluginOrigin.OBJECT, where=type(plugin).__qualname__, load=load)


def installed() -> Iterator[Source]:
    """The plugins of installed distributions, by name."""
    for point in sorted(entry_points(group=PROJECT), key=lambda point: (point.name, point.value)):
        distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
        yield Source(
            name=point.name,
            origin=PluginOrigin.ENTRY_POINT,
            where=f"{distribution} ({point.value})",
            load=partial(_load_entry_point, point),
            version=point.dist.version if point.dist else None,
        )


def from_modules(names: Iterable[str]) -> Iterator[Source]:
    """`plugins.modules`: `shop.tickets` is a module, `shop.tickets:plugin` an object in one; the entry is the name."""
    for name in names:
        yield Source(name=name, origin=PluginOrigin.MODULE, where=name, load=partial(_load_module, name))


def from_paths(paths: Iterable[str | Path]) -> Iterator[Source]:
    """`plugins.paths`: a file is a plugin; of a folder, each file and package in it whose name has no `_` in front."""
    for path in map(Path, paths):
        for file in _plugin_files(path):
            yield Source(name=file.stem, origin=PluginOrigin.PATH, where=str(file), load=partial(_load_file, file))


def code_digest(plugin: object) -> str:
    """Return a hash of the plugin's source: its module, those of its hooks, and the other files of their packages.

    The hooks' own modules count because the plugin's class may be imported or inherit them. Empty if there is no
    source to read.
    """
    modules = {module.__name__: module for module in _modules(plugin) if getattr(module, "__file__", None)}
    digest = hashlib.sha256()
    for _, module in sorted(modules.items()):
        for name, content in _source(module):
            digest.update(f"{name}\0".encode())
            digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest() if modules else ""


def _modules(plugin: object) -> Iterator[ModuleType]:
    names = {type(plugin).__module__}
    if inspect.ismodule(plugin):
        yield plugin
        names.clear()
    for attribute in dir(plugin):
        function = inspect.getattr_static(plugin, attribute, None)  # runs no property of the plugin's
        if hasattr(function, f"{PROJECT}_impl"):  # pluggy's mark
            names.add(getattr(inspect.unwrap(function), "__module__", ""))
    yield from (sys.modules[name] for name in names if name in sys.modules)


def _source(module: ModuleType) -> Iterator[tuple[str, bytes]]:
    path = Path(str(module.__file__))
    folder = path.parent
    if path.name == "__init__.py":
        files = sorted(folder.rglob("*.py"))
    else:
        files = sorted(folder.glob("*.py")) if module.__package__ else [path]
    return ((str(each.relative_to(folder)), each.read_bytes()) for each in files if each.is_file())


def _plugin_files(path: Path) -> list[Path]:
    """The plugins at a path; the path itself if there are none, so that loading reports what is wrong."""
    try:
        if not path.is_dir() or (path / "__init__.py").is_file():
            return [path]
        entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(("_", "."))]
        return [entry for entry in entries if entry.suffix == ".py" or (entry / "__init__.py").is_file()] or [path]
    except OSError:
        return [path]


def _itself(plugin: object) -> object:
    return plugin


def _load_entry_point(point: EntryPoint) -> object:
    return _object(point.name, point.value, point.load)


def _load_module(name: str) -> object:
    if not re.fullmatch(r"[\w.]+(:[\w.]+)?", name):
        raise PluginRejected(
            f"Plugin '{name}': this is not an import path. Write plugins.modules entries as shop.tickets, or as "
            "shop.tickets:plugin for an object in the module; files belong into plugins.paths."
        )
    # An entry point's value may also be a module only, and resolves dotted attributes.
    return _object(name, name, EntryPoint(name=name, value=name, group=PROJECT).load)


def _load_file(file: Path) -> object:
    return _object(file.stem, str(file), partial(_import_file, file))


def _import_file(file: Path) -> ModuleType:
    package = file / "__init__.py"
    code = package if package.is_file() else file
    if code.suffix != ".py" or not code.is_file():
        raise PluginRejected(
            f"Plugin '{file.stem}': {file} is neither a Python file nor a folder with plugins. "
            "Correct plugins.paths, or mount the file or folder."
        )
    name = FILE_MODULE + re.sub(r"\W", "_", file.stem)
    folder = [str(code.parent)] if code.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, code, submodule_search_locations=folder)
    if spec is None or spec.loader is None:
        raise ImportError(f"{code} cannot be imported", name=name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and packages look up their own module there during import
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _object(name: str, target: str, load: Callable[[], object]) -> object:
    """Return what `load` returns; a class is instantiated. Every exception of plugin code becomes PluginRejected."""
    try:
        plugin = load()
        return plugin() if inspect.isclass(plugin) else plugin
    except ModuleNotFoundError as error:
        raise PluginRejected(f"Plugin '{name}': {_missing(error, target)}") from error
    except PluginRejected:
        raise
    except BaseException as error:  # any exception of plugin code, as one sentence
        raise PluginRejected(
            f"Plugin '{name}': {target} cannot be loaded: {_describe_error(error)}. "
            "Fix it, or put its name into plugins.disabled."
        ) from error


def _describe_error(error: BaseException) -> str:
    """Type and first line: pydantic quotes values in the lines below, and they may be secrets."""
    return ": ".join((type(error).__name__, *str(error).splitlines()[:1]))


def _missing(error: ModuleNotFoundError, target: str) -> str:
    module = target.partition(":")[0]
    if error.name and (module == error.name or module.startswith(f"{error.name}.")):
        return f"there is no module {error.name}. Install it where the adapter runs, or correct plugins.modules."
    return (
        f"it needs the package {error.name}, which is not installed here. Install it where the adapter runs, "
        "or put the plugin's name into plugins.disabled."
    )
