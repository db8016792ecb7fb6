"""Gets the sinks of all plugins, once at start, and checks them.

An error in one stops the start, with plugin, hook and cure: later it would lose events, or share the consumer group of
another sink.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final, cast

from msgspec import Struct

from adapter.errors import PluginRejected
from adapter.extensions.bounded_threads import call_provider_hook
from adapter.extensions.manager import PluginManager
from adapter.extensions.sinks import Sink

HOOK: Final = "notification_sinks"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")


class ProvidedSink(Struct, frozen=True, kw_only=True):
    """A sink and its plugin."""

    name: str
    plugin: str
    sink: Sink
    types: frozenset[str] | None = None
    """The event types that it asks for; None if it names none (`sinks.asks_for`)."""


def provided_sinks(plugins: PluginManager) -> tuple[ProvidedSink, ...]:
    """Return all sinks of these plugins, in the order in which the plugins are called.

    Raises PluginRejected with a sentence for each error.
    """
    found: dict[str, ProvidedSink] = {}
    problems: list[str] = []
    for implementation in plugins.implementations[HOOK]:
        try:
            # The hook's type is checked: a list or a tuple.
            answer = cast("Sequence[object]", call_provider_hook(implementation, {}))
        except PluginRejected as rejected:
            problems.append(str(rejected))
            continue
        for number, sink in enumerate(answer, 1):
            wrong = [implementation.describe(what) for what in _problems(sink, f"sink {number}", found)]
            problems.extend(wrong)
            if not wrong:
                known = cast("Sink", sink)  # _problems has checked every attribute of a Sink
                found[known.name] = ProvidedSink(
                    name=known.name, plugin=implementation.plugin, sink=known, types=_types(known)
                )
    if problems:
        raise PluginRejected("\n".join(problems))
    return tuple(found.values())


def _problems(sink: object, which: str, taken: dict[str, ProvidedSink]) -> Iterator[str]:
    """What is wrong with a sink; each is the end of a sentence that begins with plugin and hook."""
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
    yield from _type_problems(sink, which)
    yield from _method_problems(sink, which)


def _type_problems(sink: object, which: str) -> Iterator[str]:
    types = getattr(sink, "types", None)
    if types is None:
        return
    is_list = isinstance(types, Collection) and not isinstance(types, (str, bytes))
    if not (is_list and types and all(isinstance(each, str) for each in types)):
        yield (
            f"gave {which}, whose types is no list of event types. Name at least one, such as "
            "ecticket.issuance.issued.v1, or leave the attribute out."
        )


def _types(sink: Sink) -> frozenset[str] | None:
    types: Collection[str] | None = getattr(sink, "types", None)
    return None if types is None else frozenset(types)


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
        inspect.signature(cast("type", function)).bind(*range(count))  # the caller has checked that it is callable
    except (TypeError, ValueError):
        return False
    return True
