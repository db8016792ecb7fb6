"""Commands run beside a worker, with its settings, as in its pod."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

from integration import independent_check
from integration.cluster import Cluster, Worker
from integration.event_log import SLOW_MACHINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What `--json` printed, line by line."""
        return [json.loads(each) for each in self.out.splitlines()]


async def begin(worker: Worker, *arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "adapter", *arguments)
    return await asyncio.create_subprocess_exec(*command, env=dict(worker.environment), stdout=pipe, stderr=pipe)


async def run(worker: Worker, *arguments: str) -> Result:
    """Run a command with this worker's settings, as in its pod."""
    process = await begin(worker, *arguments)
    out, err = await asyncio.wait_for(process.communicate(), 30 * SLOW_MACHINE)
    return Result(code=process.returncode or 0, out=out.decode(), err=err.decode())


async def independently_checked(cluster: Cluster, what: str, *topics: str) -> Result:
    """Run the independent check of these topics (by setting) against the sandbox."""
    names = [cluster.topic(each) for each in topics]
    command = (sys.executable, independent_check.__file__, what, cluster.kafka.bootstrap_servers, *names)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cluster.sandbox.base_url, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 60 * SLOW_MACHINE)
    return Result(code=process.returncode or 0, out=out.decode(), err=err.decode())
