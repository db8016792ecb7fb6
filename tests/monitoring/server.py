"""A real Prometheus for one test: it scrapes given targets and evaluates the rules of monitoring/."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from adapter.dev.local_kafka.ports import free_ports
from monitoring.rule_files import RULE_FILES


@dataclass(frozen=True, slots=True)
class Prometheus:
    """How to ask it."""

    client: httpx.AsyncClient

    async def has_data(self, expression: str) -> bool:
        """Whether the result of a query has a number now."""
        result = (await self._get("query", query=expression))["result"]
        return any(not math.isnan(float(series["value"][1])) for series in result)

    async def without_data(self, expressions: Sequence[str]) -> list[str]:
        """Those of the queries that have no number now."""
        found = [await self.has_data(each) for each in expressions]
        return [each for each, has_data in zip(expressions, found, strict=True) if not has_data]

    async def rules(self) -> list[Mapping[str, Any]]:
        """All rules with their health, and the alerts' states."""
        return [rule for group in (await self._get("rules"))["groups"] for rule in group["rules"]]

    async def _get(self, path: str, **parameters: str) -> Any:
        answer = (await self.client.get(f"/api/v1/{path}", params=parameters)).json()
        assert answer["status"] == "success", answer
        return answer["data"]


@asynccontextmanager
async def running_prometheus(
    program: str, folder: Path, targets: Mapping[str, Mapping[str, str]]
) -> AsyncIterator[Prometheus]:
    """A server that scrapes each target (host:port) every second, and adds its labels."""
    scraped = [{"targets": [target], "labels": dict(labels)} for target, labels in targets.items()]
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(each) for each in RULE_FILES],
        "scrape_configs": [{"job_name": "adapter", "static_configs": scraped}],
    }
    file = folder / "prometheus.yaml"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={address}",
            "--log.level=warn",
            stdout=log,
            stderr=log,
        )
        try:
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=30) as client:
                await _until_ready(client, process, folder / "prometheus.log")
                yield Prometheus(client)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _until_ready(client: httpx.AsyncClient, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, f"see {log}"
            try:
                if (await client.get("/-/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
