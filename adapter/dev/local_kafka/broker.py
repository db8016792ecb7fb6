"""A real Kafka broker for the demo and the tests: starts, stops and kills it, and never leaves it behind.

One node in KRaft mode, on the loopback interface only. Everything it writes is in one folder: `data`, `kafka.log`,
`server.properties` and `tmp`. Its Java process runs under a watchdog (`watchdog.py`), so it always ends with the
process that started it.

All methods block, and none uses signals or the event loop; from a coroutine: `await asyncio.to_thread(kafka.start)`.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from adapter.dev.local_kafka import java
from adapter.dev.local_kafka.jars import KAFKA_VERSION, jars
from adapter.dev.local_kafka.ports import LOOPBACK, free_ports, is_open
from adapter.dev.local_kafka.progress import Lines, Progress
from adapter.dev.local_kafka.properties import server_properties
from adapter.dev.local_kafka.supervised import Supervised
from adapter.errors import LocalKafkaError

_STARTED = "Kafka Server started"
_PORT_TAKEN = "Address already in use"
_PORT_TRIES = 5
_POLL_SECONDS = 0.05
_STOP_SECONDS = 15.0
_TAIL_LINES = 15
_STACK_FRAME = "\tat "


class _PortTakenError(Exception):
    """Another program took a port between our check and the broker's bind."""


class LocalKafka:
    """One broker on this machine.

    `directory` keeps the data between uses; without it, a temporary folder is made, and removed at the end.
    `progress` is called for slow steps (default: plain lines on standard error). With `users` (password by name) the
    broker also listens at `users_bootstrap_servers`, where these users log in with SASL/PLAIN over SASL_PLAINTEXT and
    have only the rights that ACLs give them; clients of `bootstrap_servers` may do everything.

        with LocalKafka() as kafka:
            print(kafka.bootstrap_servers)
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        users: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        ready_within_seconds: float = 60.0,
    ) -> None:
        """Does not start the broker; `start` or `with` does."""
        self._logins = users
        self._progress = progress or Lines()
        self._ready_within = ready_within_seconds
        self._own = directory is None
        self._directory = directory
        self._ports: tuple[int, ...] = ()
        self._jars: tuple[Path, ...] = ()
        self._process: Supervised | None = None
        self._busy = threading.Lock()
        self._stop_requested = threading.Event()
        self.ready_after_seconds = 0.0
        """Duration of the last start, with formatting and without fetching."""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients; `restart` and `kill` keep it. Raises LocalKafkaError before `start`."""
        if not self._ports:
            raise LocalKafkaError("The local Kafka has not been started, so it has no address; call start() first.")
        return f"{LOOPBACK}:{self._ports[0]}"

    @property
    def users_bootstrap_servers(self) -> str:
        """`host:port` for clients that log in as one of the users. Raises LocalKafkaError before `start`, and if there
        are no users.
        """
        if len(self._ports) < 3:
            raise LocalKafkaError("The local Kafka has no listener for users; give it users and call start().")
        return f"{LOOPBACK}:{self._ports[2]}"

    @property
    def directory(self) -> Path:
        """The broker's folder. Raises LocalKafkaError before `start` if no directory was given."""
        if self._directory is None:
            raise LocalKafkaError("The local Kafka has not been started, so it has no folder; call start() first.")
        return self._directory

    @property
    def log(self) -> Path:
        """The broker's log."""
        return self.directory / "kafka.log"

    @property
    def pid(self) -> int | None:
        """The process id of the running broker; None if it is not running."""
        return self._process.pid if self._process is not None and self._process.status is None else None

    def prepare(self) -> None:
        """Fetch what a start needs and is missing; afterwards a start needs no network.

        Raises LocalKafkaError if that is impossible.
        """
        java.executable()
        self._jars = jars(self._progress)

    def start(self) -> None:
        """Start the broker, on existing data if there are some, and return when it serves clients.

        Raises LocalKafkaError if it cannot be started, dies, is not ready in time, or if `stop` is called from another
        thread meanwhile.
        """
        with self._busy:
            self._stop_requested.clear()
            if self.pid is not None:
                raise LocalKafkaError(f"The local Kafka already runs at {self.bootstrap_servers}; stop() it first.")
            self.prepare()
            self._progress.step(f"starting Apache Kafka {KAFKA_VERSION}")
            begun = time.monotonic()
            self._start_on_free_ports()
            self.ready_after_seconds = time.monotonic() - begun

    def stop(self) -> None:
        """Stop the broker cleanly, or by force after some seconds, and remove its temporary folder.

        A given directory stays as it is. Stopping a broker that is not running does nothing.
        """
        self._stop_requested.set()
        with self._busy:
            self._end(_STOP_SECONDS)
            self._remove_own()

    def kill(self) -> None:
        """Kill the broker (SIGKILL), as a crash would; its data stay for `restart`."""
        with self._busy:
            self._end(0)

    def restart(self) -> None:
        """Stop the broker if it runs, and start it at the same address on the same data. Raises as `start` does."""
        with self._busy:
            self._end(_STOP_SECONDS)
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_on_free_ports(self) -> None:
        """A first start takes any free ports, and others if it loses one; a later start needs the ports it had."""
        for _ in range(1 if self._ports else _PORT_TRIES):
            ports = self._ports or free_ports(2 if self._logins is None else 3)
            try:
                self._launch(ports)
            except _PortTakenError:
                continue
            self._ports = ports
            return
        raise self._failure(f"found one of its ports {ports} taken by another program")

    def _launch(self, ports: tuple[int, ...]) -> None:
        try:
            properties = self._lay_out(ports)
            if not (self.directory / "data" / "meta.properties").exists():  # the last file that formatting writes
                self._format(properties)
            self._serve(properties, ports[0])
        except _PortTakenError:
            self._end(0)
            raise
        except (LocalKafkaError, OSError) as error:
            self._end(0)
            self._remove_own(but_log=True)
            if isinstance(error, LocalKafkaError):
                raise
            raise self._failure(f"could not be started: {error}") from error
        except BaseException:  # Ctrl-C: no file of ours may stay, not even a log
            self._end(0)
            self._remove_own()
            raise

    def _lay_out(self, ports: tuple[int, ...]) -> Path:
        """Make the folder and the configuration in it; return the configuration's path."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="ecticket-kafka-"))
        (self._directory / "tmp").mkdir(parents=True, exist_ok=True)
        properties = self._directory / "server.properties"
        properties.write_text(server_properties(self._directory / "data", ports, self._logins), encoding="utf-8")
        return properties

    def _format(self, properties: Path) -> None:
        """Give the storage its cluster id."""
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        tool = self._run("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(properties))
        self._wait(lambda: tool.status is not None, "to format its storage")
        if tool.status != 0:
            raise self._failure("could not format its storage")
        self._end(0)

    def _serve(self, properties: Path, port: int) -> None:
        """Run the broker and return when it has logged its start and accepts connections."""
        log_size = self.log.stat().st_size if self.log.exists() else 0
        broker = self._run("kafka.Kafka", str(properties))

        def ready_or_dead() -> bool:
            return broker.status is not None or (_STARTED in self._log_since(log_size) and is_open(port))

        self._wait(ready_or_dead, "to serve clients")
        if broker.status is not None:
            if _PORT_TAKEN in self._log_since(log_size):
                raise _PortTakenError
            raise self._failure(f"died while starting (exit status {broker.status})")

    def _run(self, main_class: str, *arguments: str) -> Supervised:
        """Run one of Kafka's programs as this object's process."""
        self._process = Supervised(
            java.command(self._jars, self.directory / "tmp", main_class, *arguments),
            log=self.log,
            environment=java.environment(),
            remove_when_orphaned=self.directory if self._own else None,
        )
        return self._process

    def _wait(self, done: Callable[[], bool], purpose: str) -> None:
        """Wait for `done`, at most for the start's time-out, and not after `stop` was called."""
        deadline = time.monotonic() + self._ready_within
        while not done():
            if self._stop_requested.wait(_POLL_SECONDS):
                raise LocalKafkaError("The local Kafka was stopped before it was ready.")
            if time.monotonic() > deadline:
                raise self._failure(f"needed more than {self._ready_within:g} s {purpose}")

    def _log_since(self, position: int) -> str:
        with self.log.open("rb") as log:
            log.seek(position)
            return log.read().decode("utf-8", errors="replace")

    def _failure(self, what: str) -> LocalKafkaError:
        """An error with the log's end and path; the log stays, even in a temporary folder."""
        if self._directory is None or not self.log.exists():
            return LocalKafkaError(f"The local Kafka {what}.")
        lines = [line for line in self._log_since(0).splitlines() if not line.startswith(_STACK_FRAME)]
        text = "\n".join(f"  | {line}" for line in lines[-_TAIL_LINES:])
        return LocalKafkaError(f"The local Kafka {what}. The end of its log, {self.log}:\n{text}")

    def _end(self, grace_seconds: float) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        if grace_seconds:
            process.terminate(grace_seconds)
        else:
            process.kill()

    def _remove_own(self, *, but_log: bool = False) -> None:
        """Remove what we made in a temporary folder; after a failure the log stays for the reader of the error."""
        if not self._own or self._directory is None:
            return
        if but_log:
            shutil.rmtree(self._directory / "data", ignore_errors=True)
            shutil.rmtree(self._directory / "tmp", ignore_errors=True)
        else:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
