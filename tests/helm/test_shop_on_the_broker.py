"""The rendered shop example, started on this machine: its topics Job, then its sidecar, which issues an order."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from integration.event_log import SLOW_MACHINE

from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.sandbox.running import RunningSandbox
from adapter.dev.sandbox.settings import PUBLIC_TEST_MERCHANTS, SandboxSettings
from adapter.kafka.connection import KafkaConnection
from adapter.settings import Settings
from helm.examples import FOLDER, RENDERED
from helm.kubelet import Kubelet, Secrets, config_maps, pod_of
from helm.renderer import yaml_documents

MERCHANT = PUBLIC_TEST_MERCHANTS[0]
SIDECAR = "ecticket-adapter"
SECRETS: Secrets = {
    "shop-ecticket": {
        "merchants.3085676.hash_key": MERCHANT.credentials.hash_key,
        "merchants.3085676.hash_iv": MERCHANT.credentials.hash_iv,
        "signing_key": "a-signing-key-of-32-characters-or-more",
    }
}
ORDER = {
    "order_id": "SHOP-1",
    "trade_no": "CBX20260302153064851",
    "issue_type": "paper",  # its result is queried at once, and not after half a minute
    "print_by": "ecpay",
    "customer": {
        "name": "王小明",
        "phone": "0912345678",
        "email": "ming@example.com",
        "address": "臺北市南港區三重路19號",
    },
    "lines": [{"sku": "VQT04959", "quantity": 2}],
}


async def test_the_rendered_sidecar_takes_an_order_to_issued(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Command, arguments, environment, files, ports and probes are those of helm/examples/shop/rendered.yaml."""
    objects = yaml_documents((FOLDER / "shop" / RENDERED).read_text(encoding="utf-8"))
    assert MERCHANT.merchant_id == "3085676"
    unique = uuid.uuid4().hex[:8]
    topics = {name: f"{name}.{unique}" for name in Settings().topics.names().values()}
    callbacks, admin = free_ports(2)
    async with RunningSandbox(SandboxSettings(port=0, job_seconds=0)) as ecticket:
        exchanged: dict[object, object] = {
            "kafka-bootstrap.kafka.svc:9092": kafka.bootstrap_servers,
            "http://ecticket-sandbox.shop.svc:8700": ecticket.base_url,
            Settings().kafka.group_prefix: f"shop.{unique}",
            8600: callbacks,
            8601: admin,
        }
        exchanged |= topics.items()

        def kubelet(kind: str, more: Mapping[object, object] = MappingProxyType({})) -> Kubelet:
            return Kubelet(
                pod=pod_of(objects, kind),
                config_maps=config_maps(objects),
                secrets=SECRETS,
                root=tmp_path / kind,
                exchanged={**exchanged, **more},
            )

        log = tmp_path / "sidecar.log"
        assert await kubelet("Job", {"3": "1"}).run("topics", tmp_path / "topics.log") == 0  # one broker has one copy
        try:
            await _takes_an_order(kubelet("Deployment"), topics, kafka, log)
            assert ecticket.order_store.number_count == 1
        finally:
            await _delete(kafka, [*topics.values()])
    text = log.read_text(encoding="utf-8")  # nothing else runs any more
    assert [line for line in text.splitlines() if json.loads(line)["level"] in ("error", "critical")] == []
    assert not any(secret in text for secret in SECRETS["shop-ecticket"].values())


async def _takes_an_order(shop: Kubelet, topics: dict[str, str], kafka: KafkaConnection, log: Path) -> None:
    process = await shop.start(SIDECAR, log)
    try:
        async with asyncio.timeout(SLOW_MACHINE * 60):
            while not await shop.passes(SIDECAR, "startupProbe"):
                assert process.returncode is None
                await asyncio.sleep(0.1)
            events = await _events_until_issued(topics, kafka)
        assert [each["ce_type"] for each in events] == [
            "ecticket.issuance.submitted.v1",
            "ecticket.issuance.issued.v1",
        ]
        assert {each["order_id"] for each in events} == {"SHOP-1"}
        assert await shop.passes(SIDECAR, "livenessProbe")
        grace = shop.pod.spec["terminationGracePeriodSeconds"]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), SLOW_MACHINE * grace) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _events_until_issued(topics: dict[str, str], kafka: KafkaConnection) -> list[dict[str, str]]:
    """Pay the order; the events of its issuance."""
    options = kafka.client_options()
    async with AIOKafkaProducer(**options) as producer:
        await producer.send_and_wait(topics["orders.paid"], json.dumps(ORDER).encode(), b"SHOP-1")
    consumer = AIOKafkaConsumer(
        topics["ecticket.issuances"],
        **options,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    events: list[dict[str, str]] = []
    async with consumer:
        async for record in consumer:
            headers = {name: value.decode() for name, value in record.headers}
            events.append({"ce_type": headers["ce_type"], "order_id": json.loads(record.value)["order_id"]})
            if headers["ce_type"] in ("ecticket.issuance.issued.v1", "ecticket.issuance.failed.v1"):
                break
    return events


async def _delete(kafka: KafkaConnection, names: list[str]) -> None:
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        await admin.delete_topics(names)
    finally:
        await admin.close()


def test_a_pod_without_a_key_does_not_start(tmp_path: Path) -> None:
    """A required entry of the Secret that is missing stops the mount, as a kubelet does; an optional one does not."""
    objects = yaml_documents((FOLDER / "shop" / RENDERED).read_text(encoding="utf-8"))

    def mount(secret: dict[str, str]) -> Path:
        Kubelet(
            pod=pod_of(objects, "Deployment"),
            config_maps=config_maps(objects),
            secrets={"shop-ecticket": secret},
            root=tmp_path,
        ).mount(SIDECAR)
        return tmp_path / "etc" / "ecticket-adapter" / "secrets"

    keys = dict(SECRETS["shop-ecticket"])
    del keys["signing_key"]
    assert not (mount(keys) / "signing_key").exists()
    del keys["merchants.3085676.hash_iv"]
    with pytest.raises(KeyError, match=r"merchants\.3085676\.hash_iv"):
        mount(keys)
