"""What the running adapter makes of its plugins, short of a broker: how it starts, and when it is no longer alive."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import cast

import pytest
from key_words import mentions
from log_lines import LogLine, capture_logs

from adapter import app, log
from adapter.app import STUCK_AFTER_SECONDS, STUCK_THREADS_MAX, Adapter
from adapter.errors import BrokerUnavailable, HookFailed, PluginRejected, SettingsError, StreamError
from adapter.extensions.values import OrderRecord
from adapter.flows.holds import Knowledge
from adapter.kafka.connection import KafkaConnection
from adapter.kafka.group_members import GroupMember
from adapter.settings import Settings, load
from adapter.stream.engine_thread import StageRunner

RECORD = OrderRecord(topic="orders.paid", key=None, value=b"{}", timestamp=datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ECTICKET_"):
            monkeypatch.delenv(name)


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    """Where the plugin `shop` is written; its module is gone after the test."""
    yield tmp_path / "shop.py"
    sys.modules.pop("ecticket_plugin_shop", None)


def settings(plugin: Path, code: str, **more: str) -> Settings:
    plugin.write_text(dedent(code))
    keys = {f"merchants.1.{name}": "k" * 16 for name in ("hash_key", "hash_iv")}
    given = {"submit.operator": "web", "plugins.paths": str(plugin), **keys}
    return load(None, given | {key.replace("__", "."): value for key, value in more.items()})


def test_a_run_leaves_the_handlers_of_signals_as_they_were() -> None:
    """A second signal while the process ends meets the handler of `adapter.__main__`, which ends it with code 0."""
    handlers: dict[signal.Signals, object] = {}

    def handler(_signal: int, _frame: object) -> None: ...

    before = {number: signal.signal(number, handler) for number in app.STOP_SIGNALS}
    try:
        with pytest.raises(SettingsError):
            app.run_until_stopped(Settings())
        handlers = {number: signal.getsignal(number) for number in app.STOP_SIGNALS}
    finally:
        for number, former in before.items():
            signal.signal(number, former)

    assert handlers == dict.fromkeys(app.STOP_SIGNALS, handler)


STUCK = """
    import threading
    from adapter import hookimpl

    gate = threading.Event()

    @hookimpl
    def parse_order(record):
        gate.wait(30)
    """


async def test_threads_stuck_in_hooks_make_the_adapter_no_longer_alive(plugin: Path) -> None:
    """A restart gets them back; until there are many of them, orders of others are worth more than a restart."""
    adapter = Adapter(settings(plugin, STUCK, plugins__budget_ms="1"))
    hook_runner = adapter._hook_runner

    async def stuck(count: int) -> None:
        ended = await asyncio.gather(*(hook_runner.parse(RECORD) for _ in range(count)), return_exceptions=True)
        assert all(isinstance(each, HookFailed) for each in ended)

    await stuck(STUCK_THREADS_MAX - 1)
    few = list(adapter.liveness_problems())
    await stuck(1)
    many = list(adapter.liveness_problems())
    sys.modules["ecticket_plugin_shop"].gate.set()
    async with asyncio.timeout(10):
        while hook_runner.stuck_threads:  # noqa: ASYNC110  # the threads end by themselves
            await asyncio.sleep(0.001)

    assert few == []
    (problem,) = many
    assert str(STUCK_THREADS_MAX) in problem
    assert adapter.liveness_problems() == []


def test_a_loop_that_has_not_run_for_long_makes_the_adapter_no_longer_alive(plugin: Path) -> None:
    """`/livez` names the stage whose loop is stuck, and no other."""
    adapter = Adapter(settings(plugin, STUCK))
    now = time.monotonic()
    beats = {"submit": now - STUCK_AFTER_SECONDS - 1, "confirm": now - STUCK_AFTER_SECONDS / 2}
    adapter._engines = {
        name: cast(app.RunningStage, SimpleNamespace(last_heartbeat=beat)) for name, beat in beats.items()
    }

    (problem,) = adapter.liveness_problems()

    assert "submit" in problem


def test_the_start_logs_plugins_in_order_and_warnings(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator might never run `plugins list`."""
    code = "from adapter import hookimpl\n@hookimpl\ndef map_item(line):\n    return None\n"

    with capture_logs() as logged:
        Adapter(settings(plugin, code, plugins__disabled="shopp"))

    (order,) = (entry for entry in logged if "plugins" in entry)
    assert order["plugins"] == ["shop", "builtin.sku_is_item_no", "log", "webhook"]
    warnings = [str(entry["detail"]) for entry in logged if entry["log_level"] == "warning"]
    assert any("'shopp'" in warning and "'shop'?" in warning for warning in warnings)


def test_a_plugin_that_cannot_start_stops_the_adapter(plugin: Path) -> None:
    """Wrong settings and a broken plugin are different errors; with either the adapter does not start."""
    strict = """
        from pydantic import BaseModel
        from adapter import hookimpl

        class settings_model(BaseModel):
            token: str

        @hookimpl
        def configure(settings):
            pass
        """

    with pytest.raises(SettingsError, match=r"'shop'.* plugins\.settings\.shop\.token .*missing"):
        Adapter(settings(plugin, strict))
    Adapter(settings(plugin, strict, plugins__settings__shop__token="t"))
    with pytest.raises(PluginRejected, match="Plugin 'shop'"):
        Adapter(settings(plugin, "1 / 0"))


def test_the_fingerprint_that_is_committed_follows_plugins_settings(plugin: Path) -> None:
    """After a crash under other settings, an order's tickets may be others."""
    plain = """
        from adapter import hookimpl

        @hookimpl
        def configure(settings):
            pass

        @hookimpl
        def map_item(line):
            return None
        """
    prints = {
        Adapter(settings(plugin, plain, plugins__settings__shop__days=days)).info()["fingerprint"]
        for days in ("1", "2", "1")
    }

    assert len(prints) == 2


async def test_a_broker_that_is_waited_for_is_named(plugin: Path) -> None:
    """`/readyz` says which one, and what kept it from answering."""
    adapter = Adapter(settings(plugin, STUCK, kafka__bootstrap_servers="127.0.0.1:1"))
    stop, reasons = asyncio.Event(), list[str | None]()
    waiting = asyncio.create_task(adapter._wait_until_startable(stop, reasons.append))
    async with asyncio.timeout(20):
        while adapter.readiness_problems() == ["starting"]:  # noqa: ASYNC110  # it offers no event
            await asyncio.sleep(0.01)
    (reason,) = adapter.readiness_problems()
    stop.set()

    assert "127.0.0.1:1" in reason
    assert not await waiting
    assert reasons == [reason]


def _member(client_id: str, *topics: str) -> GroupMember:
    return GroupMember(
        group="ecticket-adapter.submit", client_id=client_id, host="10.0.0.7", topics=frozenset(topics) or None
    )


async def test_members_of_another_deployment_are_waited_for(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage starts before they have left; `/readyz` and the termination message have the reason meanwhile."""
    answers: list[BrokerUnavailable | list[GroupMember]] = [
        BrokerUnavailable("gone"),
        [_member("stage"), _member("shop")],
        [_member("shop")],
    ]
    asked: list[Collection[str]] = []

    async def group_members(_connection: KafkaConnection, groups: Collection[str]) -> Sequence[GroupMember]:
        asked.append(groups)
        answer = answers.pop(0)
        if isinstance(answer, BrokerUnavailable):
            raise answer
        unready.extend(adapter.readiness_problems())
        return answer

    async def topics_exist() -> None: ...

    adapter = Adapter(settings(plugin, STUCK, kafka__client_id="shop"))
    monkeypatch.setattr(adapter, "_check_topics", topics_exist)
    monkeypatch.setattr(adapter, "_hold_obstacle", topics_exist)
    monkeypatch.setattr(app, "group_members", group_members)
    monkeypatch.setattr(app, "CHECK_GROUPS_SECONDS", 0.01)
    reasons, unready = list[str | None](), list[str]()
    started = await adapter._wait_until_startable(asyncio.Event(), reasons.append)

    assert started
    assert [*asked[0]] == ["ecticket-adapter.submit", "ecticket-adapter.confirm"]
    assert [("gone" in (reason or ""), "stage at 10.0.0.7" in (reason or "")) for reason in reasons] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert "stage at 10.0.0.7" in unready[-1]
    assert reasons[-1] is None


class Follower:
    """Follows the control topic as the test says."""

    def __init__(self, *knowledge: Knowledge) -> None:
        self._knowledge = list(knowledge)
        self.knowledge = Knowledge.UNREAD
        self.problem = "no right to Read"

    async def first_attempt(self) -> None:
        self.knowledge = self._knowledge.pop(0)


@pytest.mark.parametrize("end", [Knowledge.KNOWN, Knowledge.UNAVAILABLE])
async def test_nothing_is_submitted_before_the_holds_are_known(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, end: Knowledge
) -> None:
    """A restart must not end a hold; without the topic there is none."""

    async def no_obstacle() -> None: ...

    adapter = Adapter(settings(plugin, STUCK))
    follower = Follower(Knowledge.UNREAD, Knowledge.UNREAD, end)
    for name in ("_broker_obstacle", "_group_obstacle"):
        monkeypatch.setattr(adapter, name, no_obstacle)
    monkeypatch.setattr(adapter, "_hold_follower", follower)
    reasons = list[str | None]()
    monkeypatch.setattr(app, "_Obstacle", partial(app._Obstacle, check_again_seconds=0.01))

    assert await adapter._wait_until_startable(asyncio.Event(), reasons.append)
    assert follower.knowledge is end
    assert [reason is not None and "no right to Read" in reason for reason in reasons] == [True, False]


async def test_only_the_submit_stage_waits_for_holds(plugin: Path) -> None:
    """No other stage sends Issue calls, or needs a right on the topic."""
    adapter = Adapter(settings(plugin, STUCK), ("confirm",))

    assert await adapter._hold_obstacle() is None


@pytest.mark.parametrize("answer", [StreamError("GroupAuthorizationFailedError"), [_member("shop", "other")]])
async def test_what_is_only_doubtful_delays_no_start(
    plugin: Path, monkeypatch: pytest.MonkeyPatch, answer: StreamError | list[GroupMember]
) -> None:
    """A missing right, or a member of this deployment with other topics: a warning."""

    async def group_members(*_: object) -> Sequence[GroupMember]:
        if isinstance(answer, StreamError):
            raise answer
        return answer

    adapter = Adapter(settings(plugin, STUCK, kafka__client_id="shop"))
    monkeypatch.setattr(app, "group_members", group_members)
    with capture_logs() as logged:
        obstacle = await adapter._group_obstacle()

    assert obstacle is None
    assert [line["log_level"] for line in logged] == ["warning"]


async def _logged_by_the_watch(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, enough: asyncio.Event
) -> Sequence[LogLine]:
    """What the adapter logs while it watches the cluster, until `enough`."""
    monkeypatch.setattr(app, "WATCH_CLUSTER_SECONDS", 0.001)
    with capture_logs() as logged:
        watching = asyncio.create_task(adapter._watch_cluster())
        await enough.wait()
        watching.cancel()
    return logged


async def test_a_conflict_that_begins_later_is_logged_once(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deployments that start together do not see each other; a broker that is unavailable ends no watch."""
    looks: list[int] = []
    enough = asyncio.Event()

    async def group_members(*_: object) -> Sequence[GroupMember]:
        looks.append(1)
        if len(looks) == 1:
            raise BrokerUnavailable("gone")
        if len(looks) == 4:
            enough.set()
        return [_member("stage")]

    adapter = Adapter(settings(plugin, STUCK, kafka__client_id="shop"))
    monkeypatch.setattr(app, "group_members", group_members)
    (line, *_) = await _logged_by_the_watch(adapter, monkeypatch, enough)

    assert (line["event"], line["log_level"]) == ("group-shared", "error")
    assert "stage at 10.0.0.7" in str(line["detail"])


async def test_a_topic_that_is_deleted_while_the_adapter_runs_is_logged_once(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brokers report it to no reader, and the stages wait for it silently; an unavailable broker ends no watch."""
    looks: list[int] = []
    enough = asyncio.Event()

    async def missing(_connection: object, names: Collection[str]) -> tuple[str, ...]:
        looks.append(1)
        if len(looks) == 2:
            raise BrokerUnavailable("gone")
        if len(looks) == 5:
            enough.set()
        return tuple(name for name in names if name == "orders.paid") if len(looks) > 1 else ()

    async def group_members(*_: object) -> Sequence[GroupMember]:
        return ()

    adapter = Adapter(settings(plugin, STUCK))
    monkeypatch.setattr(app, "group_members", group_members)
    monkeypatch.setattr("adapter.kafka.topics.missing", missing)
    (line, *_) = await _logged_by_the_watch(adapter, monkeypatch, enough)

    assert (line["event"], line["log_level"]) == ("topics-missing", "error")
    assert mentions(str(line["detail"]), "orders.paid topics --create")


async def test_a_broker_that_accepts_connections_and_never_answers_delays_no_stop(plugin: Path) -> None:
    """A stop during the first request to the broker ends the wait; the request's own time-out does not matter."""

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()

    writers: list[asyncio.StreamWriter] = []
    connected, stop = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    adapter = Adapter(settings(plugin, STUCK, kafka__bootstrap_servers=f"127.0.0.1:{port}"))
    waiting = asyncio.create_task(adapter._wait_until_startable(stop, lambda _: None))
    await connected.wait()
    stop.set()
    found = await waiting
    for writer in writers:
        writer.close()
    server.close()

    assert not found
    assert adapter.readiness_problems() == ["starting"], "the request ended by its own time-out"


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({}, None),
        ({"assigned": frozenset(), "standing_by": True}, None),
        ({"assigned": frozenset()}, "no partitions"),
        (
            {"assigned": frozenset(), "problems": ["orders/0: refused"]},
            "no partitions orders/0: refused",
        ),
        (
            {"connected": False, "problems": ["joining: refused"]},
            "brokers joining: refused",
        ),
        (
            {"problems": ["orders/0/5: unreadable"]},
            "not read orders/0/5: unreadable",
        ),
    ],
)
def test_readiness_names_the_cause(engine: dict[str, object], words: str | None) -> None:
    """Of each stage: what keeps it from reading, and why."""
    state = {"connected": True, "assigned": frozenset({("orders", 0)}), "standing_by": False, "problems": [], **engine}

    reasons = list(app._problems(cast(StageRunner, SimpleNamespace(**state))))

    assert len(reasons) == (words is not None)
    assert all(mentions(reason, words or "") for reason in reasons)


async def test_hooks_that_compute_leave_the_loop_its_turns(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running adapter makes threads take short turns: heartbeats wait for a turn of each hook that computes."""

    async def run(_adapter: Adapter, _stop: asyncio.Event, _on_wait: app.OnWait) -> None:
        turns.append(sys.getswitchinterval())

    turns: list[float] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)  # Python's default; an earlier test may have started an adapter in this process
    monkeypatch.setattr(Adapter, "run", run)
    monkeypatch.setattr(app, "_tune_gc", lambda: None)
    try:
        await app._run(
            settings(plugin, "from adapter import hookimpl\n\n@hookimpl\ndef accept_order(order):\n    return None\n"),
            app.STAGES,
            lambda: 0,
        )
    finally:
        sys.setswitchinterval(before)

    assert turns == [pytest.approx(app.THREAD_SWITCH_SECONDS)]
    assert app.THREAD_SWITCH_SECONDS < 0.005


def test_a_secret_file_that_breaks_while_the_adapter_runs_is_logged_and_counted(tmp_path: Path) -> None:
    """What was read before stays in use, so nothing else would show it; once, and the repair is logged too."""
    folder = tmp_path / "merchants" / "2"
    for path in (folder, tmp_path / "provider"):
        path.mkdir(parents=True)
    for name in ("hash_key", "hash_iv"):
        (folder / name).write_text("k" * 16)
    adapter = Adapter(load(None, {"submit.operator": "web", "secrets_dir": str(tmp_path)}), ["submit"])
    broken = {tmp_path / "signing_key": "MARKED-too-short", tmp_path / "provider" / "proxy_password": ""}

    with capture_logs() as lines:
        for path, text in broken.items():
            path.write_text(text)
        for _ in range(2):
            adapter.look_at_secret_files()
        found = adapter.info()["secret_file_problems"]
        for path in broken:
            path.unlink()
        adapter.look_at_secret_files()

    assert isinstance(found, list)
    assert [sum(str(path) in problem for problem in found) for path in broken] == [1, 1]
    assert [line["detail"] for line in lines if line["event"] == "secret-file-unusable"] == found
    assert [line["event"] for line in lines].count("secret-files-usable") == 1
    assert adapter.info()["secret_file_problems"] == []
    assert "MARKED" not in str(lines)


async def test_a_running_adapter_asks_for_the_number_of_suppressed_lines(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the start on, also while it waits for the broker: a quiet log has the number, too."""
    asked, stop = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(app, "REPORT_SUPPRESSED_LINES_SECONDS", 0.001)
    monkeypatch.setattr(log, "report_suppressed_lines", asked.set)
    given = settings(plugin, STUCK, kafka__bootstrap_servers="127.0.0.1:1", admin__port="0")
    running = asyncio.create_task(Adapter(given, ["submit"]).run(stop))

    async with asyncio.timeout(30):
        await asked.wait()
        stop.set()
        await running


def test_the_stop_logs_the_number_of_suppressed_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all lines, after the last one."""
    asked: list[bool] = []

    async def ended(*_: object) -> None: ...

    monkeypatch.setattr(app, "_run", ended)
    monkeypatch.setattr(log, "configure", lambda **_: None)
    monkeypatch.setattr(log, "report_suppressed_lines", lambda *, everything: asked.append(everything))
    app.run_until_stopped(Settings())

    assert asked == [True]
