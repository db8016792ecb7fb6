"""Which Kafka clients are constructed and never closed.

A client that is not closed is reported by the garbage collector, which may run during a later test. So each client is
counted when it is constructed, and the test that constructed it is the one that fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

_ENDS = {AIOKafkaProducer: "stop", AIOKafkaConsumer: "stop", AIOKafkaAdminClient: "close"}


def watch_clients(patch: pytest.MonkeyPatch) -> Collection[str]:
    """The clients of this process that are open, as long as `patch` lasts: class, and where it was constructed."""
    unclosed: dict[object, str] = {}
    for client, end in _ENDS.items():
        patch.setattr(client, "__init__", _constructing(client, unclosed))
        patch.setattr(client, end, _ending(getattr(client, end), unclosed))
    return unclosed.values()


def _constructing(client: type[Any], unclosed: dict[object, str]) -> Callable[..., None]:
    construct = client.__init__

    def constructing(self: Any, *args: object, **options: object) -> None:
        construct(self, *args, **options)
        token = object()  # not the client: that would keep the client, and what it overlooked, from the collector
        setattr(self, _token_name(unclosed), token)
        caller = sys._getframe(1)
        unclosed[token] = f"{client.__name__} of {caller.f_code.co_filename}:{caller.f_lineno}"

    return constructing


def _ending(
    end: Callable[[Any], Coroutine[object, object, None]], unclosed: dict[object, str]
) -> Callable[[Any], Coroutine[object, object, None]]:
    async def ending(self: Any) -> None:
        unclosed.pop(getattr(self, _token_name(unclosed), None), None)  # without a token it is older than the watch
        await end(self)

    return ending


def _token_name(unclosed: dict[object, str]) -> str:
    return f"_token_{id(unclosed)}"
