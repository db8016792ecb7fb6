"""Everything the demo needs around it: a broker, a sandbox, topics, and the adapter in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from adapter.errors import AdapterError
from adapter.local.broker import LocalKafka
from adapter.local.progress import Progress
from adapter.local.supervised import Supervised
from adapter.sandbox.running import RunningSandbox
from adapter.sandbox.settings import SandboxSettings
from adapter.settings import Settings, load, variable
from adapter.settings.groups import TopicSettings
from adapter.stream import topics
from adapter.wiring import kafka_connection, topic_specs

MERCHANT_ID = "3085676"
"""ECPay's public test merchant of family `ticket`; its keys are on ECPay's own page 29911 and in the sandbox."""
STOP_SECONDS = 30.0

SCALED: Mapping[str, str] = {
    "submit.reissue_after_seconds": "4",
    "submit.refusal_final_after_seconds": "4",
    "submit.defer_seconds": "1",
    "confirm.first_query_seconds": "1.5",
    "confirm.query_interval_seconds": "0.5",
}
"""Minutes made seconds: the waiting times stay longer than the sandbox's lags, as ECPay's real ones do."""
SANDBOX = SandboxSettings(port=0, job_seconds=1.0, visible_after_seconds=0.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is running."""

    settings: Settings
    sandbox: RunningSandbox
    adapter: Supervised
    log: Path


@asynccontextmanager
async def set_up(progress: Progress, *, broker: str | None) -> AsyncIterator[Stage]:
    """Start everything, and stop it in the right order whatever happens.

    `broker` is a running broker to use instead of a local one. Raises AdapterError when something cannot be started.
    """
    with TemporaryDirectory(prefix="ecticket-demo-") as folder:
        kafka = None if broker else LocalKafka(progress=progress)
        try:
            if kafka is not None:
                await asyncio.to_thread(kafka.start)
            async with RunningSandbox(SANDBOX) as sandbox:
                servers = kafka.bootstrap_servers if kafka is not None else str(broker)
                values = _values(servers, sandbox.base_url, own_names=kafka is None)
                settings = load(None, values)
                await topics.create(kafka_connection(settings), topic_specs(settings))
                progress.step("starting the adapter")
                log = Path(folder) / "adapter.log"
                adapter = _start_adapter(values, log)
                try:
                    yield Stage(settings=settings, sandbox=sandbox, adapter=adapter, log=log)
                finally:
                    await asyncio.to_thread(adapter.terminate, STOP_SECONDS)
        finally:
            if kafka is not None:
                await asyncio.to_thread(kafka.stop)


def _values(bootstrap_servers: str, base_url: str, *, own_names: bool) -> dict[str, str]:
    """The demo's settings; on a broker that was there before it gives its topics and groups names of its own."""
    keys = next(each.credentials for each in SANDBOX.merchants if each.merchant_id == MERCHANT_ID)
    return {
        **SCALED,
        **(_own_names(f"demo-{uuid.uuid4().hex[:8]}") if own_names else {}),
        "kafka.bootstrap_servers": bootstrap_servers,
        "provider.environment": "custom",
        "provider.base_url": base_url,
        f"merchants.{MERCHANT_ID}.hash_key": keys.hash_key,
        f"merchants.{MERCHANT_ID}.hash_iv": keys.hash_iv,
        "submit.operator": "demo",
        "submit.derive_trade_no": "always",
        "admin.host": "127.0.0.1",
        "admin.port": "0",
    }


def _own_names(run: str) -> dict[str, str]:
    topics = {name: f"{run}.{topic}" for name, topic in TopicSettings().model_dump().items()}
    return {"kafka.group_prefix": run, **{f"topics.{name}": topic for name, topic in topics.items()}}


def _start_adapter(values: Mapping[str, str], log: Path) -> Supervised:
    """The adapter's own `run` command, told everything by environment variables as in a pod; it ends with the demo."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ECTICKET_")}
    environment |= {variable(key): value for key, value in values.items()}
    command = [sys.executable, "-m", "adapter", "run"]
    return Supervised(command, log=log, environment=environment, remove_when_orphaned=log.parent)


def must_run(stage: Stage) -> None:
    """Raises AdapterError with the log's last lines when the adapter has ended by itself."""
    if stage.adapter.status is None:
        return
    last = "\n".join(stage.log.read_text(errors="replace").splitlines()[-15:])
    raise AdapterError(f"The adapter ended by itself with exit code {stage.adapter.status}. Its last lines:\n{last}")
