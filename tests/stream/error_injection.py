"""A real broker whose answers are replaced by errors: how a single node shows the failures of a cluster.

A single node never says "not the coordinator" of itself, nor "not enough replicas" for long. So the request goes
through and takes effect, or does not reach the broker at all; either way the client gets an error, as from a node that
lost its office after it acted, or before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import Array, Schema


class ErrorInjector:
    """Replaces the answers to some kinds of requests by errors; `injected` counts them by kind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._code = 0
        self._kinds: tuple[type[object], ...] = ()
        self._reaches = True
        self.injected: Counter[str] = Counter()
        send = AIOKafkaClient.send

        async def sending(client: AIOKafkaClient, node: object, request: object, **options: object) -> object:
            kinds, code, reaches = self._kinds, self._code, self._reaches
            if not isinstance(request, kinds):
                return await send(client, node, request, **options)
            self.injected[type(request).__name__] += 1
            if not reaches:
                return SimpleNamespace(error_code=code)
            return _with_error(await send(client, node, request, **options), code)

        monkeypatch.setattr(AIOKafkaClient, "send", sending)

    @contextmanager
    def at(self, code: int, *kinds: type[object], reaches: bool = True) -> Iterator[None]:
        """Answer these kinds of requests with an error; `reaches`: the broker does what was asked all the same."""
        self._code, self._kinds, self._reaches = code, kinds, reaches
        try:
            yield
        finally:
            self._kinds = ()


def _with_error(answer: Struct, code: int) -> Struct:
    """The answer with this code wherever it has one."""
    names = answer.SCHEMA.names
    fields = zip(names, answer.SCHEMA.fields, strict=True)
    return type(answer)(*(_field_with_error(name, field, answer.get_item(name), code) for name, field in fields))


def _field_with_error(name: str, field: object, value: object, code: int) -> object:
    if name == "error_code":
        return code
    if isinstance(field, Array) and isinstance(field.array_of, Schema) and isinstance(value, list):
        return [_field_with_error(name, field.array_of, each, code) for each in value]
    if isinstance(field, Schema) and isinstance(value, tuple):
        parts = zip(field.names, field.fields, value, strict=True)
        return tuple(_field_with_error(*part, code) for part in parts)
    return value
