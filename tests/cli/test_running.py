"""`run` waits for what comes back by itself, and ends with a sentence for what a person must mend."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

from adapter.stream.connection import KafkaConnection

from .running import Commands


def test_without_an_operator_nothing_starts(run: Commands) -> None:
    """It has no default; the sentence names the variable."""
    run.settings({"admin": {"port": 0}})
    told = run("run")

    assert told.code == 2
    assert "ECTICKET_SUBMIT__OPERATOR" in told.err


def test_a_plugin_that_cannot_be_used_stops_the_start(run: Commands) -> None:
    """Orders must not be mapped by half of the plugins."""
    told = run("run", "--set", "plugins.modules=no_such_plugin", "--set", "admin.port=0")

    assert told.code == 1
    assert "no_such_plugin" in told.err


def test_receiving_alone_needs_callbacks_to_be_enabled(run: Commands) -> None:
    """Else nothing would run; the sentence names both settings."""
    told = run("run", "--only", "receive", "--set", "callbacks.enabled=false", "--set", "admin.port=0")

    assert told.code == 2
    assert "--only receive" in told.err
    assert "callbacks.enabled" in told.err


def test_a_taken_port_stops_the_start(run: Commands) -> None:
    """Before anybody waits for the broker; the sentence names the setting."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = run("run", "--set", f"callbacks.port={port}", "--set", "admin.port=0")

    assert told.code == 2
    assert f"callbacks.port: 127.0.0.1:{port} cannot be listened on" in told.err


def test_missing_topics_stop_the_start(run: Commands, kafka: KafkaConnection, names: dict[str, str]) -> None:
    """They are named, with the command and the settings that make them; nothing is made by itself."""
    settings = json.loads(run.config.read_text())
    settings |= {"kafka": {"bootstrap_servers": kafka.bootstrap_servers}, "topics": names, "admin": {"port": 0}}
    run.settings(settings)

    told = run("run")

    assert told.code == 1
    assert names["orders_paid"] in told.err
    assert "ecticket-adapter topics --create" in told.err
    assert f"--config {run.config}" in told.err


def test_an_absent_broker_is_waited_for(run: Commands) -> None:
    """It says so, however long it takes; SIGTERM ends it with 0."""
    command = [sys.executable, "-m", "adapter", "run", "--config", str(run.config), "--set", "admin.port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "waiting for the broker" in line)
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()

    assert process.returncode == 0, rest
    assert json.loads(told)["level"] == "warning"
