"""The hook `kafka_token`: the first token counts, and a failure names its plugin and repeats no token."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from adapter import InvalidOrder, KafkaToken, hookimpl
from adapter.errors import TokenUnavailable
from adapter.extensions import token_hook
from adapter.extensions.token_hook import PluginTokens
from extensions.helpers import manager

TOKEN = KafkaToken(value="a-token", lifetime_seconds=600)


class Giver:
    """Gives what it is made with."""

    def __init__(self, answer: Callable[[], object]) -> None:
        self._answer = answer

    @hookimpl
    def kafka_token(self) -> object:
        return self._answer()


def _raising(error: Exception) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


def _tokens(**answers: Callable[[], object]) -> PluginTokens:
    plugins = manager(**{name: Giver(answer) for name, answer in answers.items()})
    return PluginTokens(lambda: plugins)


async def test_the_first_token_counts() -> None:
    """A plugin that has none leaves it to the next one."""
    assert await _tokens(none=lambda: None, giver=lambda: TOKEN).fetch() == TOKEN


async def test_a_hook_may_call_a_network_because_it_runs_in_a_thread() -> None:
    """Not on the event loop."""
    threads: list[int] = []

    def answer() -> KafkaToken:
        threads.append(threading.get_ident())
        return TOKEN

    await _tokens(giver=answer).fetch()

    assert threads != [threading.get_ident()]


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (_raising(KeyError("a-token")), "KeyError"),
        (_raising(InvalidOrder("a-token")), "InvalidOrder"),
        (lambda: "a-token", "returned"),
        (lambda: KafkaToken(value=""), "ValueError"),
        (lambda: KafkaToken(value="a-token", lifetime_seconds=0), "ValueError"),
    ],
)
async def test_a_failure_names_the_plugin_and_no_token(answer: Callable[[], object], cause: str) -> None:
    """Also one of the errors that are answers in hooks about orders."""
    with pytest.raises(TokenUnavailable) as unavailable:
        await _tokens(broken=answer).fetch()

    assert "'broken'" in str(unavailable.value)
    assert cause in str(unavailable.value)
    assert "a-token" not in str(unavailable.value)


async def test_a_hook_that_does_not_return_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time."""
    monkeypatch.setattr(token_hook, "SECONDS", 0.05)
    ended = threading.Event()

    with pytest.raises(TokenUnavailable, match="'slow'"):
        await _tokens(slow=ended.wait).fetch()
    ended.set()


async def test_without_a_plugin_the_setting_is_named() -> None:
    """What gives tokens without one."""
    with pytest.raises(TokenUnavailable, match=r"kafka\.oauth_token_url"):
        await _tokens().fetch()


async def test_plugins_that_cannot_be_loaded_are_no_traceback() -> None:
    """The connection waits, and the cause is named."""
    with pytest.raises(TokenUnavailable, match="'wrong'"):
        await PluginTokens(lambda: manager(wrong=_Wrong())).fetch()


def test_a_plugin_that_gives_tokens_decides_about_no_order() -> None:
    """Its upgrade does not change the mapping's fingerprint."""
    assert manager(giver=Giver(lambda: TOKEN)).fingerprint == manager().fingerprint


class _Wrong:
    @hookimpl
    async def kafka_token(self) -> KafkaToken:
        return TOKEN
