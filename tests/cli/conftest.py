"""Fixtures of the commands' tests: no settings from outside, and a sandbox to ask."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter.dev.sandbox import RunningSandbox, SandboxSettings
from adapter.kafka.connection import KafkaConnection
from adapter.settings.groups import TopicSettings
from adapter.testing.background import sandbox_in_a_thread

from .command_runner import CLOSED_PORT, KEYS, MERCHANT, Commands, remove


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


@pytest.fixture
def ecticket() -> Iterator[RunningSandbox]:
    """A sandbox whose jobs are done at once."""
    settings = SandboxSettings(port=0, job_seconds=0, report_interval_seconds=0)
    with sandbox_in_a_thread(settings) as sandbox:
        yield sandbox


def settings_for(base_url: str) -> dict[str, object]:
    """Settings with one merchant and an operator, a broker that is not there, and this ECTicket."""
    return {
        "kafka": {"bootstrap_servers": CLOSED_PORT},
        "merchants": {MERCHANT.merchant_id: KEYS},
        "provider": {"environment": "custom", "base_url": base_url, "connect_timeout_seconds": 2},
        "submit": {"operator": "web"},
        "callbacks": {"host": "127.0.0.1", "port": 0},
    }


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    """Runs commands against an ECTicket and a broker that are not there."""
    commands = Commands(capsys, tmp_path / "settings.yaml")
    commands.settings(settings_for(f"http://{CLOSED_PORT}"))
    return commands


@pytest.fixture
def ask(run: Commands, ecticket: RunningSandbox) -> Commands:
    """Runs commands against the sandbox."""
    run.settings(settings_for(ecticket.base_url))
    return run


@pytest.fixture
def names(kafka: KafkaConnection) -> Iterator[dict[str, str]]:
    """Names of topics that no other test has; what was made under them is removed."""
    unique = uuid.uuid4().hex[:12]
    names = {key: f"{name}-{unique}" for key, name in TopicSettings().names().items()}
    yield names
    asyncio.run(remove(kafka, list(names.values())))
