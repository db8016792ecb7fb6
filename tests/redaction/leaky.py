"""The adapter with a leak planted in each of its outputs, each in another encoding: the search must find them all.

`python -m redaction.leaky run` runs the adapter, and with other arguments `many_commands`.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client import Gauge
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapter.values import replace
from redaction.marks import CUSTOMER, KEYS


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(each):04x}" for each in text)


def _hex(text: str) -> str:
    return text.encode().hex()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _backwards(text: str) -> str:
    return text[::-1]


def _url(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _piece(text: str) -> str:
    return text[3:11]


PLANTED: Final[Mapping[str, tuple[str, Callable[[str], str]]]] = {
    "log/worker-2": ("phone", _escaped),
    "log/worker-2: spans": ("plugin's token", _piece),
    "admin/metrics": ("hash key", _hex),
    "admin/info": ("name", _base64),
    "admin/livez": ("email", _url),
    "console": ("address", _backwards),
    "callbacks": ("signing key", _piece),
    "webhook": ("SASL password", _base64),
    "topic/issuances/value": ("SASL password", _base64),
    "topic/issuances/header ce_leak": ("national id", _escaped),
    "topic/dead_letters/header ecticket-message": ("Chinese name", _url),
    "topic/tickets/value": ("webhook secret", _hex),
    "commits": ("hash IV", _hex),
    "leaky/explain A-1": ("hash key by platform", str.upper),
    "leaky/termination message": ("password of the public address", _piece),
    "bundle/host.json": ("mobile of Taiwan", str),
}
"""By output (and what of it): the mark that is planted in it, and how it is written."""


def _leak(output: str) -> str:
    mark, write = PLANTED[output]
    return write({**KEYS, **CUSTOMER}[mark])


def plant() -> None:
    """Change the adapter in this process so that each output leaks."""
    from opentelemetry.sdk.trace import Span

    from adapter import app, console_runner
    from adapter.cli import explain, main
    from adapter.kafka.publisher import KafkaPublisher
    from adapter.kafka.transactional_producer import AioKafkaTransactionalProducer
    from adapter.operations import host_facts
    from adapter.stream.records import ProducerRecord
    from adapter.web.metrics import Metrics

    def wrapped(owner: object, name: str, around: Callable[[Callable[..., object]], Callable[..., object]]) -> None:
        setattr(owner, name, around(getattr(owner, name)))

    def with_metric(original: Callable[..., object]) -> Callable[..., object]:
        def initialised(self: Metrics, *arguments: object, **named: object) -> None:
            original(self, *arguments, **named)
            Gauge("leak", "A leak.", ["text"], registry=self.registry).labels(_leak("admin/metrics")).set(1)
            logging.getLogger("adapter.leak").warning("leak %s", _leak("log/worker-2"))

        return initialised

    def with_entry(output: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
        def around(original: Callable[..., object]) -> Callable[..., object]:
            def called(*arguments: object) -> object:
                found = original(*arguments)
                assert isinstance(found, Mapping)
                return {**found, "leak": _leak(output)}

            return called

        return around

    def changed(record: ProducerRecord) -> ProducerRecord:
        setting = record.topic.rpartition(".")[2]
        if setting == "issuances":
            data = json.loads(record.value or b"")
            value = json.dumps({**data, "reference": _leak("topic/issuances/value")}).encode()
            header = ("ce_leak", _leak("topic/issuances/header ce_leak").encode())
            return replace(record, value=value, headers=(*record.headers, header))
        if setting == "dead_letters":
            added = ("ecticket-message", _leak("topic/dead_letters/header ecticket-message").encode())
            return replace(record, headers=(*record.headers, added))
        if setting == "tickets":
            return replace(record, value=json.dumps({"leak": _leak("topic/tickets/value")}).encode())
        return record

    def transaction(original: Callable[..., object]) -> Callable[..., object]:
        def publish(self: object, records: list[ProducerRecord], *, offset: int, metadata: str) -> object:
            leaky = [changed(record) for record in records]
            return original(self, leaky, offset=offset, metadata=metadata + _leak("commits"))

        return publish

    def with_attribute(original: Callable[..., object]) -> Callable[..., object]:
        def started(self: Span, *arguments: object, **named: object) -> None:
            original(self, *arguments, **named)
            self.set_attribute("leak", _leak("log/worker-2: spans"))

        return started

    def single(original: Callable[..., object]) -> Callable[..., object]:
        return lambda self, record: original(self, changed(record))

    def answering(original: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments: _LeakyAnswers(original(*arguments))  # type: ignore[arg-type]  # it is an application

    def facts(original: Callable[..., object]) -> Callable[..., object]:
        return lambda pairs: original([*pairs, ("leak", _leak("leaky/explain A-1"))])

    def sentences(original: Callable[..., object]) -> Callable[..., object]:
        return lambda error, context: [str(original(error, context)), _leak("leaky/termination message")]

    wrapped(Metrics, "__init__", with_metric)
    wrapped(app.Adapter, "info", with_entry("admin/info"))
    wrapped(app.Adapter, "liveness_problems", lambda _: lambda _self: [_leak("admin/livez")])
    wrapped(console_runner, "process_facts", with_entry("console"))
    wrapped(app, "callbacks_app", answering)
    wrapped(Span, "start", with_attribute)
    wrapped(AioKafkaTransactionalProducer, "publish", transaction)
    wrapped(KafkaPublisher, "publish", single)
    wrapped(explain, "print_facts", facts)
    wrapped(sys.modules[main.__module__], "_sentences", sentences)
    wrapped(host_facts, "limits", with_entry("bundle/host.json"))


class _LeakyAnswers:
    """An application that adds a leak to the head of each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def leaky(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-leak", _leak("callbacks").encode())]
            await send(message)

        await self._app(scope, receive, leaky)


if __name__ == "__main__":
    from adapter.__main__ import main as start
    from redaction.many_commands import run_all

    plant()
    if sys.argv[1] == "run":
        sys.exit(start())
    run_all(Path(sys.argv[1]), json.loads(sys.argv[2]))
