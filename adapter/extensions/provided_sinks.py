"""The sinks that plugins provide: asked for once at start, checked, and named with their plugin.

What is wrong with one stops the start, naming plugin, hook and cure: afterwards it would cost events, or call another
sink's consumer group its own.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from adapter.errors import PluginRejected
from adapter.extensions.manager import PluginManager
from adapter.extensions.sinks import Sink
from adapter.extensions.start_calls import call_provider_hook

HOOK: Final = "notification_sinks"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidedSink:
    """A sink, and the plugin that it is of."""

    name: str
    plugin: str
    sink: Sink


def provided_sinks(plugins: PluginManager) -> tuple[ProvidedSink, ...]:
    """All sinks of these plugins, in the order in which they are asked.

    Raises PluginRefused with a sentence for each mistake.
    """
    found: dict[str, ProvidedSink] = {}
    problems: list[str] = []
    for implementation in plugins.implementations[HOOK]:
        try:
            answer = cast(
                "Sequence[object]", call_provider_hook(implementation, {})
            )  # of the hook's type: a list or a tuple
        except PluginRejected as refused:
            problems.append(str(refused))
            continue
        for place, sink in enumerate(answer):
            mistakes = [implementation.describe(what) for what in _problems(sink, f"sink {place + 1}", found)]
            problems.extend(mistakes)
            if not mistakes:
                known = cast("Sink", sink)  # _problems has looked at every attribute that a Sink has
                found[known.name] = ProvidedSink(name=known.name, plugin=implementation.plugin, sink=known)
    if problems:
        raise PluginRejected("\n".join(problems))
    return tuple(found.values())


def _problems(sink: object, which: str, taken: dict[str, ProvidedSink]) -> Iterator[str]:
    """What is wrong with a sink, each as the rest of a sentence that begins with plugin and hook."""
    if inspect.isclass(sink):
        yield f"gave the class {sink.__name__} as {which}. Give an object: {sink.__name__}()."
        return
    name = getattr(sink, "name", None)
    if not isinstance(name, str):
        yield f"gave {which} without a name. Give it an attribute `name`, a text that no other sink has."
    elif not _NAME.fullmatch(name):
        yield (
            f"gave {which} the name {name!r}. Use 1 to 50 letters, digits, - and _, the first a letter or digit: it "
            "becomes part of a consumer group's name."
        )
    elif name in taken:
        yield f"gave {which} the name {name!r}, which a sink of plugin '{taken[name].plugin}' has. Rename one of them."
    yield from _method_problems(sink, which)


def _method_problems(sink: object, which: str) -> Iterator[str]:
    deliver, wants, close = (getattr(sink, each, None) for each in ("deliver", "wants", "aclose"))
    if not inspect.iscoroutinefunction(deliver):
        yield f"gave {which}, whose deliver is no coroutine function. Write: async def deliver(self, event)."
    elif not _takes(deliver, 1):
        yield f"gave {which}, whose deliver does not take one argument. Write: async def deliver(self, event)."
    if wants is not None and (not callable(wants) or _is_asynchronous(wants)):
        yield f"gave {which}, whose wants is no plain function. Write: def wants(self, event), returning True or False."
    elif wants is not None and not _takes(wants, 1):
        yield f"gave {which}, whose wants does not take one argument. Write: def wants(self, event)."
    if close is not None and not (inspect.iscoroutinefunction(close) and _takes(close, 0)):
        yield f"gave {which}, whose aclose is no coroutine function without arguments. Write: async def aclose(self)."


def _is_asynchronous(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _takes(function: object, count: int) -> bool:
    try:
        inspect.signature(cast("type", function)).bind(*range(count))  # a callable, as every caller has seen
    except (TypeError, ValueError):
        return False
    return True
