"""The life of a local broker, with a stand-in for the Java process: every way in which a start can fail."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from key_words import mentions

from adapter.dev.local_kafka import broker, java
from adapter.dev.local_kafka.broker import LocalKafka
from adapter.dev.local_kafka.ports import free_ports
from adapter.errors import LocalKafkaError
from dev.local_kafka.processes import failure, goes, is_gone, parent

FAKE = Path(__file__).with_name("fake_kafka.py")

Plays = Callable[[str], None]


class Quiet:
    """Progress that keeps what it hears."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, what: str) -> None:
        self.steps.append(what)

    def fetched(self, name: str, done: int, of: int) -> None:
        raise AssertionError("nothing is fetched here")


@pytest.fixture
def plays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plays:
    """Sets what goes wrong from now on; temporary folders go below `tmp_path`."""

    def how(problem: str) -> None:
        def command(jars: object, temporary: Path, main_class: str, *arguments: str) -> list[str]:
            return [sys.executable, str(FAKE), problem, main_class, *arguments]

        monkeypatch.setattr(java, "command", command)

    monkeypatch.setattr(broker, "jars", lambda progress: ())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    how("nothing")
    return how


@pytest.fixture
def kafka(plays: Plays) -> Iterator[LocalKafka]:
    made = LocalKafka(progress=Quiet(), ready_within_seconds=60)
    yield made
    made.stop()


def accepts(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_broker_serves_between_start_and_stop(kafka: LocalKafka, tmp_path: Path) -> None:
    """Started, it accepts clients; stopped, neither process nor folder is left."""
    kafka.start()
    pid = kafka.pid

    assert accepts(kafka.bootstrap_servers)
    assert kafka.bootstrap_servers.startswith("127.0.0.1:")
    assert kafka.ready_after_seconds > 0
    kafka.stop()
    assert pid is not None
    assert is_gone(pid)
    assert kafka.pid is None
    assert list(tmp_path.iterdir()) == []


def test_stopping_twice_or_what_never_ran_is_fine(kafka: LocalKafka) -> None:
    """`stop` promises an end and not an event."""
    kafka.stop()
    kafka.start()
    kafka.stop()
    kafka.stop()


def test_starting_twice_is_refused(kafka: LocalKafka) -> None:
    """One object is one broker; the running one goes on."""
    kafka.start()

    with pytest.raises(LocalKafkaError, match="already runs"):
        kafka.start()
    assert accepts(kafka.bootstrap_servers)


def test_there_is_no_address_before_the_start(kafka: LocalKafka) -> None:
    """Asking too early is an error, not a guess."""
    with pytest.raises(LocalKafkaError, match="started"):
        _ = kafka.bootstrap_servers
    with pytest.raises(LocalKafkaError, match="started"):
        _ = kafka.directory


def test_address_and_data_outlive_a_kill_and_a_restart(kafka: LocalKafka) -> None:
    """Clients that hold the address find the broker again, with what it had."""
    kafka.start()
    address, directory = kafka.bootstrap_servers, kafka.directory
    (directory / "data" / "records").touch()

    kafka.kill()
    assert not accepts(address)
    kafka.restart()
    assert accepts(address)
    kafka.restart()

    assert accepts(address)
    assert (kafka.bootstrap_servers, kafka.directory) == (address, directory)
    assert (directory / "data" / "records").exists()


def test_a_given_directory_stays(plays: Plays, tmp_path: Path) -> None:
    """Data in a given directory are kept, and formatted once."""
    mine = tmp_path / "mine"
    for _ in range(2):
        with LocalKafka(mine, progress=Quiet()) as kafka:
            assert kafka.directory == mine

    assert (mine / "data" / "meta.properties").exists()


def test_a_broker_that_dies_while_starting_is_reported_with_its_log(kafka: LocalKafka, plays: Plays) -> None:
    """What happened, the last lines, and where the rest is; the log stays, the data does not."""
    plays("dies")

    with pytest.raises(LocalKafkaError) as failure:
        kafka.start()

    assert mentions(str(failure.value), "died 3 ERROR luck")
    assert str(kafka.log) in str(failure.value)
    assert kafka.log.exists()
    assert not (kafka.directory / "data").exists()
    assert kafka.pid is None


def test_storage_that_cannot_be_formatted_is_reported_with_its_log(kafka: LocalKafka, plays: Plays) -> None:
    """The tool's own words are in the error."""
    plays("cannot-format")

    with pytest.raises(LocalKafkaError, match=r"format(.|\n)*disk"):
        kafka.start()


def test_a_broker_that_never_gets_ready_is_given_up(plays: Plays) -> None:
    """A bound ends the wait, and nothing goes on running."""
    plays("never-ready")
    kafka = LocalKafka(progress=Quiet(), ready_within_seconds=0.5)

    with pytest.raises(LocalKafkaError, match=r"\b0\.5 s"):
        kafka.start()
    assert kafka.pid is None
    kafka.stop()


def test_a_port_that_was_taken_meanwhile_is_changed_for_another(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and binding others may be faster; the next pair of ports is tried."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        choices = iter([(taken.getsockname()[1], 1), free_ports(2)])
        monkeypatch.setattr(broker, "free_ports", lambda count: next(choices))
        kafka.start()

        assert kafka.bootstrap_servers != f"127.0.0.1:{taken.getsockname()[1]}"
        assert accepts(kafka.bootstrap_servers)


def test_a_restart_does_not_move_to_another_port(kafka: LocalKafka) -> None:
    """Clients know the address; if another program took it, the error says so."""
    kafka.start()
    kafka.kill()
    host, port = kafka.bootstrap_servers.split(":")

    with (
        socket.create_server((host, int(port))),
        pytest.raises(LocalKafkaError, match=rf"{port}\b(.|\n)*in use"),
    ):
        kafka.start()


def test_a_start_can_be_stopped_from_another_thread(plays: Plays, tmp_path: Path) -> None:
    """`asyncio.to_thread(kafka.start)` cannot be cancelled; `stop` ends it, and waits until it has ended."""
    plays("never-ready")
    kafka = LocalKafka(progress=Quiet())
    failures: list[str] = []

    def start() -> None:
        try:
            kafka.start()
        except LocalKafkaError as error:
            failures.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    while kafka.pid is None:
        pass
    kafka.stop()
    thread.join()

    (failure,) = failures
    assert mentions(failure, "stopped before")
    assert kafka.pid is None
    assert list(tmp_path.iterdir()) == []


async def test_it_starts_from_a_coroutine(kafka: LocalKafka) -> None:
    """No signal handlers, no loop: a thread is enough."""
    await asyncio.to_thread(kafka.start)

    assert accepts(kafka.bootstrap_servers)
    await asyncio.to_thread(kafka.stop)


def test_a_broker_that_ignores_the_stop_is_killed(
    kafka: LocalKafka, plays: Plays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping ends, also with a broker that hangs."""
    monkeypatch.setattr(broker, "_STOP_SECONDS", 0.2)
    plays("deaf")
    kafka.start()
    pid = kafka.pid

    kafka.stop()

    assert pid is not None
    assert is_gone(pid)


@pytest.mark.parametrize("how", ["nothing", "never-ready"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, how: str) -> None:
    """While it starts or while it runs: Ctrl-C ends broker and folder, and the program as Ctrl-C does."""
    script = f"""
import sys, tempfile, threading, time
from adapter.dev.local_kafka import broker, java
java.command = lambda jars, scratch, main, *rest: [sys.executable, {str(FAKE)!r}, {how!r}, main, *rest]
broker.jars = lambda progress: ()
tempfile.tempdir = {str(tmp_path)!r}
kafka = broker.LocalKafka()
def publish():
    while not (kafka._directory and kafka.log.exists() and "serving" in kafka.log.read_text()):
        time.sleep(0.01)
    print(kafka.pid, flush=True)
threading.Thread(target=publish, daemon=True).start()
with kafka:
    time.sleep(600)
"""
    process = parent(script)
    (pid,) = map(int, failure(process))

    process.send_signal(signal.SIGINT)

    assert process.wait(60) == -signal.SIGINT
    assert goes(pid)
    assert list(tmp_path.iterdir()) == []
    assert process.stdout is not None
    process.stdout.close()
