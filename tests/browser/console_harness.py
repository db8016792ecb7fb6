"""A console in a thread, with facts that the test gives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from web.console.test_process_facts import Stage, sources

from adapter.extensions.invocation import HookCount
from adapter.extensions.manager import PluginInfo
from adapter.extensions.sources import PluginOrigin
from adapter.operations.dead_letter_tally import DeadLetterExample, DeadLetterGroup
from adapter.operations.explain_order import OrderNotFound
from adapter.operations.group_lag import TopicLag
from adapter.operations.ports import Progress
from adapter.operations.timeline import FactKind, OrderTimeline, TimelineFact
from adapter.operations.timeline_builder import FoundFacts, build_timeline
from adapter.operations.timeline_json import timeline_json
from adapter.operations.topic_overview import DeadLetterOverview, TopicOverview
from adapter.protocol.issue import TradeNo, TradeNoKind
from adapter.provider.breaker import BreakerState
from adapter.provider.call_limiter import LimiterUsage, Purpose
from adapter.provider.merchant_channel import ChannelState
from adapter.values import replace
from adapter.web.console.order_search import OrderSearch
from adapter.web.console.process_facts import ProcessSources, SinkState, process_facts
from adapter.web.console.server import LIMITS, console_app
from adapter.web.metrics import Metrics
from adapter.web.server import WebServer

TIMEOUT_SECONDS = 30
BEGAN = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)

_Result = TypeVar("_Result")


class ConsoleHarness:
    """What runs; the test changes its public fields."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.metrics = Metrics(lambda _: True)
        self.sources: ProcessSources = sources(
            registry=self.metrics.registry, now=lambda: datetime.now(UTC), merchants=lambda: ("3085676",)
        )
        self.overview = TopicOverview(dead_letters=DeadLetterOverview(complete=True))
        self.timelines: dict[str, OrderTimeline] = {}
        self.hold_search: asyncio.Event | None = None
        self.searches: list[str] = []
        search = OrderSearch(self._explain)
        app = console_app(lambda: process_facts(self.sources), lambda: self.overview, search, host="127.0.0.1")
        self._server = WebServer(app, host="127.0.0.1", port=0, purpose="console", limits=LIMITS)

    @property
    def base_url(self) -> str:
        """Its address, as `kubectl port-forward` gives it."""
        return f"http://localhost:{self._server.port}"

    async def _explain(self, which: str, progress: Progress) -> Mapping[str, object]:
        self.searches.append(which)
        progress("events", 1200, 5000)
        if self.hold_search is not None:
            await self.hold_search.wait()
        if which not in self.timelines:
            raise OrderNotFound(f"No record is about an order or a trade number {which!r}.")
        return {"orders": [timeline_json(self.timelines[which])]}

    def change(self, **changes: object) -> None:
        """Change what the process holds."""
        self.sources = replace(self.sources, **changes)  # type: ignore[arg-type]  # a test's shorthand

    def run(self, work: Coroutine[object, object, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_SECONDS)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(1.0)


@contextmanager
def open_console() -> Iterator[ConsoleHarness]:
    """A console on a free port of loopback, with a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    harness = ConsoleHarness(loop)
    harness.run(harness.start())
    try:
        yield harness
    finally:
        harness.run(harness.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_SECONDS)
        loop.close()


def dead_letters(*groups: tuple[str, int], order_id: str = "A-1", message: str = "What happened.") -> TopicOverview:
    """Open dead letters: reason and number of each group."""
    now = datetime.now(UTC)
    found = tuple(
        DeadLetterGroup(
            stage="map",
            reason=reason,
            count=count,
            oldest=now - timedelta(hours=2),
            newest=DeadLetterExample(
                name="ecticket.dead-letters/0/7", order_id=order_id, message=message, possibly_sent=True
            ),
        )
        for reason, count in groups
    )
    lags = (TopicLag(group="ecticket-adapter.submit", topic="ecticket.orders.deferred", partitions=6, unsettled=44),)
    total = sum(count for _, count in groups)
    return TopicOverview(dead_letters=DeadLetterOverview(groups=found, read=total, complete=True), lags=lags)


def trouble(harness: ConsoleHarness) -> None:
    """A process with everything that can be shown."""
    submit, confirm = Stage("submit", "orders.paid"), Stage("confirm", "ecticket.confirmations", problems=("is full",))
    usage = LimiterUsage(calls_per_second=50.0, slots=256, slots_in_use=250, queued={Purpose.SUBMIT: 4})
    channel = ChannelState(
        breaker=BreakerState.OPEN,
        retry_at=datetime.now(UTC) + timedelta(minutes=30),
        cause="HTTP 403, a lock-out",
        usage=usage,
        last_accepted=None,
    )
    plugin = PluginInfo(
        name="bundles", version="2.1", hooks=("map_item",), origin=PluginOrigin.PATH, where="", settings_schema=None
    )
    harness.change(
        problems=lambda: ["the confirm stage does not read everything: is full"],
        stages=lambda: {"submit": submit, "confirm": confirm},
        inspected=lambda: {"submit": submit, "confirm": confirm, "sink.chat": Stage("sink.chat", "issuances")},
        channels=lambda: {"3085676": channel},
        sinks=lambda: [SinkState(name="chat", plugin="bundles", stuck=2)],
        plugins=(plugin,),
        hook_counts=lambda: [HookCount(plugin="bundles", hook="map_item", calls=4, failures=1, seconds=0.5)],
        stuck_threads=lambda: 1,
    )
    harness.metrics.sinks.attempted("chat", "failed", 0.1)
    harness.overview = dead_letters(("unresolved", 3), ("gave-up", 1))


def a_timeline(order_id: str = "A-1", *, text: str = "What happened.") -> OrderTimeline:
    """An order in two parts: one is issued after a doubt, the other needs a person."""
    first, second = (TradeNo(kind=TradeNoKind.MERCHANT, value=f"NUMBER{part}") for part in (1, 2))

    def fact(seconds: float, kind: FactKind, number: TradeNo | None, **more: object) -> TimelineFact:
        part = None if number is None else 1 if number is first else 2
        at = BEGAN + timedelta(seconds=seconds)
        return TimelineFact(
            at=at,
            kind=kind,
            record=f"topic/0/{seconds}",
            text=text,
            order_id=order_id,
            trade_no=number,
            part=part,
            parts=2,
            **more,  # type: ignore[arg-type]  # a test's shorthand
        )

    facts = (
        fact(0, FactKind.RECEIVED, None),
        *[fact(60 * attempt, FactKind.DEFERRED, first, reason="in_doubt") for attempt in range(1, 6)],
        fact(400, FactKind.SUBMITTED, first),
        fact(433, FactKind.ISSUED, first),
        fact(1, FactKind.SUBMITTED, second),
        fact(86_401, FactKind.DEAD_LETTER, second, reason="unresolved", stage="confirm", dead_letter="dead/0/1"),
    )
    found = FoundFacts(merchant_id="3085676", order_id=order_id, facts=facts)
    return build_timeline(found, now=datetime.now(UTC))
