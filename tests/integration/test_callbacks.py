"""ECTicket's notifications reach a running adapter: none is lost in restarts, and no forged one is published."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from adapter.dev.local_kafka.broker import LocalKafka
from adapter.kafka.connection import KafkaConnection
from integration.cluster import open_cluster, until
from integration.ecpay import Ecpay, a_sender, published_notifications


async def test_what_was_answered_is_published_even_when_the_process_dies_with_the_answer(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """kill -9 right behind the answers; forged ones among them are refused and not published."""
    async with open_cluster(kafka, tmp_path) as cluster, a_sender(cluster) as ecpay:
        tries = [ecpay.notify(f"N{number}", forged=number % 5 == 0) for number in range(150)]
        await asyncio.gather(*tries)
        info = (await cluster.workers[0].get("/info")).json()
        metrics = (await cluster.workers[0].get("/metrics")).text
        await cluster.workers[0].kill()

        events = await published_notifications(cluster)

        assert ecpay.answers == {"200": 120, "forged 400": 30}
        assert {number for number, _ in events} == ecpay.accepted
        assert len(events) == 120
        assert sorted(info["stages"]) == ["confirm", "receive", "submit"]
        assert sorted(re.findall(r'ecticket_stage_running\{stage="(\w+)"\} 1', metrics)) == sorted(info["stages"])


async def test_sigterm_answers_what_is_here_and_loses_nothing(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Exit code 0 in the middle of notifications; those without an answer are sent again to the next process."""
    async with open_cluster(kafka, tmp_path) as cluster, a_sender(cluster) as ecpay:
        coming = [asyncio.create_task(ecpay.insist(f"N{number}")) for number in range(400)]
        await until(lambda: len(ecpay.accepted) > 50, seconds=30)

        code = await cluster.workers[0].dismiss()
        before = len(ecpay.accepted)
        await cluster.restart(cluster.workers[0])
        await asyncio.gather(*coming)
        events = await published_notifications(cluster)

        assert code == 0
        assert before < 400
        assert {number for number, _ in events} == ecpay.accepted
        assert len(ecpay.accepted) == 400


async def test_a_broker_that_is_restarted_loses_no_notification(local_kafka_ready: None, tmp_path: Path) -> None:
    """Unavailable at the start and again in the middle, with notifications all along, and forged ones among them.

    While it is unavailable each is answered with an error, and so sent again; every one is published, under one id.
    """
    broker = LocalKafka(tmp_path / "kafka")
    await asyncio.to_thread(broker.start)
    try:
        connection = KafkaConnection(bootstrap_servers=broker.bootstrap_servers)
        async with open_cluster(connection, tmp_path) as cluster:
            await asyncio.to_thread(broker.kill)
            async with a_sender(cluster, ready=False) as ecpay:
                sending = asyncio.create_task(_send_all_along(ecpay))
                await until(lambda: ecpay.answers["503"] >= 10, seconds=30)
                await asyncio.to_thread(broker.restart)
                await until(lambda: len(ecpay.accepted) >= 50, seconds=60)

                await asyncio.to_thread(broker.kill)
                errors = ecpay.answers["503"]
                await until(lambda: ecpay.answers["503"] > errors, seconds=30)
                await asyncio.to_thread(broker.restart)
                sent = await sending
                events = await published_notifications(cluster)

                assert sent == ecpay.accepted == {number for number, _ in events}
                assert len({event_id for _, event_id in events}) == len(sent)
                assert ecpay.answers["forged 400"] > 0
                assert set(ecpay.answers) <= {"200", "503", "forged 400"}
                assert await cluster.workers[0].dismiss() == 0
    finally:
        await asyncio.to_thread(broker.stop)


async def _send_all_along(ecpay: Ecpay, *, count: int = 400, per_second: float = 25) -> set[str]:
    """Every notification until it is accepted, and a forged one beside every tenth, once; the numbers of the good
    ones.
    """
    coming: list[asyncio.Task[object]] = []
    for number in range(count):
        coming.append(asyncio.create_task(ecpay.insist(f"G{number}")))
        if number % 10 == 0:
            coming.append(asyncio.create_task(ecpay.notify(f"F{number}", forged=True)))
        await asyncio.sleep(1 / per_second)
    await asyncio.gather(*coming)
    return {f"G{number}" for number in range(count)}
