"""What keeps the adapter from starting, and what it waits for instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.client import AioKafka, AioKafkaMember
from adapter.kafka.connection import KafkaConnection
from adapter.values import replace
from integration.cluster import RUN, Cluster, Worker, environment_of, launch, open_cluster, settings_for, until
from integration.order_source import OrderSource


async def _run(settings: Mapping[str, str], log: Path) -> tuple[int, list[str]]:
    """Run the adapter until it ends by itself; its exit code and the sentences of its only error line."""
    process = await launch(RUN, environment_of(settings), log)
    code = await asyncio.wait_for(process.wait(), 120)
    text = await asyncio.to_thread(log.read_text, encoding="utf-8")
    (line,) = [each for each in map(json.loads, text.splitlines()) if each["level"] == "error"]
    return code, list(line["problems"])


async def test_wrong_settings_are_one_sentence_each_and_end_with_exit_code_2(tmp_path: Path) -> None:
    """Every mistake at once, each with the nearest known name; no traceback, and no broker is needed."""
    misspelt = {"submit.concurency": "5", "provider.timeout_second": "5"}
    impossible = {
        "kafka.session_timeout_seconds": "soon",
        "submit.trade_no_prefix": "toolong",
        "admin.port": "99999",
    }
    good = settings_for(KafkaConnection(bootstrap_servers="127.0.0.1:9")) | {"admin.port": "0"}

    code_of_misspelt, unknown = await _run(good | misspelt, tmp_path / "misspelt")
    code_of_impossible, wrong = await _run(good | impossible, tmp_path / "impossible")

    assert (code_of_misspelt, code_of_impossible) == (2, 2)
    assert (len(unknown), len(wrong)) == (2, 3), unknown + wrong
    assert all("Did you mean ECTICKET_" in sentence for sentence in unknown)
    assert [key for key in impossible if not any(key in sentence for sentence in wrong)] == []
    assert not any("Traceback" in sentence for sentence in unknown + wrong)


async def test_missing_topics_are_named_with_the_command_that_makes_them(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """Exit code 1: nothing is wrong with the settings, and nothing is made by itself.

    Without its control topic, an adapter starts and has no holds.
    """
    settings = settings_for(kafka) | {"admin.port": "0"}
    needed = {key: name for key, name in settings.items() if key.startswith("topics.") and key != "topics.control"}

    code, lines = await _run(settings, tmp_path / "log")

    assert code == 1
    text = " ".join(lines)
    assert [name for name in needed.values() if name not in text] == []
    assert "ecticket-adapter topics --create" in text
    assert "Traceback" not in text


async def test_another_deployment_in_the_groups_is_waited_for(kafka: KafkaConnection, tmp_path: Path) -> None:
    """With the log line and the termination message; it starts when the other one has left, and sees its own kind."""
    message = tmp_path / "message"
    async with open_cluster(kafka, tmp_path) as cluster:
        cluster.settings["termination_log"] = str(message)
        group, topics = f"{cluster.settings['kafka.group_prefix']}.submit", [cluster.topic("orders_paid")]
        other = await AioKafka(replace(kafka, client_id="stage")).connect(group)
        try:
            await _join(other, topics)
            worker = await cluster.start(ready=False)
            await until(lambda: message.exists() and "stage" in message.read_text(), seconds=30)
            during, reason = await _health(worker), (await worker.get("/readyz")).text
        finally:
            await other.leave()
        await worker.until_ready()
        replica = await cluster.start()

    line = next(line for line in worker.log_lines if line["event"] == "start-waits")
    assert (during, line["level"], line["reason"]) == ((200, 503), "warning", "consumer-groups")
    assert group in str(line["detail"])
    assert group in reason
    assert message.read_text() == ""
    assert not any("kafka.group_prefix" in str(line) for line in replica.log_lines)


async def _join(member: AioKafkaMember, topics: list[str]) -> None:
    assigned = asyncio.Event()

    async def revoked() -> None:
        pass

    member.join(topics, revoked=revoked, assigned=assigned.set)
    async with asyncio.timeout(60):
        await assigned.wait()


async def test_an_absent_broker_is_waited_for_at_the_start_and_in_the_middle(
    local_kafka_ready: None, tmp_path: Path
) -> None:
    """It waits and logs that, is alive and not ready, and continues by itself; nothing is lost or published twice."""
    broker = LocalKafka(tmp_path / "kafka")
    await asyncio.to_thread(broker.start)
    try:
        async with open_cluster(KafkaConnection(bootstrap_servers=broker.bootstrap_servers), tmp_path) as cluster:
            await _outages(cluster, broker)
    finally:
        await asyncio.to_thread(broker.stop)


async def _outages(cluster: Cluster, broker: LocalKafka) -> None:
    await asyncio.to_thread(broker.kill)
    worker = await cluster.start(ready=False)
    await _until_unready(worker)
    await asyncio.sleep(1)
    assert await _health(worker) == (200, 503)
    assert ("start-waits", "broker") in [(line["event"], line.get("reason")) for line in worker.log_lines]
    await asyncio.to_thread(broker.restart)
    await worker.until_ready()
    order_source = OrderSource(seed=11)
    await cluster.feed(order_source.orders(60))
    feeding = asyncio.create_task(cluster.feed(order_source.orders(120), per_second=30))
    await asyncio.sleep(2)

    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(float(cluster.settings["kafka.session_timeout_seconds"]) + 2)
    during = await _health(worker)
    await asyncio.to_thread(broker.restart)
    await feeding
    await worker.until_ready()
    await cluster.all_delivered(seconds=90)

    assert during == (200, 503)
    assert cluster.disagreements() == []
    assert await cluster.uncommitted() == []
    assert await worker.dismiss() == 0


async def _health(worker: Worker) -> tuple[int, int]:
    """The codes of /livez and /readyz."""
    return (await worker.get("/livez")).status_code, (await worker.get("/readyz")).status_code


async def _until_unready(worker: Worker) -> None:
    """Wait until its admin server answers at all."""
    await until(lambda: '"start-waits"' in worker.log.read_text(), seconds=20)
