"""Loads all plugins of a process, accepts or rejects each, and puts them into the order in which they are called.

pluggy keeps the marks and the order among merchants' plugins (`tryfirst`, `trylast`); `invocation` calls them, because
pluggy's caller does not report which plugin failed. Built-in plugins come last, so the merchant's answer is first.

All plugins are loaded, then each is configured, and only then is any hook called. One rejected plugin does not hide
the others: `rejections` has them all, and `raise_if_rejected` stops a start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pluggy
from msgspec import Struct
from pydantic import BaseModel, PydanticUserError

from adapter.errors import PluginRejected, SettingsError
from adapter.extensions import hookspecs
from adapter.extensions.bounded_threads import START_SECONDS, StillRunning, call_provider_hook, run_with_timeout
from adapter.extensions.hooks import hooks
from adapter.extensions.hookspecs import PROJECT
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
from adapter.extensions.suggestions import did_you_mean
from adapter.extensions.validation import validate_plugin
from adapter.values import replace

SECTIONS = "plugins.settings"
"""The key of the plugins' sections, each named as its plugin."""


class PluginInfo(Struct, frozen=True, kw_only=True):
    """One plugin as `plugins list` shows it."""

    name: str
    version: str | None
    hooks: tuple[str, ...]
    """In the order in which they are called for an order."""
    origin: PluginOrigin
    where: str
    settings_schema: Mapping[str, object] | None
    """JSON Schema of its settings; None if it declares no model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSelection:
    """Which plugins to load: the settings under `plugins`, as values."""

    load_any: bool = True
    """False loads the built-in plugins only."""
    objects: Mapping[str, object] = field(default_factory=dict)
    """Plugins by name that are given as objects and need not be found."""
    modules: tuple[str, ...] = ()
    paths: tuple[str | Path, ...] = ()
    disabled: frozenset[str] = frozenset()
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict, repr=False)
    """The plugins' own sections, by name."""
    only: str | None = None
    """Loads the plugin of this name and no other."""

    def wants(self, source: Source) -> bool:
        """Whether to load this plugin."""
        return source.name not in self.disabled and self.only in (None, source.name)

    def sources(self) -> Iterator[Source]:
        """Every plugin that is found, disabled ones too, in the order in which they are called."""
        if self.load_any:
            yield from from_objects(self.objects)
            yield from from_modules(self.modules)
            yield from from_paths(self.paths)
            yield from installed()


class PluginRejection(Struct, frozen=True, kw_only=True):
    """A plugin that was rejected, and why: name, hook and cure. `by_settings`: its settings are wrong, not its code."""

    name: str
    where: str
    message: str
    by_settings: bool = False


class _Loaded(Struct, frozen=True, kw_only=True):
    """`content` is what its answers depend on besides its code: its settings and its own `content_fingerprint`."""

    source: Source
    plugin: object
    code: str
    content: tuple[str, str] = ("", "")

    @property
    def name(self) -> str:
        return self.source.name


class PluginManager:
    """The plugins of this process. Loading runs plugin code; afterwards nothing changes.

    `implementations` are the functions for each hook, in the order in which they are called. `merchant_hooks` are
    the hooks of plugins that are not built in.

    Does not raise for an error of a plugin: see `rejections` and `raise_if_rejected`.
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
        """The rejected plugins, in the order in which they would have been called."""
        return tuple(self._rejected)

    @cached_property
    def fingerprint(self) -> str:
        """A short hash that changes only if a plugin that decides about orders changes.

        It covers the version, the code, the settings without secrets, the content that the plugin names, and the
        order of plugins, because the first answer counts. Built-in plugins count by their code, not by the adapter's
        version, so an upgrade that maps as before does not change it.
        """
        facts = [
            (
                each.name,
                None if each.source.origin is PluginOrigin.BUILT_IN else each.source.version,
                each.code,
                *each.content,
            )
            for each in self._loaded
            if any(self._has(each.name, hook.name) for hook in hooks().values() if hook.decides)
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def raise_if_rejected(self) -> None:
        """Raise the messages of all rejected plugins; do nothing if there are none.

        Raises PluginRejected, or SettingsError if only settings are wrong.
        """
        messages = [rejection.message for rejection in self.rejections]
        if messages and all(rejection.by_settings for rejection in self.rejections):
            raise SettingsError(*messages)
        if messages:
            raise PluginRejected("\n".join(messages))

    def describe(self) -> tuple[PluginInfo, ...]:
        """The plugins in the order in which they are called."""
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
            except PluginRejected as rejected:
                self._reject(source, str(rejected))
            except Exception as error:  # noqa: BLE001  # the plugin's own code runs while it is validated
                self._reject(source, f"Plugin '{source.name}': validating it raised {type(error).__name__}. Fix it.")
        for source in built_in:
            self._register(source)

    def _register(self, source: Source) -> None:
        plugin = self._plugin(source)
        for loaded in self._loaded:
            if loaded.plugin is plugin:
                raise PluginRejected(
                    f"Plugin '{source.name}': the same object is already loaded as '{loaded.name}' "
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
                f"Plugin '{source.name}': loading {source.where} did not return within {self._start_seconds:g} s. "
                "Let it only define things at import, or put its name into plugins.disabled."
            ) from None

    def _configure(self, sections: Mapping[str, Mapping[str, object]]) -> None:
        """Give each plugin its settings; drop those that do not accept them."""
        implementations = tuple(self._in_order("configure"))
        loaded, self._loaded = self._loaded, []
        for each in loaded:
            own = [implementation for implementation in implementations if implementation.plugin == each.name]
            try:
                self._loaded.append(self._configured(each, sections.get(each.name), own))
            except SettingsError as wrong:
                message = "\n".join(f"Plugin '{each.name}': {problem}" for problem in wrong.problems)
                self._drop(each, message, by_settings=True)
            except PluginRejected as rejected:
                self._drop(each, str(rejected))
            except Exception as error:  # noqa: BLE001  # the code of a settings model or of a plugin's property
                detail = f": {error.message}" if isinstance(error, PydanticUserError) else ""  # describes code only
                raised = f"reading its settings raised {type(error).__name__}{detail}"
                self._drop(each, f"Plugin '{each.name}': {raised}. Fix it, or put its name into plugins.disabled.")

    def _configured(
        self, loaded: _Loaded, section: Mapping[str, object] | None, implementations: Sequence[Implementation]
    ) -> _Loaded:
        """Raises SettingsError, PluginRejected, and what the plugin's own code raises."""
        facts = ""
        if implementations:
            settings = read_section(f"{SECTIONS}.{loaded.name}", section or {}, _model(loaded.plugin))
            facts = content(settings)  # before the plugin can change them
            for implementation in implementations:
                call_provider_hook(implementation, {"settings": settings}, seconds=self._start_seconds)
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
        """The reverse of pluggy's order: the plugin that is named first is called first, and built-in ones last."""
        built_in = {loaded.name for loaded in self._loaded if loaded.source.origin is PluginOrigin.BUILT_IN}
        position = {loaded.name: index for index, loaded in enumerate(self._loaded)}
        found = getattr(self._pluggy.hook, hook).get_hookimpls()
        found.sort(
            key=lambda one: (one.plugin_name in built_in, not one.tryfirst, one.trylast, position[one.plugin_name])
        )
        for one in found:
            yield Implementation(
                plugin=one.plugin_name,
                built_in=one.plugin_name in built_in,
                hook=hooks()[hook],
                function=one.function,
                arguments=one.argnames,
            )

    def _deprecations(self) -> Iterator[str]:
        """What merchants' plugins use that is deprecated; pluggy warns too, but only tests show its warnings."""
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
    """Raises PluginRejected if it is no text: a method, for example, differs in every process."""
    named: object = getattr(loaded.plugin, "content_fingerprint", "")
    if not isinstance(named, str):
        raise PluginRejected(
            f"Plugin '{loaded.name}': its content_fingerprint is a {type(named).__name__}, not a text. "
            "Make it a str attribute or a property."
        )
    return named


def _unused_sections(sections: Iterable[str], sources: Iterable[Source]) -> Iterator[PluginRejection]:
    """Sections that belong to no plugin. Those of disabled plugins are allowed: they may be enabled again."""
    known = {source.name for source in sources}
    for name in sorted(set(sections) - known):
        cure = did_you_mean(name, known) or " Remove the section, or load the plugin."
        message = f"{SECTIONS}.{name} belongs to no plugin: none is called '{name}'.{cure}"
        yield PluginRejection(name=name, where=SECTIONS, message=message, by_settings=True)


def _unknown_disabled(disabled: Iterable[str], sources: Sequence[Source], built_in: Sequence[Source]) -> Iterator[str]:
    known = {source.name for source in sources}
    for name in sorted(set(disabled) - known):
        if any(source.name == name for source in built_in):
            yield f"plugins.disabled names '{name}', which is built in and cannot be disabled."
        else:
            yield f"plugins.disabled names '{name}', but there is no such plugin.{did_you_mean(name, known)}"
