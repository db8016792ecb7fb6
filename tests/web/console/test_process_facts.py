"""The facts of a process as JSON, from parts that are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from adapter.extensions.invocation import HookCount
from adapter.extensions.manager import PluginInfo
from adapter.extensions.sources import PluginOrigin
from adapter.flows.messages.hold import MerchantHold
from adapter.flows.report_rounds import WaitingTickets
from adapter.protocol.endpoints import Endpoint
from adapter.provider.breaker import BreakerState
from adapter.provider.call_limiter import LimiterUsage, Purpose
from adapter.provider.merchant_channel import ChannelState
from adapter.provider.observer import CallFinished, CallOutcome
from adapter.stream.snapshot import EngineSnapshot, OpenRecord, PartitionSnapshot
from adapter.web.console.process_facts import ProcessIdentity, ProcessSources, SinkState, process_facts
from adapter.web.metrics import Metrics

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Stage:
    """A stage with an engine."""

    name: str
    topic: str
    partitions: int = 2
    problems: Sequence[str] = ()
    connected: bool = True
    standing_by: bool = False
    records: list[OpenRecord] = field(default_factory=list)

    @property
    def assigned(self) -> frozenset[tuple[str, int]]:
        return frozenset((self.topic, number) for number in range(self.partitions))

    def snapshot(self) -> EngineSnapshot:
        return EngineSnapshot(
            name=self.name,
            group=f"g.{self.name}",
            topics=(self.topic,),
            connected=self.connected,
            standing_by=self.standing_by,
            partitions=tuple(
                PartitionSnapshot(topic=self.topic, partition=number, open=3, unread=number or None, blocked=False)
                for number in range(self.partitions)
            ),
            in_flight=1,
            slots=8,
            waiting=2,
            problems=tuple(self.problems),
        )

    def open_records(self) -> Iterator[OpenRecord]:
        return iter(self.records)


def sources(**changes: object) -> ProcessSources:
    """A process that has no stage, no sink and no plugin yet, with changes."""
    given: dict[str, object] = {
        "identity": ProcessIdentity(
            host="pod-1",
            version="0.1.0",
            environment="stage",
            group_prefix="ecticket-adapter",
            fingerprint="abc",
            started_at=NOON - timedelta(hours=1),
        ),
        "registry": CollectorRegistry(),
        "problems": list,
        "stages": dict,
        "inspected": dict,
        "channels": dict,
        "merchants": lambda: ("1", "2"),
        "holds": dict,
        "collecting": dict,
        "sinks": list,
        "plugins": (),
        "hook_counts": lambda: (),
        "stuck_threads": lambda: 0,
        "deferred_topic": "deferred",
        "now": lambda: NOON,
        **changes,
    }
    return ProcessSources(**given)  # type: ignore[arg-type]  # a test's shorthand


def _named(facts: Mapping[str, object], group: str, name: str, key: str = "name") -> Mapping[str, object]:
    entries = facts[group]
    assert isinstance(entries, list)
    return next(each for each in entries if each[key] == name)


def test_a_process_that_starts_shows_why_it_is_not_ready() -> None:
    """Before there is a broker, the page is there already."""
    facts = process_facts(sources(problems=lambda: ["starting"]))

    assert facts["at"] == "2026-03-01T12:00:00.000Z"
    assert facts["process"] == {
        "host": "pod-1",
        "version": "0.1.0",
        "environment": "stage",
        "group_prefix": "ecticket-adapter",
        "fingerprint": "abc",
        "started_at": "2026-03-01T11:00:00.000Z",
        "problems": ["starting"],
    }
    assert facts["stages"] == []
    assert facts["work"] == {
        kind: {"count": 0, "oldest": None}
        for kind in ("in_work", "in_doubt", "deferred", "submitted", "delayed", "collecting")
    }


def test_a_stage_shows_its_partitions_and_its_total() -> None:
    """The total is that of the metrics; the page makes a rate of it."""
    metrics = Metrics({"1", "2"}.__contains__)
    metrics.stream.outcomes_committed("submit", "paid", 7, 7)
    metrics.stream.outcomes_committed("submit", "deferred", 2, 2)
    metrics.stream.outcomes_committed("confirm", "paid", 1, 1)
    submit = Stage("submit", "paid", problems=("a topic is full",))
    given = sources(registry=metrics.registry, stages=lambda: {"submit": submit}, inspected=lambda: {"submit": submit})

    facts = _named(process_facts(given), "stages", "submit")

    assert {name: facts[name] for name in ("settled", "open", "unread", "in_flight", "slots", "waiting")} == {
        "settled": 9,
        "open": 6,
        "unread": 1,
        "in_flight": 1,
        "slots": 8,
        "waiting": 2,
    }
    assert facts["problems"] == ["a topic is full"]
    assert facts["partitions"] == [
        {"topic": "paid", "partition": 0, "open": 3, "unread": None, "blocked": False},
        {"topic": "paid", "partition": 1, "open": 3, "unread": 1, "blocked": False},
    ]


def test_a_stage_without_an_engine_shows_what_it_has() -> None:
    """The receiver of callbacks and the reconcile stage have no records in memory."""
    facts = _named(process_facts(sources(stages=lambda: {"reconcile": Stage("reconcile", "r")})), "stages", "reconcile")

    assert facts["partitions"] == [{"topic": "r", "partition": 0}, {"topic": "r", "partition": 1}]
    assert "settled" not in facts


def test_a_merchant_shows_its_breaker_pace_and_calls() -> None:
    """Also one that was never called."""
    metrics = Metrics({"1", "2"}.__contains__)
    for outcome in (CallOutcome.ANSWERED, CallOutcome.ANSWERED, CallOutcome.IN_DOUBT):
        metrics.provider.call_finished(
            CallFinished(merchant_id="1", endpoint=Endpoint.ISSUE, outcome=outcome, waited_seconds=0, seconds=1)
        )
    usage = LimiterUsage(calls_per_second=50.0, slots=256, slots_in_use=3, queued={Purpose.SUBMIT: 4})
    channel = ChannelState(
        breaker=BreakerState.OPEN, retry_at=NOON, cause="HTTP 403, a lock-out", usage=usage, last_accepted=None
    )
    waiting = {"1": WaitingTickets(count=5, oldest=NOON)}

    facts = process_facts(
        sources(registry=metrics.registry, channels=lambda: {"1": channel}, collecting=lambda: waiting)
    )

    first = _named(facts, "merchants", "1", "merchant_id")
    assert first["channel"] == {
        "breaker": "open",
        "retry_at": "2026-03-01T12:00:00.000Z",
        "cause": "HTTP 403, a lock-out",
        "calls_per_second": 50.0,
        "slots": 256,
        "slots_in_use": 3,
        "queued": {"submit": 4},
        "last_accepted": None,
    }
    assert first["calls"] == {"answered": 2, "in_doubt": 1}
    work = facts["work"]
    assert isinstance(work, dict)
    assert work["collecting"] == {"count": 5, "oldest": "2026-03-01T12:00:00.000Z"}
    assert _named(facts, "merchants", "2", "merchant_id")["channel"] is None


def test_a_held_merchant_shows_since_when_and_until_when() -> None:
    """With the operator's words; a hold without an end has none."""
    hold = MerchantHold(held_at=NOON, until=None, reason="wrong prices")

    facts = process_facts(sources(holds=lambda: {"2": hold}))

    assert _named(facts, "merchants", "1", "merchant_id")["hold"] is None
    assert _named(facts, "merchants", "2", "merchant_id")["hold"] == {
        "held_at": "2026-03-01T12:00:00.000Z",
        "until": None,
        "reason": "wrong prices",
    }


def test_sinks_and_plugins_show_their_failures() -> None:
    """With the plugin that brings a sink, and the version of a plugin."""
    metrics = Metrics({"1", "2"}.__contains__)
    for outcome, count in (("delivered", 3), ("failed", 2)):
        for _ in range(count):
            metrics.sinks.attempted("chat", outcome, 0.1)
    plugin = PluginInfo(
        name="bundles",
        version="2.1",
        hooks=("map_item",),
        origin=PluginOrigin.PATH,
        where="bundles.py",
        settings_schema=None,
    )
    counts = (
        HookCount(plugin="bundles", hook="map_item", calls=4, failures=1, seconds=0.5),
        HookCount(plugin="other", hook="map_item", calls=9),
    )
    given = sources(
        registry=metrics.registry,
        sinks=lambda: [SinkState(name="chat", plugin="bundles", stuck=1)],
        inspected=lambda: {"sink.chat": Stage("sink.chat", "issuances")},
        plugins=(plugin,),
        hook_counts=lambda: counts,
    )

    facts = process_facts(given)

    sink = _named(facts, "sinks", "chat")
    assert (sink["plugin"], sink["stuck"], sink["deliveries"]) == ("bundles", 1, {"delivered": 3, "failed": 2})
    assert (sink["partitions"], sink["open"], sink["unread"]) == (2, 6, 1)
    assert _named(facts, "plugins", "bundles") == {
        "name": "bundles",
        "version": "2.1",
        "origin": "path",
        "hooks": ["map_item"],
        "calls": 4,
        "failures": 1,
        "seconds": 0.5,
        "failing_hooks": ["map_item"],
    }


def test_lists_are_bounded() -> None:
    """A page must not become larger than a browser can show."""
    stage = Stage("submit", "paid", partitions=10_000)

    facts = process_facts(
        sources(
            merchants=lambda: tuple(map(str, range(10_000))),
            stages=lambda: {"submit": stage},
            inspected=lambda: {"submit": stage},
        )
    )

    merchants, shown = facts["merchants"], _named(facts, "stages", "submit")
    assert isinstance(merchants, list)
    assert isinstance(shown["partitions"], list)
    assert (len(merchants), len(shown["partitions"]), shown["partition_count"]) == (500, 200, 10_000)
