"""Checks a plugin when it is loaded, so that an error in it stops the start and not an order.

pluggy silently accepts a misspelt hook, an unmarked one or an argument with a default. The adapter rejects each, with
plugin, hook and cure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from pluggy import HookimplOpts
from pydantic import BaseModel

from adapter.errors import PluginRejected
from adapter.extensions.hooks import Hook, hooks
from adapter.extensions.hookspecs import PROJECT
from adapter.extensions.sources import FILE_MODULE
from adapter.extensions.suggestions import did_you_mean

_NAMED: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_HOW_TO_MARK: Final = "Mark a function that has a hook's name with @hookimpl; the hooks are {known}."


class HookMarkReader(Protocol):
    """The part of pluggy's manager that reads the mark `@hookimpl`."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> HookimplOpts | None: ...


def validate_plugin(name: str, plugin: object, marks: HookMarkReader) -> None:
    """Raise PluginRejected with one sentence for each error of the plugin, or do nothing."""
    problems = tuple(_problems(plugin, marks))
    if problems:
        raise PluginRejected("\n".join(f"Plugin '{name}': {problem}" for problem in problems))


def _problems(plugin: object, marks: HookMarkReader) -> Iterator[str]:
    found = 0
    for attribute in dir(plugin):
        options = marks.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            if _is_unmarked_hook(plugin, attribute):
                yield f"{attribute} is not marked. Put @hookimpl (from adapter import hookimpl) above it."
            continue
        found += 1
        yield from _problems_of_hook(options.get("specname") or attribute, options, getattr(plugin, attribute))
    yield from _problems_of_settings_model(plugin)
    if not found:
        yield f"it has no hook. {_where_hooks_are(plugin) or _HOW_TO_MARK.format(known=_known())}"


def _where_hooks_are(plugin: object) -> str | None:
    """Where the hooks of a module are, if they are methods of a class or an object in it; else None."""
    if not inspect.ismodule(plugin):
        return None
    for name, value in vars(plugin).items():
        kind = value if inspect.isclass(value) else type(value)
        if any(hasattr(inspect.getattr_static(kind, each, None), f"{PROJECT}_impl") for each in dir(kind)):
            target = f"{plugin.__name__.removeprefix(FILE_MODULE)}:{name}"
            return (
                f"Its {name} has hooks: name {target} in plugins.modules (`plugins check {target}` tries it), install "
                "it with an entry point, or write the hooks as functions of the module."
            )
    return None


def _problems_of_settings_model(plugin: object) -> Iterator[str]:
    model = getattr(plugin, "settings_model", None)
    if model is None:
        return
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        yield "its settings_model is not a pydantic model. Make it a class that inherits from pydantic.BaseModel."
    elif not hasattr(plugin, "configure"):
        yield "it has a settings_model, but no hook configure(settings) that takes the settings. Add it."


def _problems_of_hook(name: str, options: HookimplOpts, function: Callable[..., object]) -> Iterator[str]:
    hook = hooks().get(name)
    if hook is None:
        if not options.get("optionalhook"):
            yield f"there is no hook {name}.{did_you_mean(name, hooks())} The hooks are {_known()}."
        return
    if options.get("wrapper") or options.get("hookwrapper"):
        yield f"hook {name} is marked as a wrapper. Wrappers are not supported: answer the hook itself."
        return
    kind = _wrong_kind(function)
    if kind is not None:
        yield f"hook {name} is {kind}. Make it a plain function that returns its answer: def {hook.signature}."
    yield from _problems_of_arguments(hook, function)


def _wrong_kind(function: Callable[..., object]) -> str | None:
    inner = inspect.unwrap(function)
    if inspect.iscoroutinefunction(inner):
        return "a coroutine function (async def)"
    if inspect.isasyncgenfunction(inner):
        return "an async generator (async def with yield)"
    if inspect.isgeneratorfunction(inner):
        return "a generator (it has yield)"
    return None


def _problems_of_arguments(hook: Hook, function: Callable[..., object]) -> Iterator[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        yield f"hook {hook.name} has no self. Write def {hook.name}({', '.join(('self', *hook.arguments))})."
        return
    for parameter in parameters:
        if parameter.kind not in _NAMED:
            yield f"hook {hook.name} takes {parameter}, which is never given. Write def {hook.signature}."
        elif parameter.name not in hook.arguments:
            near = did_you_mean(parameter.name, hook.arguments)
            yield f"hook {hook.name} has no argument {parameter.name}.{near} Write def {hook.signature}."
        elif parameter.default is not parameter.empty:
            yield f"hook {hook.name} gives {parameter.name} a default. Remove it: the argument is always given."


def _is_unmarked_hook(plugin: object, attribute: str) -> bool:
    """A function with a hook's name that is defined in the plugin itself, not imported there."""
    if attribute not in hooks():
        return False
    found = inspect.getattr_static(plugin, attribute)  # does not run the plugin's properties
    function = getattr(found, "__func__", found)
    home = plugin.__name__ if inspect.ismodule(plugin) else type(plugin).__module__
    return inspect.isfunction(function) and function.__module__ == home


def _known() -> str:
    return ", ".join(hooks())
