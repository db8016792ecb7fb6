"""The demo as a stranger runs it: the command, a real broker, exit code 0 only when the books agree."""

from __future__ import annotations

import os
import subprocess
import sys

from adapter.stream.connection import KafkaConnection


def test_the_demo_accounts_for_every_order(kafka: KafkaConnection) -> None:
    """Fifteen orders, one of each kind, on the tests' broker."""
    environment = {**os.environ, "ECTICKET_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "COLUMNS": "160"}

    done = subprocess.run(
        [sys.executable, "-m", "adapter", "demo", "--orders", "15"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 15 orders are accounted for" in done.stdout
