"""All plugins of a process: loaded one by one, each refused or taken, and put into the order in which they are asked.

pluggy keeps the marks and the order among merchants' plugins (`tryfirst`, `trylast`); calling is done elsewhere, since
pluggy's caller does not say which plugin failed. Built-in plugins come last: the merchant's answer is first.

One refused plugin does not hide the others: `refusals` has them all, and `ensure_sound` stops a start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pluggy

from adapter.errors import PluginRefused
from adapter.extensions import hookspecs
from adapter.extensions.calling import Implementation
from adapter.extensions.hooks import hooks
from adapter.extensions.hookspecs import PROJECT
from adapter.extensions.nearest import did_you_mean
from adapter.extensions.refusals import refuse_unsound
from adapter.extensions.sources import Origin, Source, code_digest, from_modules, from_objects, from_paths, installed


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One plugin as `plugins list` shows it; `hooks` in the order in which an order meets them."""

    name: str
    version: str | None
    hooks: tuple[str, ...]
    origin: Origin
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which plugins are wanted: the settings under `plugins`, as values.

    `load_any` False starts with the built-in ones alone. `objects` are plugins by name that need not be found.
    """

    load_any: bool = True
    objects: Mapping[str, object] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    paths: tuple[str | Path, ...] = ()
    disabled: frozenset[str] = frozenset()

    def sources(self) -> Iterator[Source]:
        """Every plugin there is to load, in the order in which they are asked; disabled ones too."""
        if self.load_any:
            yield from from_objects(self.objects)
            yield from from_modules(self.modules)
            yield from from_paths(self.paths)
            yield from installed()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A plugin that was not taken, and why: name, hook and cure."""

    name: str
    where: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    source: Source
    plugin: object
    code: str


class PluginManager:
    """The plugins of this process. Loading runs plugin code; afterwards nothing changes any more.

    Never raises for a plugin's mistake: see `refusals` and `ensure_sound`.
    """

    def __init__(self, choice: Choice, *, built_in: Sequence[Source]) -> None:
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._loaded: list[_Loaded] = []
        self.refusals: tuple[Refusal, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self._load(choice, built_in)
        self._implementations = {name: tuple(self._in_order(name)) for name in hooks()}
        self._merchants_have = {
            name for name, found in self._implementations.items() if not all(each.built_in for each in found)
        }

    @cached_property
    def fingerprint(self) -> str:
        """Short and stable: changes when a plugin, its version, its code or its content does, and not otherwise.

        The order counts, since the first answer does. Built-in plugins count by their code, not by the adapter's
        version, so that an upgrade that maps as before changes nothing.
        """
        facts = [
            (
                each.source.name,
                None if each.source.origin is Origin.BUILT_IN else each.source.version,
                each.code,
                str(getattr(each.plugin, "content_fingerprint", "")),
            )
            for each in self._loaded
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def ensure_sound(self) -> None:
        """Raise PluginRefused with the message of every plugin that was refused, or do nothing."""
        if self.refusals:
            raise PluginRefused("\n".join(refusal.message for refusal in self.refusals))

    def implementations(self, hook: str) -> Sequence[Implementation]:
        """The functions for a hook, in the order in which they are called."""
        return self._implementations[hook]

    def merchants_have(self, hook: str) -> bool:
        """Whether any plugin that is not built in has this hook."""
        return hook in self._merchants_have

    def describe(self) -> tuple[PluginInfo, ...]:
        """The plugins in the order in which they are asked."""
        return tuple(
            PluginInfo(
                name=loaded.source.name,
                version=loaded.source.version,
                hooks=tuple(hook for hook in hooks() if self._has(loaded.source.name, hook)),
                origin=loaded.source.origin,
                where=loaded.source.where,
            )
            for loaded in self._loaded
        )

    def _load(self, choice: Choice, built_in: Sequence[Source]) -> None:
        taken: dict[str, Source] = {source.name: source for source in built_in}
        refusals = []
        sources = list(choice.sources())
        for source in (source for source in sources if source.name not in choice.disabled):
            try:
                _refuse_second(source, taken)
                taken[source.name] = source
                self._register(source)
            except PluginRefused as refused:
                refusals.append(Refusal(name=source.name, where=source.where, message=str(refused)))
        for source in built_in:
            self._register(source)
        self.refusals = tuple(refusals)
        if choice.load_any:
            self.warnings = tuple(_unknown_disabled(choice.disabled, sources, built_in))

    def _register(self, source: Source) -> None:
        plugin = source.load()
        for loaded in self._loaded:
            if loaded.plugin is plugin:
                raise PluginRefused(
                    f"Plugin '{source.name}': the same object is there already as '{loaded.source.name}' "
                    f"({loaded.source.origin}: {loaded.source.where}). Name it in one place only."
                )
        refuse_unsound(source.name, plugin, self._pluggy)
        self._pluggy.register(plugin, name=source.name)
        self._loaded.append(_Loaded(source=source, plugin=plugin, code=code_digest(plugin)))

    def _in_order(self, hook: str) -> Iterator[Implementation]:
        """pluggy asks the last one registered first; here the first one named is, and built-in ones are last."""
        built_in = {loaded.source.name for loaded in self._loaded if loaded.source.origin is Origin.BUILT_IN}
        place = {loaded.source.name: index for index, loaded in enumerate(self._loaded)}
        found = getattr(self._pluggy.hook, hook).get_hookimpls()
        found.sort(key=lambda one: (one.plugin_name in built_in, not one.tryfirst, one.trylast, place[one.plugin_name]))
        for one in found:
            yield Implementation(
                plugin=one.plugin_name,
                built_in=one.plugin_name in built_in,
                hook=hooks()[hook],
                function=one.function,
                arguments=one.argnames,
            )

    def _has(self, plugin: str, hook: str) -> bool:
        return any(one.plugin == plugin for one in self._implementations[hook])


def _refuse_second(source: Source, taken: dict[str, Source]) -> None:
    first = taken.get(source.name)
    if first is not None:
        raise PluginRefused(
            f"Plugin '{source.name}': the name is taken twice, by {first.origin} {first.where} and by {source.origin} "
            f"{source.where}. Rename one of them, or remove it."
        )


def _unknown_disabled(disabled: Iterable[str], sources: Sequence[Source], built_in: Sequence[Source]) -> Iterator[str]:
    known = {source.name for source in sources}
    for name in sorted(set(disabled) - known):
        if any(source.name == name for source in built_in):
            yield f"plugins.disabled names '{name}', which is built in and stays."
        else:
            yield f"plugins.disabled names '{name}', but there is no such plugin.{did_you_mean(name, known)}"
