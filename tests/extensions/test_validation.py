"""Broken plugins are refused when they are loaded, with plugin, hook and cure."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
from key_words import mentions
from pydantic import BaseModel

from adapter import Line, Order, TicketItem, hookimpl
from adapter.errors import PluginRejected
from extensions.helpers import manager, rejection

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
# The plugins below are what merchants write, mistakes included.


class Misspelt:
    @hookimpl
    def map_items(self, order, line):
        return None


class WrongArgument:
    @hookimpl
    def map_item(self, order, lines):
        return None


class Default:
    @hookimpl
    def map_item(self, order, line=None):
        return None


class KeywordOnly:
    @hookimpl
    def map_item(self, order, *, line):
        return None


class Everything:
    @hookimpl
    def map_item(self, **arguments):
        return None


class NoSelf:
    @hookimpl
    def accept_order():  # type: ignore[misc]  # the mistake
        return None


class Coroutine:
    @hookimpl
    async def map_item(self, order, line):
        return None


class AsyncGenerator:
    @hookimpl
    async def map_item(self, order: Order, line: Line) -> AsyncIterator[TicketItem]:
        yield TicketItem(quantity=1, issue_type=line.issue_type)  # type: ignore[arg-type]  # never runs


class Generator:
    @hookimpl
    def map_item(self, order: Order, line: Line) -> Iterator[TicketItem]:
        yield from ()


class Wrapper:
    @hookimpl(wrapper=True)
    def map_item(self, order, line):
        return (yield)


class Unmarked:
    def map_item(self, order, line):
        return None


class Empty:
    pass


class UnusedModel:
    settings_model = dict

    @hookimpl
    def accept_order(self, order):
        return None


class ModelWithoutHook:
    settings_model = BaseModel

    @hookimpl
    def accept_order(self, order):
        return None


class RaisesWhenLookedAt:
    @property
    def settings_model(self):
        raise KeyError("王小明")


class CannotStart:
    def __init__(self) -> None:
        raise RuntimeError("no database")


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Misspelt(), "no map_items 'map_item'"),
        (WrongArgument(), "map_item no lines 'line'"),
        (Default(), "map_item line default"),
        (KeywordOnly(), "map_item takes line"),
        (Everything(), "map_item takes **arguments"),
        (NoSelf(), "def accept_order(self order"),
        (Coroutine(), "map_item coroutine"),
        (AsyncGenerator(), "map_item async generator"),
        (Generator(), "map_item generator"),
        (Wrapper(), "map_item wrapper"),
        (Unmarked(), "map_item not marked"),
        (Empty(), "no hook Mark"),
        ("text", "no hook"),
        (UnusedModel(), "settings_model"),
        (
            ModelWithoutHook(),
            "configure(settings)",
        ),
        (RaisesWhenLookedAt(), "KeyError"),
        (CannotStart, "RuntimeError database"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__) if not isinstance(value, str) else "",
)
def test_broken_plugin_is_refused_by_name_with_a_cure(plugin: object, words: str) -> None:
    """The message is enough to fix the plugin."""
    message = rejection(bundles=plugin)

    assert message.startswith("Plugin 'bundles': ")
    assert mentions(message, words)


def test_every_mistake_of_a_plugin_is_reported_at_once() -> None:
    """All errors are reported at once."""

    class TwoMistakes(Misspelt, Coroutine):
        pass

    assert len(rejection(bundles=TwoMistakes()).splitlines()) == 2


def test_one_refused_plugin_does_not_hide_another() -> None:
    """All refusals are there, and stop the start together."""
    found = manager(first=Misspelt(), second=Empty(), third=types.SimpleNamespace())

    assert [refused.name for refused in found.rejections] == ["first", "second", "third"]
    with pytest.raises(PluginRejected, match=r"(?s)'first'.*'second'.*'third'"):
        found.raise_if_rejected()


def test_the_same_object_twice_is_refused() -> None:
    """Its observers would hear everything twice."""

    class Sound:
        @hookimpl
        def accept_order(self, order):
            return None

    plugin = Sound()

    assert mentions(rejection(first=plugin, second=plugin), "'second' same 'first'")


def test_hook_of_a_later_version_may_be_marked_optional() -> None:
    """A plugin can serve several versions of the adapter."""

    class FromTheFuture:
        @hookimpl(optionalhook=True)
        def order_cancelled(self, order):
            return None

    assert manager(modern=FromTheFuture()).rejections == ()


def test_a_hook_imported_into_a_plugin_is_not_its_own() -> None:
    """Only what is written in the plugin is taken for an unmarked hook."""

    class Borrows:
        map_item = partial(print)

        @hookimpl
        def accept_order(self, order):
            return None

    assert manager(borrows=Borrows()).rejections == ()


def test_looking_for_hooks_runs_no_property() -> None:
    """Loading a plugin must not run more of it than its import."""

    class Lazy:
        @property
        def map_item(self):
            raise AssertionError("was run")

        @hookimpl
        def accept_order(self, order):
            return None

    assert manager(lazy=Lazy()).rejections == ()
