"""What is asked of the sinks that a plugin hands over: what the adapter asks at start, and that `wants` answers.

Nothing is delivered.
"""

from __future__ import annotations

from collections.abc import Iterator

from adapter.errors import PluginRefused
from adapter.extensions.manager import PluginManager
from adapter.extensions.provided_sinks import HOOK, provided_sinks
from adapter.extensions.sinks import Event, Sink
from adapter.testing.events import Events
from adapter.testing.findings import Finding, Level
from adapter.testing.refused import sentences


def findings_of_sinks(plugins: PluginManager, plugin: str) -> Iterator[Finding]:
    """What is wrong with a plugin's sinks; nothing where it has none."""
    try:
        provided = provided_sinks(plugins)
    except PluginRefused as refused:
        yield from sentences(plugin, str(refused), hook=HOOK)
        return
    for each in provided:
        if each.plugin == plugin:
            for event in Events().of_every_type():
                yield from _findings_of_wants(each.sink, event)


def _findings_of_wants(sink: Sink, event: Event) -> Iterator[Finding]:
    wants = getattr(sink, "wants", None)
    if wants is None:
        return
    try:
        answer = wants(event)
    except Exception as error:  # noqa: BLE001  # whatever the plugin raises is a finding
        problem = f"raised {type(error).__name__} ({error})"
    else:
        if isinstance(answer, bool):
            return
        problem = f"returned a {type(answer).__name__}"
    yield Finding(
        level=Level.ERROR,
        hook=HOOK,
        what=f"wants of sink '{sink.name}' {problem}, for an event of type {event.type}.",
        cure="Answer True or False for every event, also for types that it does not know.",
    )
