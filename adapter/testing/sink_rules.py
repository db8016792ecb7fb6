"""Checks the sinks of a plugin as the adapter does at start, and that `wants` answers for every type of event.

Delivers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from adapter.errors import PluginRejected
from adapter.extensions.bounded_threads import StillRunning, run_with_timeout
from adapter.extensions.manager import PluginManager
from adapter.extensions.provided_sinks import HOOK, provided_sinks
from adapter.extensions.sinks import Event, Sink
from adapter.testing.events import Events
from adapter.testing.findings import Finding, Level
from adapter.testing.load_findings import sentences

WANTS_SECONDS: Final = 2.0
"""Time limit of `wants` for one event; the sink's loop stands still meanwhile."""


def findings_of_sinks(plugins: PluginManager, plugin: str) -> Iterator[Finding]:
    """The problems of a plugin's sinks; none if it has no sinks."""
    try:
        provided = provided_sinks(plugins)
    except PluginRejected as refused:
        yield from sentences(plugin, str(refused), hook=HOOK)
        return
    for each in provided:
        if each.plugin == plugin:
            yield from _findings_of_wants(each.sink)


def _findings_of_wants(sink: Sink) -> Iterator[Finding]:
    wants: Callable[[Event], object] | None = getattr(sink, "wants", None)
    if wants is None:
        return
    for event in Events().of_every_type():
        try:
            problem = run_with_timeout(WANTS_SECONDS, partial(_problem_of_wants, wants, event))
        except StillRunning:
            yield _finding(sink, f"did not answer within {WANTS_SECONDS:g} s", event)
            return
        if problem is not None:
            yield _finding(sink, problem, event)


def _problem_of_wants(wants: Callable[[Event], object], event: Event) -> str | None:
    try:
        answer = wants(event)
    except BaseException as error:  # noqa: BLE001  # whatever the plugin raises is a finding
        return f"raised {type(error).__name__} ({error})"
    return None if isinstance(answer, bool) else f"returned a {type(answer).__name__}"


def _finding(sink: Sink, problem: str, event: Event) -> Finding:
    return Finding(
        level=Level.ERROR,
        hook=HOOK,
        what=f"wants of sink '{sink.name}' {problem}, for an event of type {event.type}.",
        cure="Answer True or False for every event, also for types that it does not know.",
    )
