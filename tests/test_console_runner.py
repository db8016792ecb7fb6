"""The console runs beside the adapter: on its own thread, and never at the cost of a start."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator

import httpx
import pytest
from log_lines import capture_logs
from web.console.test_process_facts import sources

from adapter import console_runner
from adapter.console_runner import ConsoleRunner, paced
from adapter.kafka.connection import KafkaConnection
from adapter.settings import Settings, load
from adapter.stream.records import Record
from adapter.testing.clock import NOON

UNREACHABLE = KafkaConnection(bootstrap_servers="127.0.0.1:9")


def _settings(**values: str) -> Settings:
    return load(None, {"console.port": "0", **{name.replace("__", "."): value for name, value in values.items()}})


async def test_the_console_answers_while_no_broker_does() -> None:
    """On a thread of its own, on loopback only; an outage is when it is needed."""
    console = ConsoleRunner(_settings(), UNREACHABLE, sources(), groups={})
    await console.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{console.port}", trust_env=False) as client:
            facts = (await client.get("/api/facts")).json()
            page = await client.get("/")
    finally:
        await console.stop()

    assert facts["process"]["host"] == "pod-1"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "console" not in {thread.name for thread in threading.enumerate()}


async def test_a_port_in_use_costs_one_sentence_and_not_the_start() -> None:
    """In a sidecar the port may be the shop's, and the shop's pod must become ready."""
    with socket.create_server(("127.0.0.1", 0)) as other, capture_logs() as logs:
        port = other.getsockname()[1]
        console = ConsoleRunner(_settings(console__port=str(port)), UNREACHABLE, sources(), groups={})
        await console.start()
        await console.stop()

    (line,) = [each for each in logs if each["event"] == "console-not-started"]
    assert line["log_level"] == "error"
    assert f"127.0.0.1:{port}" in str(line["detail"])
    assert "console.port" in str(line["detail"])
    assert console.port is None


async def test_reading_leaves_the_interpreter_to_the_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests for as long as it computed."""
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    async def records() -> AsyncGenerator[Record, None]:
        for offset in range(3):
            until = time.thread_time() + 0.002
            while time.thread_time() < until:
                pass
            yield Record(topic="t", partition=0, offset=offset, timestamp=NOON, key=None, value=None, headers=())

    monkeypatch.setattr(console_runner, "PACE_RECORDS", 1)
    monkeypatch.setattr(asyncio, "sleep", sleep)

    assert [record.offset async for record in paced(records())] == [0, 1, 2]
    assert len(rests) == 3
    assert min(rests) >= 0.002
