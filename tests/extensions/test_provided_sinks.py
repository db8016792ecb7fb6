"""Sinks are requested once at start, and an error in one is reported with plugin, hook and cure."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from key_words import mentions

from adapter import hookimpl
from adapter.errors import PluginRejected
from adapter.extensions.provided_sinks import provided_sinks
from extensions.helpers import manager

# mypy: disable-error-code="no-untyped-def,no-untyped-call,override"
# The sinks below are what merchants write, mistakes included.


class Sound:
    """Has everything that a sink may have."""

    def __init__(self, name="chat"):
        self.name = name

    def wants(self, event):
        return True

    async def deliver(self, event):
        pass

    async def aclose(self):
        pass


class Least:
    name = "least"

    async def deliver(self, event):
        pass


class Nameless:
    async def deliver(self, event):
        pass


class Plain(Sound):
    def deliver(self, event):
        pass


class Greedy(Sound):
    async def deliver(self, event, more):
        pass


class Asking(Sound):
    def __init__(self, types):
        super().__init__()
        self.types = types


class AsyncWants(Sound):
    async def wants(self, event):
        return True


class SelfishWants(Sound):
    def wants(self):
        return True


class PlainClose(Sound):
    def aclose(self):
        pass


def providing(answer):
    class Provides:
        @hookimpl
        def notification_sinks(self):
            return answer() if callable(answer) and not isinstance(answer, type) else answer

    return Provides()


def rejection(**plugins: object) -> Sequence[str]:
    """The sentences of the refused start."""
    found = manager(**plugins)
    found.raise_if_rejected()
    with pytest.raises(PluginRejected) as refused:
        provided_sinks(found)
    return str(refused.value).splitlines()


def test_sinks_come_in_order_with_their_plugin() -> None:
    """Both of one plugin, and a plugin without any."""
    plugins = manager(one=providing([Sound("b"), Least()]), none=providing([]), two=providing((Sound("a"),)))

    assert [(sink.plugin, sink.name) for sink in provided_sinks(plugins)] == [
        ("one", "b"),
        ("one", "least"),
        ("two", "a"),
    ]


def boom():
    raise RuntimeError("no such room")


async def coroutine():
    return []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "None list"),
        (Sound(), "Sound list"),
        (coroutine, "coroutine"),
        (boom, "RuntimeError test_provided_sinks.py"),
        (boom, "plugins.disabled"),
        ([Sound], "class Sound 1"),
        ([Nameless()], "1 without name"),
        ([Sound(7)], "1 without name"),
        ([Sound("")], "1 name '' 50 letters"),
        ([Sound("a.b")], "1 name 'a.b' 50 letters"),
        ([Sound("聊天")], "1 name '聊天'"),
        ([Sound("x" * 51)], "1 50 letters"),
        ([Sound("a"), Sound("a")], "2 name 'a' 'ours'"),
        ([Plain()], "async def deliver(self"),
        ([object()], "deliver coroutine"),
        ([Greedy()], "deliver one argument"),
        ([AsyncWants()], "wants plain"),
        ([Asking("ecticket.issuance.issued.v1")], "types list"),
        ([Asking(())], "types list"),
        ([Asking([7])], "types list"),
        ([SelfishWants()], "wants one argument"),
        ([PlainClose()], "aclose coroutine"),
    ],
)
def test_a_mistake_stops_the_start_with_plugin_hook_and_cure(answer: object, words: str) -> None:
    """One sentence for each."""
    sentences = rejection(ours=providing(answer))

    assert all(mentions(each, "'ours' notification_sinks()") for each in sentences)
    assert any(mentions(each, words) for each in sentences)


def test_a_name_is_taken_once_among_all_plugins() -> None:
    """Two sinks of one name would share a consumer group, and each would get half of the events."""
    (sentence,) = rejection(one=providing([Sound("chat")]), two=providing([Sound("chat")]))

    assert sentence.startswith("Plugin 'two': ")
    assert mentions(sentence, "'chat' 'one'")


def test_all_mistakes_are_reported_at_once() -> None:
    """Also those of several plugins."""
    assert len(rejection(one=providing(None), two=providing([Plain(), Nameless()]))) == 3


def test_a_plugin_that_only_delivers_changes_no_number() -> None:
    """Its code can change without that an order counts as possibly mapped otherwise."""
    assert manager(chat=providing([Least()])).fingerprint == manager().fingerprint
