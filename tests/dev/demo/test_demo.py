"""The demo as a user runs it: the command, a real broker, exit code 0 only if the results agree."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from key_words import mentions

from adapter.dev.demo import run
from adapter.dev.demo.environment import Environment
from adapter.dev.demo.result_check import ResultCheck
from adapter.kafka.connection import KafkaConnection
from adapter.settings import load

CLOSED_PORT = "http://127.0.0.1:1"


async def test_the_demo_accounts_for_every_order(kafka: KafkaConnection) -> None:
    """Fifteen orders, one of each kind, on the tests' broker, of which nothing is left; no proxy is asked."""
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), CLOSED_PORT)
    environment = {**os.environ, **proxies, "ECTICKET_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers}

    done = subprocess.run(  # noqa: ASYNC221  # nothing else runs here
        [sys.executable, "-m", "adapter", "demo", "--orders", "15"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert mentions(done.stdout, "15 orders")
    assert mentions(done.stdout, "not-published not-reported state ticket-count")
    assert not [topic for topic in await _topics(kafka) if topic.startswith("demo-")]


async def test_a_broker_that_does_not_answer_leaves_no_producer_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own producer is closed also when its start fails."""
    started: list[AIOKafkaProducer] = []

    async def failing(self: AIOKafkaProducer) -> None:
        started.append(self)
        raise KafkaConnectionError

    monkeypatch.setattr(AIOKafkaProducer, "start", failing)
    stage = SimpleNamespace(settings=load(None, {"kafka.bootstrap_servers": "127.0.0.1:1"}))

    with pytest.raises(KafkaConnectionError):
        await run._send(cast(Environment, stage), [], ResultCheck([], issuances="issuances"))

    assert [producer._closed for producer in started] == [True]


async def _topics(kafka: KafkaConnection) -> list[str]:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        return list(await admin.list_topics())
    finally:
        await admin.close()
