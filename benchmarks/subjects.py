"""The measured programs: the adapter as in a pod, variants of it, and a plain loop; each in its own process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from adapter.dev.local_kafka.ports import free_ports
from adapter.dev.local_kafka.supervised import Supervised
from adapter.settings import variable
from benchmarks import profiled
from benchmarks.builds import PRESENT, Build
from benchmarks.ground import Ground
from benchmarks.processes import cpu_seconds, peak_mib, pin, resident_mib

STOP_SECONDS = 60.0
START_SECONDS = 120.0


class SubjectFailedError(Exception):
    """The measured process did not start, or ended by itself."""


class Metrics:
    """The values of `/metrics`."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items())


@dataclass(slots=True, kw_only=True)
class Subject:
    """A running process under measurement."""

    process: Supervised
    log: Path
    admin: str | None

    def cpu_seconds(self) -> float:
        """Its CPU time so far."""
        return cpu_seconds(self.process.pid)

    def resident_mib(self) -> float:
        """Its present memory."""
        return resident_mib(self.process.pid)

    def peak_mib(self) -> float:
        """The most memory that it had so far."""
        return peak_mib(self.process.pid)

    def must_run(self) -> None:
        """Raise SubjectFailedError with the log's end if it has ended."""
        if self.process.status is not None:
            raise SubjectFailedError(f"it ended by itself with exit code {self.process.status}; {self.last_lines()}")

    def last_lines(self) -> str:
        """The end of its log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join(["the last lines of its log:", *lines]) if lines else "it logged nothing"

    async def metrics(self) -> Metrics:
        """Its present metrics; none for a contender without metrics."""
        if self.admin is None:
            return Metrics("")
        async with httpx.AsyncClient(base_url=self.admin, trust_env=False, timeout=START_SECONDS) as client:
            return Metrics((await client.get("/metrics")).text)

    async def partitions(self, stage: str) -> int:
        """How many partitions one of its stages has now."""
        async with httpx.AsyncClient(base_url=self.admin or "", trust_env=False, timeout=START_SECONDS) as client:
            return len((await client.get("/info")).json()["stages"].get(stage, ()))

    async def until_ready(self) -> None:
        """Wait until it can take orders. Raises SubjectFailedError."""
        async with asyncio.timeout(START_SECONDS):
            while not await self._is_ready():
                self.must_run()
                await asyncio.sleep(0.1)

    async def _is_ready(self) -> bool:
        if self.admin is None:
            return True
        try:
            async with httpx.AsyncClient(base_url=self.admin, trust_env=False, timeout=START_SECONDS) as client:
                return (await client.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    async def stop(self) -> None:
        """Stop it cleanly. Raises SubjectFailedError if its exit code is not 0."""
        self.must_run()
        await asyncio.to_thread(self.process.terminate, STOP_SECONDS)
        if self.admin is not None and self.process.status != 0:
            raise SubjectFailedError(f"it ended with exit code {self.process.status}; see {self.log}")

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)


@asynccontextmanager
async def adapter(
    ground: Ground,
    values: Mapping[str, str],
    *,
    command: Sequence[str],
    profile: Path | None = None,
    build: Build = PRESENT,
) -> AsyncIterator[Subject]:
    """Run the adapter of `build` with these settings, pinned to the measured core, until the end of the `with`."""
    port = free_ports(1)[0]
    published = {**values, **dict(build.changes), "admin.port": str(port)}
    variables = {variable(key): value for key, value in published.items()}
    if profile is not None:
        variables[profiled.FILE] = str(profile)
    process, log = _start(ground, command, variables, build)
    try:
        yield Subject(process=process, log=log, admin=f"http://127.0.0.1:{port}")
    finally:
        process.kill()


@asynccontextmanager
async def plain_loop(ground: Ground, options: Mapping[str, object]) -> AsyncIterator[Subject]:
    """Run the plain loop (`benchmarks.plain_loop.Options`) as the adapter is run."""
    process, log = _start(ground, ("-m", "benchmarks.plain_loop", json.dumps(options)), {})
    try:
        yield Subject(process=process, log=log, admin=None)
    finally:
        process.kill()


def own_environment(ground: Ground, checkout: Path) -> dict[str, str]:
    """The environment of a process that runs the code in `checkout`: compiled once, and two heaps, as in the image."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ECTICKET_", "OTEL_"))}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    # A safe path: the working folder, which has this checkout, does not come before another one.
    return {
        **inherited,
        "PYTHONPATH": str(checkout),
        "PYTHONSAFEPATH": "1",
        "PYTHONPYCACHEPREFIX": str(ground.folder / "compiled"),
        "MALLOC_ARENA_MAX": "2",
    }


def _start(
    ground: Ground, command: Sequence[str], variables: Mapping[str, str], build: Build = PRESENT
) -> tuple[Supervised, Path]:
    environment = {**own_environment(ground, build.checkout), **variables, **dict(build.variables)}
    log = ground.folder / f"subject-{len(list(ground.folder.glob('*.log')))}.log"
    process = Supervised([str(build.python), *command], log=log, environment=environment, remove_when_orphaned=None)
    pin(process.pid, ground.core)
    return process, log
