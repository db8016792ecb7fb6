"""An adapter with work and with trouble, for the screenshots of docs/console.md: a broker, a sandbox, and orders.

One merchant is locked out, one has orders in doubt and jobs that take long; some orders need a person. Run as
`python -m browser.screenshots` in `tests`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import httpx

from adapter.dev.demo.environment import SCALED
from adapter.dev.demo.orders import sample_orders, sandbox_faults
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.local_kafka.supervised import Supervised
from adapter.dev.producing import producing
from adapter.dev.sandbox import RunningSandbox, SandboxSettings
from adapter.kafka import topics
from adapter.settings import Settings, load, variable
from adapter.wiring import kafka_connection, topic_specs

BUSY, LOCKED_OUT, QUIET = "3085676", "3362787", "3361934"
ORDERS_PER_SECOND = 12.0
PLUGIN = """
    from adapter import IssueType, TicketItem, hookimpl

    __version__ = "2.1.0"

    @hookimpl
    def map_item(order, line):
        if line.sku == "BROKEN":
            raise LookupError("no such bundle")
        if line.sku == "FAMILY-DAY":
            return [TicketItem(item_no="VQT04959", quantity=4 * line.quantity, issue_type=IssueType.ELECTRONIC)]
        return None
    """
FAULTS: tuple[Mapping[str, object], ...] = (
    {"fault": "lock_out", "merchant_id": LOCKED_OUT, "seconds": 1800},
    {"fault": "answer_lost_before", "endpoint": "issue", "trade_no_prefix": "DOUBT"},
    {"fault": "garbage", "endpoint": "query_issue_result", "trade_no_prefix": "DOUBT"},
    {"fault": "job_never_finishes", "trade_no_prefix": "SLOW"},
    {"fault": "answer_lost_after", "endpoint": "issue", "trade_no_prefix": "STORY", "count": 1},
)
WEBHOOK = {
    "url": "http://127.0.0.1:9/events",  # no process listens there
    "secrets": "whsec_" + "c2lnbmluZyBrZXkgb2YgYSBzY2VuZSwgMzIgYnl0ZXM=",
    "allow_http": True,
    "allow_networks": ["127.0.0.0/8"],
}
STORY = "A-2026-1130"
"""The order whose timeline is shown: its answer was lost, then it was found, and issued."""


def _order(order_id: str, *, merchant_id: str = BUSY, sku: str = "VQT04959", **more: object) -> bytes:
    customer = {"name": "王小明", "phone": "0912345678", "email": "ming@example.com"}
    order = {
        "order_id": order_id,
        "merchant_id": merchant_id,
        "issue_type": "electronic",
        "customer": customer,
        "lines": [{"sku": sku, "quantity": 2}],
        **more,
    }
    return json.dumps(order, ensure_ascii=False).encode()


def _troubles() -> list[tuple[str, bytes]]:
    """Order id and record of each order that does not go well."""
    found = [(f"L-{number}", _order(f"L-{number}", merchant_id=LOCKED_OUT)) for number in range(40)]
    found += [(f"D-{number}", _order(f"D-{number}", trade_no=f"DOUBT{number:05}")) for number in range(7)]
    found += [(f"S-{number}", _order(f"S-{number}", trade_no=f"SLOW{number:05}")) for number in range(11)]
    found += [(f"B-{number}", _order(f"B-{number}", sku="BROKEN")) for number in range(3)]
    found += [(f"U-{number}", _order(f"U-{number}", merchant_id="9999999")) for number in range(2)]
    found += [(f"F-{number}", _order(f"F-{number}", sku="FAMILY-DAY", merchant_id=QUIET)) for number in range(25)]
    return [*found, (STORY, _order(STORY, trade_no="STORY00001"))]


@asynccontextmanager
async def console_scene() -> AsyncIterator[str]:
    """The address of the console, as soon as it listens; orders keep coming."""
    with LocalKafka() as kafka, TemporaryDirectory() as folder:
        async with RunningSandbox(SandboxSettings(port=0, job_seconds=4.0, visible_after_seconds=0.3)) as sandbox:
            plugin = Path(folder) / "bundles.py"
            plugin.write_text(dedent(PLUGIN))
            ports = free_ports(3)
            values = _values(kafka.bootstrap_servers, sandbox.base_url, plugin, *ports)
            settings = load(None, values)
            await topics.create(kafka_connection(settings), topic_specs(settings))
            samples = sample_orders(2000, today=datetime.now(UTC).date())
            async with httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as client:
                faults = [*FAULTS, *sandbox_faults(samples)]
                (await client.put("/_/faults", json={"seed": 1, "faults": faults})).raise_for_status()
            environment = {variable(key): value for key, value in values.items()} | {"PATH": "/usr/bin:/bin"}
            command = [sys.executable, "-m", "adapter", "run"]
            log = Path(folder) / "adapter.log"
            adapter = Supervised(command, log=log, environment=environment, remove_when_orphaned=None)
            sending = asyncio.create_task(_send(settings, [each.value for each in samples]))
            try:
                yield f"http://localhost:{ports[2]}"
            finally:
                sending.cancel()
                await asyncio.to_thread(adapter.terminate, 30.0)
                print(log.read_text()[-2000:] if adapter.status else "", file=sys.stderr)


def _values(servers: str, sandbox: str, plugin: Path, callbacks: int, admin: int, console: int) -> dict[str, str]:
    keys = {each.merchant_id: each.credentials for each in SandboxSettings().merchants}
    merchants = {
        f"merchants.{merchant_id}.{name}": getattr(keys[merchant_id], name)
        for merchant_id in (BUSY, LOCKED_OUT, QUIET)
        for name in ("hash_key", "hash_iv")
    }
    return {
        **SCALED,
        **merchants,
        "submit.reissue_after_seconds": "600",
        "kafka.bootstrap_servers": servers,
        "provider.environment": "custom",
        "provider.base_url": sandbox,
        "provider.timeout_seconds": "3",
        "submit.operator": "web",
        "submit.derive_trade_no": "always",
        "confirm.delayed_after_seconds": "12",
        "confirm.delayed_interval_seconds": "20",
        "plugins.paths": str(plugin),
        "plugins.settings": json.dumps({"webhook": {"endpoints": {"shop": WEBHOOK}}}),
        "admin.host": "127.0.0.1",
        "admin.port": str(admin),
        "callbacks.host": "127.0.0.1",
        "callbacks.port": str(callbacks),
        "console.port": str(console),
    }


async def _send(settings: Settings, plain: list[bytes]) -> None:
    """The troubles at first, then plain orders for as long as the scene lasts."""
    async with producing(kafka_connection(settings), acks="all") as producer:
        for order_id, value in _troubles():
            await producer.send(settings.topics.orders_paid, value, key=order_id.encode())
        for number in itertools.count():
            value = plain[number % len(plain)]
            if number < len(plain):
                await producer.send(settings.topics.orders_paid, _for_busy(value), key=str(number).encode())
            await asyncio.sleep(1 / ORDERS_PER_SECOND)


def _for_busy(value: bytes) -> bytes:
    try:
        return json.dumps(json.loads(value) | {"merchant_id": BUSY}, ensure_ascii=False).encode()
    except ValueError:
        return value
