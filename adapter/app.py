"""Builds, starts and stops the running adapter.

    run ──► admin and callback servers ──► wait for the broker ──► check topics ──► wait for members of other
    deployments to leave the consumer groups ──► stages ──► until SIGTERM ──► stop

The adapter waits without a time limit for an unavailable broker, and for other deployments in its groups. Missing
topics, wrong settings and rejected plugins stop the start with one sentence each.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import Struct

from adapter import event_loop, log, wiring
from adapter.console_runner import ConsoleRunner
from adapter.errors import AdapterError, BrokerUnavailable, SettingsError, StreamError, TopicsMissing
from adapter.extensions.bounded_threads import DaemonExecutor
from adapter.extensions.hook_runner import HookRunner
from adapter.extensions.manager import PluginManager
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.flows.collect import CollectStage
from adapter.flows.confirm import ConfirmStage
from adapter.flows.holds import Holds, Knowledge
from adapter.flows.item_checks import ItemChecks
from adapter.flows.messages.events import Notified
from adapter.flows.open_work import KINDS
from adapter.flows.order_outcomes import OrderOutcomes
from adapter.flows.ports import Clock
from adapter.flows.receive import Receiver
from adapter.flows.report_rounds import WaitingTickets
from adapter.flows.submit import SubmitStage
from adapter.issuance.collecting import CollectPolicy
from adapter.issuance.confirm import ConfirmPolicy
from adapter.issuance.decide import LONGEST_DEFERRAL_SECONDS, QueryFirst, SubmitPolicy
from adapter.issuance.planner_version import planner_version
from adapter.kafka import topics as kafka_topics
from adapter.kafka.client import AioKafka
from adapter.kafka.compression import REPAIR_CODECS, unreadable_codecs
from adapter.kafka.group_members import GroupConflict, find_conflict, group_members
from adapter.kafka.publisher import KafkaPublisher
from adapter.protocol.notification import CallbackKind
from adapter.provider.client import EcticketClient
from adapter.settings import Settings
from adapter.settings.checks import check_settings
from adapter.settings.exposed_files import exposed_files, exposed_settings_file, in_container
from adapter.sink_runner import SinkRunner
from adapter.stream.engine import Engine
from adapter.stream.engine_thread import StageRunner
from adapter.stream.snapshot import OpenRecord
from adapter.stream.stage import Stage
from adapter.tracing.instruments import Instruments
from adapter.tracing.setup import instruments
from adapter.web.admin import admin_app
from adapter.web.callbacks import ReceiveStage, callbacks_app
from adapter.web.console.process_facts import InspectedStage, ProcessIdentity, ProcessSources, SinkState
from adapter.web.metrics import Metrics
from adapter.web.scraped_metrics import (
    ActiveHoldMetrics,
    BuildMetrics,
    ChannelMetrics,
    ClockMetrics,
    CollectingMetrics,
    DeadLetterAgeMetrics,
    DroppedLogLineMetrics,
    HookMetrics,
    OpenWorkMetrics,
    RunningStageMetrics,
    SecretFileMetrics,
    StuckDeliveryMetrics,
    WaitingDeliveryMetrics,
)
from adapter.web.server import WebServer

if TYPE_CHECKING:
    from adapter.flows.reconcile_stage import ReconcileStage

S = TypeVar("S")
T = TypeVar("T")

STAGES = ("submit", "confirm", "collect", "reconcile", "deliver", "receive")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals at which the adapter stops; `adapter.__main__` handles them until the event loop does."""
STUCK_AFTER_SECONDS = 60.0
"""A loop that did not run for so long is blocked; a restart helps."""
STUCK_THREADS_MAX = 8
"""At so many threads stuck in plugins' hooks a restart helps."""
NAME_LOOKUPS_MAX = 16
"""How many host names are looked up at the same time, on threads beside the event loop."""
GC_THRESHOLD = 20_000
"""New objects at which the garbage collector runs; some megabytes."""
THREAD_SWITCH_SECONDS = 0.0005
"""How long a thread may compute before a waiting thread gets the interpreter; Python's default is 0.005.

The event loop shares the interpreter with up to 32 hook threads. When all of them compute, the default delays the loop
and its heartbeats by up to 6 s; this value by 1.5 s, and the hooks are not slower.
"""
CHECK_GROUPS_SECONDS = 5.0
"""How often a start looks whether members of another deployment have left."""
WATCH_CLUSTER_SECONDS = 60.0
"""How often a running adapter looks for other deployments in its groups, and whether all its topics exist.

Two deployments that start together do not see each other, and brokers do not report a deleted topic to its readers.
"""
REPORT_SUPPRESSED_LINES_SECONDS = 10.0
"""How often the number of suppressed log lines is logged, so that a quiet log has it, too."""
WATCH_SECRET_FILES_SECONDS = 10.0
"""How often a running adapter looks whether its secret files can still be used."""
_MIN_ANSWER_SECONDS = 1.0
"""How long callbacks that have arrived may take, even if the other stages took the whole grace period."""

_log = logging.getLogger(__name__)


utc_now: Clock = partial(datetime.now, UTC)
"""The time of the wall clock."""


OnWait = Callable[[str | None], None]
"""Called with the reason when the start begins to wait or waits for something else, and with None when it continues."""


def _no_report(_reason: str | None) -> None: ...


def run_until_stopped(settings: Settings, only: Collection[str] = STAGES, *, on_wait: OnWait = _no_report) -> None:
    """Run the adapter until SIGTERM or SIGINT, and return once everything is committed and closed.

    Raises SettingsError, PluginRejected or TopicsMissing if it cannot start.
    """
    with log.log_stream() as (stream, dropped_log_lines):
        log.configure(style=settings.log.format, level=settings.log.level, stream=stream)
        with log.stray_errors_logged(), _same_handlers_afterwards():
            try:
                event_loop.run(_run(settings, only, dropped_log_lines, on_wait))
            finally:
                log.report_suppressed_lines(everything=True)


@contextlib.contextmanager
def _same_handlers_afterwards() -> Iterator[None]:
    """Give a second signal the handler from before: the event loop leaves Python's own, which end with an error."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _run(
    settings: Settings, only: Collection[str], dropped_log_lines: Callable[[], int], on_wait: OnWait = _no_report
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends asyncio.run by itself
            loop.add_signal_handler(number, stop.set)
    # A look-up at a name server that does not answer takes up to a minute, and Python's own threads delay the exit.
    loop.set_default_executor(DaemonExecutor(NAME_LOOKUPS_MAX, name="beside"))
    traces = instruments(utc_now, begin_at={settings.topics.orders_paid})
    adapter = Adapter(settings, only, dropped_log_lines=dropped_log_lines, traces=traces)
    _tune_gc()
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    try:
        await adapter.run(stop, on_wait)
    finally:
        await traces.stop()


def _tune_gc() -> None:
    """Run the garbage collector rarely, and never over the objects of imported modules.

    Hundreds of orders in flight hold so many objects that it would run all the time and find nothing: it took 3 to 5 %
    of the CPU time, and takes 1 % with these values.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 10, 10)


class RunningStage(StageRunner, Protocol):
    """A stage as the app sees it: `stream.engine.Engine` behind a topic, `web.callbacks.ReceiveStage` behind a port."""

    @property
    def last_heartbeat(self) -> float: ...


class _Obstacle(Struct, frozen=True, kw_only=True):
    """What a start waits for, in a word and in a sentence, and the seconds until it is checked again."""

    waits_for: str
    detail: str
    check_again_seconds: float = 1.0


class Adapter:
    """The adapter of one process."""

    def __init__(
        self,
        settings: Settings,
        only: Collection[str] = STAGES,
        *,
        now: Clock = utc_now,
        dropped_log_lines: Callable[[], int] = lambda: 0,
        traces: Instruments | None = None,
    ) -> None:
        """Build every part. Starts nothing. `dropped_log_lines` is shown in the metrics; `traces` wraps the parts.

        Raises SettingsError and PluginRejected.
        """
        unknown = sorted(set(only) - set(STAGES))
        if unknown or not only:
            named = ", ".join(unknown) or "nothing"
            raise SettingsError(f"--only names {named}; this version has the stages {', '.join(STAGES)}.")
        self._merchants = wiring.merchant_book(settings)
        problems = wiring.start_problems(settings, self._merchants)
        if problems:
            raise SettingsError(*problems)
        _log_settings_warnings(settings)
        _check_codecs()
        self._settings = settings
        self._now = now
        self._traces = traces or Instruments()
        self._signer = wiring.record_signer(settings, self._merchants)
        self._metrics = Metrics(self._is_configured)
        self._scraped_merchants = wiring.merchant_book(settings)  # one belongs to one thread
        self._hook_runner = wiring.make_hook_runner(settings, self._merchants, watch_job=self._traces.hook_jobs)
        self._connection = wiring.kafka_connection(settings, plugins=lambda: self._hook_runner.plugins)
        _log_plugins(self._hook_runner.plugins)
        sinks = wiring.make_sinks(self._hook_runner.plugins) if "deliver" in only else ()
        if set(only) == {"deliver"} and not sinks:
            raise SettingsError("--only names deliver, but there is no sink. Set one up (docs/sinks.md).")
        if set(only) == {"collect"} and not settings.collect.issue_types:
            raise SettingsError("--only names collect, but collect.issue_types is empty. Set it (docs/collecting.md).")
        self._sink_runner = SinkRunner(
            settings,
            sinks,
            self._connection,
            stream=self._metrics.stream,
            observer=self._metrics.sinks,
            now=now,
            traces=self._traces,
        )
        if set(only) == {"reconcile"} and not settings.reconcile.at:
            raise SettingsError("--only names reconcile, but reconcile.at is empty. Set it to a time, such as 05:00.")
        self._only = only
        self._groups = wiring.consumer_groups(settings, only, sinks)
        self._receiving = self._receive_stage()
        self._fingerprint = _fingerprint(settings, self._hook_runner)
        self._number_history = wiring.number_history(settings, self._connection, self._merchants)
        self._item_checks: ItemChecks | None = None
        self._collecting: Callable[[], Mapping[str, WaitingTickets]] = dict
        self._holds = Holds(now)
        self._hold_follower = wiring.hold_follower(
            settings, self._connection, holds=self._holds, observer=self._metrics.holds
        )
        self._dead_letter_age = wiring.dead_letter_age(settings, self._connection)
        if "submit" in only:
            holds = ActiveHoldMetrics(
                self._holds.active,
                up_to_date=lambda: self._hold_follower.up_to_date,
                is_configured=self._is_configured_at_scrape,
            )
            self._metrics.registry.register(holds)
            self._metrics.registry.register(DeadLetterAgeMetrics(lambda: self._dead_letter_age.found, now=now))
        self._engines: Mapping[str, RunningStage] = {}
        self._startup_problem: str | None = "starting"
        self._secret_file_problems: tuple[str, ...] = ()
        self._register_scraped_metrics(dropped_log_lines)
        self._begin_series(sinks)

    def _is_configured(self, merchant_id: str) -> bool:
        return self._merchants.find(merchant_id) is not None

    def _is_configured_at_scrape(self, merchant_id: str) -> bool:
        return self._scraped_merchants.find(merchant_id) is not None

    def _begin_series(self, sinks: Iterable[ProvidedSink]) -> None:
        """Begin the series of all that runs here, so that their first count is seen."""
        prefix = f"{self._settings.kafka.group_prefix}."
        for group, topics in self._groups.items():
            self._metrics.stream.begin(group.removeprefix(prefix), topics)
        for sink in sinks:
            self._metrics.sinks.begin(sink.name)
        self._metrics.begin(self._running_stages(), self._merchants.ids)

    def _running_stages(self) -> set[str]:
        """The stages that this process runs: those of `--only` that the settings switch on."""
        off = {
            "collect": not self._settings.collect.issue_types,
            "reconcile": not self._settings.reconcile.at,
            "receive": self._receiving is None,
            "deliver": not any(".sink." in group for group in self._groups),
        }
        return {stage for stage in self._only if not off.get(stage, False)}

    def _register_scraped_metrics(self, dropped_log_lines: Callable[[], int]) -> None:
        """Register what is read on the thread of the metrics; the other parts add theirs when they are built."""
        settings, merchants = self._settings, self._scraped_merchants
        for collector in (
            BuildMetrics(version=_version(), commit=_commit()),
            RunningStageMetrics(lambda: [*self._engines, *self._sink_runner.engines]),
            DroppedLogLineMetrics(dropped_log_lines),
            SecretFileMetrics(lambda: len(self._secret_file_problems)),
            StuckDeliveryMetrics(self._sink_runner.stuck),
            WaitingDeliveryMetrics(self._open_deliveries, now=self._now),
            HookMetrics(self._hook_runner.counters.snapshot, lambda: self._hook_runner.stuck_threads),
            OpenWorkMetrics(
                self._open_records,
                kinds=lambda: [kind for stage in KINDS for kind in KINDS[stage] if stage in self._engines],
                merchants=lambda: merchants.ids,
                deferred_topic=settings.topics.orders_deferred,
                now=self._now,
            ),
        ):
            self._metrics.registry.register(collector)

    def _open_records(self) -> Iterator[OpenRecord]:
        for name, stage in self._inspected().items():
            if name in KINDS:
                yield from stage.open_records()

    def _open_deliveries(self) -> Mapping[str, Iterator[OpenRecord]]:
        engines = self._inspected()
        found = {sink: engines.get(f"sink.{sink}") for sink in self._sink_runner.plugins}
        return {sink: iter(()) if engine is None else engine.open_records() for sink, engine in found.items()}

    async def run(self, stop: asyncio.Event, on_wait: OnWait = _no_report) -> None:
        """Run until `stop` is set. Raises the error that prevents the start or ends a stage."""
        reading = DaemonExecutor(1, name="metrics")
        admin = WebServer(
            admin_app(self, self._metrics.registry, executor=reading),
            host=self._settings.admin.host,
            port=self._settings.admin.port,
            purpose="admin",
        )
        await admin.start()
        provider = wiring.make_provider(
            self._settings, observer=self._metrics.provider, merchants=self._merchants, traces=self._traces
        )
        self._metrics.registry.register(ClockMetrics(lambda: provider.clock_offset_seconds))
        self._metrics.registry.register(
            ChannelMetrics(provider.channel_states, is_configured=self._is_configured_at_scrape)
        )
        if (proxy := wiring.ecticket_proxy(self._settings)) is not None:
            _log.info("proxy-used", extra={"proxy": str(proxy)})
        console = self._console(provider)
        beside = [asyncio.create_task(work) for work in self._work_beside()]
        try:
            if console is not None:
                await console.start()
            if self._receiving is not None:
                await self._receiving.start()
            if await self._wait_until_startable(stop, on_wait):
                self._engines = dict(self._make_engines(provider))
                await self._run_engines(stop)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            if self._receiving is not None:
                await self._receiving.stop(self._settings.shutdown.grace_seconds)
            if self._item_checks is not None:
                await self._item_checks.close()
            await self._number_history.close()
            await provider.close()
            await self._hook_runner.aclose()
            if console is not None:
                await console.stop()
            await admin.stop()
            reading.shutdown()

    def _work_beside(self) -> Iterator[Coroutine[object, object, None]]:
        """What goes on from the start to the stop, beside the stages."""
        yield self._watch_secret_files()
        yield _report_suppressed_lines()
        if "submit" in self._only:
            yield self._hold_follower.run()
            yield self._dead_letter_age.run()

    async def _wait_until_startable(self, stop: asyncio.Event, on_wait: OnWait) -> bool:
        """Wait for the broker and for other deployments; return False if the adapter is stopped meanwhile.

        Raises TopicsMissing.
        """
        for check in (self._broker_obstacle, self._group_obstacle, self._hold_obstacle):
            if not await self._wait_out(check, stop, on_wait):
                return False
        on_wait(None)
        self._startup_problem = None
        return True

    async def _wait_out(
        self,
        check: Callable[[], Coroutine[object, object, _Obstacle | None]],
        stop: asyncio.Event,
        on_wait: OnWait,
    ) -> bool:
        """Check again and again until there is no obstacle; return False if the adapter is stopped meanwhile."""
        while not stop.is_set():
            checked = await _completed(check(), stop)
            if checked is None:
                return False
            obstacle = checked.result()
            if obstacle is None:
                return True
            _log.warning("start-waits", extra={"reason": obstacle.waits_for, "detail": obstacle.detail})
            if obstacle.detail != self._startup_problem:
                self._startup_problem = obstacle.detail
                on_wait(obstacle.detail)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), obstacle.check_again_seconds)
        return False

    async def _broker_obstacle(self) -> _Obstacle | None:
        try:
            await self._check_topics()
        except BrokerUnavailable as error:
            return self._without_broker(error)
        return None

    def _without_broker(self, error: BrokerUnavailable) -> _Obstacle:
        return _Obstacle(waits_for="broker", detail=f"no broker answers: {error}")

    async def _group_obstacle(self) -> _Obstacle | None:
        """Members of another deployment in this one's groups; what is only doubtful is logged."""
        try:
            conflict = await self._find_conflict()
        except BrokerUnavailable as error:
            return self._without_broker(error)
        except StreamError as error:
            _log.warning("groups-unknown", extra={"detail": str(error)})
            return None
        if conflict is None:
            return None
        if not conflict.blocking:
            _log.warning("group-perhaps-shared", extra={"detail": conflict.message})
            return None
        return _Obstacle(
            waits_for="consumer-groups",
            detail=conflict.message,
            check_again_seconds=CHECK_GROUPS_SECONDS,
        )

    async def _hold_obstacle(self) -> _Obstacle | None:
        """Holds that exist and are not known yet: a restart must not end them.

        A topic that does not exist, or that this user may not see, is no obstacle: nothing can be on hold there.
        """
        if "submit" not in self._only:
            return None
        follower = self._hold_follower
        await follower.first_attempt()
        if follower.knowledge is not Knowledge.UNREAD:
            return None
        return _Obstacle(
            waits_for="holds",
            detail=f"the holds of merchants are not known: {follower.problem}",
        )

    async def _find_conflict(self) -> GroupConflict | None:
        """Raises BrokerUnavailable, and StreamError if the brokers do not describe a group."""
        if not self._groups:
            return None
        members = await group_members(self._connection, self._groups)
        return find_conflict(members, client_id=self._connection.client_id, topics=self._groups)

    async def _watch_secret_files(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECRET_FILES_SECONDS)
            self.look_at_secret_files()

    def look_at_secret_files(self) -> None:
        """Log what became wrong with secret files; what was read last stays in use, so nothing else shows it.

        The series of a merchant whose files are new begin.
        """
        self._metrics.begin(self._running_stages(), self._merchants.ids)
        before = self._secret_file_problems
        now = wiring.unusable_secret_files(self._settings, self._merchants, self._connection)
        self._secret_file_problems = now
        for problem in now:
            if problem not in before:
                _log.warning("secret-file-unusable", extra={"detail": problem})
        if before and not now:
            _log.info("secret-files-usable")

    async def _watch_cluster(self) -> None:
        """Log trouble that begins while the adapter runs. The adapter keeps running: a stop would help no order."""
        while True:
            await asyncio.sleep(WATCH_CLUSTER_SECONDS)
            with contextlib.suppress(AdapterError):
                if (trouble := await self._group_trouble()) is not None:
                    _log.error("group-shared", extra={"detail": trouble})
            with contextlib.suppress(AdapterError):
                if (trouble := await self._missing_topics()) is not None:
                    _log.error("topics-missing", extra={"detail": trouble})

    async def _group_trouble(self) -> str | None:
        conflict = await self._find_conflict()
        return None if conflict is None else conflict.message

    async def _missing_topics(self) -> str | None:
        names = [spec.name for spec in wiring.topic_specs(self._settings) if not spec.optional]
        missing = await kafka_topics.missing(self._connection, names)
        if not missing:
            return None
        return f"Topics are missing: {', '.join(missing)}. Create them with `ecticket-adapter topics --create`."

    async def _check_topics(self) -> None:
        missing = await self._missing_topics()
        if missing is not None:
            raise TopicsMissing(missing)
        specs = wiring.topic_specs(self._settings)
        for warning in await kafka_topics.warnings(self._connection, [spec for spec in specs if not spec.optional]):
            _log.warning("topic-risky", extra={"detail": warning})
        if "submit" in self._only:
            with contextlib.suppress(StreamError):  # `_hold_follower` reports it
                for warning in await kafka_topics.warnings(self._connection, [spec for spec in specs if spec.optional]):
                    _log.warning("topic-risky", extra={"detail": warning})

    def _make_engines(self, provider: EcticketClient) -> Iterator[tuple[str, RunningStage]]:
        if "submit" in self._only:
            engine = self._engine(self._submit_stage(provider))
            self._holds.on_release(engine.start_early)
            yield "submit", engine
        if "confirm" in self._only:
            yield "confirm", self._engine(self._confirm_stage(provider))
        if "collect" in self._only and self._settings.collect.issue_types:
            stage = self._collect_stage(provider)
            waiting = CollectingMetrics(stage.waiting, is_configured=self._is_configured_at_scrape, now=self._now)
            self._metrics.registry.register(waiting)
            self._collecting = stage.waiting
            yield "collect", self._engine(stage)
        if "reconcile" in self._only and self._settings.reconcile.at:
            yield "reconcile", self._reconcile_stage(provider)
        if self._receiving is not None:
            yield "receive", self._receiving

    def _engine(self, stage: Stage[S]) -> Engine[S]:
        return Engine(
            self._traces.stage(stage),
            self._traces.kafka(AioKafka(self._connection)),
            observer=self._metrics.stream,
            now=self._now,
            skips_group=wiring.skips_group(self._settings),
        )

    def _submit_stage(self, provider: EcticketClient) -> SubmitStage:
        settings = self._settings
        outcomes = OrderOutcomes(
            topics=wiring.flow_topics(settings),
            defer_seconds=settings.submit.defer_seconds,
            confirm=_confirm_policy(settings),
            merchants=self._merchants,
            observer=self._metrics.flows,
            now=self._now,
            signer=self._signer,
        )
        self._item_checks = wiring.item_checks(settings, provider, observer=self._metrics.flows, now=self._now)
        return SubmitStage(
            topics=wiring.flow_topics(settings),
            group=f"{settings.kafka.group_prefix}.submit",
            concurrency=settings.submit.concurrency,
            linger_seconds=settings.submit.linger_ms / 1000,
            fingerprint=self._fingerprint,
            merchants=self._merchants,
            hook_runner=self._hook_runner,
            ecticket=self._traces.ecticket(provider),
            outcomes=outcomes,
            plan_policy=wiring.plan_policy(settings),
            policy=_submit_policy(settings),
            observer=self._metrics.flows,
            now=self._now,
            number_history=self._number_history,
            signer=self._signer,
            longest_wait_seconds=max(LONGEST_DEFERRAL_SECONDS, settings.submit.defer_seconds),
            item_checks=self._item_checks,
            holds=self._holds,
        )

    def _confirm_stage(self, provider: EcticketClient) -> ConfirmStage:
        settings = self._settings
        return ConfirmStage(
            topics=wiring.flow_topics(settings),
            group=f"{settings.kafka.group_prefix}.confirm",
            concurrency=settings.confirm.concurrency,
            linger_seconds=settings.confirm.linger_ms / 1000,
            merchants=self._merchants,
            ecticket=self._traces.ecticket(provider),
            policy=_confirm_policy(settings),
            observer=self._metrics.flows,
            now=self._now,
            number_history=self._number_history,
            signer=self._signer,
        )

    def _collect_stage(self, provider: EcticketClient) -> CollectStage:
        settings = self._settings
        return CollectStage(
            topics=wiring.flow_topics(settings),
            group=f"{settings.kafka.group_prefix}.collect",
            issue_types=settings.collect.issue_types,
            merchants=self._merchants,
            reports=provider.reports,
            policy=CollectPolicy(
                interval_seconds=settings.collect.interval_seconds,
                give_up_after_seconds=settings.collect.give_up_after_hours * 3600,
            ),
            observer=self._metrics.flows,
            now=self._now,
            signer=self._signer,
        )

    def _reconcile_stage(self, provider: EcticketClient) -> ReconcileStage:
        from adapter.flows.reconcile_stage import ReconcileSchedule, ReconcileStage

        settings = self._settings
        return ReconcileStage(
            kafka=AioKafka(self._connection),
            topic=settings.topics.reconciliations,
            group=wiring.reconcile_group(settings),
            merchants=self._merchants,
            reconciler=wiring.reconciler(settings, self._connection, provider, now=self._now),
            schedule=ReconcileSchedule(
                at=datetime.strptime(settings.reconcile.at, "%H:%M").time(), days=settings.reconcile.days
            ),
            report_interval_seconds=settings.reports.interval_seconds,
            observer=self._metrics.reconciliations,
            now=self._now,
        )

    def _receive_stage(self) -> ReceiveStage | None:
        """Return the callbacks' stage, if it is enabled. Raises SettingsError if no stage would be left to run."""
        settings, callbacks, observer = self._settings, self._settings.callbacks, self._metrics.callbacks
        if "receive" not in self._only or not callbacks.enabled:
            if set(self._only) == {"receive"}:
                raise SettingsError("--only names receive, but callbacks.enabled is false. Enable callbacks.")
            return None
        publisher = KafkaPublisher(self._connection)
        receiver = Receiver(
            topic=wiring.flow_topics(settings).topic_for(Notified),
            merchants=self._merchants,
            publisher=self._traces.publisher(publisher),
            observer=observer,
            now=self._now,
        )
        paths = {CallbackKind.REFUND: callbacks.PATHS["refund"], CallbackKind.USE_STATUS: callbacks.PATHS["use_status"]}
        return ReceiveStage(
            callbacks_app(self._traces.receiver(receiver, paths), observer, paths),
            publisher,
            observer,
            host=callbacks.host,
            port=callbacks.port,
        )

    def _console(self, provider: EcticketClient) -> ConsoleRunner | None:
        """Return the console, if it is enabled; it reads on a thread of its own what this process holds."""
        settings = self._settings
        if not settings.console.enabled:
            return None
        merchants = wiring.merchant_book(settings)  # one belongs to one thread
        sources = ProcessSources(
            identity=ProcessIdentity(
                host=socket.gethostname(),
                version=_version(),
                environment=settings.provider.environment,
                group_prefix=settings.kafka.group_prefix,
                fingerprint=self._fingerprint,
                started_at=self._now(),
            ),
            registry=self._metrics.registry,
            problems=lambda: [*self.liveness_problems(), *self.readiness_problems()],
            stages=lambda: self._engines,
            inspected=self._inspected,
            channels=provider.channel_states,
            merchants=lambda: merchants.ids,
            holds=self._holds.active,
            collecting=lambda: self._collecting(),
            sinks=self._sink_states,
            plugins=self._hook_runner.plugins.describe(),
            hook_counts=self._hook_runner.counters.snapshot,
            stuck_threads=lambda: self._hook_runner.stuck_threads,
            deferred_topic=settings.topics.orders_deferred,
            now=self._now,
        )
        return ConsoleRunner(settings, self._connection, sources, groups=self._groups)

    def _inspected(self) -> Mapping[str, InspectedStage]:
        stages = {**self._engines, **self._sink_runner.engines}
        return {name: stage for name, stage in stages.items() if isinstance(stage, Engine)}

    def _sink_states(self) -> Sequence[SinkState]:
        stuck = self._sink_runner.stuck()
        return [
            SinkState(name=name, plugin=plugin, stuck=stuck[name]) for name, plugin in self._sink_runner.plugins.items()
        ]

    async def _run_engines(self, stop: asyncio.Event) -> None:
        """Run the engines until stopped. If one of them fails, stop the others and raise its error."""
        await self._sink_runner.start()
        running = [asyncio.create_task(engine.run()) for engine in self._engines.values()]
        stopping = asyncio.create_task(stop.wait())
        watching = asyncio.create_task(self._watch_cluster())
        _log.info(
            "running",
            extra={
                "stages": [*self._engines],
                "sinks": [*self._sink_runner.stuck()],
                "version": _version(),
                "merchants": len(self._merchants.ids),
            },
        )
        await asyncio.wait([*running, stopping], return_when=asyncio.FIRST_COMPLETED)
        _log.info("stopping", extra={"requested": stop.is_set()})
        stopping.cancel()
        watching.cancel()
        grace = self._settings.shutdown.grace_seconds
        await asyncio.gather(self._sink_runner.stop(grace), self._stop_engines(grace))
        await asyncio.gather(*running)
        _log.info("stopped")

    async def _stop_engines(self, grace: float) -> None:
        """Stop the stages, and receive callbacks until the others have ended.

        Kubernetes takes a pod's address out of its Service only after it has sent SIGTERM, so callbacks still arrive.
        """
        ends = time.monotonic() + grace
        engines = [engine for engine in self._engines.values() if engine is not self._receiving]
        await asyncio.gather(*(engine.stop(grace) for engine in engines))
        if self._receiving is not None:
            await self._receiving.stop(max(_MIN_ANSWER_SECONDS, ends - time.monotonic()))

    def liveness_problems(self) -> Sequence[str]:
        """Reasons why a restart would help."""
        now = time.monotonic()
        beats = {name: engine.last_heartbeat for name, engine in self._engines.items()}
        beats["deliver"] = self._sink_runner.last_heartbeat
        stuck = [
            f"the {name} loop has not run for {now - beat:.0f} s"
            for name, beat in beats.items()
            if now - beat > STUCK_AFTER_SECONDS
        ]
        stuck_threads = self._hook_runner.stuck_threads
        if stuck_threads >= STUCK_THREADS_MAX:
            stuck.append(f"{stuck_threads} threads are stuck in plugins' hooks")
        return stuck

    def readiness_problems(self) -> Sequence[str]:
        """Reasons why no orders can be processed now. ECTicket's health is not one of them.

        Neither is that of sinks, unless this process only delivers.
        """
        if self._startup_problem is not None:
            return [self._startup_problem]
        engines: Mapping[str, StageRunner] = self._engines or self._sink_runner.engines
        return [f"the {name} stage {problem}" for name, engine in engines.items() for problem in _problems(engine)]

    def info(self) -> Mapping[str, object]:
        """What runs in this process."""
        return {
            "version": _version(),
            "stages": {
                name: sorted(f"{topic}/{partition}" for topic, partition in engine.assigned)
                for name, engine in {**self._engines, **self._sink_runner.engines}.items()
            },
            "sinks": list(self._sink_runner.stuck()),
            "merchants": list(self._merchants.ids),
            "holds": {merchant: hold.model_dump(mode="json") for merchant, hold in self._holds.active().items()},
            "secret_file_problems": list(self._secret_file_problems),
            "environment": self._settings.provider.environment,
            "fingerprint": self._fingerprint,
        }


async def _completed(work: Coroutine[object, object, T], stop: asyncio.Event) -> asyncio.Task[T] | None:
    """Wait for `work` and return its task; if `stop` is set first, cancel it and return None."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return None if task.cancelled() else task


def _problems(engine: StageRunner) -> Iterator[str]:
    """Why this engine does not read records, with the cause if it is known."""
    causes = engine.problems
    if not engine.connected:
        yield ": ".join(("is out of touch with the brokers", *causes))
    elif not (engine.assigned or engine.standing_by):
        yield ": ".join(("has no partitions yet", *causes))
    else:
        yield from (f"does not read everything: {cause}" for cause in causes)


async def _report_suppressed_lines() -> None:
    while True:
        await asyncio.sleep(REPORT_SUPPRESSED_LINES_SECONDS)
        log.report_suppressed_lines()


def _log_settings_warnings(settings: Settings) -> None:
    contained = in_container()
    for each in (*check_settings(settings), *exposed_settings_file(settings.file, contained=contained)):
        _log.warning("setting-risky", extra={"setting": each.key, "detail": str(each)})
    for sentence in exposed_files(settings.secrets_dir, contained=contained):
        _log.warning("setting-risky", extra={"setting": "secrets_dir", "detail": sentence})


def _check_codecs() -> None:
    """Log each codec that cannot be read, because a batch in it would stop its partition."""
    for codec, cause in unreadable_codecs().items():
        _log.error("codec-missing", extra={"codec": codec, "detail": cause, "action": REPAIR_CODECS})


def _log_plugins(plugins: PluginManager) -> None:
    """Log the plugins in the order in which they are called, and what they use that is deprecated."""
    _log.info("plugins-loaded", extra={"plugins": [plugin.name for plugin in plugins.describe()]})
    for warning in plugins.warnings:
        _log.warning("plugin-warning", extra={"detail": warning})


def _submit_policy(settings: Settings) -> SubmitPolicy:
    submit = settings.submit
    return SubmitPolicy(
        reissue_after_seconds=submit.reissue_after_seconds,
        refusal_final_after_seconds=submit.refusal_final_after_seconds,
        retry_rtn_codes=frozenset(submit.retry_rtn_codes),
        attempts=submit.attempts,
        query_first=QueryFirst(submit.query_first),
        give_up_after_seconds=submit.give_up_after_hours * 3600,
    )


def _confirm_policy(settings: Settings) -> ConfirmPolicy:
    confirm = settings.confirm
    return ConfirmPolicy(
        first_query_seconds=confirm.first_query_seconds,
        query_interval_seconds=confirm.query_interval_seconds,
        delayed_after_seconds=confirm.delayed_after_seconds,
        delayed_interval_seconds=confirm.delayed_interval_seconds,
        give_up_after_seconds=confirm.give_up_after_hours * 3600,
    )


def _fingerprint(settings: Settings, hook_runner: HookRunner) -> str:
    """Hash of everything that decides which numbers an order gets and what is bought under each."""
    policy = wiring.plan_policy(settings)
    text = f"{hook_runner.fingerprint}/{planner_version()}/{policy.family}/{policy.derive}/{policy.prefix}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _version() -> str:
    return version("ecticket-adapter")


def _commit() -> str | None:
    """The commit from which the image was built; None outside of an image."""
    file = Path(__file__).with_name("commit.txt")
    commit = file.read_text(encoding="ascii").strip() if file.exists() else ""
    return commit if commit != "unknown" else None
