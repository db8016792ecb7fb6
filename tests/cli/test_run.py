"""`run` waits for what comes back by itself, and ends with a sentence for what a person must correct."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from adapter.kafka.connection import KafkaConnection

from .command_runner import CLOSED_PORT, Commands


def test_without_an_operator_nothing_starts(run: Commands) -> None:
    """It has no default; the sentence names the variable."""
    run.settings({"admin": {"port": 0}})
    result = run("run")

    assert result.code == 2
    assert "ECTICKET_SUBMIT__OPERATOR" in result.err


def test_a_plugin_that_cannot_be_used_stops_the_start(run: Commands) -> None:
    """Orders must not be mapped by half of the plugins."""
    result = run("run", "--set", "plugins.modules=no_such_plugin", "--set", "admin.port=0")

    assert result.code == 1
    assert "no_such_plugin" in result.err


def test_receiving_alone_needs_callbacks_to_be_enabled(run: Commands) -> None:
    """Else nothing would run; the sentence names both settings."""
    result = run("run", "--only", "receive", "--set", "callbacks.enabled=false", "--set", "admin.port=0")

    assert result.code == 2
    assert "receive" in result.err
    assert "callbacks.enabled" in result.err


def test_a_taken_port_stops_the_start(run: Commands) -> None:
    """Before anybody waits for the broker; the sentence names the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("run", "--set", f"callbacks.port={port}", "--set", "admin.port=0")

    assert result.code == 2
    assert f"callbacks.port: 127.0.0.1:{port}" in result.err


def test_a_sink_that_cannot_be_used_stops_the_start(run: Commands, tmp_path: Path) -> None:
    """With plugin, hook and cure."""
    plugin = tmp_path / "chat.py"
    plugin.write_text("from adapter import hookimpl\n@hookimpl\ndef notification_sinks():\n    return [object()]\n")
    settings = ("--set", f"plugins.paths={plugin}", "--set", "admin.port=0")
    result = run("run", *settings)

    assert result.code == 1
    for fact in ("'chat'", "notification_sinks()", "sink 1", "name"):
        assert fact in result.err


def test_the_settings_of_a_built_in_sink_are_settings(run: Commands) -> None:
    """A mistake in them is wrong usage."""
    result = run("run", "--set", 'plugins.settings={"webhook": {"endpoints": {"shop": {"url": "shop.example"}}}}')

    assert result.code == 2
    assert "plugins.settings.webhook.endpoints.shop" in result.err


def test_delivering_without_a_sink_is_no_work(run: Commands) -> None:
    """A call with only that option has forgotten something."""
    result = run("run", "--only", "deliver", "--set", "admin.port=0")

    assert result.code == 2
    for fact in ("--only", "deliver", "sink"):
        assert fact in result.err


def test_missing_topics_stop_the_start(run: Commands, kafka: KafkaConnection, names: dict[str, str]) -> None:
    """They are named, with the command and the settings that make them; nothing is made by itself."""
    settings = json.loads(run.config.read_text())
    settings |= {"kafka": {"bootstrap_servers": kafka.bootstrap_servers}, "topics": names, "admin": {"port": 0}}
    run.settings(settings)

    result = run("run")

    assert result.code == 1
    assert names["orders_paid"] in result.err
    assert "ecticket-adapter topics --create" in result.err
    assert f"--config {run.config}" in result.err


def test_an_absent_broker_is_waited_for(run: Commands) -> None:
    """It says so, however long it takes; SIGTERM ends it with 0."""
    command = [sys.executable, "-m", "adapter", "run", "--config", str(run.config), "--set", "admin.port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        entries = (json.loads(line) for line in process.stderr if line.startswith("{"))
        waiting = next(entry for entry in entries if entry["event"] == "start-waits" and CLOSED_PORT in str(entry))
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()

    assert process.returncode == 0, rest
    assert waiting["level"] == "warning"
