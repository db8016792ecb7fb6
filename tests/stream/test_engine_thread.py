"""Engines on a thread of their own: run, stopped with the grace, and run again when one ends by itself."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from adapter.extensions.bounded_threads import DaemonExecutor
from adapter.stream.engine import Engine
from adapter.stream.engine_thread import EngineThread
from adapter.stream.stage import Outcome, RecordContext
from stream.engine_harness import PAID, StageOfTests, outcome_with, until
from stream.fake_kafka import FakeCluster, FakeKafka


class FakeEngine:
    """An engine that runs until it is stopped, or fails as the test wants."""

    assigned = frozenset({("events", 0)})
    connected = True
    standing_by = False
    problems = ()

    def __init__(self, fatal_error: Exception | None = None) -> None:
        self._mistake = fatal_error
        self._stopped = asyncio.Event()
        self.thread = ""
        self.grace: float | None = None

    async def run(self) -> None:
        self.thread = threading.current_thread().name
        if self._mistake is not None:
            raise self._mistake
        await self._stopped.wait()

    async def stop(self, grace_seconds: float) -> None:
        self.grace = grace_seconds
        self._stopped.set()


async def test_engines_run_on_a_second_thread_and_are_stopped_with_their_grace() -> None:
    """Both of them, on one thread that is not the caller's, and that ends."""
    made: list[FakeEngine] = []

    def make() -> FakeEngine:
        made.append(FakeEngine())
        return made[-1]

    engine_thread = EngineThread("aside", {"one": make, "two": make}, beside=ThreadPoolExecutor(1))
    before = engine_thread.last_heartbeat
    await engine_thread.start()
    await until(lambda: all(engine.thread for engine in made) and len(made) == 2)
    assert list(engine_thread.engines) == ["one", "two"]
    await until(lambda: engine_thread.last_heartbeat > before)

    await engine_thread.stop(3.5)

    assert {engine.thread for engine in made} == {"aside"}
    assert [engine.grace for engine in made] == [3.5, 3.5]
    await until(lambda: "aside" not in {thread.name for thread in threading.enumerate()})


async def test_an_engine_that_ends_by_itself_is_run_again_and_the_others_go_on() -> None:
    """A mistake in one costs the others nothing."""
    made: list[FakeEngine] = []

    def fails_at_first() -> FakeEngine:
        made.append(FakeEngine(None if made else ValueError("a mistake")))
        return made[-1]

    other: list[FakeEngine] = []

    def make() -> FakeEngine:
        other.append(FakeEngine())
        return other[-1]

    engine_thread = EngineThread(
        "aside", {"fails": fails_at_first, "other": make}, beside=ThreadPoolExecutor(1), run_again_seconds=0.01
    )
    await engine_thread.start()
    await until(lambda: len(made) == 2 and made[1].thread)
    await engine_thread.stop(0)

    assert len(other) == 1
    assert other[0].grace == 0


async def test_an_engine_works_on_a_second_thread(cluster: FakeCluster) -> None:
    """From its first record to the commit of its last."""
    cluster.append(PAID, "a", "b")
    seen: list[str] = []

    async def handle(subject: str, context: RecordContext) -> Outcome:
        seen.append(threading.current_thread().name)
        return outcome_with(subject)

    def make() -> Engine[str]:
        return Engine(StageOfTests(handle), FakeKafka(cluster, [PAID]))

    engine_thread = EngineThread("aside", {"test": make}, beside=ThreadPoolExecutor(1))
    await engine_thread.start()
    await until(lambda: len(cluster.published) == 2)
    await engine_thread.stop(1.0)

    assert set(seen) == {"aside"}
    assert cluster.commits[PAID].offset == 2


async def test_a_host_name_that_is_looked_up_for_ever_holds_up_no_stop() -> None:
    """The look-up goes on in a thread that Python does not wait for."""
    looking_up, answered = threading.Event(), threading.Event()

    def look_up() -> None:
        looking_up.set()
        answered.wait()

    class LooksUp(FakeEngine):
        async def run(self) -> None:
            asyncio.get_running_loop().run_in_executor(None, look_up)
            await super().run()

    engine_thread = EngineThread("aside", {"one": LooksUp}, beside=DaemonExecutor(1, name="beside"))
    await engine_thread.start()
    await until(looking_up.is_set)
    await engine_thread.stop(0)

    await until(lambda: "aside" not in {thread.name for thread in threading.enumerate()})
    answered.set()
