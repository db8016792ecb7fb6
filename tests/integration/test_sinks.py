"""Sinks of a running adapter: each event to each of them, whatever the others do; orders never wait for a sink."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from adapter.kafka.connection import KafkaConnection
from integration.cluster import PARTITIONS, RUN, Cluster, Worker, open_cluster, until
from integration.commands import run
from integration.order_source import OrderSource

SINKS = """
import asyncio, time
from pathlib import Path
from adapter import hookimpl

FOLDER = Path(__file__).parent

class Writes:
    def __init__(self, name):
        self.name = name

    async def deliver(self, event):
        await asyncio.sleep(0)
        key = event.source.rpartition("/")[2] + "/" + (event.subject or "")
        line = "\\t".join((event.id, event.type, key, event.extensions.get("orderref", ""))) + "\\n"
        with (FOLDER / self.name).open("a") as delivered:
            delivered.write(line)

class Raises(Writes):
    async def deliver(self, event):
        if (FOLDER / "fixed").exists():
            return await super().deliver(event)
        raise RuntimeError(f"no {event.data}")

class Blocks(Writes):
    async def deliver(self, event):
        time.sleep(3600)

class Hangs(Writes):
    async def deliver(self, event):
        await asyncio.Event().wait()

class Exits(Writes):
    async def deliver(self, event):
        raise SystemExit(3)

class Answers(Writes):
    async def deliver(self, event):
        return event

class Maybe(Writes):
    def wants(self, event):
        return "maybe"

@hookimpl
def notification_sinks():
    kinds = {kind.__name__.lower(): kind for kind in (Writes, Raises, Blocks, Hangs, Exits, Answers, Maybe)}
    return [kinds[name](name) for name in NAMES.split(",")]
"""
"""Every kind of sink there is; `NAMES` says which of them are provided."""


def sinks_at(folder: Path, *names: str) -> str:
    """The plugin's file, with these sinks."""
    plugin = folder / "our_sinks.py"
    plugin.write_text(SINKS.replace("NAMES", repr(",".join(names))), encoding="utf-8")
    return str(plugin)


def delivered_to(folder: Path, sink: str) -> list[list[str]]:
    """The events that a sink got, in order: id, type, key and order record."""
    file = folder / sink
    return [line.split("\t") for line in file.read_text().splitlines()] if file.exists() else []


async def until_listening(worker: Worker, *sinks: str) -> None:
    """Wait until these sinks have all their partitions: from then on they miss nothing."""

    async def assigned() -> bool:
        stages = (await worker.get("/info")).json()["stages"]
        return all(len(stages.get(f"sink.{sink}", ())) == 2 * PARTITIONS for sink in sinks)

    while not await assigned():
        assert worker.process.returncode is None, worker.log.read_text()[-3000:]
        await asyncio.sleep(0.1)


async def behind(worker: Worker, sink: str) -> float:
    """The lag of a sink, from its metric."""
    lines = (await worker.get("/metrics")).text.splitlines()
    found = [line for line in lines if line.startswith("ecticket_consumer_lag{") and f'stage="sink.{sink}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


async def check_what_metrics_show(worker: Worker, cluster: Cluster, broken: Sequence[str]) -> None:
    """What a scrape reads from the parts of a running adapter."""
    families = text_string_to_metric_families((await worker.get("/metrics")).text)
    samples = [sample for family in families for sample in family.samples]

    def of(name: str, **labels: str) -> list[float]:
        return [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]

    assert sum(of("ecticket_record_to_issued_seconds_count")) == cluster.event_log.count("issued") > 0
    assert of("ecticket_build_info") == [1]
    assert [abs(offset) < 60 for offset in of("ecticket_clock_offset_seconds")] == [True]
    assert of("ecticket_breaker_open") == [0] * len(of("ecticket_provider_slots"))
    for state in ("in_work", "in_doubt", "deferred", "submitted", "delayed"):
        assert of("ecticket_open_work_oldest_seconds", state=state)
    for sink in broken:
        assert of("ecticket_deliveries_waiting", sink=sink) > [0]
        assert of("ecticket_deliveries_oldest_seconds", sink=sink) > [0]


async def until_behind(worker: Worker, sink: str, events: int) -> None:
    """Wait until the metric, which is sampled, shows this lag of a sink."""
    async with asyncio.timeout(120):
        while await behind(worker, sink) < events:  # noqa: ASYNC110  # another process offers no event
            await asyncio.sleep(0.2)


def published(cluster: Cluster) -> list[str]:
    """The id of every event on the topic."""
    records = cluster.event_log.by_topic[cluster.topic("issuances")]
    return [dict(record.headers)["ce_id"].decode() for record in records]


def out_of_order(delivered: Sequence[Sequence[str]], cluster: Cluster) -> list[str]:
    """The keys whose events were first delivered in another order than that of their topic."""
    topic: defaultdict[str, list[str]] = defaultdict(list)
    for record in cluster.event_log.by_topic[cluster.topic("issuances")]:
        topic[record.key.decode()].append(dict(record.headers)["ce_id"].decode())
    ids_by_key: defaultdict[str, list[str]] = defaultdict(list)
    for event_id, _, key, _ in delivered:
        if event_id not in ids_by_key[key]:
            ids_by_key[key].append(event_id)
    return [key for key, ids in ids_by_key.items() if [each for each in topic[key] if each in ids] != ids]


async def test_a_sink_hears_everything_while_all_others_are_broken_and_no_order_feels_it(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """One raises, one blocks its loop, one hangs, one exits, two answer nonsense: for the whole run."""
    broken = ("raises", "blocks", "hangs", "exits", "answers", "maybe")
    plugin = sinks_at(tmp_path, "writes", *broken)
    async with open_cluster(kafka, tmp_path, plugins__paths=plugin, deliver__timeout_seconds="0.5") as cluster:
        worker = await cluster.start()
        await until_listening(worker, "writes", *broken)
        refs = await cluster.feed(OrderSource(seed=41).orders(60))
        await cluster.all_delivered(seconds=60)
        await until(lambda: len(delivered_to(tmp_path, "writes")) >= len(published(cluster)), seconds=60)

        assert cluster.disagreements() == []
        assert await cluster.uncommitted() == []
        delivered = delivered_to(tmp_path, "writes")
        assert Counter(event_id for event_id, *_ in delivered) == Counter(published(cluster))
        assert out_of_order(delivered, cluster) == []
        assert {ref for *_, ref in delivered} == set(refs)
        assert [name for name in broken if delivered_to(tmp_path, name)] == []
        await asyncio.gather(*(until_behind(worker, name, len(delivered)) for name in broken))
        await check_what_metrics_show(worker, cluster, broken)
        assert (await worker.get("/livez")).status_code == 200
        assert (await worker.get("/readyz")).status_code == 200
        assert cluster.event_log.by_topic[cluster.topic("dead_letters")] == []
        assert await worker.dismiss() == 0


async def test_no_event_is_lost_when_the_adapter_dies_in_the_middle(kafka: KafkaConnection, tmp_path: Path) -> None:
    """kill -9 while events are being delivered: each is delivered at least once, in the order of its key."""
    plugin = sinks_at(tmp_path, "writes")
    async with open_cluster(kafka, tmp_path, plugins__paths=plugin) as cluster:
        worker = await cluster.start()
        await until_listening(worker, "writes")
        await cluster.feed(OrderSource(seed=43).orders(60))
        await until(lambda: len(delivered_to(tmp_path, "writes")) >= 40, seconds=60)
        await worker.kill()
        await cluster.restart(worker)
        await cluster.all_delivered(seconds=60)
        await until(
            lambda: {event_id for event_id, *_ in delivered_to(tmp_path, "writes")} >= set(published(cluster)),
            seconds=60,
        )

        assert cluster.disagreements() == []
        assert out_of_order(delivered_to(tmp_path, "writes"), cluster) == []
        assert {event_id for event_id, *_ in delivered_to(tmp_path, "writes")} == set(published(cluster))
        assert await worker.dismiss() == 0


async def test_what_a_sink_never_took_is_on_the_dead_letters_and_reaches_it_after_a_fix(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    """No `parked` event is published; the replay delivers to that sink alone, and every event once."""
    plugin = sinks_at(tmp_path, "writes", "raises")
    async with open_cluster(kafka, tmp_path, plugins__paths=plugin) as cluster:
        worker = await cluster.start(deliver__give_up_after_hours="0.0005", deliver__first_retry_seconds="0.2")
        await until_listening(worker, "writes", "raises")
        refs = await cluster.feed(OrderSource(seed=47).orders(5))
        await cluster.all_delivered(seconds=60)

        def dead_letters() -> list[dict[str, bytes]]:
            return [dict(each.headers) for each in cluster.event_log.by_topic[cluster.topic("dead_letters")]]

        assert await cluster.reader.until(lambda: len(dead_letters()) >= len(published(cluster)), seconds=60)
        assert {dead_letter["ecticket-sink"] for dead_letter in dead_letters()} == {b"raises"}
        assert {dead_letter["ecticket-reason"] for dead_letter in dead_letters()} == {b"sink-failed"}
        assert all(cluster.event_log.types(ref)["parked"] == 0 for ref in refs)
        delivered = delivered_to(tmp_path, "writes")

        (tmp_path / "fixed").touch()
        replayed = await run(worker, "dead-letters", "replay", "--stage", "deliver", "--sink", "raises", "--json")
        again = await run(worker, "dead-letters", "replay", "--stage", "deliver", "--json")

        assert replayed.code == 0, replayed.err
        assert {json.dumps(line["target"]) for line in replayed.lines} == {'"sink raises"'}
        assert again.lines == []
        assert Counter(event_id for event_id, *_ in delivered_to(tmp_path, "raises")) == Counter(published(cluster))
        assert delivered_to(tmp_path, "writes") == delivered
        assert await worker.dismiss() == 0


async def test_a_new_sink_begins_with_the_next_event(kafka: KafkaConnection, tmp_path: Path) -> None:
    """Events published before it existed are not for it; an older sink continues where it was.

    Sinks may be in processes of their own, which are ready when they have their partitions.
    """
    async with open_cluster(kafka, tmp_path, command=(*RUN, "--only", "submit,confirm")) as cluster:
        await cluster.start()
        cluster.command = (*RUN, "--only", "deliver")
        first = await cluster.start(plugins__paths=sinks_at(tmp_path, "writes"))
        await until_listening(first, "writes")
        old = await cluster.feed(OrderSource(seed=53).orders(5))
        await cluster.all_delivered(seconds=60)
        await until(lambda: len(delivered_to(tmp_path, "writes")) == len(published(cluster)), seconds=60)
        before = len(published(cluster))
        assert await first.dismiss() == 0
        (tmp_path / "fixed").touch()
        second = await cluster.start(plugins__paths=sinks_at(tmp_path, "writes", "raises"))
        await until_listening(second, "writes", "raises")
        await cluster.feed(OrderSource(seed=59).orders(5))
        await cluster.all_delivered(seconds=60)
        await until(lambda: len(delivered_to(tmp_path, "raises")) == len(published(cluster)) - before, seconds=60)
        await until(lambda: len(delivered_to(tmp_path, "writes")) == len(published(cluster)), seconds=60)

        assert {ref for *_, ref in delivered_to(tmp_path, "raises")}.isdisjoint(old)
        assert Counter(event_id for event_id, *_ in delivered_to(tmp_path, "writes")) == Counter(published(cluster))
        (running,) = [line for line in second.log_lines if line["event"] == "running"]
        assert (running["stages"], running["sinks"]) == ([], ["writes", "raises"])
        assert await second.dismiss() == 0
