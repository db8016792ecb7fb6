"""Runs the console on a thread and event loop of its own, so that a browser never delays an order.

The thread reads what the other parts hold, and changes nothing. Reading topics is paced: the thread computes for at
most half of the time. If the console cannot listen, the adapter logs that and runs without it: a page must never cost
an order.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import Final

from msgspec import Struct

from adapter import event_loop, wiring
from adapter.errors import SettingsError
from adapter.extensions.bounded_threads import DaemonExecutor
from adapter.kafka.client import AioKafka
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.reader import read_tail
from adapter.operations.ports import Progress
from adapter.operations.topic_overview import TopicWatch
from adapter.settings import Settings
from adapter.stream.records import Record
from adapter.web.console.order_search import OrderSearch
from adapter.web.console.process_facts import ProcessSources, process_facts
from adapter.web.console.server import LIMITS, console_app
from adapter.web.server import WebServer

SEARCHED: Final = timedelta(days=30)
"""How far back an order is searched: as long as events are kept by default."""
PACE_RECORDS: Final = 200
"""After so many records the thread rests for as long as it computed for them."""
STOP_SECONDS: Final = 2.0
_ALL: Final = 10**15
"""More offsets than any topic has."""

_log = logging.getLogger(__name__)


class _Listening(Struct, frozen=True, kw_only=True):
    """The console's loop, the event that ends it, and its port."""

    loop: asyncio.AbstractEventLoop
    stopping: asyncio.Event
    port: int


class ConsoleRunner:
    """The console, from `start` to `stop`."""

    def __init__(
        self,
        settings: Settings,
        connection: KafkaConnection,
        sources: ProcessSources,
        *,
        groups: Mapping[str, tuple[str, ...]],
    ) -> None:
        """`groups` are the consumer groups of this process, and the topics that each reads."""
        self._settings = settings
        self._connection = connection
        self._sources = sources
        self._groups = groups
        self._started: Future[_Listening] = Future()
        self._thread = threading.Thread(target=self._live, name="console", daemon=True)
        self.port: int | None = None
        """The port that it listens on; None if it cannot listen."""

    async def start(self) -> None:
        """Start to listen; log one sentence if that is not possible."""
        self._thread.start()
        try:
            self.port = (await asyncio.wrap_future(self._started)).port
        except SettingsError as error:
            _log.error("console-not-started", extra={"detail": str(error)})
        else:
            _log.info("console-listening", extra={"host": self._settings.console.host, "port": self.port})

    async def stop(self) -> None:
        """Stop to listen; a thread that does not end in time is left to the end of the process."""
        if self.port is not None:
            listening = self._started.result()
            listening.loop.call_soon_threadsafe(listening.stopping.set)
        await asyncio.to_thread(self._thread.join, STOP_SECONDS + 1.0)

    def _live(self) -> None:
        try:
            event_loop.run(self._run())
        except BaseException as error:  # noqa: BLE001  # the top of the thread: `start` raises the error
            if not self._started.done():
                self._started.set_exception(error)
            else:
                _log.exception("console-error")

    async def _run(self) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        loop.set_default_executor(DaemonExecutor(2, name="console-beside"))
        watch = self._topic_watch()
        app = console_app(
            partial(process_facts, self._sources), watch.look, self._order_search(), host=settings.console.host
        )
        server = WebServer(
            app,
            host=settings.console.host,
            port=settings.console.port,
            purpose="console",
            limits=LIMITS,
        )
        await server.start()
        stopping = asyncio.Event()
        self._started.set_result(_Listening(loop=loop, stopping=stopping, port=server.port))
        try:
            await stopping.wait()
        finally:
            await server.stop(STOP_SECONDS)
            await watch.close()

    def _topic_watch(self) -> TopicWatch:
        settings, connection = self._settings, self._connection

        def read_from(offsets: Mapping[int, int]) -> AsyncGenerator[Record, None]:
            return paced(read_tail(connection, settings.topics.dead_letters, offsets, newest=_ALL))

        return TopicWatch(
            AioKafka(connection),
            read_from=read_from,
            topic=settings.topics.dead_letters,
            group=wiring.dead_letter_group(settings),
            groups=self._groups,
        )

    def _order_search(self) -> OrderSearch:
        settings, now = self._settings, self._sources.now
        merchants = wiring.merchant_book(settings)  # one belongs to one thread

        async def explain(which: str, progress: Progress) -> Mapping[str, object]:
            # Imported at the first search: most processes have none, and it is a tenth of the adapter's own code.
            from adapter.kafka.topic_reader import KafkaTopicReader
            from adapter.operations.explain_order import explain_order
            from adapter.operations.timeline_json import timeline_json
            from adapter.operations.topic_search import OrderTopics

            topics = OrderTopics(
                reader=KafkaTopicReader(self._connection, paced),
                names=wiring.flow_topics(settings),
                merchants=merchants,
                trade_no_prefix=settings.submit.trade_no_prefix,
            )
            found = await explain_order(which, topics, since=now() - SEARCHED, progress=progress, now=now)
            return {"orders": [timeline_json(each) for each in found]}

        return OrderSearch(explain)


async def paced(records: AsyncGenerator[Record, None]) -> AsyncGenerator[Record, None]:
    """The records, with a rest after each `PACE_RECORDS` that is as long as this thread computed for them.

    The interpreter runs one thread at a time, so a thread that computes without a rest takes time from the orders.
    """
    async with aclosing(records):
        began, count = time.thread_time(), 0
        async for record in records:
            yield record
            count += 1
            if count % PACE_RECORDS == 0:
                await asyncio.sleep(time.thread_time() - began)
                began = time.thread_time()
