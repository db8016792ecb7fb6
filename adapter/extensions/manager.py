"""All plugins of a process: loaded one by one, each refused or taken, and put into the order in which they are asked.

pluggy keeps the marks and the order among merchants' plugins (`tryfirst`, `trylast`); calling is done elsewhere, since
pluggy's caller does not say which plugin failed. Built-in plugins come last: the merchant's answer is first.

All are loaded first, then each is configured, and only then is any of them asked anything. One refused plugin does not
hide the others: `rejections` has them all, and `raise_if_rejected` stops a start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pluggy
from pydantic import BaseModel, PydanticUserError

from adapter.errors import PluginRejected, SettingsError
from adapter.extensions import hookspecs
from adapter.extensions.hooks import hooks
from adapter.extensions.hookspecs import DECIDING, PROJECT
from adapter.extensions.invocation import Implementation
from adapter.extensions.plugin_settings import content, read_section, schema
from adapter.extensions.sources import (
    PluginOrigin,
    Source,
    code_digest,
    from_modules,
    from_objects,
    from_paths,
    installed,
)
from adapter.extensions.start_calls import START_SECONDS, StillRunning, call_provider_hook, run_with_timeout
from adapter.extensions.suggestions import did_you_mean
from adapter.extensions.validation import validate_plugin

SECTIONS = "plugins.settings"
"""The key below which each plugin has its section, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    """One plugin as `plugins list` shows it; `hooks` in the order in which an order meets them.

    `settings_schema` is the JSON Schema of its settings, None where it declares no model.
    """

    name: str
    version: str | None
    hooks: tuple[str, ...]
    origin: PluginOrigin
    where: str
    settings_schema: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSelection:
    """Which plugins are wanted: the settings under `plugins`, as values.

    `load_any` False starts with the built-in ones alone. `objects` are plugins by name that need not be found.
    `settings` are the plugins' own sections, by name. `only` loads the plugin of that name and no other.
    """

    load_any: bool = True
    objects: Mapping[str, object] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    paths: tuple[str | Path, ...] = ()
    disabled: frozenset[str] = frozenset()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    only: str | None = None

    def wants(self, source: Source) -> bool:
        """Whether this one is to be loaded."""
        return source.name not in self.disabled and self.only in (None, source.name)

    def sources(self) -> Iterator[Source]:
        """Every plugin there is to load, in the order in which they are asked; disabled ones too."""
        if self.load_any:
            yield from from_objects(self.objects)
            yield from from_modules(self.modules)
            yield from from_paths(self.paths)
            yield from installed()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRejection:
    """A plugin that was not taken, and why: name, hook and cure. `by_settings`: its settings are wrong, and not it."""

    name: str
    where: str
    message: str
    by_settings: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """`content` is what its answers may depend on beside its code: its settings, and what it says itself."""

    source: Source
    plugin: object
    code: str
    content: tuple[str, str] = ("", "")

    @property
    def name(self) -> str:
        return self.source.name


class PluginManager:
    """The plugins of this process. Loading runs plugin code; afterwards nothing changes any more.

    `implementations` are the functions for each hook, in the order in which they are called. `merchant_hooks` are
    the hooks of plugins that are not built in.

    Never raises for a plugin's mistake: see `rejections` and `raise_if_rejected`.
    """

    def __init__(
        self, selection: PluginSelection, *, built_in: Sequence[Source], start_seconds: float = START_SECONDS
    ) -> None:
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._start_seconds = start_seconds
        self._loaded: list[_Loaded] = []
        self._rejected: list[PluginRejection] = []
        sources = tuple(selection.sources())
        self._load(selection, sources, built_in)
        self._configure(selection.settings)
        self.implementations: Mapping[str, Sequence[Implementation]] = {
            name: tuple(self._in_order(name)) for name in hooks()
        }
        self.warnings = tuple(self._deprecations())
        if selection.load_any and selection.only is None:
            self._rejected.extend(_unused_sections(selection.settings, (*sources, *built_in)))
            self.warnings += tuple(_unknown_disabled(selection.disabled, sources, built_in))
        self.merchant_hooks = frozenset(
            name for name, found in self.implementations.items() if not all(each.built_in for each in found)
        )

    @property
    def rejections(self) -> tuple[PluginRejection, ...]:
        """What was not taken, in the order in which it would have been asked."""
        return tuple(self._rejected)

    @cached_property
    def fingerprint(self) -> str:
        """Short and stable: changes when a plugin that decides about orders does, and not otherwise.

        Its version, its code, its settings without secrets, and the content that it names count, and the order, since
        the first answer does. Built-in plugins count by their code, not by the adapter's version, so that an upgrade
        that maps as before changes nothing.
        """
        facts = [
            (
                each.name,
                None if each.source.origin is PluginOrigin.BUILT_IN else each.source.version,
                each.code,
                *each.content,
            )
            for each in self._loaded
            if any(self._has(each.name, hook.name) for hook in hooks().values() if hook.kind in DECIDING)
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def raise_if_rejected(self) -> None:
        """Do nothing, or raise the messages of all that was refused.

        Raises PluginRefused, and SettingsError where nothing but settings is wrong.
        """
        messages = [rejection.message for rejection in self.rejections]
        if messages and all(rejection.by_settings for rejection in self.rejections):
            raise SettingsError(*messages)
        if messages:
            raise PluginRejected("\n".join(messages))

    def describe(self) -> tuple[PluginInfo, ...]:
        """The plugins in the order in which they are asked."""
        return tuple(
            PluginInfo(
                name=loaded.name,
                version=loaded.source.version,
                hooks=tuple(hook for hook in hooks() if self._has(loaded.name, hook)),
                origin=loaded.source.origin,
                where=loaded.source.where,
                settings_schema=schema(_model(loaded.plugin)),
            )
            for loaded in self._loaded
        )

    def _load(self, selection: PluginSelection, sources: Sequence[Source], built_in: Sequence[Source]) -> None:
        taken: dict[str, Source] = {source.name: source for source in built_in}
        for source in filter(selection.wants, sources):
            try:
                _reject_second(source, taken)
                taken[source.name] = source
                self._register(source)
            except PluginRejected as refused:
                self._reject(source, str(refused))
            except Exception as error:  # noqa: BLE001  # plugin code that runs while it is looked at
                self._reject(source, f"Plugin '{source.name}': looking at it raised {type(error).__name__}. Mend it.")
        for source in built_in:
            self._register(source)

    def _register(self, source: Source) -> None:
        plugin = self._plugin(source)
        for loaded in self._loaded:
            if loaded.plugin is plugin:
                raise PluginRejected(
                    f"Plugin '{source.name}': the same object is there already as '{loaded.name}' "
                    f"({loaded.source.origin}: {loaded.source.where}). Name it in one place only."
                )
        validate_plugin(source.name, plugin, self._pluggy)
        loaded = _Loaded(source=source, plugin=plugin, code=code_digest(plugin))
        self._pluggy.register(plugin, name=source.name)
        self._loaded.append(loaded)

    def _plugin(self, source: Source) -> object:
        if source.origin is PluginOrigin.BUILT_IN:
            return source.load()
        try:
            return run_with_timeout(self._start_seconds, source.load)
        except StillRunning:
            raise PluginRejected(
                f"Plugin '{source.name}': loading {source.where} has not come back after {self._start_seconds:g} s. "
                "Let it do at import no more than define things, or put its name into plugins.disabled."
            ) from None

    def _configure(self, sections: Mapping[str, Mapping[str, object]]) -> None:
        """Give each plugin its settings; one that cannot take them is no longer there."""
        takers = tuple(self._in_order("configure"))
        loaded, self._loaded = self._loaded, []
        for each in loaded:
            own = [taker for taker in takers if taker.plugin == each.name]
            try:
                self._loaded.append(self._configured(each, sections.get(each.name), own))
            except SettingsError as wrong:
                message = "\n".join(f"Plugin '{each.name}': {problem}" for problem in wrong.problems)
                self._drop(each, message, by_settings=True)
            except PluginRejected as refused:
                self._drop(each, str(refused))
            except Exception as error:  # noqa: BLE001  # a settings model's own code, or a property of the plugin's
                detail = f": {error.message}" if isinstance(error, PydanticUserError) else ""  # speaks of code alone
                raised = f"reading its settings raised {type(error).__name__}{detail}"
                self._drop(each, f"Plugin '{each.name}': {raised}. Mend it, or put its name into plugins.disabled.")

    def _configured(
        self, loaded: _Loaded, section: Mapping[str, object] | None, takers: Sequence[Implementation]
    ) -> _Loaded:
        """Raises SettingsError, PluginRefused, and whatever the plugin's own code raises."""
        facts = ""
        if takers:
            settings = read_section(f"{SECTIONS}.{loaded.name}", section or {}, _model(loaded.plugin))
            facts = content(settings)  # before the plugin has its hands on them
            for taker in takers:
                call_provider_hook(taker, {"settings": settings}, seconds=self._start_seconds)
        elif section is not None:
            raise SettingsError(f"it takes no settings, but {SECTIONS}.{loaded.name} is set. Remove that section.")
        return replace(loaded, content=(facts, _named_content(loaded)))

    def _drop(self, loaded: _Loaded, message: str, *, by_settings: bool = False) -> None:
        self._pluggy.unregister(loaded.plugin)
        self._reject(loaded.source, message, by_settings=by_settings)

    def _reject(self, source: Source, message: str, *, by_settings: bool = False) -> None:
        rejection = PluginRejection(name=source.name, where=source.where, message=message, by_settings=by_settings)
        self._rejected.append(rejection)

    def _in_order(self, hook: str) -> Iterator[Implementation]:
        """pluggy asks the last one registered first; here the first one named is, and built-in ones are last."""
        built_in = {loaded.name for loaded in self._loaded if loaded.source.origin is PluginOrigin.BUILT_IN}
        place = {loaded.name: index for index, loaded in enumerate(self._loaded)}
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

    def _deprecations(self) -> Iterator[str]:
        """What merchants' plugins use that will not stay; pluggy warns too, but only their own tests show that."""
        for found in self.implementations.values():
            for one in (each for each in found if not each.built_in):
                if one.hook.deprecated is not None:
                    yield one.describe(f"is deprecated: {one.hook.deprecated}")
                for argument, instead in one.hook.deprecated_arguments.items():
                    if argument in one.arguments:
                        yield one.describe(f"takes {argument}, which is deprecated: {instead}")

    def _has(self, plugin: str, hook: str) -> bool:
        return any(one.plugin == plugin for one in self.implementations[hook])


def _reject_second(source: Source, taken: dict[str, Source]) -> None:
    first = taken.get(source.name)
    if first is not None:
        raise PluginRejected(
            f"Plugin '{source.name}': the name is taken twice, by {first.origin} {first.where} and by {source.origin} "
            f"{source.where}. Rename one of them, or remove it."
        )


def _model(plugin: object) -> type[BaseModel] | None:
    model: type[BaseModel] | None = getattr(plugin, "settings_model", None)
    return model


def _named_content(loaded: _Loaded) -> str:
    """Raises PluginRefused for what is no text: a method, say, is another one in every process."""
    named: object = getattr(loaded.plugin, "content_fingerprint", "")
    if not isinstance(named, str):
        raise PluginRejected(
            f"Plugin '{loaded.name}': its content_fingerprint is a {type(named).__name__}, not a text. "
            "Make it a str attribute or a property."
        )
    return named


def _unused_sections(sections: Iterable[str], sources: Iterable[Source]) -> Iterator[PluginRejection]:
    """Sections of disabled plugins are fine: whoever disables one wants to enable it again."""
    known = {source.name for source in sources}
    for name in sorted(set(sections) - known):
        cure = did_you_mean(name, known) or " Remove the section, or load the plugin."
        message = f"{SECTIONS}.{name} belongs to no plugin: none is called '{name}'.{cure}"
        yield PluginRejection(name=name, where=SECTIONS, message=message, by_settings=True)


def _unknown_disabled(disabled: Iterable[str], sources: Sequence[Source], built_in: Sequence[Source]) -> Iterator[str]:
    known = {source.name for source in sources}
    for name in sorted(set(disabled) - known):
        if any(source.name == name for source in built_in):
            yield f"plugins.disabled names '{name}', which is built in and stays."
        else:
            yield f"plugins.disabled names '{name}', but there is no such plugin.{did_you_mean(name, known)}"
