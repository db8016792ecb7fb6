"""Runs commands: in this process for what they print, in one of their own for what only a process shows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from adapter.cli import main
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS
from adapter.kafka.connection import KafkaConnection

MERCHANT = PUBLIC_TEST_MERCHANTS[0]
KEYS = {"hash_key": MERCHANT.credentials.hash_key, "hash_iv": MERCHANT.credentials.hash_iv}
CLOSED_PORT = "127.0.0.1:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """Standard output, which is one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def logged(self) -> list[dict[str, object]]:
        """The log lines on standard error."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs commands in this process, each with a settings file."""

    capture: pytest.CaptureFixture[str]
    config: Path

    def __call__(self, *arguments: str) -> Result:
        """Run one command."""
        self.capture.readouterr()
        code = main(["--config", str(self.config), *arguments])
        output = self.capture.readouterr()
        return Result(code=code, out=output.out, err=output.err)

    def settings(self, settings: Mapping[str, object]) -> None:
        """Write the settings file; JSON is YAML too."""
        self.config.write_text(json.dumps(settings), encoding="utf-8")


def in_own_process(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python -m adapter` with these arguments."""
    command = [sys.executable, "-m", "adapter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


async def remove(kafka: KafkaConnection, topics: list[str]) -> None:
    """Remove topics, those that are not there too."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        await admin.delete_topics(topics)
    finally:
        await admin.close()
