"""The demo as a stranger runs it: the command, a real broker, exit code 0 only when the books agree."""

from __future__ import annotations

import os
import subprocess
import sys

from aiokafka.admin import AIOKafkaAdminClient

from adapter.stream.connection import KafkaConnection

NOBODY = "http://127.0.0.1:1"


async def test_the_demo_accounts_for_every_order(kafka: KafkaConnection) -> None:
    """Fifteen orders, one of each kind, on the tests' broker, of which nothing is left; no proxy is asked."""
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), NOBODY)
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
    assert "All 15 orders are accounted for" in done.stdout
    assert not [topic for topic in await _topics(kafka) if topic.startswith("demo-")]


async def _topics(kafka: KafkaConnection) -> list[str]:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()
