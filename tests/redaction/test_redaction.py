"""Nothing that the adapter writes has a key, a customer's data or a ticket number, except where they belong."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from integration.cluster import Worker

from redaction.leaky import PLANTED
from redaction.marks import KEYS, MERCHANT, marks
from redaction.orders import GOOD, IN_DOUBT, LOST, PARKED, WAITING
from redaction.scene import NOT_ANOTHER_WAY, Scene, open_scene, other_ways, plugin_settings
from redaction.search import Kind, Leak, find_leaks

BELONGS: Collection[tuple[str, Kind]] = {
    ("topic/orders_paid/value", Kind.CUSTOMER),
    ("topic/orders_deferred/value", Kind.CUSTOMER),
    ("topic/orders_deferred/header ecticket-plan", Kind.CUSTOMER),
    ("topic/dead_letters/value", Kind.CUSTOMER),
    ("topic/dead_letters/header ecticket-plan", Kind.CUSTOMER),
    ("topic/tickets/value", Kind.TICKET),
}
"""The outputs that hold such data: the orders wherever they wait (docs/events.md), and collected tickets."""
REASONS = {
    "unreadable",
    "unknown-merchant",
    "unmapped-item",
    "invalid-order",
    "plugin-error",
    "does-not-fit",
    "unresolved",
}
EVENTS = {"submitted", "issued", "failed", "delayed", "parked"}
LINES = {
    "thread-error",
    "finalizer-error",
    "python-warning",
    "log-line-lost",
    "Task exception was never retrieved",
}
"""What the log must have, or the plugin's noise did not reach it."""


def commands(folder: Path, log: Path) -> Iterator[tuple[int, Sequence[str]]]:
    """The operator's commands, with the exit code of each; as JSON too where they print orders."""
    order, wrong = folder / "order.json", folder / "wrong.json"
    order.write_bytes(GOOD["A-electronic"])
    wrong.write_bytes(PARKED["B-phone"])
    days, merchant = ("--from", "2026-01-01", "--to", "2026-01-01"), ("--merchant", MERCHANT.merchant_id)
    yield 0, ("check", "--json")
    yield 0, ("topics",)
    yield 0, ("settings", "show")
    yield 0, ("plugins", "list")
    for options in ((), ("--json",)):
        yield 0, ("dead-letters", "list", *options)
        yield 0, ("dead-letters", "show", "C-doubt", *options)
        yield 0, ("explain", "B-phone", *options)
    yield 0, ("explain", "A-lost", "--ask")
    yield 0, ("query", LOST, *merchant)
    yield 0, ("item", "VQT04959", *merchant)
    yield 0, ("issue", str(order), "--dry-run")
    yield 1, ("issue", str(wrong))
    yield 0, ("report", "--type", "tickets", *days, *merchant)
    yield 0, ("reconcile", "--publish", *days)
    yield 0, ("resolve", IN_DOUBT, "--as", "failed", "--why", "it never arrived")
    yield 0, ("reissue", "C-doubt")
    yield 0, ("dead-letters", "replay", "--reason", "invalid-order")
    yield 0, ("hold", MERCHANT.merchant_id, "--until", "1s")
    yield 1, ("hostile_plugin", "explode")
    address = f"callbacks.public_url=http://notify:{KEYS['password of the public address']}@shop.example"
    yield 2, ("run", "--set", address, "--set", "log.format=console")
    yield 1, ("--debug", "run", "--set", f"plugins.settings={plugin_settings(fails_at_start=True)}")
    yield 0, ("support-bundle", "--log", str(log), "--output", str(folder / "bundle.tar.gz"))


def commands_of_other_ways(folder: Path, log: Path) -> Iterator[tuple[int, Sequence[str]]]:
    """Commands that connect with what the scene's own settings cannot have at the same time."""
    yield 1, ("check", "--json")
    yield 0, ("settings", "show")
    yield 1, ("query", LOST, "--merchant", MERCHANT.merchant_id)
    yield 0, ("support-bundle", "--log", str(log), "--output", str(folder / "other.tar.gz"))


LEAKY_COMMANDS: Mapping[tuple[str, ...], int] = {
    ("explain", "A-1"): 0,
    ("run", "--only", "nothing"): 2,
}


async def _collect(
    scene: Scene, worker: Worker, commands: Mapping[tuple[str, ...], int], *, module: str, to: str
) -> None:
    """Do everything that an operator and ECPay do, end the worker, and collect all outputs."""
    await scene.call_back(scene.ports["callbacks"])
    await scene.look(worker)
    assert await scene.run_commands(worker, list(commands), module=module, to=to) == list(commands.values())
    await scene.read_topics()
    scene.unpack(scene.folder / "bundle.tar.gz")
    assert await worker.dismiss() == 0
    scene.read_files(worker)


def _logged(log: bytes) -> set[str]:
    """The events of the log's lines, and the messages of libraries; exported spans have many lines each."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith(b'{"')]
    return {str(line[name]) for line in lines for name in ("event", "message") if name in line}


def _out_of_place(scene: Scene) -> tuple[list[Leak], set[tuple[str, Kind]]]:
    """What leaked, and the outputs in which data was found that belongs there."""
    leaks = find_leaks(scene.outputs, marks(scene.ticket_numbers))
    in_place = {(leak.output, leak.kind) for leak in leaks} & set(BELONGS)
    return [leak for leak in leaks if (leak.output, leak.kind) not in in_place], in_place


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_output_has_keys_customers_or_ticket_numbers_and_each_planted_leak_is_found(
    local_kafka_ready: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever orders, ECTicket, plugins and operators do, at debug level and in Python's development mode.

    Then the same search finds what an adapter with planted leaks writes: one in each output.
    """
    async with open_scene(tmp_path) as scene:
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={KEYS['header of the exporter']}")
        monkeypatch.setenv("PYTHONDEVMODE", "1")
        worker = await scene.cluster.start()
        monkeypatch.delenv("PYTHONDEVMODE")
        refs = [*await scene.put(GOOD), *await scene.put(PARKED)]
        await scene.put(WAITING)
        await scene.ended(refs)
        parked = [event.data["order_id"] for event in scene.cluster.event_log.events if event.type == "parked"]
        assert set(parked) & {*GOOD, *WAITING} == set()
        for kind in ("delayed", "collected"):
            await scene.published(kind)
        listed = {tuple(words): code for code, words in commands(tmp_path, worker.log)}
        await _collect(scene, worker, listed, module="redaction.many_commands", to="commands")
        others = {tuple(words): code for code, words in commands_of_other_ways(tmp_path, worker.log)}
        codes = await scene.run_commands(
            worker,
            list(others),
            module="redaction.many_commands",
            to="others",
            without=NOT_ANOTHER_WAY,
            **other_ways(tmp_path),
        )
        scene.unpack(tmp_path / "other.tar.gz", to="other bundle")
        leaks, in_place = _out_of_place(scene)

        assert codes == list(others.values())
        assert leaks == []
        assert in_place == set(BELONGS), "the search does not find what is there"
        assert {event.type for event in scene.cluster.event_log.events} >= EVENTS
        assert set(scene.outputs["topic/dead_letters/header ecticket-reason"].decode().split()) >= REASONS
        assert _logged(scene.outputs["log/worker-1"]) >= LINES
        assert b'"trace_id"' in scene.outputs["log/worker-1"], "no span was exported"
        assert scene.tunnel.opened > 1
        assert [name for name, content in scene.outputs.items() if not content] == []
        assert "bundle/log.txt" in scene.outputs

        scene.forget()
        leaky = await scene.cluster.start(command=(sys.executable, "-m", "redaction.leaky", "run"))
        await scene.ended(await scene.put({"A-1": GOOD["A-electronic"].replace(b"A-electronic", b"A-1")}))
        await scene.ended(await scene.put({"B-1": PARKED["B-phone"].replace(b"B-phone", b"B-1")}))
        bundle = ("support-bundle", "--output", str(tmp_path / "bundle.tar.gz"))
        await _collect(scene, leaky, {**LEAKY_COMMANDS, bundle: 0}, module="redaction.leaky", to="leaky")
        leaks, _ = _out_of_place(scene)

        found = {(leak.output, leak.mark) for leak in leaks}
        assert {(output.partition(": ")[0], mark) for output, (mark, _) in PLANTED.items()} - found == set()
