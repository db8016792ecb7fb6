"""The facts of this process as JSON, read from the parts that run, when a browser asks for them.

Counts nothing by itself: totals come from the metrics, the rest from the engines, the ECTicket client, the sinks and
the plugins. Holds no customer data, no ticket number and no key.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from msgspec import Struct
from prometheus_client import CollectorRegistry

from adapter.extensions.invocation import HookCount
from adapter.extensions.manager import PluginInfo
from adapter.flows.messages.events import rfc3339
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.open_work import OpenCount, OpenKind, OpenWork, count_open_work
from adapter.flows.ports import Clock
from adapter.flows.report_rounds import WaitingTickets
from adapter.provider.merchant_channel import ChannelState
from adapter.stream.snapshot import EngineSnapshot, OpenRecord, StageStatus

MERCHANTS_MAX: Final = 500
"""Merchants that are shown; a larger deployment has several processes with some merchants each."""
PARTITIONS_MAX: Final = 200
_COMMITTED: Final = "ecticket_records_committed_total"
_REQUESTS: Final = "ecticket_provider_requests_total"
_DELIVERIES: Final = "ecticket_deliveries_total"
_TOTALS: Final = (_COMMITTED, _REQUESTS, _DELIVERIES)


class InspectedStage(StageStatus, Protocol):
    """A stage behind topics whose records can be looked at; `stream.engine.Engine` is the real one."""

    def snapshot(self) -> EngineSnapshot: ...
    def open_records(self) -> Iterator[OpenRecord]: ...


class ProcessIdentity(Struct, frozen=True, kw_only=True):
    """What does not change while the process runs."""

    host: str
    """The host name: in Kubernetes the pod's."""
    version: str
    environment: str
    """`provider.environment`."""
    group_prefix: str
    fingerprint: str
    started_at: datetime


class SinkState(Struct, frozen=True, kw_only=True):
    """One notification sink."""

    name: str
    plugin: str
    stuck: int
    """Cancelled deliveries that have not ended."""


class ProcessSources(Struct, frozen=True, kw_only=True):
    """Where the facts come from; each is called once for each answer, on the console's thread."""

    identity: ProcessIdentity
    registry: CollectorRegistry
    problems: Callable[[], Sequence[str]]
    """Why no orders can be processed now, or why a restart would help."""
    stages: Callable[[], Mapping[str, StageStatus]]
    inspected: Callable[[], Mapping[str, InspectedStage]]
    """Those of `stages` that have an engine, and the engines of the sinks as `sink.NAME`."""
    channels: Callable[[], Mapping[str, ChannelState]]
    merchants: Callable[[], Sequence[str]]
    holds: Callable[[], Mapping[str, MerchantHold]]
    """The holds in force, by merchant."""
    collecting: Callable[[], Mapping[str, WaitingTickets]]
    sinks: Callable[[], Sequence[SinkState]]
    plugins: Sequence[PluginInfo]
    hook_counts: Callable[[], Iterable[HookCount]]
    stuck_threads: Callable[[], int]
    deferred_topic: str
    now: Clock


def process_facts(sources: ProcessSources) -> dict[str, object]:
    """The facts now; see docs/console.md for what the page makes of them."""
    totals = _Totals(sources.registry)
    inspected = sources.inspected()
    records = itertools.chain.from_iterable(stage.open_records() for stage in inspected.values())
    work = count_open_work(records, merchants=sources.merchants(), deferred_topic=sources.deferred_topic)
    collecting = sources.collecting()
    return {
        "at": rfc3339(sources.now()),
        "process": _process(sources),
        "stages": list(_stages(sources.stages(), inspected, totals)),
        "work": _work(work, collecting),
        "merchants": list(_merchants(sources, work, collecting, totals)),
        "sinks": [_sink(sink, inspected.get(f"sink.{sink.name}"), totals) for sink in sources.sinks()],
        "plugins": list(_plugins(sources)),
        "stuck_threads": sources.stuck_threads(),
    }


class _Totals:
    """The counters that the page shows, read from the metrics once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples: list[tuple[str, Mapping[str, str], float]] = []
        for metric in registry.restricted_registry(_TOTALS).collect():
            self._samples += [(each.name, each.labels, each.value) for each in metric.samples]

    def of(self, name: str, by: str, **labels: str) -> dict[str, int]:
        """The total of each value of the label `by`, of the samples with these labels."""
        found: dict[str, int] = {}
        for its_name, its_labels, value in self._samples:
            if its_name == name and labels.items() <= its_labels.items():
                found[its_labels[by]] = found.get(its_labels[by], 0) + int(value)
        return found


def _process(sources: ProcessSources) -> dict[str, object]:
    identity = sources.identity
    return {
        "host": identity.host,
        "version": identity.version,
        "environment": identity.environment,
        "group_prefix": identity.group_prefix,
        "fingerprint": identity.fingerprint,
        "started_at": rfc3339(identity.started_at),
        "problems": list(sources.problems()),
    }


def _stages(
    stages: Mapping[str, StageStatus], inspected: Mapping[str, InspectedStage], totals: _Totals
) -> Iterator[dict[str, object]]:
    for name, stage in stages.items():
        facts: dict[str, object] = {
            "name": name,
            "connected": stage.connected,
            "standing_by": stage.standing_by,
            "problems": list(stage.problems),
        }
        if name in inspected:
            facts |= _engine(inspected[name].snapshot(), totals)
        else:
            partitions = sorted(stage.assigned)
            facts["partitions"] = [{"topic": topic, "partition": number} for topic, number in partitions]
        yield facts


def _engine(snapshot: EngineSnapshot, totals: _Totals) -> dict[str, object]:
    partitions = snapshot.partitions
    return {
        "group": snapshot.group,
        "open": sum(each.open for each in partitions),
        "unread": sum(each.unread or 0 for each in partitions),
        "in_flight": snapshot.in_flight,
        "slots": snapshot.slots,
        "waiting": snapshot.waiting,
        "settled": sum(totals.of(_COMMITTED, "topic", stage=snapshot.name).values()),
        "partition_count": len(partitions),
        "partitions": [
            {
                "topic": each.topic,
                "partition": each.partition,
                "open": each.open,
                "unread": each.unread,
                "blocked": each.blocked,
            }
            for each in partitions[:PARTITIONS_MAX]
        ],
    }


def _work(work: OpenWork, collecting: Mapping[str, WaitingTickets]) -> dict[str, object]:
    facts: dict[str, object] = {kind.value: _open_count(work.of(kind)) for kind in OpenKind}
    oldest = [each.oldest for each in collecting.values() if each.oldest is not None]
    count = sum(each.count for each in collecting.values())
    facts["collecting"] = {"count": count, "oldest": rfc3339(min(oldest)) if oldest else None}
    return facts


def _open_count(found: OpenCount | None) -> dict[str, object]:
    if found is None:
        return {"count": 0, "oldest": None}
    return {"count": found.count, "oldest": rfc3339(found.oldest)}


def _merchants(
    sources: ProcessSources, work: OpenWork, collecting: Mapping[str, WaitingTickets], totals: _Totals
) -> Iterator[dict[str, object]]:
    channels, holds = sources.channels(), sources.holds()
    for merchant_id in sources.merchants()[:MERCHANTS_MAX]:
        channel = channels.get(merchant_id)
        waiting = collecting.get(merchant_id)
        yield {
            "merchant_id": merchant_id,
            "channel": None if channel is None else _channel(channel),
            "hold": _hold(holds.get(merchant_id)),
            "work": {
                **{kind.value: _open_count(work.counts.get((kind, merchant_id))) for kind in OpenKind},
                "collecting": {"count": 0 if waiting is None else waiting.count},
            },
            "calls": totals.of(_REQUESTS, "outcome", merchant_id=merchant_id),
        }


def _hold(hold: MerchantHold | None) -> dict[str, object] | None:
    if hold is None:
        return None
    until = None if hold.until is None else rfc3339(hold.until)
    return {"held_at": rfc3339(hold.held_at), "until": until, "reason": hold.reason}


def _channel(channel: ChannelState) -> dict[str, object]:
    usage = channel.usage
    return {
        "breaker": channel.breaker.name.lower(),
        "retry_at": None if channel.retry_at is None else rfc3339(channel.retry_at),
        "cause": channel.cause,
        "calls_per_second": usage.calls_per_second,
        "slots": usage.slots,
        "slots_in_use": usage.slots_in_use,
        "queued": {purpose.value: count for purpose, count in usage.queued.items()},
        "last_accepted": None if channel.last_accepted is None else rfc3339(channel.last_accepted),
    }


def _sink(sink: SinkState, stage: InspectedStage | None, totals: _Totals) -> dict[str, object]:
    snapshot = None if stage is None else stage.snapshot()
    partitions: Collection[object] = () if snapshot is None else snapshot.partitions
    return {
        "name": sink.name,
        "plugin": sink.plugin,
        "stuck": sink.stuck,
        "partitions": len(partitions),
        "open": 0 if snapshot is None else sum(each.open for each in snapshot.partitions),
        "unread": 0 if snapshot is None else sum(each.unread or 0 for each in snapshot.partitions),
        "deliveries": totals.of(_DELIVERIES, "outcome", sink=sink.name),
        "problems": [] if snapshot is None else list(snapshot.problems),
    }


def _plugins(sources: ProcessSources) -> Iterator[dict[str, object]]:
    counts: dict[str, list[HookCount]] = {}
    for count in sources.hook_counts():
        counts.setdefault(count.plugin, []).append(count)
    for plugin in sources.plugins:
        own = counts.get(plugin.name, [])
        yield {
            "name": plugin.name,
            "version": plugin.version,
            "origin": plugin.origin.value,
            "hooks": list(plugin.hooks),
            "calls": sum(each.calls for each in own),
            "failures": sum(each.failures for each in own),
            "seconds": round(sum(each.seconds for each in own), 3),
            "failing_hooks": [each.hook for each in own if each.failures],
        }
