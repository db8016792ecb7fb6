"""What plugins do while the adapter starts, within bounds: being loaded, configured and asked for what they provide.

Each piece runs in a daemon thread of its own, for two reasons. Code that never comes back becomes a sentence with the
plugin's name instead of an adapter that hangs without a word; and code that starts an event loop of its own can, which
it could not on the adapter's.

A failure stops the start, or whatever was started: a plugin that is only half there must not decide about orders.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from adapter.errors import PluginRejected
from adapter.extensions.invocation import Implementation, try_call

T = TypeVar("T")

START_SECONDS: Final = 60.0
"""What one plugin may take to be loaded, and then for each hook that is called at start."""


class StillRunning(Exception):  # becomes a sentence of PluginRefused and is never seen outside
    """The time is over and the work is not."""


def run_with_timeout(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns or raises, done in a thread; what it prints is no data, and goes to standard error.

    Raises NotBackYet when it takes longer; its thread then goes on by itself and holds up no exit.
    """
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # raised again where it was asked for
            failure = error
            done.append(lambda: _raise(failure))
        else:
            done.append(lambda: result)

    thread = threading.Thread(target=run, name="plugin-start", daemon=True)
    with contextlib.redirect_stdout(sys.stderr):
        thread.start()
        thread.join(seconds)
    if not done:
        raise StillRunning
    return done[0]()


def call_provider_hook(
    implementation: Implementation, given: Mapping[str, object], *, seconds: float = START_SECONDS
) -> object:
    """What one plugin answers to a hook of kind provide; of the promised type.

    Raises PluginRefused with plugin, hook and cure; SettingsError where `configure` says that settings are wrong.
    """
    if implementation.built_in:
        return implementation.function(*(given[name] for name in implementation.arguments))
    try:
        answer, problem = run_with_timeout(seconds, partial(try_call, implementation, given))
    except StillRunning:
        problem = f"has not come back after {seconds:g} s"
    if problem is not None:
        cure = "Mend the plugin, or put its name into plugins.disabled."
        raise PluginRejected(f"{implementation.describe(problem)}. {cure}")
    return answer


def _raise(error: BaseException) -> T:  # type: ignore[type-var]  # returns nothing, whatever is expected
    raise error
