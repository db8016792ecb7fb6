"""The demo's environment: a broker, a sandbox, topics, and the adapter in a separate process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from adapter.dev.demo.temporary_topics import remove, unique_names
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.ports import LOOPBACK, free_ports
from adapter.dev.local_kafka.progress import Progress
from adapter.dev.local_kafka.supervised import Supervised
from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import SandboxSettings
from adapter.errors import AdapterError
from adapter.kafka import topics
from adapter.settings import Settings, load, variable
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
    "collect.interval_seconds": "2",
    "reports.interval_seconds": "2",
}
"""Minutes become seconds; the waiting times stay longer than the sandbox's delays, as ECPay's real ones do."""
SANDBOX = SandboxSettings(port=0, job_seconds=1.0, visible_after_seconds=0.3, report_interval_seconds=1.0)
MERCHANT = next(each for each in SANDBOX.merchants if each.merchant_id == MERCHANT_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The running parts."""

    settings: Settings
    variables: Mapping[str, str]
    """The environment variables of the adapter and of its commands, which hold all settings."""
    sandbox: RunningSandbox
    adapter: Supervised
    log: Path


@asynccontextmanager
async def set_up(progress: Progress, *, broker: str | None) -> AsyncIterator[Environment]:
    """Start everything, and always stop it in the right order.

    `broker` is a running broker to use instead of a local one. Raises AdapterError if something cannot be started.
    """
    async with AsyncExitStack() as stack:
        servers = broker or await _local_kafka(stack, progress)
        sandbox = await stack.enter_async_context(RunningSandbox(SANDBOX))
        values = _values(servers, sandbox.base_url, names={} if broker is None else unique_names())
        settings = load(None, values)
        if broker is not None:
            stack.push_async_callback(_remove_topics, settings, progress)
        await topics.create(kafka_connection(settings), topic_specs(settings))
        progress.step("starting the adapter")
        log = Path(stack.enter_context(TemporaryDirectory(prefix="ecticket-demo-"))) / "adapter.log"
        variables = _variables(values)
        adapter = _start_adapter(variables, log)
        stack.push_async_callback(asyncio.to_thread, adapter.terminate, STOP_SECONDS)
        stack.callback(progress.step, "stopping everything")
        yield Environment(settings=settings, variables=variables, sandbox=sandbox, adapter=adapter, log=log)


async def _local_kafka(stack: AsyncExitStack, progress: Progress) -> str:
    kafka = LocalKafka(progress=progress)
    stack.push_async_callback(asyncio.to_thread, kafka.stop)
    await asyncio.to_thread(kafka.start)
    return kafka.bootstrap_servers


async def _remove_topics(settings: Settings, progress: Progress) -> None:
    left = await remove(kafka_connection(settings), [spec.name for spec in topic_specs(settings)])
    if left:
        progress.step(f"topics that could not be removed: {', '.join(left)}")


def _values(bootstrap_servers: str, base_url: str, *, names: Mapping[str, str]) -> dict[str, str]:
    """The demo's settings; `names` are the names of topics and groups that differ from the defaults."""
    callbacks, console = free_ports(2)
    return {
        **SCALED,
        **names,
        "kafka.bootstrap_servers": bootstrap_servers,
        "provider.environment": "custom",
        "provider.base_url": base_url,
        f"merchants.{MERCHANT_ID}.hash_key": MERCHANT.credentials.hash_key,
        f"merchants.{MERCHANT_ID}.hash_iv": MERCHANT.credentials.hash_iv,
        "submit.operator": "demo",
        "submit.derive_trade_no": "always",
        "collect.issue_types": "serial_number",
        "admin.host": "127.0.0.1",
        "admin.port": "0",
        "callbacks.host": LOOPBACK,
        "callbacks.port": str(callbacks),
        "callbacks.public_url": f"http://{LOOPBACK}:{callbacks}",
        "console.port": str(console),
    }


def _variables(values: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with the demo's settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ECTICKET_")}
    return {**inherited, **{variable(key): value for key, value in values.items()}}


def _start_adapter(variables: Mapping[str, str], log: Path) -> Supervised:
    """The adapter's `run` command, configured only by environment variables, as in a pod; it ends with the demo."""
    command = [sys.executable, "-m", "adapter", "run"]
    return Supervised(command, log=log, environment=variables, remove_when_orphaned=log.parent)


def must_run(environment: Environment) -> None:
    """Raise AdapterError with the log's last lines if the adapter has ended."""
    if environment.adapter.status is None:
        return
    last = "\n".join(environment.log.read_text(errors="replace").splitlines()[-15:])
    raise AdapterError(
        f"The adapter ended by itself with exit code {environment.adapter.status}. Its last lines:\n{last}"
    )
