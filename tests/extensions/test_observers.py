"""Observers run on their own thread, and no order is affected by them."""

from __future__ import annotations

import threading

import pytest
from key_words import mentions
from log_lines import log_line

from adapter import InvalidOrder, OrderOutcome
from adapter.errors import HookFailed
from adapter.extensions import hook_runner
from adapter.values import replace
from extensions.helpers import PLAN, default_order, item_numbers, limited, manager, order, runner_with
from extensions.plugins import Bundles, coroutine, observing, raises

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugins below are what merchants write, mistakes included.


OUTCOME = OrderOutcome(merchant_id="3085676", order_id="A-1", reference={"cart": [1]}, parked="unmapped-item")


async def test_observers_are_called_in_a_thread_of_their_own() -> None:
    """All of them, in the order of the outcomes; closing waits for them."""
    first, second = Bundles(), Bundles()
    plugins = runner_with(first=first, second=second)
    for number in range(3):
        plugins.settled(replace(OUTCOME, order_id=str(number)))

    await plugins.aclose()

    assert [outcome.order_id for outcome in first.outcomes] == ["0", "1", "2"]
    assert first.outcomes == second.outcomes
    assert threading.get_ident() not in dict(first.threads).values()


@pytest.mark.parametrize(
    ("answer", "expected_text"),
    [
        (raises(ValueError("王小明")), "ValueError"),
        (raises(InvalidOrder("nothing")), "InvalidOrder"),
        (coroutine, "coroutine"),
    ],
)
async def test_failing_observer_is_counted_and_reported_and_affects_no_order(
    answer: object, expected_text: str
) -> None:
    """Other observers still get the outcome."""
    failures: list[HookFailed] = []
    sound = Bundles()
    plugins = limited(60.0, failures, broken=observing(answer), sound=sound)

    plugins.settled(OUTCOME)
    await plugins.aclose()

    assert sound.outcomes == [OUTCOME]
    assert [(failure.plugin, failure.hook) for failure in failures] == [("broken", "order_settled")]
    assert expected_text in str(failures[0])
    assert mentions(str(failures[0]), "No order")
    assert "replay" not in str(failures[0])
    assert "王小明" not in str(failures[0])
    counts = {each.plugin: (each.calls, each.failures) for each in plugins.counters.snapshot()}
    assert counts == {"broken": (1, 1), "sound": (1, 0)}


async def test_what_an_observer_returns_is_ignored() -> None:
    """A lambda that returns something is no mistake."""
    failures: list[HookFailed] = []
    plugins = limited(60.0, failures, chatty=observing(lambda outcome: "thanks"))
    plugins.settled(OUTCOME)

    await plugins.aclose()

    assert failures == []


async def test_observer_cannot_change_what_others_hear() -> None:
    """Each gets its own copy of `reference`."""
    sound = Bundles()
    plugins = runner_with(careless=observing(lambda outcome: outcome.reference.clear()), sound=sound)

    plugins.settled(OUTCOME)
    await plugins.aclose()

    assert sound.outcomes == [OUTCOME]
    assert OUTCOME.reference == {"cart": [1]}


async def test_blocking_observer_takes_no_time_from_orders(gate: threading.Event) -> None:
    """Orders are prepared while an observer is stuck, and closing does not wait for it for ever."""
    failures: list[HookFailed] = []
    plugins = limited(0.3, failures, slow=observing(lambda outcome: gate.wait(30)), bundles=Bundles())
    plugins.settled(OUTCOME)

    assert len(item_numbers(await plugins.parts(order(), PLAN))) == 1
    await plugins.aclose()

    assert plugins.stuck_threads == 1
    assert [failure.plugin for failure in failures] == ["slow"]
    assert mentions(str(failures[0]), "No order")


async def test_observers_far_behind_miss_outcomes(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes for a stuck observer must not fill the memory; dropped ones count as failed."""
    monkeypatch.setattr(hook_runner, "OBSERVER_BACKLOG", 3)
    plugins = runner_with(slow=observing(lambda outcome: gate.wait(30)))
    for _ in range(5):
        plugins.settled(OUTCOME)
    gate.set()

    await plugins.aclose()

    assert [(each.calls, each.failures) for each in plugins.counters.snapshot()] == [(5, 2)]


async def test_observer_failures_are_logged_unless_a_callback_receives_them(caplog: pytest.LogCaptureFixture) -> None:
    """No failure is silent."""
    hook_runner.log_failure(HookFailed("Plugin 'chat': ...", plugin="chat", hook="order_settled"))

    (line,) = map(log_line, caplog.records)
    assert line == {
        "event": "observer-failed",
        "log_level": "warning",
        "plugin": "chat",
        "hook": "order_settled",
        "detail": "Plugin 'chat': ...",
    }


async def test_failures_of_observers_are_logged_by_default(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The default log is that of the running adapter."""
    found = manager(broken=observing(raises(ValueError())))
    plugins = hook_runner.HookRunner(found, parse_default=default_order)
    for _ in range(20):
        plugins.settled(OUTCOME)

    await plugins.aclose()

    assert caplog.messages == ["observer-failed"] * 20
    assert [each.failures for each in plugins.counters.snapshot()] == [20]
