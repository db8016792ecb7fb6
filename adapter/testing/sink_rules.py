"""What is asked of the sinks that a plugin hands over: names of their own, and `deliver` as a coroutine."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from adapter.testing.findings import Finding, Level

HOOK: Final = "notification_sinks"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,50}")


def findings_of_sinks(plugin: object) -> Iterator[Finding]:
    """What is wrong with the plugin's sinks; nothing where it has none."""
    hand_over = getattr(plugin, HOOK, None)
    if not callable(hand_over):
        return
    try:
        sinks = hand_over()
    except Exception as error:  # noqa: BLE001  # whatever the plugin raises is a finding
        yield _error(f"It raised {type(error).__name__} ({error}).", "Let it hand over sinks and do nothing else.")
        return
    if not isinstance(sinks, list | tuple):
        yield _error(f"It returned a {type(sinks).__name__}.", "Return a list of sinks, empty where there is none.")
        return
    for sink in sinks:
        yield from _findings_of(sink)
    for name, count in Counter(str(getattr(sink, "name", "")) for sink in sinks).items():
        if count > 1:
            yield _error(
                f"{count} sinks are called '{name}'.", "Give each a name of its own: it is its consumer group."
            )


def _findings_of(sink: object) -> Iterator[Finding]:
    kind = type(sink).__name__
    name = getattr(sink, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield _error(
            f"A sink ({kind}) has no name of 1 to 50 letters, digits, - and _.",
            'Give it one: name = "chat". It becomes part of its consumer group, so keep it.',
        )
    deliver = getattr(sink, "deliver", None)
    if not inspect.iscoroutinefunction(deliver):
        yield _error(f"A sink ({kind}) has no coroutine deliver.", "Write async def deliver(self, event).")
    elif list(inspect.signature(deliver).parameters) != ["event"]:
        yield _error(f"deliver of a sink ({kind}) takes something else.", "Write async def deliver(self, event).")
    wants = getattr(sink, "wants", None)
    if wants is not None and (not callable(wants) or inspect.iscoroutinefunction(wants)):
        yield _error(
            f"wants of a sink ({kind}) is no plain function.",
            "Write def wants(self, event) that returns True or False.",
        )


def _error(what: str, cure: str) -> Finding:
    return Finding(level=Level.ERROR, hook=HOOK, what=what, cure=cure)
