"""The hooks read as documentation, and what they say is true."""

from __future__ import annotations

import doctest
import types

import pytest

from adapter.extensions import hookspecs
from adapter.extensions.hooks import Hook, hooks
from adapter.extensions.hookspecs import HookKind
from extensions.helpers import manager


def test_hooks_stand_in_the_order_in_which_an_order_meets_them() -> None:
    """Their names and arguments are fixed."""
    assert [hook.signature for hook in hooks().values()] == [
        "configure(settings)",
        "notification_sinks()",
        "add_commands(cli)",
        "parse_order(record)",
        "accept_order(order)",
        "map_item(order, line)",
        "shape_issue(order, request)",
        "order_settled(outcome)",
        "kafka_token()",
    ]


def test_kinds_are_the_contracts() -> None:
    """The kind decides what a failure means."""
    assert {name: hook.kind for name, hook in hooks().items()} == {
        "configure": HookKind.PROVIDE,
        "notification_sinks": HookKind.PROVIDE,
        "add_commands": HookKind.PROVIDE,
        "parse_order": HookKind.CHOOSE,
        "accept_order": HookKind.CHOOSE,
        "map_item": HookKind.CHOOSE,
        "shape_issue": HookKind.CHAIN,
        "order_settled": HookKind.OBSERVE,
        "kafka_token": HookKind.CHOOSE,
    }


@pytest.mark.parametrize("kind", HookKind)
def test_every_kind_says_what_failing_means(kind: HookKind) -> None:
    """For `plugins list` and the manual."""
    assert kind.meaning.endswith(".")
    assert kind.on_failure.endswith(".")


@pytest.mark.parametrize("hook", hooks().values(), ids=lambda hook: hook.name)
def test_every_hook_says_when_it_is_called_and_has_an_example(hook: Hook) -> None:
    """A hook is added with its documentation."""
    assert "\nCalled " in hook.documentation
    assert f"... def {hook.signature}:" in hook.documentation


@pytest.mark.parametrize("hook", hooks().values(), ids=lambda hook: hook.name)
def test_examples_run_and_would_be_taken_as_plugins(hook: Hook) -> None:
    """The example of a hook is a working plugin."""
    example = doctest.DocTestParser().get_doctest(hook.documentation, {}, hook.name, hookspecs.__file__, 0)

    assert doctest.DocTestRunner(verbose=False).run(example, clear_globs=False).failed == 0
    plugin = types.ModuleType("example")
    vars(plugin).update(example.globs)
    assert manager(example=plugin).rejections == ()
