"""Tries one hook with one sample: several calls, also from two threads at once, and checks the answers.

The checks are the adapter's own (`invocation`, `order_hooks`). Findings quote an exception's text, which the adapter in
production does not, because it may hold customer data; here every value is the suite's.
"""

from __future__ import annotations

import copy
import functools
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from adapter.errors import OrderError
from adapter.extensions.bounded_threads import StillRunning, run_with_timeout
from adapter.extensions.hookspecs import HookKind
from adapter.extensions.invocation import Check, Implementation, try_call
from adapter.extensions.order_hooks import beyond_bounds, forbidden_change
from adapter.protocol.issue import IssueRequest
from adapter.testing.findings import Finding, Level
from adapter.testing.samples import Given, Sample
from adapter.values import replace

REPEATS: Final = 2
"""How often a hook is called in a row with the same arguments, and then from as many threads at once."""

RAISED_TEXT_MAX: Final = 200
"""Maximum length of an exception's text in a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """The result of one call: an answer, an order error raised on purpose, or a problem.

    `says` is the text of an exception that is such a problem; it can differ between samples of the same problem.
    """

    answer: object = None
    raised: OrderError | None = None
    problem: str | None = None
    raised_text: str = ""
    changed: tuple[str, ...] = ()

    def same_as(self, other: TrialResult) -> bool:
        """Whether the plugin gave the same answer."""
        if self.raised is not None or other.raised is not None:
            return (type(self.raised), str(self.raised)) == (type(other.raised), str(other.raised))
        return self.answer == other.answer


class TrialTimeout(Exception):  # becomes a finding and is never seen outside
    """A call took longer than its time limit; its thread is still running."""


def try_sample(implementation: Implementation, sample: Sample, budget_seconds: float) -> tuple[TrialResult, ...]:
    """Call the hook several times with fresh copies of one sample and return its answers.

    Raises TrialTimeout.
    """
    call = partial(_call, implementation, sample.given)
    try:
        in_a_row = tuple(run_with_timeout(budget_seconds, call) for _ in range(REPEATS))
        return (*in_a_row, *run_with_timeout(REPEATS * budget_seconds, partial(_at_once, call)))
    except StillRunning:
        raise TrialTimeout from None


def findings_of(implementation: Implementation, tries: tuple[TrialResult, ...]) -> Iterator[Finding]:
    """The problems of the answers, each once."""
    hook = implementation.hook
    for problem in dict.fromkeys(one.problem for one in tries if one.problem):
        yield Finding(level=Level.ERROR, hook=hook.name, what=f"It {problem}", cure=_cure(implementation, problem))
    for name in dict.fromkeys(name for one in tries for name in one.changed):
        yield Finding(
            level=Level.ERROR,
            hook=hook.name,
            what=f"It changes the {name} that it is given",
            cure="Answer with a new value (dataclasses.replace) and leave what is given as it is.",
        )
    if _is_fickle(implementation, tries):
        yield Finding(
            level=Level.ERROR,
            hook=hook.name,
            what="It answers differently when it is called again",
            cure="Answer only from the arguments and from what was read at start: no clock, no chance, no counter, "
            "no state shared by threads. After a crash the same order must become the same tickets.",
        )


def _is_fickle(implementation: Implementation, tries: tuple[TrialResult, ...]) -> bool:
    if implementation.hook.kind is HookKind.OBSERVE or any(one.problem for one in tries):
        return False
    return not all(one.same_as(tries[0]) for one in tries)


def _at_once(call: Callable[[], TrialResult]) -> tuple[TrialResult, ...]:
    """The answers to calls that start at the same time, each in its own thread."""
    start = threading.Barrier(REPEATS)
    found: list[TrialResult] = []

    def run() -> None:
        start.wait()
        found.append(call())

    threads = [threading.Thread(target=run, daemon=True) for _ in range(REPEATS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tuple(found)


def _call(implementation: Implementation, sample: Given) -> TrialResult:
    given = copy.deepcopy(dict(sample))
    raised_texts: list[str] = []
    try:
        answer, problem = try_call(
            _recording_errors(implementation, raised_texts), given, _check(implementation, given)
        )
    except OrderError as raised:
        return TrialResult(raised=raised, changed=_changed(given, sample))
    return TrialResult(
        answer=answer, problem=problem, raised_text="".join(raised_texts[:1]), changed=_changed(given, sample)
    )


def _changed(given: Given, before: Given) -> tuple[str, ...]:
    return tuple(name for name in before if given[name] != before[name])


def _recording_errors(implementation: Implementation, raised_texts: list[str]) -> Implementation:
    """The same, with the text of every exception added to `raised_texts`."""

    @functools.wraps(implementation.function)
    def function(*arguments: object) -> object:
        try:
            return implementation.function(*arguments)
        except BaseException as error:
            raised_texts.append(textwrap.shorten(str(error), RAISED_TEXT_MAX))
            raise

    return replace(implementation, function=function)


def _check(implementation: Implementation, given: Given) -> Check | None:
    """The adapter's check beyond the type."""
    if implementation.hook.name == "parse_order":
        return beyond_bounds
    if implementation.hook.name == "shape_issue":
        return partial(forbidden_change, cast("IssueRequest", given["request"]))
    return None


def _cure(implementation: Implementation, problem: str) -> str:
    hook = implementation.hook
    if not problem.startswith("raised"):
        return f"Answer as the hook promises: def {hook.signature}, see docs/hooks.md."
    if problem.startswith("raised FrozenInstanceError"):
        return "A hook cannot change its arguments. Answer with a new value (dataclasses.replace)."
    if hook.kind is HookKind.OBSERVE:
        return "Check what may be None before you use it; what an observer raises is only logged."
    return (
        "Check what may be missing before you use it. Return None for what is not yours, and for a wrong order raise "
        "InvalidOrder or another of the adapter's order errors, with a sentence that says how to correct the order."
    )
