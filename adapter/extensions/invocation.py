"""One call of one hook of one plugin: counted, its answer checked, its failure blamed on plugin, hook and line.

pluggy's own caller is not used for calling: it does not say which plugin failed, and it cannot chain.

What a plugin's exception says is never repeated, since it may quote the order: `KeyError: '王小明'`. Its type and the
line in the plugin are, which is enough to find the mistake, and the exception is not chained either, since a log would
print it. The public errors are the exception: whoever raises those writes their text for people, an order error's for
the dead letter, a SettingsError's for whoever starts the adapter.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import TracebackType
from typing import Final

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
from adapter.extensions.counters import HookCounters
from adapter.extensions.hooks import Hook
from adapter.extensions.hookspecs import DECIDING, HookKind
from adapter.extensions.type_check import plain

ANSWERS: Final[tuple[type[OrderError], ...]] = (
    Unreadable,
    UnknownMerchant,
    UnmappedItem,
    InvalidOrder,
    DoesNotFit,
    TradeNoMissing,
)
"""What a hook may raise on purpose: the order is parked for that reason, and nothing has failed."""

Check = Callable[[object], str | None]
"""Looks at an answer of the right type, None apart: what else is wrong with it, as `returned ...`, or None."""


class ThreadAbandoned(Exception):  # nothing went wrong here: nobody waits for this thread any more
    """Ends an abandoned thread at its next call; nobody sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Implementation:
    """One plugin's function for one hook; `arguments` are those it takes, in its own order."""

    plugin: str
    built_in: bool
    hook: Hook
    function: Callable[..., object]
    arguments: tuple[str, ...]

    @property
    def named(self) -> str:
        """Whose hook it is: "Plugin 'x': hook map_item(order, line)"."""
        return f"Plugin '{self.plugin}': hook {self.hook.signature}"

    def describe(self, what: str) -> str:
        """The sentence that blames this plugin: "Plugin 'x': hook map_item(order, line) ..."."""
        return f"{self.named} {what}"

    def failed(self, what: str) -> HookFailed:
        """The same as an error that parks the order."""
        return HookFailed(self.describe(what), plugin=self.plugin, hook=self.hook.name)


class HookCalls:
    """The hook calls made for one order, one after another, perhaps in a worker thread that is given up meanwhile."""

    def __init__(self, counters: HookCounters) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        self._thread_abandoned = False
        self._current: Implementation | None = None

    def call(self, implementation: Implementation, given: Mapping[str, object], check: Check | None = None) -> object:
        """The plugin's answer, which is of the type the hook promises, in plain types, and passes `check`.

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
        """Give the thread up, from outside: no further hook is called in it. Blames the merchant's hook called last.

        None, and nothing is given up, where no merchant's hook has been called yet: the machine was slow.
        """
        with self._lock:
            culprit = self._current
            if culprit is None:
                return None
            self._thread_abandoned = True
        self._counters.add(culprit.plugin, culprit.hook.name, seconds=budget_seconds, failed=True)
        return culprit.failed(
            f"was at work when the {budget_seconds * 1000:.0f} ms for the hooks of one order ran out. "
            "Make it a quick function of its arguments, without network or locks, or raise plugins.budget_ms. "
            f"{culprit.hook.kind.aftermath}"
        )

    def at_work(self) -> str | None:
        """The merchant's hook called last: "Plugin 'x': hook map_item(order, line)"; None where none was called yet."""
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
    """What the plugin answers, in plain types, and None; or None and what is wrong: "raised KeyError at x.py line 12".

    Raises one of `ANSWERS`, or SettingsError, where the hook may answer by it.
    """
    arguments = [given[name] for name in implementation.arguments]
    try:
        return _checked(implementation.function(*arguments), implementation, check)
    except BaseException as error:  # noqa: BLE001  # any mistake of a plugin, sys.exit() too, becomes a sentence
        if _is_answer(error, implementation):
            raise _plain_error(error, implementation) from None
        return None, f"raised {type(error).__name__}{place_in(implementation.function, error.__traceback__)}"


def _answer(implementation: Implementation, given: Mapping[str, object], check: Check | None) -> object:
    if implementation.built_in:  # ours: held by the type checker, and its failures are our bugs
        return implementation.function(*(given[name] for name in implementation.arguments))
    answer, problem = try_call(implementation, given, check)
    if problem is None:
        return answer
    raise implementation.failed(f"{problem}. Fix the plugin. {implementation.hook.kind.aftermath}")


def _is_answer(error: BaseException, implementation: Implementation) -> bool:
    if isinstance(error, SettingsError):
        return implementation.hook.name == "configure" and any(map(str.strip, error.problems))
    return isinstance(error, ANSWERS) and implementation.hook.kind in DECIDING


def _plain_error(error: BaseException, implementation: Implementation) -> BaseException:
    """The answer as one of our own errors with a plain text that says something, since it is repeated to people."""
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
    """The answer with a sentence in place of the one that is missing: a dead letter must say where it comes from."""
    place = place_in(implementation.function, error.__traceback__)
    return kind(
        implementation.describe(
            f"raised {type(error).__name__}{place} and did not say why. Look at the order; and give the error a "
            "sentence that says what is wrong with it."
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
        return None, f"returned None, but must return the {hook.arguments[-1]}, unchanged where nothing is to change"
    answer, wrong = plain(answer, hook.answer)
    if wrong is not None:
        return None, f"returned what it may not: {wrong}"
    problem = check(answer) if check is not None and answer is not None else None
    return (answer, None) if problem is None else (None, problem)


def place_in(function: Callable[..., object], traceback: TracebackType | None) -> str:
    """` at bundles.py line 12`: the innermost line in the file of the plugin's function, without its folder."""
    code = getattr(inspect.unwrap(function), "__code__", None)  # a compiled one has none
    lines = []
    while code is not None and traceback is not None:
        if traceback.tb_frame.f_code.co_filename == code.co_filename:
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return f" at {PurePath(code.co_filename).name} line {lines[-1]}" if code is not None and lines else ""
