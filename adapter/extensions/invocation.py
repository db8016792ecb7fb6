"""Calls one hook of one plugin: counts the call, checks the answer, and reports a failure with plugin, hook and line.

pluggy's own caller is not used: it does not report which plugin failed, and it cannot chain.

The text of a plugin's exception is never repeated, because it may quote the order: `KeyError: '王小明'`. The message
has its type and the line in the plugin, which is enough to find the error. The exception is not chained, because a log
would print it. The public errors are different: their text is written for the dead letter (order errors) or for the
operator (SettingsError), and is repeated.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import TracebackType
from typing import Final

from msgspec import Struct

from adapter.errors import (
    DoesNotFit,
    HookFailed,
    InvalidOrder,
    OrderError,
    SettingsError,
    TradeNoMissing,
    UnknownMerchant,
    UnmappedItem,
    Unreadable,
)
from adapter.extensions.hooks import Hook
from adapter.extensions.hookspecs import HookKind
from adapter.extensions.type_check import plain


class HookCount(Struct, frozen=True, kw_only=True):
    """Totals since start of one hook of one plugin; `seconds` is wall time inside the hook.

    A hook that exceeded its budget counts as called and failed, with the time that the adapter waited for it.
    """

    plugin: str
    hook: str
    calls: int = 0
    failures: int = 0
    seconds: float = 0.0


class HookCounters:
    """Totals of all hooks; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], tuple[int, int, float]] = {}

    def add(self, plugin: str, hook: str, *, seconds: float, failed: bool) -> None:
        """Count one call."""
        with self._lock:
            calls, failures, total = self._totals.get((plugin, hook), (0, 0, 0.0))
            self._totals[plugin, hook] = calls + 1, failures + failed, total + seconds

    def snapshot(self) -> tuple[HookCount, ...]:
        """The totals now, by plugin and hook."""
        with self._lock:
            totals = sorted(self._totals.items())
        return tuple(
            HookCount(plugin=plugin, hook=hook, calls=calls, failures=failures, seconds=seconds)
            for (plugin, hook), (calls, failures, seconds) in totals
        )


ANSWERS: Final[tuple[type[OrderError], ...]] = (
    Unreadable,
    UnknownMerchant,
    UnmappedItem,
    InvalidOrder,
    DoesNotFit,
    TradeNoMissing,
)
"""What a hook may raise on purpose: the order is parked for that reason, and the call does not count as failed."""

Check = Callable[[object], str | None]
"""Checks an answer of the right type that is not None; returns what is wrong, as `returned ...`, or None."""


class ThreadAbandoned(Exception):  # not an error: no caller waits for this thread any more
    """Ends an abandoned thread at its next call. It reaches no caller."""


class Implementation(Struct, frozen=True, kw_only=True):
    """One plugin's function for one hook; `arguments` are those that it takes, in its own order."""

    plugin: str
    built_in: bool
    hook: Hook
    function: Callable[..., object]
    arguments: tuple[str, ...]

    @property
    def named(self) -> str:
        """The plugin and its hook: "Plugin 'x': hook map_item(order, line)"."""
        return f"Plugin '{self.plugin}': hook {self.hook.signature}"

    def describe(self, what: str) -> str:
        """A sentence about this plugin: "Plugin 'x': hook map_item(order, line) ..."."""
        return f"{self.named} {what}"

    def failed(self, what: str) -> HookFailed:
        """The same sentence as an error that parks the order."""
        return HookFailed(self.describe(what), plugin=self.plugin, hook=self.hook.name)


class HookCalls:
    """The hook calls of one order, one after another, in a thread that may be abandoned before they end."""

    def __init__(self, counters: HookCounters) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        self._thread_abandoned = False
        self._current: Implementation | None = None

    def call(self, implementation: Implementation, given: Mapping[str, object], check: Check | None = None) -> object:
        """Return the plugin's answer: of the type that the hook promises, in plain types, and accepted by `check`.

        Raises HookFailed, or one of `ANSWERS` as the plugin raised it.
        """
        self._begin(implementation)
        started = time.perf_counter()
        failed = True
        try:
            answer = _answer(implementation, given, check)
            failed = False
        except BaseException as error:
            failed = not _is_answer(error, implementation)
            raise
        finally:
            self._end(implementation, time.perf_counter() - started, failed=failed)
        return answer

    def timed_out(self, budget_seconds: float) -> HookFailed | None:
        """Abandon the thread: no further hook is called in it. Return a failure of the merchant's hook called last.

        Returns None and abandons nothing if no merchant's hook was called yet: then the machine was slow.
        """
        with self._lock:
            running = self._current
            if running is None:
                return None
            self._thread_abandoned = True
        self._counters.add(running.plugin, running.hook.name, seconds=budget_seconds, failed=True)
        return running.failed(
            f"was running when the {budget_seconds * 1000:.0f} ms for the hooks of one order ran out. "
            "Make it a quick function of its arguments, without network or locks, or raise plugins.budget_ms. "
            f"{running.hook.kind.aftermath}"
        )

    def at_work(self) -> str | None:
        """The merchant's hook called last: "Plugin 'x': hook map_item(order, line)"; None before the first."""
        with self._lock:
            return None if self._current is None else self._current.named

    def _begin(self, implementation: Implementation) -> None:
        with self._lock:
            if self._thread_abandoned:
                raise ThreadAbandoned
            if not implementation.built_in:
                self._current = implementation

    def _end(self, implementation: Implementation, seconds: float, *, failed: bool) -> None:
        with self._lock:
            if self._thread_abandoned:
                raise ThreadAbandoned
            self._counters.add(implementation.plugin, implementation.hook.name, seconds=seconds, failed=failed)


def try_call(
    implementation: Implementation, given: Mapping[str, object], check: Check | None = None
) -> tuple[object, str | None]:
    """Return the answer in plain types and None; or None and what is wrong: "raised KeyError at x.py line 12".

    Raises one of `ANSWERS`, or SettingsError, if the hook may raise it.
    """
    arguments = [given[name] for name in implementation.arguments]
    try:
        return _checked(implementation.function(*arguments), implementation, check)
    except BaseException as error:  # noqa: BLE001  # any error of a plugin, also sys.exit(), becomes a message
        if _is_answer(error, implementation):
            raise _plain_error(error, implementation) from None
        return None, f"raised {type(error).__name__}{location_in(implementation.function, error.__traceback__)}"


def _answer(implementation: Implementation, given: Mapping[str, object], check: Check | None) -> object:
    if implementation.built_in:  # the adapter's own: type-checked, and a failure is a bug of the adapter
        return implementation.function(*[given[name] for name in implementation.arguments])
    answer, problem = try_call(implementation, given, check)
    if problem is None:
        return answer
    raise implementation.failed(f"{problem}. Fix the plugin. {implementation.hook.kind.aftermath}")


def _is_answer(error: BaseException, implementation: Implementation) -> bool:
    if isinstance(error, SettingsError):
        return implementation.hook.name == "configure" and any(map(str.strip, error.problems))
    return isinstance(error, ANSWERS) and implementation.hook.decides


def _plain_error(error: BaseException, implementation: Implementation) -> BaseException:
    """The error as one of the adapter's own classes with a plain, non-empty text, because people read it."""
    if isinstance(error, SettingsError):
        return SettingsError(*map(str.__str__, error.problems))
    kind = next(each for each in ANSWERS if isinstance(error, each))
    text = _text(error)
    if text.strip() in ("", "None"):
        return _with_sentence(error, kind, implementation)
    is_plain = type(error) is kind and all(type(argument) is str for argument in error.args)
    return error if is_plain else kind(text)


def _text(error: BaseException) -> str:
    try:
        return str.__str__(str(error))
    except BaseException:  # noqa: BLE001  # a merchant's own class may have a __str__ of its own
        return ""


def _with_sentence(error: BaseException, kind: type[OrderError], implementation: Implementation) -> OrderError:
    """The error with a text in place of the missing one: a dead letter must name its cause."""
    location = location_in(implementation.function, error.__traceback__)
    return kind(
        implementation.describe(
            f"raised {type(error).__name__}{location} without a text. Look at the order, and give the "
            "error a sentence that explains what is wrong."
        )
    )


def _checked(answer: object, implementation: Implementation, check: Check | None) -> tuple[object, str | None]:
    hook = implementation.hook
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        return None, "returned a coroutine, but hooks are plain functions that return the answer itself"
    if hook.kind is HookKind.OBSERVE:
        return None, None
    if answer is None and hook.kind is HookKind.CHAIN:
        return None, f"returned None, but must return the {hook.arguments[-1]}, unchanged if nothing is to change"
    answer, wrong = plain(answer, hook.answer)
    if wrong is not None:
        return None, f"returned a value that is not allowed: {wrong}"
    problem = check(answer) if check is not None and answer is not None else None
    return (answer, None) if problem is None else (None, problem)


def location_in(function: Callable[..., object], traceback: TracebackType | None) -> str:
    """` at bundles.py line 12`: the innermost line in the file of the plugin's function, without its folder."""
    code = getattr(inspect.unwrap(function), "__code__", None)  # a compiled function has none
    lines = []
    while code is not None and traceback is not None:
        if traceback.tb_frame.f_code.co_filename == code.co_filename:
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return f" at {PurePath(code.co_filename).name} line {lines[-1]}" if code is not None and lines else ""
