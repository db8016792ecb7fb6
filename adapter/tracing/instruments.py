"""Wraps the parts of a running adapter; this class leaves every part as it is, because no traces are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TypeVar

from adapter.extensions.invocation import HookCounters
from adapter.flows.deliver import SinkCaller
from adapter.flows.ports import Ecticket
from adapter.flows.receive import NotificationReceiver
from adapter.protocol.notification import CallbackKind
from adapter.provider.exchange import Exchange
from adapter.stream.port import Kafka, Publisher
from adapter.stream.stage import Stage

S = TypeVar("S")

HookJobs = Callable[[HookCounters], AbstractContextManager[HookCounters] | None]
"""Watches one order's hooks; the calls are counted in the counters that it yields. None if it does not watch it."""


class Instruments:
    """Wraps nothing."""

    hook_jobs: HookJobs | None = None
    """For `HookRunner`."""

    def stage(self, stage: Stage[S]) -> Stage[S]:
        """The stage of an engine."""
        return stage

    def kafka(self, kafka: Kafka) -> Kafka:
        """The Kafka client of an engine."""
        return kafka

    def ecticket(self, ecticket: Ecticket) -> Ecticket:
        """The calls to ECTicket, as flows make them."""
        return ecticket

    def exchange(self, exchange: Exchange) -> Exchange:
        """The HTTP requests of these calls."""
        return exchange

    def sink(self, sink: SinkCaller) -> SinkCaller:
        """A sink that gets events."""
        return sink

    def publisher(self, publisher: Publisher) -> Publisher:
        """The publisher of notifications."""
        return publisher

    def receiver(self, receiver: NotificationReceiver, _paths: Mapping[CallbackKind, str], /) -> NotificationReceiver:
        """The receiver of notifications, and the paths to which they are posted."""
        return receiver

    async def stop(self) -> None:
        """Export what is recorded, within a few seconds."""
