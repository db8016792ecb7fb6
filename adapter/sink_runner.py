"""Runs all sinks of a process: one thread for each sink and one more for their engines, started and stopped together.

A sink that blocks affects only its own thread. The engines' thread runs no merchant's code, so the consumer groups of
all sinks stay alive and each delivery ends in time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from adapter import wiring
from adapter.extensions.bounded_threads import DaemonExecutor
from adapter.extensions.provided_sinks import ProvidedSink
from adapter.extensions.sink_thread import SinkThread
from adapter.flows.deliver import DeliverStage, DeliveryObserver, SinkCaller
from adapter.flows.messages.signatures import RecordSigner
from adapter.flows.ports import Clock
from adapter.flows.retry_policy import RetryPolicy, RetryState
from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.settings import Settings
from adapter.stream.engine import Engine
from adapter.stream.engine_thread import EngineThread, StageRunner
from adapter.stream.observer import StreamObserver
from adapter.tracing.instruments import Instruments


class SinkRunner:
    """The sinks, from `start` to `stop`; without sinks it starts no thread."""

    def __init__(
        self,
        settings: Settings,
        sinks: Sequence[ProvidedSink],
        connection: KafkaConnection,
        *,
        stream: StreamObserver,
        observer: DeliveryObserver,
        now: Clock,
        traces: Instruments,
    ) -> None:
        deliver = settings.deliver
        self._threads = [
            SinkThread(sink, timeout_seconds=deliver.timeout_seconds, concurrency=deliver.concurrency) for sink in sinks
        ]

        def engine(sink: SinkThread) -> Engine[RetryState]:
            # A signer of its own: the engines of the sinks run on another thread.
            signer = wiring.record_signer(settings, wiring.merchant_book(settings))
            stage = _stage(settings, sink, traces.sink(sink), observer, now, signer)
            return Engine(
                traces.stage(stage),
                traces.kafka(AioKafka(connection)),
                observer=stream,
                now=now,
                skips_group=wiring.skips_group(settings),
            )

        factories: dict[str, Callable[[], StageRunner]] = {
            f"sink.{thread.name}": partial(engine, thread) for thread in self._threads
        }
        beside = DaemonExecutor(max(1, len(sinks)), name="deliveries-beside")
        self._engine_thread = EngineThread("deliveries", factories, beside=beside)
        self._started = False

    @property
    def engines(self) -> Mapping[str, StageRunner]:
        """The sinks' engines by stage; none before the start."""
        return self._engine_thread.engines

    @property
    def last_heartbeat(self) -> float:
        """When the engines' loop last ran (`time.monotonic`); now, if there is none."""
        return self._engine_thread.last_heartbeat if self._started else time.monotonic()

    def stuck(self) -> Mapping[str, int]:
        """Number of cancelled deliveries that have not ended, by sink."""
        return {thread.name: thread.stuck for thread in self._threads}

    @property
    def plugins(self) -> Mapping[str, str]:
        """The plugin of each sink."""
        return {thread.name: thread.plugin for thread in self._threads}

    async def start(self) -> None:
        """Start to deliver."""
        if self._threads:
            for thread in self._threads:
                thread.start()
            await self._engine_thread.start()
            self._started = True

    async def stop(self, grace_seconds: float) -> None:
        """Stop reading, let deliveries end within the grace, commit, then close the sinks."""
        if self._started:
            await self._engine_thread.stop(grace_seconds)
            await asyncio.gather(*(thread.close() for thread in self._threads))


def _stage(
    settings: Settings,
    sink: SinkThread,
    caller: SinkCaller,
    observer: DeliveryObserver,
    now: Clock,
    signer: RecordSigner,
) -> DeliverStage:
    deliver = settings.deliver
    return DeliverStage(
        caller,
        topics=wiring.sink_topics(settings, sink.types),
        dead_letters=settings.topics.dead_letters,
        group=f"{settings.kafka.group_prefix}.sink.{sink.name}",
        concurrency=deliver.concurrency,
        retry_policy=RetryPolicy(
            first_retry_seconds=deliver.first_retry_seconds,
            longest_retry_seconds=deliver.longest_retry_seconds,
            give_up_after_seconds=deliver.give_up_after_hours * 3600,
        ),
        observer=observer,
        now=now,
        signer=signer,
    )
