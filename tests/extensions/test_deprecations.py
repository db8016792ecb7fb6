"""A hook or an argument that will not stay is said at start, by plugin and hook, and works as before."""

from __future__ import annotations

import pytest
from key_words import mentions

from adapter import hookimpl
from extensions.conftest import Marks
from extensions.helpers import PLAN, item_numbers, manager, order, runner_with, ticket

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugins below are what merchants write, mistakes included.


class TakesBoth:
    @hookimpl
    def map_item(self, order, line):
        return [ticket(line.quantity)]


class TakesOne:
    @hookimpl
    def map_item(self, line):
        return None


async def test_deprecated_hook_is_reported_by_plugin_and_hook_and_still_counts(mark: Marks) -> None:
    """With what to write instead; pluggy's own warning shows in the tests of the plugin's author."""
    cure = "Write map_items(order, lines) instead; it goes with 2.0."
    mark("map_item", DeprecationWarning(cure), None)

    with pytest.warns(DeprecationWarning, match="Write map_items"):
        warned = manager(old=TakesBoth()).warnings
    with pytest.warns(DeprecationWarning, match="Write map_items"):
        parts = await runner_with(old=TakesBoth()).parts(order(), PLAN)

    (warning,) = warned
    assert mentions(warning, "'old' map_item(order deprecated")
    assert warning.endswith(cure)
    assert item_numbers(parts) == ["VNS21400"]


@pytest.mark.filterwarnings("ignore:It was never set:DeprecationWarning")
def test_deprecated_argument_is_reported_for_plugins_that_take_it(mark: Marks) -> None:
    """A plugin that does not take the argument gets no warning."""
    cure = "It was never set; leave it out."
    mark("map_item", None, {"order": DeprecationWarning(cure)})

    warned = manager(takes=TakesBoth(), leaves=TakesOne()).warnings

    (warning,) = warned
    assert mentions(warning, "'takes' map_item(order order deprecated")
    assert warning.endswith(cure)


def test_nothing_is_deprecated_unless_marked() -> None:
    """No warning that everybody has to learn to overlook."""
    assert manager(takes=TakesBoth()).warnings == ()
